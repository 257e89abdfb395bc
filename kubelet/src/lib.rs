//! The node agent: pod lifecycle, volumes, probes, container runtimes.
