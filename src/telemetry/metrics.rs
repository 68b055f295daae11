//! The metrics: what each is called, what it means, and where its number is from. Numbers are read when somebody asks; those of the ledger are
//! there once it is read. What a label says is of a bounded set: methods of the contract, codes, programmes, words of ours.

use std::fmt;

use super::{
    exposition::{self, Page, Told},
    process::Process,
    traces::SpanCounts,
};
use crate::{
    ledger::{ProgramStatistics, Statistics},
    store::{Seen, Totals},
    version,
};

/// Codes that each method has from the start: those of answers, and those of which the first one is to be seen.
const TOLD_FROM_THE_START: [&str; 7] = ["OK", "UNAVAILABLE", "INTERNAL", "UNKNOWN", "DATA_LOSS", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"];

/// All that is told at one instant.
#[derive(Debug)]
pub struct Scrape {
    /// Seconds since 1970.
    pub start_time: f64,
    pub state: State,
    pub calls: Vec<CallSeries>,
    pub connections: u64,
    /// Connections that were not served, by reason.
    pub refused: Vec<(&'static str, u64)>,
    pub request_memory: RequestMemory,
    pub backups: u64,
    /// `None`: it is not read yet, or cannot be asked.
    pub ledger: Option<Statistics>,
    /// `None`: there are no traces.
    pub spans: Option<SpanCounts>,
    pub process: Process,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Reading,
    Serving,
    Stopping,
}

/// What messages of requests take, in bytes, and calls that found no room.
#[derive(Debug, Clone, Copy)]
pub struct RequestMemory {
    pub taken: u64,
    pub bound: u64,
    pub refused: u64,
}

/// Calls of one method.
#[derive(Debug)]
pub struct CallSeries {
    pub service: &'static str,
    pub method: &'static str,
    pub under_way: u64,
    /// By the code's name.
    pub codes: Vec<(String, u64)>,
    /// In nanoseconds.
    pub durations: Seen,
}

impl Scrape {
    pub fn text(self) -> Result<String, fmt::Error> {
        exposition::text(self)
    }
}

impl Told for Scrape {
    fn tell(&self, page: &mut Page<'_>) -> fmt::Result {
        self.server(page)?;
        self.calls(page)?;
        self.system(page)?;
        if let Some(ledger) = &self.ledger {
            queue(page, ledger)?;
            store(page, ledger)?;
            points(page, &ledger.programs)?;
            programs(page, ledger)?;
        }
        Ok(())
    }
}

impl Scrape {
    fn server(&self, page: &mut Page<'_>) -> fmt::Result {
        let build = vec![("version", version::VERSION), ("revision", version::REVISION)];
        page.info("loyaltyd_build", "Which version this is, and the commit that it was built from", &build)?;
        page.gauge("process_start_time_seconds", "When the process started, in seconds since 1970", self.start_time)?;
        let states = [("reading", State::Reading), ("serving", State::Serving), ("stopping", State::Stopping)];
        let states = states.map(|(name, state)| (vec![("state", name)], f64::from(u8::from(self.state == state))));
        page.gauges("loyaltyd_state", "1 for the state that the service is in: reading its ledger, serving, stopping", states)?;
        page.gauge("loyaltyd_connections_open", "Connections to the gRPC port that are open", self.connections as f64)?;
        let refused = self.refused.iter().map(|(reason, count)| (vec![("reason", *reason)], *count as f64));
        let help = "Connections to the gRPC port that were ended before they were served: by a bound, for TLS failed, or was not ready in time, or \
                    for want of files";
        page.counters("loyaltyd_connections_refused", help, refused)?;
        let RequestMemory { taken, bound, refused } = self.request_memory;
        let help = "Memory that messages of requests take, from when they begin until they are answered, in bytes";
        page.gauge("loyaltyd_request_memory_bytes", help, taken as f64)?;
        page.gauge("loyaltyd_request_memory_bound_bytes", "As much as they may take; what comes above is refused", bound as f64)?;
        let help = "Calls that were refused since the start because messages of requests took as much memory as they may";
        page.counter("loyaltyd_request_memory_refused", help, refused)?;
        page.gauge("loyaltyd_backups_in_progress", "Backups that are being streamed", self.backups as f64)?;
        if let Some(SpanCounts { exported, failed, dropped }) = self.spans {
            let results = [("exported", exported), ("failed", failed), ("dropped", dropped)];
            let results = results.map(|(name, count)| (vec![("result", name)], count as f64));
            let help = "Spans of traces: sent to the collector, lost because it did not take them, or dropped because too many waited";
            page.counters("loyaltyd_trace_spans", help, results)?;
        }
        Ok(())
    }

    /// Methods that were never called have samples too, so that a rate has something to begin from: also that of the first fault.
    fn calls(&self, page: &mut Page<'_>) -> fmt::Result {
        let of = |call: &CallSeries| vec![("service", call.service), ("method", call.method)];
        let counts = self.calls.iter().flat_map(|call| {
            let is_told = |(code, count): &&(String, u64)| *count > 0 || TOLD_FROM_THE_START.contains(&code.as_str());
            call.codes.iter().filter(is_told).map(move |(code, count)| {
                let mut labels = of(call);
                labels.push(("code", code.as_str()));
                (labels, *count as f64)
            })
        });
        let help = "Calls that have ended, by method and code; those of methods that there are none of count as unknown";
        page.counters("loyaltyd_rpc_requests", help, counts)?;
        let called = || self.calls.iter().filter(|call| call.durations.count() > 0 || call.under_way > 0);
        let help = "How long calls took until their answer began; of streams, until their end";
        page.times_of("loyaltyd_rpc_duration_seconds", help, called().map(|call| (of(call), &call.durations)))?;
        let under_way = called().map(|call| (of(call), call.under_way as f64));
        page.gauges("loyaltyd_rpc_in_flight", "Calls under way", under_way)
    }

    fn system(&self, page: &mut Page<'_>) -> fmt::Result {
        let Process { resident_bytes, open_files, disk_free_bytes, disk_bytes } = self.process;
        let numbers = [
            ("process_resident_memory_bytes", "Memory that the process has", resident_bytes),
            ("process_open_fds", "Files and connections that the process has open", open_files),
            ("loyaltyd_data_disk_free_bytes", "What is free on the disk of the data folder", disk_free_bytes),
            ("loyaltyd_data_disk_size_bytes", "Size of the disk of the data folder", disk_bytes),
        ];
        for (name, help, number) in numbers {
            if let Some(number) = number {
                page.gauge(name, help, number as f64)?;
            }
        }
        Ok(())
    }
}

fn queue(page: &mut Page<'_>, ledger: &Statistics) -> fmt::Result {
    let queues = || [("single", &ledger.queue), ("bulk", &ledger.bulk)];
    let lengths = queues().map(|(name, queue)| (vec![("queue", name)], queue.taken as f64));
    let help = "Commands that wait or are being decided: sent one by one (single), or in batches, streams and by the schedule (bulk); a \
                purchase with many lines counts as several";
    page.gauges("loyaltyd_queue_commands", help, lengths)?;
    let bounds = queues().map(|(name, queue)| (vec![("queue", name)], queue.bound as f64));
    let help = "As many commands as may wait; of the single ones more are refused with RESOURCE_EXHAUSTED, those of bulk wait for room";
    page.gauges("loyaltyd_queue_bound_commands", help, bounds)?;
    page.counter("loyaltyd_queue_entered_commands", "Commands sent one by one that found room in the queue", ledger.queue.entered)?;
    page.times("loyaltyd_queue_wait_seconds", "How long commands waited before the writer took them", &ledger.waits)?;
    page.sizes("loyaltyd_commit_commands", "Commands in each commit that has any", &ledger.commands)?;
    page.times("loyaltyd_commit_duration_seconds", "How long commits took: to encode, to write and to make durable", &ledger.commits)?;
    page.counter("loyaltyd_entries_written", "Entries of members' ledgers written since the start", ledger.entries)?;
    page.counter("loyaltyd_commits_without_space", "Commits that were refused since the start because the disk was full", ledger.no_space)
}

fn store(page: &mut Page<'_>, ledger: &Statistics) -> fmt::Result {
    let store = &ledger.store;
    page.counter("loyaltyd_journal_commits", "Durable commits in the journal, since it began", store.commits)?;
    page.times("loyaltyd_journal_fsync_duration_seconds", "How long it took to make each commit durable", &store.syncs)?;
    let help = "Bytes of the journal's files, with what is allocated ahead";
    page.gauge("loyaltyd_journal_bytes", help, store.journal_bytes as f64)?;
    page.gauge("loyaltyd_journal_files", "Files of the journal", store.journal_files as f64)?;
    page.counter("loyaltyd_journal_appended_bytes", "Bytes appended to the journal since the start", store.appended_bytes)?;
    let (behind, help) = (store.behind, "Durable commits that the look-up tables (sled) do not have yet; they are served from memory");
    page.gauge("loyaltyd_tables_lag_commits", help, behind.commits as f64)?;
    let help = "Bytes of rows that wait to be written to the look-up tables";
    page.gauge("loyaltyd_tables_lag_bytes", help, behind.bytes as f64)?;
    let help = "As many bytes as may wait for the look-up tables; with more, commits wait for them";
    page.gauge("loyaltyd_tables_lag_bound_bytes", help, behind.bound as f64)
}

/// Points as people count them. What is beyond 53 bits is rounded here, and nowhere in the ledger.
fn in_points(units: i128, digits: u32) -> f64 {
    units as f64 / f64::from(10_u32.pow(digits.min(9)))
}

/// Samples of every programme.
type Samples<'p> = Vec<(Vec<(&'p str, &'p str)>, f64)>;

fn of_programs(programs: &[ProgramStatistics], number: impl Fn(&ProgramStatistics) -> f64) -> Samples<'_> {
    programs.iter().map(|one| (vec![("program", one.program.as_str())], number(one))).collect()
}

fn of_totals(programs: &[ProgramStatistics], number: fn(&Totals) -> i128) -> Samples<'_> {
    of_programs(programs, |one| in_points(number(&one.totals), one.digits))
}

