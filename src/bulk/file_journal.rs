//! A journal in a file: JSON lines, synced before an entry counts.

use std::fs::{File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::journal::{Journal, JournalStart};
use super::record::{JournalHeader, RowRecord};
use crate::error::Error;
use crate::files::{at_once, check_owner, for_owner_alone, sync_folder};
use crate::transport::credentials::BoxFuture;

/// No line is longer, and no row has a larger number.
const MAX_LINE: u64 = 4096;
const MAX_ROW: u64 = 10_000_000;

/// How long another may still have the journal, and the pause between two looks.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A row of which nothing was written.
const NOTHING: u64 = u64::MAX;

/// What the first line of a journal begins with.
const MAGIC: &[u8] = br#"{"bunq_partner_journal":"#;

/// A journal in a file of JSON lines: the [`JournalHeader`], then a [`RowRecord`] each time that something is known of a row. The
/// last line about a row counts.
///
/// ```text
/// {"bunq_partner_journal":1,"operation":"update_provision","base_url":"https://…","api_key_fingerprint":"…",…}
/// {"row":1,"at":"2026-11-01T22:00:00.1Z","state":"sent","id":123}
/// {"row":1,"at":"2026-11-01T22:00:00.3Z","state":"accepted","id":123,"response_id":"…"}
/// ```
///
/// The file is its owner's alone (mode 0600), and one process uses it at a time. An entry is synced before it counts; entries
/// that come together are synced together. An end that was written in part, as in a crash, is cut off when the file is opened; so
/// is an end of other bytes, as of a file system that has lied about its last block. A write that fails, as on a full disk,
/// leaves nothing behind, and nothing is written after it. A row has a number up to 10,000,000.
///
/// In memory it holds 8 bytes for each row.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    /// The lines that wait for the next write, which takes all of them.
    waiting: Arc<Mutex<Waiting>>,
    /// Held by the one that writes.
    writer: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Where the next line begins.
    len: u64,
    start: JournalStart,
    /// Where the last line about each row begins; row 1 comes first.
    places: Vec<u64>,
    /// It is open to be read alone, or a write has failed.
    is_broken: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<(Option<u64>, Vec<u8>)>,
    /// How many lines were added, and how many are written.
    added: u64,
    written: u64,
}

