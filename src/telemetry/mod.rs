//! What leaves the process for those who watch it: logs, metrics, traces. Nothing personal does (invariant 10).

mod exposition;
mod logs;
pub mod metrics;
pub mod process;
pub mod scraping;
pub mod traces;

pub use logs::{LogFormat, start};
