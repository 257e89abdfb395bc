//! What every client process of the cluster shares.
