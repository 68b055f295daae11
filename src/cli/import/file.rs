//! Reads a CSV file row by row; what it holds in memory does not grow with the file.

use std::{
    fs::File,
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
    /// Bytes read so far.
    pub position: u64,
}

pub struct Table<F> {
    path: PathBuf,
    reader: csv::Reader<File>,
    pub columns: Columns<F>,
    raw: ByteRecord,
    /// Of the file, in bytes; 0 if it is not a regular file.
    pub size: u64,
}

impl<F: ValueEnum + Ord + Copy> Table<F> {
    pub fn open(path: &Path, delimiter: u8, pairs: &[Pair<F>], required: &[F]) -> Result<Self, CliError> {
        let failed = |error: &dyn std::error::Error| CliError::Failed(format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(|error| failed(&error))?;
        let size = file.metadata().map_err(|error| failed(&error))?.len();
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(file);
        let columns = Columns::resolve(reader.headers().map_err(|error| failed(&error))?, pairs, required, path)?;
        Ok(Self { path: path.to_owned(), reader, columns, raw: ByteRecord::new(), size })
    }

    /// `None` at the end of the file.
    pub fn next_row(&mut self) -> Result<Option<Row>, CliError> {
        let more = self.reader.read_byte_record(&mut self.raw);
        if !more.map_err(|error| CliError::Failed(format!("{}: {error}", self.path.display())))? {
            return Ok(None);
        }
        let line = self.raw.position().map_or(0, csv::Position::line);
        let mut broken = None;
        let fields = StringRecord::from_byte_record(self.raw.clone()).unwrap_or_else(|error| {
            broken = Some(Refusal::row("the row is not UTF-8"));
            StringRecord::from_byte_record_lossy(error.into_byte_record())
        });
        if fields.len() != self.columns.width() {
            broken = Some(Refusal::row(format!("the row has {} columns, the header {}", fields.len(), self.columns.width())));
        }
        Ok(Some(Row { line, fields, broken, position: self.reader.position().byte() }))
    }
}
