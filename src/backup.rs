//! Backups: one file with a cluster's keys, its choices and all its objects, the same for every database.
//!
//! A gzip-compressed tar archive, encrypted as a whole when asked ([`seal`]), with these members:
//!
//! - `objects/NNNNNN`: the objects, each a line of JSON ([`archive::Head`]) and the bytes it announces;
//! - `pki/…`: authorities and the service account key, from which all other certificates are made anew;
//! - `cluster.json`: the cluster's choices, without the database's address;
//! - `backup.json`: format, time and revision. It is the last one, so a file without it is not whole.
pub mod archive;
pub mod seal;
