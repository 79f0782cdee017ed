//! An input file, which is checked as a whole before anything is sent.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher as _, Hash};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context as Digest, SHA256};

use super::super::exit::Failure;
use super::rows::{Kind, Lines, Mistake, Row};

/// No input has more rows.
const MAX_ROWS: u64 = 10_000_000;

/// How many mistakes are said.
const MAX_SAID: usize = 20;

/// An input that has no mistake.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) rows: u64,
    /// The digest of the file.
    pub(super) digest: String,
    /// By which each row is known again.
    prints: Arc<Prints>,
}

/// A number for each row, which nobody can foresee.
#[derive(Debug, Default)]
struct Prints {
    hasher: RandomState,
    rows: Vec<u64>,
}

impl Prints {
    fn of(&self, row: &Row) -> u64 {
        match row {
            Row::Close(id) => self.hasher.hash_one(id),
            // What cannot be written is not sent.
            Row::Create(new) => self.hasher.hash_one(serde_json::to_string(new).unwrap_or_default()),
        }
    }
}

impl Input {
    /// Reads the whole file.
    pub(super) fn check(path: &Path, kind: Kind) -> Result<Self, Failure> {
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
            let mut lines = Lines::open(path, kind, |bytes| digest.update(bytes))?;
            while let Some(row) = lines.next() {
                match row {
                    Ok((line, row)) => {
                        rows += 1;
                        prints.rows.push(prints.of(&row));
                        if let Some(first) = known.insert(&row, line) {
                            let column = kind.required()[0];
                            mistake(Mistake::new(line, column, format!("it is in line {first} too")));
                        }
                    }
                    Err(found) => mistake(found),
                }
                if rows > MAX_ROWS {
                    mistake(Mistake::new(
                        lines.line,
                        "",
                        format!("there are more than {MAX_ROWS} rows: split the file"),
                    ));
                    break;
                }
            }
        }
        if mistakes > 0 {
            let more = mistakes.saturating_sub(said.len() as u64);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            let problem = format!("{}: {}{more}", path.display(), said.join("; "));
            return Err(
                Failure::usage(problem).with_hint("correct the input: nothing is sent before all of it is right")
            );
        }
        if rows == 0 {
            return Err(Failure::usage(format!("{}: it has no rows", path.display())));
        }
        let digest = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(Self { path: path.to_owned(), kind, rows, digest: format!("sha256:{digest}"), prints: Arc::new(prints) })
    }

    /// Refuses the journal of another input.
    pub(super) fn check_journal(&self, input: Option<&str>) -> Result<(), Failure> {
        if input == Some(&self.digest) {
            return Ok(());
        }
        Err(Failure::usage(format!("{} is not the input that the journal was begun with", self.path.display())))
    }

    /// The rows again. They end early where the file has changed since it was checked.
    pub(super) fn rows(&self) -> Result<impl Iterator<Item = Row> + Send + use<>, Failure> {
        let lines = Lines::open(&self.path, self.kind, |_: &[u8]| {})?;
        let prints = Arc::clone(&self.prints);
        let rows = lines.map_while(Result::ok).zip(0..);
        Ok(rows.map_while(move |((_, row), place)| (prints.rows.get(place) == Some(&prints.of(&row))).then_some(row)))
    }
}

/// The lines in which the rows were first seen.
#[derive(Default)]
struct Known {
    ids: HashMap<u64, u32>,
    users: HashMap<[u8; 16], u32>,
}

impl Known {
    /// Says in which line the row was before.
    fn insert(&mut self, row: &Row, line: u64) -> Option<u32> {
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
            Row::Close(id) => insert(&mut self.ids, id.get(), line),
            Row::Create(new) => insert(&mut self.users, new.external_uuid.into_bytes(), line),
        }
    }
}