impl FileJournal {
    /// Opens the journal at `path`, or makes it, in a folder that must exist.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Journal`](crate::ErrorKind::Journal) if it is not a journal, if another process uses it, if it is damaged
    /// elsewhere than at its end, or if it cannot be read or written. It is left as it is.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let opened = {
            let path = path.clone();
            spawn_blocking(move || Opened::new(&path).map_err(|problem| refused(&path, problem)))
        };
        let opened = opened.await.map_err(aborted)??;
        // A write of an operation that was dropped may not have ended.
        let patience = Instant::now() + LOCK_TIMEOUT;
        loop {
            match opened.file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < patience => sleep(LOCK_PAUSE).await,
                Err(TryLockError::WouldBlock) => {
                    let problem = "another process uses it: wait for its end, or stop it".into();
                    return Err(refused(&path, problem));
                }
                Err(TryLockError::Error(error)) => return Err(refused(&path, failed("locked")(error))),
            }
        }
        let state = {
            let path = path.clone();
            spawn_blocking(move || State::to_be_written(opened).map_err(|problem| refused(&path, problem)))
        };
        Ok(Self::of(path, state.await.map_err(aborted)??))
    }

    /// Opens the journal at `path` to be read, also while another process uses it. It is not changed, and cannot be written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Journal`](crate::ErrorKind::Journal) if it is not a journal, if it is damaged elsewhere than at its end, or if
    /// it cannot be read.
    pub async fn read(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let state = {
            let path = path.clone();
            spawn_blocking(move || State::to_be_read(&path).map_err(|problem| refused(&path, problem)))
        };
        Ok(Self::of(path, state.await.map_err(aborted)??))
    }

    fn of(path: PathBuf, state: State) -> Self {
        Self { path, state: Arc::new(Mutex::new(state)), waiting: Arc::default(), writer: Arc::default() }
    }

    /// Writes a line, with all others that wait.
    async fn write(&self, row: Option<u64>, line: Vec<u8>) -> Result<(), Error> {
        let own = {
            let mut waiting = lock(&self.waiting);
            waiting.lines.push((row, line));
            waiting.added += 1;
            waiting.added
        };
        let writer = Arc::clone(&self.writer).lock_owned().await;
        if lock(&self.waiting).written >= own {
            return Ok(());
        }
        let (state, waiting) = (Arc::clone(&self.state), Arc::clone(&self.waiting));
        let written = spawn_blocking(move || {
            // The lock goes with the write, which runs to its end if its caller gives up.
            let _writer = writer;
            let (lines, up_to) = {
                let mut waiting = lock(&waiting);
                (std::mem::take(&mut waiting.lines), waiting.added)
            };
            lock(&state).write(lines)?;
            lock(&waiting).written = up_to;
            Ok::<_, String>(())
        });
        let written = written.await.map_err(aborted)?;
        written.map_err(|problem| refused(&self.path, problem))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(path: &Path, problem: String) -> Error {
    Error::journal(format_args!("the journal {}: {problem}", path.display()))
}

fn aborted(error: JoinError) -> Error {
    Error::journal("the task was aborted").with_source(error)
}

fn failed(what: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("it cannot be {what}: {error}")
}

/// A file that may be another's.
struct Opened {
    file: File,
    start: JournalStart,
}

impl Opened {
    fn new(path: &Path) -> Result<Self, String> {
        let mut options = for_owner_alone();
        options.read(true);
        let (file, start) = match at_once(&mut options).open(path) {
            // What it held may be lost.
            Ok(file) => (file, JournalStart::Lost),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = at_once(options.create_new(true)).open(path);
                (made.map_err(failed("made"))?, JournalStart::New)
            }
            Err(error) => return Err(failed("opened")(error)),
        };
        let found = file.metadata().map_err(failed("read"))?;
        if !found.is_file() {
            return Err("it is not a regular file".into());
        }
        check_owner(&found)?;
        if let Some(folder) = std::path::absolute(path).ok().as_deref().and_then(Path::parent) {
            sync_folder(folder).map_err(failed("written"))?;
        }
        Ok(Self { file, start })
    }
}

impl State {
    fn new(opened: Opened) -> Result<Self, String> {
        let Opened { file, start } = opened;
        let mut state = Self { file, len: 0, start, places: Vec::new(), is_broken: false };
        state.read_lines()?;
        Ok(state)
    }

    fn to_be_written(opened: Opened) -> Result<Self, String> {
        let state = Self::new(opened)?;
        state.file.set_len(state.len).map_err(failed("written"))?;
        Ok(state)
    }

    fn to_be_read(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(failed("opened"))?;
        let state = Self::new(Opened { file, start: JournalStart::Lost })?;
        Ok(Self { is_broken: true, ..state })
    }

    /// Reads all lines. The length is then that of what is whole.
    fn read_lines(&mut self) -> Result<(), String> {
        let file = self.file.try_clone().map_err(failed("read"))?;
        let mut reader = BufReader::new(file);
        let (mut line, mut place, mut damaged) = (Vec::new(), 0, None);
        for number in 1_u64.. {
            line.clear();
            let len = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(failed("read"))? as u64;
            if len == 0 {
                break;
            }
            match (self.take(number, place, &line), damaged) {
                (Ok(()), None) => self.len = place + len,
                (Ok(()), Some(line)) => return Err(format!("line {line} is damaged, and it is not the last")),
                // An end that is no line may be the rest of one, or what was on the disk before.
                (Err(_), _) if number > 1 || is_begun(&line) => {
                    damaged.get_or_insert(number);
                }
                (Err(problem), _) => return Err(problem),
            }
            place += len;
        }
        Ok(())
    }

