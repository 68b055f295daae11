//! loyaltyd: the code map.

pub mod cli;
pub mod contract;
pub mod domain;
pub mod ledger;
pub mod store;
