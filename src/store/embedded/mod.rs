//! The default store: a journal that is the ledger, and sled tables to look things up.
