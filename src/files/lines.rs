//! A file of JSON lines to which lines are only added. A line counts only when it is synced.
//!
//! This module does not know the content of the lines. Its problems are texts, from which its callers make errors.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures_util::future::{Either, select};
use serde::de::IgnoredAny;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::lock::lock_alone;
use super::{create_kept, for_owner_alone, open_kept, open_kept_with, sync_folder_of};
use crate::sync::lock;

/// The format of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    /// The beginning of the first line.
    pub(crate) magic: &'static [u8],
    /// The length of the longest line, in bytes.
    pub(crate) max_line: u64,
    /// How many bytes may be cut off the end of the file because a line in them is damaged. No write is larger, since any
    /// part of a torn write may be on the disk. With 0, only the unfinished beginning of one line is cut off, and a write
    /// has any size.
    pub(crate) max_torn: u64,
    /// What to do about a file with any other damage.
    pub(crate) damaged: &'static str,
    /// What to say about a file that is not of this format.
    pub(crate) foreign: &'static str,
}

impl Format {
    /// How much of these lines is written at once: as many as may be torn.
    fn len_of_write(&self, lines: &[u8]) -> usize {
        match usize::try_from(self.max_torn) {
            Ok(max) if (1..lines.len()).contains(&max) => {
                // A line alone is not longer.
                lines[..max].iter().rposition(|byte| *byte == b'\n').map_or(max, |last| last + 1)
            }
            _ => lines.len(),
        }
    }
}

/// A file that one process has opened exclusively to add lines to it, or that is open for reading.
#[derive(Debug, Clone)]
pub(crate) struct LineFile {
    format: Format,
    state: Arc<Mutex<State>>,
    /// The lines that wait for the next write. The writer takes all of them.
    waiting: Arc<Mutex<Waiting>>,
    progress: Arc<watch::Sender<Progress>>,
}

/// How far the lines are written.
#[derive(Debug, Clone)]
struct Progress {
    /// Everything before this offset is written and synced.
    written: u64,
    /// Why nothing more will be written.
    problem: Option<String>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// The offset of the next line.
    len: u64,
    /// The file is open only for reading, or a write has failed.
    is_broken: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// The offset of the next line after those that wait.
    end: u64,
    /// A task is writing them.
    has_writer: bool,
}

impl LineFile {
    /// Opens or creates the file, and locks it for this process. `take` gets each line, with its number (from 1) and
    /// its offset. Returns whether the file was created.
    ///
    /// An end of the file that is not a line is cut off: a write that did not finish, or what a file system left in a
    /// block that it did not store. If the last line lacks only its line break, the line break is added.
    pub(crate) async fn open(
        path: &Path,
        format: Format,
        take: impl FnMut(u64, u64, &[u8]) -> Result<(), String> + Send + 'static,
    ) -> Result<(Self, bool), String> {
        let to_open = path.to_owned();
        let (file, is_new) = blocking(move || open(&to_open)).await?;
        lock_alone(&file).await.map_err(|error| error.to_string())?;
        let opened = blocking(move || {
            let end = read_lines(&file, format, take)?;
            file.set_len(end.place).map_err(failed("written"))?;
            let mut state = State { file, len: end.place, is_broken: false };
            if end.lacks_line_break {
                state.write(b"\n")?;
            }
            Ok(Self::new(format, state))
        });
        Ok((opened.await?, is_new))
    }

    /// Opens the file only for reading, even while another process has it.
    pub(crate) async fn read(
        path: &Path,
        format: Format,
        take: impl FnMut(u64, u64, &[u8]) -> Result<(), String> + Send + 'static,
    ) -> Result<Self, String> {
        let path = path.to_owned();
        let opened = blocking(move || {
            let file = open_kept(&path).map_err(|error| error.to_string())?;
            let end = read_lines(&file, format, take)?;
            Ok(Self::new(format, State { file, len: end.place, is_broken: true }))
        });
        opened.await
    }

