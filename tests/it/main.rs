//! The integration tests, in one binary: a file a subject.
