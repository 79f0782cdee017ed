//! An input file, which is checked as a whole before anything is sent.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::iter;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use bunq_partner::{BulkOperation, ErrorKind, FileJournal, Journal as _, RowRecord, files};
use bytes::Bytes;

use super::super::exit::Failure;
use super::mistakes::{Mistake, Mistakes};
use super::rows::{Fields, Key, Row, Rows};

/// No input has more rows, or more bytes.
const MAX_ROWS: usize = 10_000_000;
pub(super) const MAX_LEN: u64 = 1 << 30;

/// An input that has no mistake. Its text is in memory, so that what was checked is what is done, whatever becomes of the file.
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) operation: BulkOperation,
    pub(super) rows: u64,
    /// How many rows of a closing name an `external_uuid`, so that bunq is asked about them before anything is closed.
    pub(super) looks: u64,
    pub(super) digest: String,
    /// The line of each row.
    lines: Vec<u64>,
    text: Bytes,
}

impl Input {
    /// Reads the whole file at a path.
    pub(super) fn open(path: &Path, operation: BulkOperation) -> Result<Self, Failure> {
        let refused = |problem: &str| Failure::usage(format!("{}: {problem}", path.display()));
        let failed = |error: io::Error| refused(&error.to_string());
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(refused("it is not a regular file: give --from -, and the rows on standard input"));
        }
        Self::check(path, files::open_plain(path).map_err(failed)?, operation, path)
    }

    /// Reads a whole file, which has this name in messages.
    pub(super) fn check(path: &Path, from: impl Read, operation: BulkOperation, name: &Path) -> Result<Self, Failure> {
        let refused = |problem: &str| Failure::usage(format!("{}: {problem}", name.display()));
        let mut text = Vec::new();
        from.take(MAX_LEN + 1).read_to_end(&mut text).map_err(|error| refused(&error.to_string()))?;
        if text.len() as u64 > MAX_LEN {
            return Err(refused(&format!("it is larger than {MAX_LEN} bytes: split the file")));
        }
        let text = Bytes::from(text);
        let (lines, looks) = check(name, &text, operation)?;
        let digest: String = digest(&SHA256, &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let (path, rows, digest) = (path.to_owned(), lines.len() as u64, format!("sha256:{digest}"));
        Ok(Self { path, operation, rows, looks, digest, lines, text })
    }

    /// The line of the row with this number.
    pub(super) fn line(&self, row: u64) -> u64 {
        let place = usize::try_from(row).ok().and_then(|row| row.checked_sub(1));
        place.and_then(|place| self.lines.get(place)).copied().unwrap_or_default()
    }

    /// Refuses the journal of another input.
    pub(super) fn check_journal(&self, input: Option<&str>) -> Result<(), Failure> {
        if input == Some(&self.digest) {
            return Ok(());
        }
        let problem = format!(
            "{} is not the input that the journal was begun with: give that input, or another journal",
            self.path.display()
        );
        Err(Failure::of_kind(ErrorKind::Storage, problem))
    }

    pub(super) fn rows(&self) -> Result<impl Iterator<Item = Row> + Send + use<>, Failure> {
        let rows = Rows::new(&self.path, self.text.clone(), self.operation)?;
        Ok(rows.filter_map(Result::ok).map(|(_, row)| row))
    }

    /// The last entry of the journal for a row. Fails if it is for another row.
    pub(super) async fn last(
        &self,
        journal: &FileJournal,
        place: u64,
        row: &Row,
    ) -> Result<Option<RowRecord>, Failure> {
        let last = journal.last(place).await?;
        let key = match row {
            // What an external_uuid was is known to the journal alone.
            Row::Close(target) => target.id().map(|id| id.to_string()),
            Row::Create(new) => Some(new.external_uuid().to_string()),
        };
        if last.as_ref().zip(key).is_none_or(|(last, key)| last.key.key == key) {
            return Ok(last);
        }
        let problem = format!("line {} of {} is not that of the journal", self.line(place), self.path.display());
        let hint = "give the input that the journal was begun with";
        Err(Failure::of_kind(ErrorKind::Storage, problem).with_hint(hint))
    }

    /// The fields of each row that are read, as they stand in the input.
    pub(super) fn fields(&self) -> Result<impl Iterator<Item = Fields> + use<>, Failure> {
        let mut rows = Rows::new(&self.path, self.text.clone(), self.operation)?;
        Ok(iter::from_fn(move || rows.fields()).filter_map(Result::ok).map(|(_, fields)| fields))
    }
}

/// The line of each row, and how many rows of a closing name an `external_uuid`, if none has a mistake.
fn check(name: &Path, text: &Bytes, operation: BulkOperation) -> Result<(Vec<u64>, u64), Failure> {
    let mut mistakes = Mistakes::default();
    // The line in which each row was first.
    let mut known: HashMap<Key, u64> = HashMap::new();
    let (mut lines, mut looks) = (Vec::new(), 0);
    for row in Rows::new(name, text.clone(), operation)? {
        let (line, row) = match row {
            Ok(row) => row,
            Err(mistake) => {
                mistakes.add(&mistake);
                continue;
            }
        };
        looks += u64::from(operation == BulkOperation::Close && row.external_uuid().is_some());
        lines.push(line);
        let (key, column) = row.key();
        let first = *known.entry(key).or_insert(line);
        if first != line {
            mistakes.add(&Mistake::new(line, column, format!("it is in line {first} too")));
        }
        if lines.len() > MAX_ROWS {
            mistakes.add(&Mistake::new(line, "", format!("there are more than {MAX_ROWS} rows: split the file")));
            break;
        }
    }
    let hint = "correct the input: nothing is sent before all of it is right";
    mistakes.check(name.display()).map_err(|failure| failure.with_hint(hint))?;
    if lines.is_empty() {
        return Err(Failure::usage(format!("{}: it has no rows", name.display())));
    }
    Ok((lines, looks))
}