    fn new(format: Format, state: State) -> Self {
        let len = state.len;
        let waiting = Waiting { lines: Vec::new(), end: len, has_writer: false };
        Self {
            format,
            state: Arc::new(Mutex::new(state)),
            waiting: Arc::new(Mutex::new(waiting)),
            progress: Arc::new(watch::Sender::new(Progress { written: len, problem: None })),
        }
    }

    /// Adds a line, which must end with a line break, after those that were added before, and returns its offset. It
    /// counts when [`written`](Self::written) has returned for this offset.
    pub(crate) fn add(&self, line: &[u8]) -> Result<u64, String> {
        if line.len() as u64 > self.format.max_line {
            return Err(format!("a line of it would be longer than {} bytes", self.format.max_line));
        }
        let mut waiting = lock(&self.waiting);
        let place = waiting.end;
        waiting.lines.extend_from_slice(line);
        waiting.end += line.len() as u64;
        Ok(place)
    }

    /// Writes and syncs the added lines, at least up to the one at this offset. The write goes on if the caller gives
    /// up.
    pub(crate) async fn written(&self, place: u64) -> Result<(), String> {
        let mut progress = self.progress.subscribe();
        loop {
            match &*progress.borrow_and_update() {
                Progress { written, .. } if *written > place => return Ok(()),
                Progress { problem: Some(problem), .. } => return Err(problem.clone()),
                Progress { .. } => {}
            }
            let changed = pin!(progress.changed());
            if std::mem::replace(&mut lock(&self.waiting).has_writer, true) {
                // Another task is writing. The sender lives as long as `self`, so `changed` cannot fail.
                let _ = changed.await;
                continue;
            }
            let writer = Writer { file: self.clone(), is_done: false };
            if let Either::Left((Err(_), _)) = select(spawn_blocking(|| writer.write_all()), changed).await {
                return Err("the task that wrote it was aborted".into());
            }
        }
    }

    /// Reads the line at this offset.
    pub(crate) async fn line_at(&self, place: u64) -> Result<Vec<u8>, String> {
        let (state, max_line) = (Arc::clone(&self.state), self.format.max_line);
        let read = blocking(move || {
            let state = lock(&state);
            let mut file = &state.file;
            file.seek(SeekFrom::Start(place)).map_err(failed("read"))?;
            let mut line = Vec::new();
            BufReader::with_capacity(512, file.take(max_line)).read_until(b'\n', &mut line).map_err(failed("read"))?;
            line.truncate(stored(&line).len());
            Ok(line)
        });
        read.await
    }
}

/// Writes the lines. If it is dropped before it runs, as when a runtime shuts down, one of the waiting tasks writes
/// them.
struct Writer {
    file: LineFile,
    is_done: bool,
}

