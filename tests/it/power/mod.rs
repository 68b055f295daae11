//! Cuts of power and faults of the disk, on a file system of the tests' own: what was acknowledged is there afterwards.

mod dice;
mod disk;
mod mount;
mod server;
mod server_cuts;
mod store_cuts;
mod till;
