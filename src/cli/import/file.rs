//! Reads a CSV file row by row; what it holds in memory does not grow with the file.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use csv::{ByteRecord, StringRecord};

use super::mapping::{Columns, Pair};
use crate::cli::CliError;

/// A row of the file that should become part of the ledger and does not.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// UPPER_SNAKE: the service's own, or one of this module's.
    pub reason: String,
    pub message: String,
}

impl Refusal {
    pub fn row(message: impl Into<String>) -> Self {
        Self { reason: "INVALID_ROW".into(), message: message.into() }
    }
}

pub struct Row {
    /// Of the file, counted from 1.
    pub line: u64,
    pub fields: StringRecord,
    /// Why the row cannot be trusted: it is not UTF-8, or has too few or too many columns.
    pub broken: Option<Refusal>,
    /// Where it begins.
    pub start: csv::Position,
    /// Bytes read so far.
    pub position: u64,
}

/// How the file is written.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    pub delimiter: u8,
    /// Whether quotes are more than ordinary characters.
    pub quotes: bool,
}

impl Format {
    pub fn reader(self) -> csv::ReaderBuilder {
        let mut builder = csv::ReaderBuilder::new();
        builder.delimiter(self.delimiter).quoting(self.quotes).flexible(true);
        builder
    }
}

pub struct Table<F> {
    path: PathBuf,
    reader: csv::Reader<Source>,
    pub columns: Columns<F>,
    pub header: ByteRecord,
    raw: ByteRecord,
    /// Of the file, in bytes; 0 if it is not a regular file.
    pub size: u64,
}

impl<F: ValueEnum + Ord + Copy> Table<F> {
    pub fn open(path: &Path, format: Format, pairs: &[Pair<F>], required: &[F]) -> Result<Self, CliError> {
        let failed = |error: &dyn std::error::Error| CliError::Failed(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(|error| failed(&error))?;
        let size = file.metadata().map_err(|error| failed(&error))?.len();
        let mut reader = format.reader().from_reader(Source::new(file));
        let header = reader.byte_headers().map_err(|error| failed(&error))?.clone();
        if runs_to_the_end(&reader, &header) || line_ends(&header) > MOST_LINE_ENDS {
            return Err(open_quote(path, 1));
        }
        let text = StringRecord::from_byte_record(header.clone()).map_err(|error| failed(&error))?;
        let columns = Columns::resolve(&text, pairs, required, path)?;
        Ok(Self { path: path.to_owned(), reader, columns, header, raw: ByteRecord::new(), size })
    }

    /// `None` at the end of the file.
    pub fn next_row(&mut self) -> Result<Option<Row>, CliError> {
        self.reader.get_mut().room = MOST_BYTES;
        let mut start = self.reader.position().clone();
        let line = start.line() + u64::from(self.reader.get_ref().carriage_returns);
        match self.reader.read_byte_record(&mut self.raw) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(_) if self.reader.get_ref().room == 0 => return Err(open_quote(&self.path, line)),
            Err(error) => return Err(CliError::Failed(format!("{}: {error}", self.path.display()))),
        }
        if beyond(&self.reader) && self.raw.as_slice() == MARK {
            return Ok(None);
        }
        let line_ends = line_ends(&self.raw);
        if runs_to_the_end(&self.reader, &self.raw) || line_ends > MOST_LINE_ENDS {
            return Err(open_quote(&self.path, line));
        }
        let line = self.first_line(line_ends as u64);
        start.set_line(line);
        let mut broken = None;
        let fields = StringRecord::from_byte_record(self.raw.clone()).unwrap_or_else(|error| {
            broken = Some(Refusal::row("the row is not UTF-8"));
            StringRecord::from_byte_record_lossy(error.into_byte_record())
        });
        if fields.len() != self.columns.width() {
            let quoted = if line_ends > 0 { format!(" and, by its quotes, {} lines", line_ends + 1) } else { String::new() };
            broken = Some(Refusal::row(format!("the row has {} columns{quoted}, the header {}", fields.len(), self.columns.width())));
        }
        Ok(Some(Row { line, fields, broken, start, position: self.reader.position().byte() }))
    }

    /// Of the row that was just read: counted back from its end, because empty lines may lie before it. The reader stops after the first
    /// character of a line end, so where that is a carriage return the line is not over yet.
    fn first_line(&self, line_ends: u64) -> u64 {
        let (source, end) = (self.reader.get_ref(), self.reader.position());
        let over = !source.carriage_returns || end.byte() > source.given;
        end.line().saturating_sub(line_ends + u64::from(over))
    }
}

/// The longest row, in bytes, and the line ends that may be inside its quotes: what is more is a quote that nobody closed.
const MOST_BYTES: usize = 1 << 20;
const MOST_LINE_ENDS: usize = 1000;
/// Follows the file as a row of its own. If it becomes part of the last row, that one has a quote that is still open.
const TRAILER: &[u8] = b"\n\0\n";
const MARK: &[u8] = b"\0";

/// The file, followed by the trailer; it gives no more for one row than a row may have.
struct Source {
    file: File,
    given: u64,
    room: usize,
    /// Whether the first line ends with `\r\n`.
    carriage_returns: bool,
    trailer: &'static [u8],
}

impl Source {
    fn new(file: File) -> Self {
        Self { file, given: 0, room: MOST_BYTES, carriage_returns: false, trailer: TRAILER }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::Error::other("the row is too long"));
        }
        if self.trailer.len() == TRAILER.len() {
            let given = self.file.read(buffer)?;
            if given > 0 {
                if self.given == 0 {
                    let line = buffer[..given].split(|byte| *byte == b'\n').next();
                    self.carriage_returns = line.is_some_and(|line| line.ends_with(b"\r"));
                }
                self.given += given as u64;
                self.room = self.room.saturating_sub(given);
                return Ok(given);
            }
        }
        self.trailer.read(buffer)
    }
}

/// Whether the reader has come behind the file's last byte and line end, into the trailer.
fn beyond(reader: &csv::Reader<Source>) -> bool {
    reader.position().byte() > reader.get_ref().given + 1
}

fn runs_to_the_end(reader: &csv::Reader<Source>, row: &ByteRecord) -> bool {
    beyond(reader) && row.as_slice().ends_with(TRAILER)
}

pub fn line_ends(row: &ByteRecord) -> usize {
    row.as_slice().iter().filter(|byte| **byte == b'\n').count()
}

fn open_quote(path: &Path, line: u64) -> CliError {
    CliError::Failed(format!(
        "{}: line {line} opens a quote that is not closed; nothing from there on was read. Mend the line, or add --no-quotes if quotes \
         are ordinary characters in this file",
        path.display()
    ))
}