impl Writer {
    /// Writes until no lines wait.
    fn write_all(mut self) {
        loop {
            let (lines, end) = {
                let mut waiting = lock(&self.file.waiting);
                if waiting.lines.is_empty() {
                    waiting.has_writer = false;
                    self.is_done = true;
                    return;
                }
                (std::mem::take(&mut waiting.lines), waiting.end)
            };
            let mut rest = lines.as_slice();
            while !rest.is_empty() {
                let (write, after) = rest.split_at(self.file.format.len_of_write(rest));
                let (written, end) = (lock(&self.file.state).write(write), end - after.len() as u64);
                self.file.progress.send_modify(|progress| match written {
                    Ok(()) => progress.written = end,
                    Err(problem) => _ = progress.problem.get_or_insert(problem),
                });
                rest = after;
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_done {
            lock(&self.file.waiting).has_writer = false;
            self.file.progress.send_modify(|_| ());
        }
    }
}

impl State {
    /// Writes and syncs lines. If that fails, it removes the part that was written.
    fn write(&mut self, lines: &[u8]) -> Result<(), String> {
        if self.is_broken {
            return Err(
                "it is open to be read alone, or an earlier write has failed: open it again when there is space".into(),
            );
        }
        let mut file = &self.file;
        let written =
            file.seek(SeekFrom::Start(self.len)).and_then(|_| file.write_all(lines)).and_then(|()| file.sync_data());
        if let Err(error) = written {
            self.is_broken = true;
            // If this fails too, the next opening cuts the rest off.
            let _ = self.file.set_len(self.len);
            return Err(failed("written")(error));
        }
        self.len += lines.len() as u64;
        Ok(())
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    spawn_blocking(work).await.map_err(|error| format!("the task was aborted: {error}"))?
}

fn failed(what: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("it cannot be {what}: {error}")
}

/// Opens or creates the file. Returns whether it was created.
fn open(path: &Path) -> Result<(File, bool), String> {
    let (file, is_new) = match open_kept_with(path, for_owner_alone().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (create_kept(path), true),
        opened => (opened, false),
    };
    let file = file.map_err(|error| error.to_string())?;
    sync_folder_of(path).map_err(failed("written"))?;
    Ok((file, is_new))
}

/// Where the lines of a file end.
#[derive(Clone, Copy, Default)]
struct End {
    place: u64,
    /// The last line is complete except for its line break.
    lacks_line_break: bool,
}

/// A damaged line and everything after it.
struct Damage {
    /// The number of the first damaged line.
    line: u64,
    /// They are only the unfinished beginning of one line.
    is_unfinished: bool,
}

/// Reads all lines, and returns where they end.
fn read_lines(
    file: &File,
    format: Format,
    mut take: impl FnMut(u64, u64, &[u8]) -> Result<(), String>,
) -> Result<End, String> {
    let size = file.metadata().map_err(failed("read"))?.len();
    // Another process may be adding lines.
    let mut reader = BufReader::new(file.take(size));
    let (mut line, mut place, mut end, mut damage) = (Vec::new(), 0, End::default(), None);
    for number in 1_u64.. {
        line.clear();
        let len = reader.by_ref().take(format.max_line).read_until(b'\n', &mut line).map_err(failed("read"))? as u64;
        if len == 0 {
            break;
        }
        let (text, is_ended) = line.strip_suffix(b"\n").map_or((stored(&line), false), |text| (text, true));
        let taken = if (damage.is_some() && size - end.place <= format.max_torn) || !(is_ended || place + len == size) {
            // Skip the lines after a damaged one, and the parts of a line that is too long.
            Err(String::new())
        } else {
            take(number, place, text)
        };
        match (taken, &mut damage) {
            (Ok(()), None) => {
                let len = text.len() as u64 + u64::from(is_ended);
                end = End { place: place + len, lacks_line_break: !is_ended };
            }
            (Ok(()), Some(Damage { line, .. })) => {
                return Err(format!("line {line} is damaged, and it is not the last: {}", format.damaged));
            }
            (Err(_), Some(damage)) => damage.is_unfinished &= stored(&line).is_empty(),
            // An end that is not a line may be part of one, or old content of the disk.
            (Err(_), None) if number > 1 || is_begun(format.magic, &line) => {
                damage = Some(Damage { line: number, is_unfinished: is_begun(format.magic, &line) });
            }
            (Err(problem), None) if line.starts_with(format.magic) => return Err(problem),
            (Err(_), None) => return Err(format.foreign.into()),
        }
        place += len;
    }
    match damage {
        Some(Damage { line, is_unfinished: false }) if size - end.place > format.max_torn => {
            Err(format!("line {line} is damaged, and not by a write that did not end: {}", format.damaged))
        }
        _ => Ok(end),
    }
}

/// The part of an end that was stored. A file system reads zeros from blocks that it did not store.
fn stored(end: &[u8]) -> &[u8] {
    let len = end.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &end[..len]
}

/// Whether this is the unfinished beginning of a line that starts with `magic`, with nothing else stored after it.
fn is_begun(magic: &[u8], line: &[u8]) -> bool {
    let stored = stored(line);
    let breaks_off = serde_json::from_slice::<IgnoredAny>(stored).is_err_and(|error| error.is_eof());
    breaks_off && !stored.ends_with(b"\n") && (stored.starts_with(magic) || magic.starts_with(stored))
}
