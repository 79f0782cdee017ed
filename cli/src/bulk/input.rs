//! An input file, which is checked as a whole before anything is sent.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hash};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use bunq_partner::{BulkOperation, BulkRequest};

use super::super::exit::Failure;
use super::rows::{Lines, Mistake, required};

/// No input has more rows.
const MAX_ROWS: u64 = 10_000_000;

/// How many mistakes are reported.
const MAX_SAID: usize = 20;

/// An input that has no mistake. It is read from the file that was checked, whatever is at its path by now.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) operation: BulkOperation,
    pub(super) rows: u64,
    /// The digest of the file.
    pub(super) digest: String,
    /// By which each row is known again.
    prints: Arc<Prints>,
    file: Arc<File>,
}

/// What is known of rows when all of them were read.
struct Checked {
    rows: u64,
    digest: String,
    prints: Prints,
}

/// A file from its beginning, with a position of its own.
struct Reading {
    file: Arc<File>,
    place: u64,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let count = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.place)?;
        #[cfg(windows)]
        let count = std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.place)?;
        self.place += count as u64;
        Ok(count)
    }
}

/// A number for each row that cannot be predicted.
#[derive(Debug, Default)]
struct Prints {
    hasher: RandomState,
    rows: Vec<u64>,
}

impl Prints {
    fn of(&self, row: &BulkRequest) -> u64 {
        match row {
            BulkRequest::Close(id) => self.hasher.hash_one(id),
            // What cannot be written is not sent.
            BulkRequest::Create(new) => self.hasher.hash_one(serde_json::to_string(new).unwrap_or_default()),
        }
    }
}

impl Input {
    /// Reads the whole file at a path.
    pub(super) fn open(path: &Path, operation: BulkOperation) -> Result<Self, Failure> {
        let refused = |problem: &str| Failure::usage(format!("{}: {problem}", path.display()));
        let failed = |error: io::Error| refused(&error.to_string());
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(refused("it is not a regular file: give --from -, and the rows on standard input"));
        }
        Self::check(path, File::open(path).map_err(failed)?, operation, path)
    }

    /// Reads a whole file, which has this name in messages.
    pub(super) fn check(path: &Path, file: File, operation: BulkOperation, name: &Path) -> Result<Self, Failure> {
        let file = Arc::new(file);
        let Checked { rows, digest, prints } = check(name, Reading { file: Arc::clone(&file), place: 0 }, operation)?;
        Ok(Self { path: path.to_owned(), operation, rows, digest, prints: Arc::new(prints), file })
    }

    /// Refuses the journal of another input.
    pub(super) fn check_journal(&self, input: Option<&str>) -> Result<(), Failure> {
        if input == Some(&self.digest) {
            return Ok(());
        }
        Err(Failure::usage(format!("{} is not the input that the journal was begun with", self.path.display())))
    }

    /// The rows again. They end early where the file has changed since it was checked.
    pub(super) fn rows(&self) -> Result<impl Iterator<Item = BulkRequest> + Send + use<>, Failure> {
        let reading = Reading { file: Arc::clone(&self.file), place: 0 };
        let lines = Lines::new(&self.path, reading, self.operation, |_: &[u8]| {})?;
        let prints = Arc::clone(&self.prints);
        let rows = lines.map_while(Result::ok).zip(0..);
        Ok(rows.map_while(move |((_, row), place)| (prints.rows.get(place) == Some(&prints.of(&row))).then_some(row)))
    }
}

/// How many rows there are, if none has a mistake.
pub(super) fn count(name: &Path, from: impl Read, operation: BulkOperation) -> Result<u64, Failure> {
    check(name, from, operation).map(|checked| checked.rows)
}

/// Reads all rows.
fn check(name: &Path, from: impl Read, operation: BulkOperation) -> Result<Checked, Failure> {
    let mut digest = Digest::new(&SHA256);
    let (mut rows, mut mistakes, mut said) = (0, 0_u64, Vec::new());
    let mut prints = Prints::default();
    let mut known = Known::default();
    let mut mistake = |mistake: Mistake| {
        mistakes += 1;
        if said.len() < MAX_SAID {
            said.push(mistake.said());
        }
    };
    {
        let mut lines = Lines::new(name, from, operation, |bytes| digest.update(bytes))?;
        while let Some(row) = lines.next() {
            match row {
                Ok((line, row)) => {
                    rows += 1;
                    prints.rows.push(prints.of(&row));
                    if let Some(first) = known.insert(&row, line) {
                        let column = required(operation)[0];
                        mistake(Mistake::new(line, column, format!("it is in line {first} too")));
                    }
                }
                Err(found) => mistake(found),
            }
            if rows > MAX_ROWS {
                mistake(Mistake::new(lines.line, "", format!("there are more than {MAX_ROWS} rows: split the file")));
                break;
            }
        }
    }
    if mistakes > 0 {
        let more = mistakes.saturating_sub(said.len() as u64);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let problem = format!("{}: {}{more}", name.display(), said.join("; "));
        return Err(Failure::usage(problem).with_hint("correct the input: nothing is sent before all of it is right"));
    }
    if rows == 0 {
        return Err(Failure::usage(format!("{}: it has no rows", name.display())));
    }
    let digest = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(Checked { rows, digest: format!("sha256:{digest}"), prints })
}

/// The lines in which the rows were first seen.
#[derive(Default)]
struct Known {
    ids: HashMap<u64, u32>,
    users: HashMap<[u8; 16], u32>,
}

impl Known {
    /// Says in which line the row was before.
    fn insert(&mut self, row: &BulkRequest, line: u64) -> Option<u32> {
        fn insert<K: Hash + Eq>(known: &mut HashMap<K, u32>, key: K, line: u64) -> Option<u32> {
            match known.entry(key) {
                Entry::Occupied(first) => Some(*first.get()),
                Entry::Vacant(place) => {
                    place.insert(u32::try_from(line).unwrap_or(u32::MAX));
                    None
                }
            }
        }
        match row {
            BulkRequest::Close(id) => insert(&mut self.ids, id.get(), line),
            BulkRequest::Create(new) => insert(&mut self.users, new.external_uuid().into_bytes(), line),
        }
    }
}
