//! An input file, which is checked as a whole before anything is sent.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::iter;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use bunq_partner::{
    BulkOperation, BulkRequest, ErrorKind, FileJournal, Journal as _, ProvisionId, RowRecord, Uuid, files,
};
use bytes::Bytes;

use super::super::exit::Failure;
use super::rows::{Lines, Mistake, required};

/// No input has more rows, or more bytes.
const MAX_ROWS: usize = 10_000_000;
pub(super) const MAX_LEN: u64 = 1 << 30;

const MAX_SAID: usize = 20;

/// An input that has no mistake. Its text is in memory, so that what was checked is what is done, whatever becomes of the file.
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) operation: BulkOperation,
    pub(super) rows: u64,
    pub(super) digest: String,
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
        let rows = check(name, &text, operation)?;
        let digest: String = digest(&SHA256, &text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path: path.to_owned(), operation, rows, digest: format!("sha256:{digest}"), text })
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

    pub(super) fn rows(&self) -> Result<impl Iterator<Item = BulkRequest> + Send + use<>, Failure> {
        let lines = Lines::new(&self.path, self.text.clone(), self.operation)?;
        Ok(lines.filter_map(Result::ok).map(|(_, row)| row))
    }

    /// The last entry of the journal for a row. Fails if it is for another row.
    pub(super) async fn last(
        &self,
        journal: &FileJournal,
        place: u64,
        row: &BulkRequest,
    ) -> Result<Option<RowRecord>, Failure> {
        let last = journal.last(place).await?;
        let key = match keys(row) {
            (Some(id), _) => id.to_string(),
            (None, external_uuid) => external_uuid.unwrap_or_default().to_string(),
        };
        if last.as_ref().is_none_or(|last| last.key.key == key) {
            return Ok(last);
        }
        let problem = format!("row {place} of {} is not that of the journal", self.path.display());
        let hint = "give the input that the journal was begun with";
        Err(Failure::of_kind(ErrorKind::Storage, problem).with_hint(hint))
    }

    /// The fields of each row as they stand in the input, with the names of their columns.
    pub(super) fn fields(&self) -> Result<impl Iterator<Item = Vec<(String, String)>> + use<>, Failure> {
        let mut lines = Lines::new(&self.path, self.text.clone(), self.operation)?;
        Ok(iter::from_fn(move || lines.fields()).filter_map(Result::ok))
    }
}

/// The id of a closing, or the `external_uuid` of a creation.
pub(super) fn keys(row: &BulkRequest) -> (Option<ProvisionId>, Option<Uuid>) {
    match row {
        BulkRequest::Close(id) => (Some(*id), None),
        BulkRequest::Create(new) => (None, Some(*new.external_uuid())),
    }
}

/// How many rows there are, if none has a mistake.
fn check(name: &Path, text: &Bytes, operation: BulkOperation) -> Result<u64, Failure> {
    let (mut mistakes, mut said) = (0, Vec::new());
    // The line in which each row was first.
    let mut known: HashMap<u128, u64> = HashMap::new();
    let mut mistake = |mistake: Mistake| {
        mistakes += 1;
        if said.len() < MAX_SAID {
            said.push(mistake.said());
        }
    };
    let mut lines = Lines::new(name, text.clone(), operation)?;
    while let Some(row) = lines.next() {
        match row {
            Ok((line, row)) => {
                let key = match &row {
                    BulkRequest::Close(id) => id.get().into(),
                    BulkRequest::Create(new) => new.external_uuid().as_u128(),
                };
                let (before, first) = (known.len(), *known.entry(key).or_insert(line));
                if known.len() == before {
                    let column = required(operation)[0];
                    mistake(Mistake::new(line, column, format!("it is in line {first} too")));
                }
            }
            Err(found) => mistake(found),
        }
        if known.len() > MAX_ROWS {
            mistake(Mistake::new(lines.line, "", format!("there are more than {MAX_ROWS} rows: split the file")));
            break;
        }
    }
    if mistakes > 0 {
        let more = mistakes - said.len();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let problem = format!("{}: {}{more}", name.display(), said.join("; "));
        return Err(Failure::usage(problem).with_hint("correct the input: nothing is sent before all of it is right"));
    }
    if known.is_empty() {
        return Err(Failure::usage(format!("{}: it has no rows", name.display())));
    }
    Ok(known.len() as u64)
}
