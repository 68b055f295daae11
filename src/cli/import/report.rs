//! What an import tells: progress while it runs, refused rows in a file, a summary at the end.

use std::{
    fs::File,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::file::Refusal;
use crate::cli::CliError;

/// How often a line is printed where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub rows: u64,
    /// Purchases, or members.
    pub read: u64,
    pub recorded: u64,
    pub already_there: u64,
    /// Purchases that an earlier part of the file has in the same words.
    pub repeated: u64,
    pub refused: u64,
    pub enrolled: u64,
    pub limited: u64,
}

/// Refused rows, as CSV: line, id, reason, message.
pub struct Rejects {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl Rejects {
    /// `id` is the title of the column that names what was refused.
    pub fn create(path: &Path, id: &str) -> Result<Self, CliError> {
        let mut writer = csv::Writer::from_path(path).map_err(|error| cannot_write(path, &error))?;
        writer.write_record(["line", id, "reason", "message"]).map_err(|error| cannot_write(path, &error))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    pub fn add(&mut self, line: u64, id: &str, refusal: &Refusal) -> Result<(), CliError> {
        let written = self.writer.write_record([&line.to_string(), id, &refusal.reason, &refusal.message]);
        written.map_err(|error| cannot_write(&self.path, &error))
    }

    pub fn finish(mut self) -> Result<PathBuf, CliError> {
        self.writer.flush().map_err(|error| cannot_write(&self.path, &error))?;
        Ok(self.path)
    }
}

/// The ids whose answers have come, one a line, written as they come.
pub struct Acknowledged {
    path: PathBuf,
    file: File,
}

impl Acknowledged {
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let file = File::options().create(true).append(true).open(path).map_err(|error| cannot_write(path, &error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub fn add(&mut self, id: &str) -> Result<(), CliError> {
        self.file.write_all(format!("{id}\n").as_bytes()).map_err(|error| cannot_write(&self.path, &error))
    }
}

fn cannot_write(path: &Path, error: &dyn std::error::Error) -> CliError {
    CliError::Failed(format!("cannot write {}: {error}", path.display()))
}

/// A bar on a terminal, else a line now and then; on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    size: u64,
    printed: Instant,
    started: Instant,
}

impl Progress {
    /// `size` of the file in bytes.
    pub fn new(size: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:32} {percent:>3}%  {msg}  {elapsed} (about {eta} left)");
            ProgressBar::new(size).with_style(style.expect("the template is well formed"))
        });
        let now = Instant::now();
        Self { bar, size, printed: now, started: now }
    }

    pub fn update(&mut self, position: u64, counts: &Counts) {
        if !counts.read.is_multiple_of(64) && self.printed.elapsed() < LINE_INTERVAL {
            return;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(self.numbers(counts));
                bar.set_position(position);
            }
            None if self.printed.elapsed() >= LINE_INTERVAL => {
                let percent = position.saturating_mul(100).checked_div(self.size).unwrap_or(0);
                eprintln!("{percent}%  {}", self.numbers(counts));
                self.printed = Instant::now();
            }
            None => {}
        }
    }

    /// A line of its own, beside the bar.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn numbers(&self, counts: &Counts) -> String {
        let milliseconds = self.started.elapsed().as_millis().max(1);
        let rate = u128::from(counts.read).saturating_mul(1000) / milliseconds;
        format!("{} read, {} refused, {rate} per second", counts.read, counts.refused)
    }
}
