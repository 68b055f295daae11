//! Parsing rule books.
use super::v1;
use crate::domain::Program;
use jiff::Timestamp;
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub path: String,
    pub message: String,
}
pub fn parse(_d: &v1::Program, _v: u32, _t: Timestamp) -> Result<Program, Vec<Violation>> {
    Err(vec![])
}
pub fn check_successor(_o: &Program, _n: &Program) -> Vec<Violation> {
    vec![]
}
