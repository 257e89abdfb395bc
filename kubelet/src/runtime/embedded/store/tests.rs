//! The store on archives made here.
use super::*;
