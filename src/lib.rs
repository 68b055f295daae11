//! loyaltyd: the loyalty service a retailer runs. Members, point ledgers and tiers over gRPC, in one program with an embedded store.
//! Nothing is ever lost, counted twice, or unexplained.
//!
//! # The code map
//!
//! In reading order, from the heart outwards. A room may name the rooms above it in this list, never one below
//! (`tests/it/tidy.rs` holds us to it); `config` and `telemetry` are named by `cli` and `app` alone.
//!
//! - [`domain`]: what loyalty is. Pure: `decide` turns a command into entries, `apply` folds an entry into a member's state, `advance`
//!   turns what time alone brings into entries. No async, IO, clock, randomness, protobuf or serde.
//! - [`contract`]: the generated types of `proto/loyalty/v1`, and the rule book: from its document (YAML, JSON or message) to the
//!   domain's validated form.
//! - [`store`]: where the ledger lives. `trait Store`, and the embedded store: a journal that is the truth, and tables to look things up.
//! - [`ledger`]: the imperative shell round the domain. A bounded queue, one writer, one commit for a group of commands, idempotency,
//!   queries, the schedule of what time alone brings, and the clock.
//! - [`grpc`]: one file a service; parses requests once into domain types, shows what the ledger holds, and maps every refusal to a
//!   status. [`grpc::connections`] is where callers come in, [`grpc::access`] says who of them may do what; the documentation of
//!   the module tells the way of a call.
//! - [`config`]: flags and environment, a file for each part, checked before anything starts; and the files that are read again when they
//!   change (certificates, the access file).
//! - [`telemetry`]: logs, metrics and traces, as they leave the process. What is counted is counted by the rooms themselves, in plain
//!   numbers. [`version`] says which version this is.
//! - [`app`]: the composition root. Starts and stops the whole.
//! - [`cli`]: the command line, one file a subcommand; `main.rs` runs it.
//!
//! One stem, four rooms: what `proto/loyalty/v1/purchase_service.proto` promises, `grpc/purchase.rs` translates, `domain/accrual.rs`
//! decides and `tests/it/purchase.rs` tells as a story.
//!
//! # Invariants
//!
//! 1. A reply leaves only after its commit is durable on disk (fsync, not only handed to the kernel).
//! 2. The ledger is append-only. A correction is a new entry. No code path edits or deletes an entry.
//! 3. A member's state is the fold of its entries: `apply` reads no rule, clock or time-zone table, since entries carry resolved amounts
//!    and instants. `loyaltyd check` folds every member again and compares.
//! 4. Points are conserved, per member and per programme, after every commit: issued + transferred in + reinstated = pending + available
//!    + held + redeemed + expired + clawed back + transferred out - debt.
//! 5. `decide` is deterministic: same state, rule book, command and time give the same entries.
//! 6. Answering a repeated `request_id` changes nothing and gives the first answer again, for ever.
//! 7. Every queue, batch, page and message is bounded, with its bound named in one place.
//! 8. A panic in a writer ends the process: no half-state serves.
//! 9. Money is `rust_decimal`, points are `i64`; no float touches either. Arithmetic is checked; overflow is an error.
//! 10. Nothing personal (phone, e-mail, name, birth date) in logs, metrics, traces or error texts.

pub mod app;
pub mod cli;
pub mod config;
pub mod contract;
pub mod domain;
pub mod grpc;
pub mod ledger;
pub mod store;
pub mod telemetry;
pub mod version;