    /// Takes a line in.
    fn take(&mut self, number: u64, place: u64, line: &[u8]) -> Result<(), String> {
        let foreign = "it is not a journal: give the path of one, or of one to be made";
        let line = line.strip_suffix(b"\n").ok_or(foreign)?;
        if number == 1 {
            self.start = JournalStart::Begun(serde_json::from_slice(line).map_err(|_| foreign)?);
            return Ok(());
        }
        let record: RowRecord = serde_json::from_slice(line).map_err(|_| foreign)?;
        self.place(record.row, place).ok_or_else(|| foreign.to_owned())
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

    fn last(&self, row: u64) -> Result<Option<RowRecord>, String> {
        let index = row.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let place = index.and_then(|index| self.places.get(index)).filter(|place| **place != NOTHING);
        let Some(place) = place else { return Ok(None) };
        let mut file = &self.file;
        file.seek(SeekFrom::Start(*place)).map_err(failed("read"))?;
        let mut line = Vec::new();
        BufReader::with_capacity(512, file.take(MAX_LINE)).read_until(b'\n', &mut line).map_err(failed("read"))?;
        let record: Result<RowRecord, _> = serde_json::from_slice(&line);
        let record = record.ok().filter(|record| record.row == row);
        record.map(Some).ok_or_else(|| format!("what was written of row {row} is there no more"))
    }

    /// Writes lines after each other, and syncs them. What a failed write leaves behind is cut off.
    fn write(&mut self, lines: Vec<(Option<u64>, Vec<u8>)>) -> Result<(), String> {
        if self.is_broken {
            return Err(
                "it is open to be read alone, or an earlier write has failed: open it again when there is space".into(),
            );
        }
        let bytes: Vec<u8> = lines.iter().flat_map(|(_, line)| line).copied().collect();
        let mut file = &self.file;
        let written =
            file.seek(SeekFrom::Start(self.len)).and_then(|_| file.write_all(&bytes)).and_then(|()| file.sync_data());
        if let Err(error) = written {
            self.is_broken = true;
            // If that fails too, the next opening cuts it off.
            let _ = self.file.set_len(self.len);
            return Err(failed("written")(error));
        }
        for (row, line) in lines {
            if let Some(row) = row {
                let _ = self.place(row, self.len);
            }
            self.len += line.len() as u64;
        }
        Ok(())
    }
}

/// Whether a first line is the beginning of a header, after which nothing else was stored.
fn is_begun(line: &[u8]) -> bool {
    let stored = line.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let stored = &line[..stored];
    !stored.ends_with(b"\n") && (stored.starts_with(MAGIC) || MAGIC.starts_with(stored))
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    let mut line = serde_json::to_vec(value).map_err(Error::journal)?;
    line.push(b'\n');
    Ok(line)
}

impl Journal for FileJournal {
    fn start(&self) -> BoxFuture<'_, Result<JournalStart, Error>> {
        let start = lock(&self.state).start.clone();
        Box::pin(async { Ok(start) })
    }

    fn begin(&self, header: JournalHeader) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.write(None, encode(&header)?).await?;
            lock(&self.state).start = JournalStart::Begun(header);
            Ok(())
        })
    }

    fn last(&self, row: u64) -> BoxFuture<'_, Result<Option<RowRecord>, Error>> {
        Box::pin(async move {
            let state = Arc::clone(&self.state);
            let read = spawn_blocking(move || lock(&state).last(row)).await;
            let read = read.map_err(aborted)?;
            read.map_err(|problem| refused(&self.path, problem))
        })
    }

    fn append(&self, record: RowRecord) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if record.row == 0 || record.row > MAX_ROW {
                return Err(refused(&self.path, format!("row {} is not from 1 to {MAX_ROW}", record.row)));
            }
            self.write(Some(record.row), encode(&record)?).await
        })
    }
}
