-- The newest revision. Its row is the lock of all writers: who holds it knows the committed heads and numbers its
-- writes, so revisions are consecutive and in commit order, and a transaction rolled back leaves no gap.
CREATE TABLE knarr.head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO knarr.head (revision) VALUES (1);

-- History before this revision is forgotten.
CREATE TABLE knarr.compaction (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO knarr.compaction (revision) VALUES (1);

-- The last transaction of each server, so that it can find out what became of one whose answer was lost.
CREATE TABLE knarr.writers (
    id text COLLATE "C" PRIMARY KEY,
    batch bigint NOT NULL,
    seen timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);

-- The log: one row a write, the only copy of a value. A row without value is a deletion.
CREATE TABLE knarr.changes (
    revision bigint PRIMARY KEY,
    key text COLLATE "C" NOT NULL,
    prev_revision bigint,
    value bytea,
    expires bigint
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.2);
CREATE INDEX changes_expires ON knarr.changes (expires) WHERE expires IS NOT NULL;
-- The default compression is slow, and not every server is built with the fast one.
DO $$ BEGIN
    ALTER TABLE knarr.changes ALTER COLUMN value SET COMPRESSION lz4;
EXCEPTION WHEN OTHERS THEN
    ALTER TABLE knarr.changes ALTER COLUMN value SET STORAGE EXTERNAL;
END $$;

-- The live keys.
CREATE TABLE knarr.objects (
    key text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- For people: the live objects as JSON.
CREATE VIEW knarr.live AS
SELECT split_part(o.key, '/', 1) AS api_group, split_part(o.key, '/', 2) AS resource,
    split_part(o.key, '/', 3) AS namespace, split_part(o.key, '/', 4) AS name, o.revision,
    jsonb_set(convert_from(c.value, 'UTF8')::jsonb, '{metadata,resourceVersion}', to_jsonb(o.revision::text)) AS object
FROM knarr.objects o JOIN knarr.changes c ON c.revision = o.revision;
