//! What an import tells: progress while it runs, refused rows in a file, a summary at the end.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use csv::ByteRecord;
use indicatif::{ProgressBar, ProgressStyle};

use super::file::{Format, Refusal, line_ends};
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

/// Titles of what comes before the row's own columns. They keep clear of names that a file has, so that it can be fed back.
const TITLES: [&str; 4] = ["refused_line", "refused_id", "refused_reason", "refused_message"];

/// Refused rows, as CSV in the file's own format: line, id, reason, message, then the row as it is in the file.
pub struct Rejects {
    path: PathBuf,
    writer: csv::Writer<File>,
    format: Format,
    /// To read refused rows once more, so that those on their way need not be kept; `None` if the file can be read only once.
    source: Option<csv::Reader<File>>,
    /// Columns of the source that are another run's reasons.
    skipped: usize,
}

impl Rejects {
    /// `path` is the user's choice. Without one it lies beside the source; where that cannot be written, in the current folder under a
    /// name that is free.
    pub fn create(path: Option<&Path>, source: &Path, format: Format, header: &ByteRecord) -> Result<Self, CliError> {
        let regular = source.metadata().is_ok_and(|metadata| metadata.is_file());
        let (path, file) = match path {
            Some(path) => open_new(path, source)?,
            None => default_file(source, regular)?,
        };
        let quotes = if format.quotes { csv::QuoteStyle::Necessary } else { csv::QuoteStyle::Never };
        let writer = csv::WriterBuilder::new().delimiter(format.delimiter).quote_style(quotes).flexible(true).from_writer(file);
        let reopened = if regular { File::open(source).ok() } else { None };
        let source = reopened.map(|file| format.reader().has_headers(false).from_reader(file));
        let skipped = if header.iter().take(TITLES.len()).eq(TITLES.map(str::as_bytes)) { TITLES.len() } else { 0 };
        let mut rejects = Self { path, writer, format, source, skipped };
        let titles = TITLES.iter().map(|title| title.as_bytes()).chain(header.iter().skip(skipped));
        let written = rejects.writer.write_record(titles);
        written.map_err(|error| cannot_write(&rejects.path, &error))?;
        Ok(rejects)
    }

    /// All `rows` of what is refused, from `start` on; `id` names it.
    pub fn add(&mut self, start: &csv::Position, rows: u64, id: &str, refusal: &Refusal) -> Result<(), CliError> {
        let Some(source) = &mut self.source else {
            return self.write(start.line(), id, refusal, &ByteRecord::new());
        };
        let gone = |error| CliError::Failed(format!("refused rows cannot be read again: {error}"));
        source.seek(start.clone()).map_err(gone)?;
        let (mut row, mut line) = (ByteRecord::new(), start.line());
        for _ in 0..rows {
            let source = self.source.as_mut().expect("it was just there");
            if !source.read_byte_record(&mut row).map_err(gone)? {
                break;
            }
            self.write(line, id, refusal, &row)?;
            line += line_ends(&row) as u64 + 1;
        }
        Ok(())
    }

    fn write(&mut self, line: u64, id: &str, refusal: &Refusal, row: &ByteRecord) -> Result<(), CliError> {
        let said = [line.to_string(), id.to_owned(), refusal.reason.clone(), refusal.message.clone()];
        let said = said.map(|text| if self.format.quotes { text } else { unquoted(&text, self.format.delimiter) });
        let fields = said.iter().map(|text| text.as_bytes()).chain(row.iter().skip(self.skipped));
        self.writer.write_record(fields).map_err(|error| cannot_write(&self.path, &error))
    }

    pub fn finish(mut self) -> Result<PathBuf, CliError> {
        self.writer.flush().map_err(|error| cannot_write(&self.path, &error))?;
        Ok(self.path)
    }
}

/// Text that is one column without quotes.
fn unquoted(text: &str, delimiter: u8) -> String {
    text.replace([char::from(delimiter), '\n', '\r'], " ")
}

fn default_file(source: &Path, beside: bool) -> Result<(PathBuf, File), CliError> {
    let path = source.with_extension("rejects.csv");
    if beside && let Ok(opened) = open_new(&path, source) {
        return Ok(opened);
    }
    let stem = Path::new(source.file_stem().unwrap_or_default()).display().to_string();
    for number in 1..1000 {
        let path = PathBuf::from(format!("{stem}.rejects-{number}.csv"));
        match private().create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(cannot_write(&path, &error)),
        }
    }
    Err(CliError::Usage("there are too many files of refused rows here; name one with --rejects".into()))
}

fn open_new(path: &Path, source: &Path) -> Result<(PathBuf, File), CliError> {
    let same = path.canonicalize().is_ok_and(|path| source.canonicalize().is_ok_and(|source| path == source));
    if same {
        return Err(CliError::Usage("--rejects: refused rows cannot be written over the file that is imported".into()));
    }
    let file = private().create(true).truncate(true).open(path).map_err(|error| cannot_write(path, &error))?;
    Ok((path.to_owned(), file))
}

/// Rows may say who somebody is: nobody but the user reads them.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.write(true).mode(0o600);
    options
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
