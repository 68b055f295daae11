//! Which column holds which field.

use std::{collections::BTreeMap, path::Path};

use clap::ValueEnum;
use csv::StringRecord;

use crate::cli::CliError;

/// `FIELD=COLUMN` of the command line.
#[derive(Debug, Clone)]
pub struct Pair<F> {
    field: F,
    column: String,
}

pub fn parse_pair<F: ValueEnum>(text: &str) -> Result<Pair<F>, String> {
    let names = || F::value_variants().iter().map(name).collect::<Vec<_>>().join(", ");
    let (field, column) = text.split_once('=').ok_or_else(|| "expected FIELD=COLUMN".to_owned())?;
    let field = F::from_str(field, false).map_err(|_| format!("there is no field {field}; the fields are {}", names()))?;
    Ok(Pair { field, column: column.to_owned() })
}

pub fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [delimiter] if delimiter.is_ascii() => Ok(*delimiter),
        b"\\t" => Ok(b'\t'),
        _ => Err("expected one ASCII character, or \\t".into()),
    }
}

/// Where the fields are in a row.
#[derive(Debug, Clone)]
pub struct Columns<F> {
    places: BTreeMap<F, usize>,
    width: usize,
}

impl<F: ValueEnum + Ord + Copy> Columns<F> {
    /// A field that is not mapped is taken from the column of its own name, if there is one.
    pub fn resolve(header: &StringRecord, pairs: &[Pair<F>], required: &[F], file: &Path) -> Result<Self, CliError> {
        let place = |column: &str| header.iter().position(|title| title.trim() == column);
        let mut places: BTreeMap<F, usize> = F::value_variants().iter().filter_map(|field| Some((*field, place(&name(field))?))).collect();
        let mut seen = Vec::new();
        for Pair { field, column } in pairs {
            if seen.contains(field) {
                return Err(CliError::Usage(format!("--map: {} is mapped twice", name(field))));
            }
            seen.push(*field);
            let place = place(column).ok_or_else(|| {
                let titles = header.iter().collect::<Vec<_>>().join(", ");
                CliError::Usage(format!("--map: {} has no column {column}; its columns are {titles}", file.display()))
            })?;
            places.insert(*field, place);
        }
        for field in required {
            if !places.contains_key(field) {
                let name = name(field);
                return Err(CliError::Usage(format!("no column holds {name}: add --map {name}=COLUMN")));
            }
        }
        Ok(Self { places, width: header.len() })
    }

    /// The text of a field without surrounding spaces; `None` if it is empty or not in the file.
    pub fn get<'r>(&self, row: &'r StringRecord, field: F) -> Option<&'r str> {
        self.places.get(&field).and_then(|place| row.get(*place)).map(str::trim).filter(|text| !text.is_empty())
    }

    pub fn has(&self, field: F) -> bool {
        self.places.contains_key(&field)
    }

    /// How many columns a row has.
    pub fn width(&self) -> usize {
        self.width
    }
}

fn name<F: ValueEnum>(field: &F) -> String {
    field.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
