CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('compacted', 1), ('probe', 0);

-- The log: one row a write, the only copy of a value. A row without value is a deletion.
CREATE TABLE changes (
    revision INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    prev_revision INTEGER,
    value ANY,
    expires INTEGER
) STRICT;
CREATE INDEX changes_expires ON changes (expires) WHERE expires IS NOT NULL;

-- The live keys.
CREATE TABLE objects (
    key TEXT PRIMARY KEY,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER changes_put AFTER INSERT ON changes WHEN NEW.value IS NOT NULL BEGIN
    INSERT INTO objects VALUES (NEW.key, NEW.revision)
        ON CONFLICT (key) DO UPDATE SET revision = excluded.revision;
END;
CREATE TRIGGER changes_delete AFTER INSERT ON changes WHEN NEW.value IS NULL BEGIN
    DELETE FROM objects WHERE key = NEW.key;
END;

-- For people: the live objects as JSON.
CREATE VIEW live AS
WITH first AS (
    SELECT substr(o.key, 1, instr(o.key, '/') - 1) AS api_group, substr(o.key, instr(o.key, '/') + 1) AS rest,
        o.revision, c.value
    FROM objects o JOIN changes c ON c.revision = o.revision
), second AS (
    SELECT api_group, substr(rest, 1, instr(rest, '/') - 1) AS resource,
        substr(rest, instr(rest, '/') + 1) AS rest, revision, value
    FROM first
)
SELECT api_group, resource, substr(rest, 1, instr(rest, '/') - 1) AS namespace,
    substr(rest, instr(rest, '/') + 1) AS name, revision,
    json_set(value, '$.metadata.resourceVersion', CAST(revision AS TEXT)) AS object
FROM second;
