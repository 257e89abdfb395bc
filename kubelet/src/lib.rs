//! The node agent: pod lifecycle, volumes, probes, container runtimes.

mod backoff;
mod cgroups;
mod container;
mod events;
pub mod images;
mod labels;
mod last_words;
mod logs;
mod observed;
mod plan;
mod pod;
mod probes;
mod runtime;
mod volumes;
