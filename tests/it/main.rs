//! The integration tests, in one binary: a file a subject.

mod store_contract;
mod support;