fn points(page: &mut Page<'_>, programs: &[ProgramStatistics]) -> fmt::Result {
    type Flow = (&'static str, &'static str, fn(&Totals) -> i128);
    let flows: [Flow; 9] = [
        ("loyaltyd_points_issued", "Points issued since the programme began, for purchases, activities, by hand and otherwise", |t| {
            t.issued
        }),
        ("loyaltyd_points_redeemed", "Points redeemed since the programme began; what was given back is in reinstated", |t| t.redeemed),
        ("loyaltyd_points_expired", "Points that lapsed since the programme began", |t| t.expired),
        ("loyaltyd_points_clawed_back", "Points taken back since the programme began, by returns, by hand and otherwise", |t| {
            t.clawed_back
        }),
        ("loyaltyd_points_reinstated", "Points of redemptions that were given back since the programme began", |t| t.reinstated),
        ("loyaltyd_points_transferred_in", "Points that members got of other members since the programme began", |t| t.transferred_in),
        ("loyaltyd_points_transferred_out", "Points that members gave to other members since the programme began", |t| t.transferred_out),
        ("loyaltyd_points_added_by_hand", "Points added by adjustments since the programme began; a part of issued", |t| t.adjusted_up),
        ("loyaltyd_points_taken_by_hand", "Points taken by adjustments since the programme began; a part of clawed back", |t| {
            t.adjusted_down
        }),
    ];
    for (name, help, number) in flows {
        page.counters(name, help, of_totals(programs, number))?;
    }
    let help = "Points that members have and may come to spend: available, pending and held";
    page.gauges("loyaltyd_points_outstanding", help, of_totals(programs, Totals::outstanding))?;
    let help = "Points that members have by what they can do with them, and those that they owe";
    page.gauges("loyaltyd_points", help, programs.iter().flat_map(balances))
}

