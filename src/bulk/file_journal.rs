//! A journal in a file: JSON lines, synced before an entry counts.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::journal::{Journal, JournalStart};
use super::record::{JournalHeader, RowRecord};
use crate::error::Error;
use crate::files::lines::{Format, LineFile};
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;
use crate::types::from_json;

const FORMAT: Format = Format {
    magic: br#"{"bunq_partner_journal":"#,
    max_line: 4096,
    max_torn: 64 * 1024,
    damaged: "put back a copy that is whole",
    foreign: "it is not a journal: give the path of one, or of one to be made",
};

/// No row has a larger number.
const MAX_ROW: u64 = 10_000_000;

/// A row of which nothing was written.
const NOTHING: u64 = u64::MAX;

/// A journal in a file of JSON lines: the [`JournalHeader`], then a [`RowRecord`] each time that something is known of a row. The
/// last line about a row counts.
///
/// ```text
/// {"bunq_partner_journal":2,"operation":"update_provision","base_url":"https://…","api_key_fingerprint":"…",…}
/// {"row":1,"at":"2026-11-01T22:00:00.1Z","state":"sent","kind":"id","key":"123","id":123}
/// {"row":1,"at":"2026-11-01T22:00:00.3Z","state":"accepted","kind":"id","key":"123","id":123,"response_id":"…"}
/// ```
///
/// The file follows the rule of [`files`](crate::files): only its owner may read or write it (mode 0600). One process uses it at a
/// time. An entry is synced before it counts; entries that come together are synced together. An end that was written in part, as in a crash, is cut off when the file is opened; so
/// is an end of other bytes, as after a file system that has lied about its last block. A write that fails, as on a full disk,
/// leaves nothing behind, and nothing is written after it. A row has a number up to 10,000,000.
///
/// In memory it holds 8 bytes for each row.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
    file: LineFile,
    index: Arc<Mutex<Index>>,
}

/// What is known of the lines.
#[derive(Debug)]
struct Index {
    start: JournalStart,
    /// Where the last line about each row begins; row 1 comes first.
    places: Vec<u64>,
}

impl FileJournal {
    /// Opens the journal at `path`, or makes it, in a folder that must exist.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it is not a journal, if others may use it, if another process uses
    /// it, if it is damaged elsewhere than at its end, or if it cannot be read or written. It is left as it is.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let index = Arc::new(Mutex::new(Index { start: JournalStart::Lost, places: Vec::new() }));
        let opened = LineFile::open(&path, FORMAT, Index::reader(&index)).await;
        let (file, is_new) = opened.map_err(|problem| refused(&path, &problem))?;
        if is_new && lock(&index).start == JournalStart::Lost {
            lock(&index).start = JournalStart::New;
        }
        Ok(Self { path, file, index })
    }

    /// Opens the journal at `path` to be read, also while another process uses it. It is not changed, and cannot be written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it is not a journal, if others may use it, if it is damaged
    /// elsewhere than at its end, or if it cannot be read.
    pub async fn read(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let index = Arc::new(Mutex::new(Index { start: JournalStart::Lost, places: Vec::new() }));
        let opened = LineFile::read(&path, FORMAT, Index::reader(&index)).await;
        let file = opened.map_err(|problem| refused(&path, &problem))?;
        Ok(Self { path, file, index })
    }

    fn refused(&self, problem: &str) -> Error {
        refused(&self.path, problem)
    }

    /// Writes a line; returns where it begins.
    async fn write(&self, value: &impl serde::Serialize) -> Result<u64, Error> {
        let mut line = serde_json::to_vec(value).map_err(Error::storage)?;
        line.push(b'\n');
        let written = async {
            let place = self.file.add(&line)?;
            self.file.written(place).await.map(|()| place)
        };
        written.await.map_err(|problem| self.refused(&problem))
    }
}

fn refused(path: &Path, problem: &str) -> Error {
    Error::storage(format_args!("the journal {}: {problem}", path.display()))
}

impl Index {
    /// Takes the lines of a file in.
    fn reader(index: &Arc<Mutex<Self>>) -> impl FnMut(u64, u64, &[u8]) -> Result<(), String> + Send + use<> {
        let index = Arc::clone(index);
        move |number, place, line| {
            let mut index = lock(&index);
            if number == 1 {
                let header = JournalHeader::parse(line)?.ok_or(FORMAT.foreign)?;
                index.start = JournalStart::Begun(header);
                return Ok(());
            }
            let record: RowRecord = from_json(line).map_err(|error| error.to_string())?;
            index.place(record.row, place).ok_or_else(|| "the row has no number".to_owned())
        }
    }

    /// Keeps where the last line about a row begins.
    fn place(&mut self, row: u64, place: u64) -> Option<()> {
        let index = usize::try_from(row.checked_sub(1).filter(|index| *index < MAX_ROW)?).ok()?;
        if self.places.len() <= index {
            self.places.resize(index + 1, NOTHING);
        }
        self.places[index] = place;
        Some(())
    }

    fn of(&self, row: u64) -> Option<u64> {
        let index = usize::try_from(row.checked_sub(1)?).ok()?;
        self.places.get(index).copied().filter(|place| *place != NOTHING)
    }
}

impl Journal for FileJournal {
    fn start(&self) -> BoxFuture<'_, Result<JournalStart, Error>> {
        let start = lock(&self.index).start.clone();
        Box::pin(async { Ok(start) })
    }

    fn begin(&self, header: JournalHeader) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.write(&header).await?;
            lock(&self.index).start = JournalStart::Begun(header);
            Ok(())
        })
    }

    fn last(&self, row: u64) -> BoxFuture<'_, Result<Option<RowRecord>, Error>> {
        Box::pin(async move {
            let place = lock(&self.index).of(row);
            let Some(place) = place else { return Ok(None) };
            let line = self.file.line_at(place).await.map_err(|problem| self.refused(&problem))?;
            let record: Option<RowRecord> = from_json(&line).ok();
            let record = record.filter(|record| record.row == row);
            record.map(Some).ok_or_else(|| {
                self.refused(&format!(
                    "the entry of row {row} is gone: something else has changed the file; {}",
                    FORMAT.damaged
                ))
            })
        })
    }

    fn append(&self, record: RowRecord) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let row = record.row;
            if row == 0 || row > MAX_ROW {
                return Err(self.refused(&format!("row {row} is not from 1 to {MAX_ROW}")));
            }
            let place = self.write(&record).await?;
            lock(&self.index).place(row, place);
            Ok(())
        })
    }
}
