//! The integration tests, in one binary: a file a subject.

mod accrual;
mod domain_properties;
mod rule_book;
