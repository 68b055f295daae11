//! Cuts of power and faults of the disk, on a file system of the tests' own: what was acknowledged is there afterwards.

mod backup_cuts;
pub mod dice;
mod disk;
mod faults;
pub mod mount;
mod server;
mod server_cuts;
pub mod store_cuts;
mod till;
