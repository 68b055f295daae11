//! The contract: protobuf types generated from `proto/loyalty/v1`, how they come from bytes, and rule books, which are documents of it.

pub mod codec;
mod fields;
pub mod json;
pub mod known_fields;
pub mod program;
pub mod rule_book;
mod strict;
mod weight;

use std::fmt;

#[allow(clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("loyalty.v1");
}

/// A mistake in a document: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// In names of the proto, such as `accrual_rules[2].per_amount.amount`.
    pub path: String,
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.message)
    }
}
