//! Where personal data is not: in no file in clear, in no log, metric or trace, in no refusal. What is planted is looked for byte by byte.

mod at_rest;
mod calls;
mod logged;
mod refusals;
mod strangers;
