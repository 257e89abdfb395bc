//! The node's network: services, cluster DNS, pod network.