fn balances(one: &ProgramStatistics) -> [(Vec<(&'_ str, &'_ str)>, f64); 4] {
    let Totals { available, pending, held, debt, .. } = one.totals;
    [("available", available), ("pending", pending), ("held", held), ("owed", debt)]
        .map(|(state, units)| (vec![("program", one.program.as_str()), ("state", state)], in_points(units, one.digits)))
}

fn programs(page: &mut Page<'_>, ledger: &Statistics) -> fmt::Result {
    let members = ledger.programs.iter().flat_map(|one| {
        let Totals { active, suspended, merged, erased, .. } = one.totals;
        [("active", active), ("suspended", suspended), ("merged", merged), ("erased", erased)]
            .map(|(state, count)| (vec![("program", one.program.as_str()), ("state", state)], count as f64))
    });
    page.gauges("loyaltyd_members", "Members by their state; merged ones are a part of another member", members)?;
    page.gauges(
        "loyaltyd_program_version",
        "Version of the rule book that is in effect",
        of_programs(&ledger.programs, |one| f64::from(one.version)),
    )?;
    let help = "Members with something due that is not entered yet: points that lapse or become active, holds that end, tiers, birthdays; of all \
                programmes not more than 100000 are counted";
    page.gauges("loyaltyd_due_members", help, of_programs(&ledger.programs, |one| one.due as f64))?;
    let help = "How long what is due has waited that has waited longest; 0 if nothing is due";
    page.gauge("loyaltyd_due_oldest_seconds", help, ledger.oldest_due.unwrap_or_default().as_secs_f64())
}
