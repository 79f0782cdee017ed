//! Files that hold keys, tokens, or what is known of people: which are used, and which are refused. It is one rule, which the
//! stores of this crate follow; a program that has such files of its own can follow it too.
//!
//! | | Read only | Kept | Folder |
//! |---|---|---|---|
//! | For example | an API key, a public key, a certificate, receipts to be verified | the context, tokens, a journal, receipts, a copy of standard input | that of the tokens of new users |
//! | Used with | [`open_secret`], [`open_public`] | [`open_kept`], [`create_kept`], [`replace_kept`] | [`check_folder`] |
//! | *Kind* | a regular file or a pipe, also by a symbolic link | a regular file, not by a symbolic link | a folder, also by a symbolic link |
//! | *Owner* | the user of the process, or root | the user of the process | the user of the process, or root |
//! | *Names* | as many as it has | one: another hard link is refused | |
//! | *Others* change it | refused, be it the group or everybody | see the next lines | everybody: refused without the sticky bit; a group: refused unless the process belongs to it |
//! | *The group* reads it | [`open_secret`]: refused if `chmod 600` works, otherwise taken, as with systemd's credentials and with `fsGroup` of Kubernetes | whatever its group may do is taken away again, with an event of `tracing` | allowed |
//! | *Everybody* reads it | [`open_secret`]: refused if `chmod 600` works, otherwise taken with a warning, as with secrets of Docker | refused, because it may be known or changed | allowed |
//!
//! `chmod 600` works on a file that belongs to the user of the process, on a file system that is not mounted to be read only. Root
//! is a user like others here: root's files are root's own, and those of others are refused. What [`open_public`] opens may be
//! read by everybody.
//!
//! Files that hold neither secrets nor what is kept do not follow it: the rows of a bulk operation, the body of a call, the seed
//! and the profile of a sandbox. The certificates that the platform trusts are the platform's.
//!
//! On systems without Unix permissions only kinds are looked at, and the folder's permissions must keep others out.

pub(crate) mod lines;
mod rules;
mod system;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use self::rules::{Class, Decision, Found, Kind, Process, decide, refused_kind};
use self::system::{at_once, is_fixed, sync_folder, take_from_group};
use crate::types::Secret;

/// A text up to this length is read without a copy of it being left behind in memory.
const READ_AT_ONCE: usize = 64 * 1024;

/// Opens a file that is read only and holds a secret, such as an API key. It may be a pipe, whose other end is waited for.
///
/// Returns a warning too, one line, if everybody on the machine may read the file and nothing can be done about it here.
///
/// ```no_run
/// use bunq_partner::files;
///
/// # fn main() -> std::io::Result<()> {
/// let (file, warning) = files::open_secret("/run/secrets/bunq-api-key")?;
/// if let Some(warning) = warning {
///     eprintln!("/run/secrets/bunq-api-key: {warning}");
/// }
/// let key = files::read_text(file, 4096)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if [the rule](self) refuses it, with what to do; otherwise why it cannot
/// be opened. No error names the path.
pub fn open_secret(path: impl AsRef<Path>) -> io::Result<(File, Option<String>)> {
    open_read_only(Class::Secret, path.as_ref())
}

/// Opens a file that is read only and holds nothing secret, such as a public key or a certificate, which nobody else may change.
///
/// # Errors
///
/// Like [`open_secret`].
pub fn open_public(path: impl AsRef<Path>) -> io::Result<File> {
    open_read_only(Class::Public, path.as_ref()).map(|(file, _)| file)
}

fn open_read_only(class: Class, path: &Path) -> io::Result<(File, Option<String>)> {
    // Nothing happens to a device.
    let found = fs::metadata(path).map_err(failed("opened"))?;
    check_kind(class, &found)?;
    let file = File::open(path).map_err(failed("opened"))?;
    let warning = check(class, path, &file)?;
    Ok((file, warning))
}

/// Opens a file that this program keeps, to be read.
///
/// # Errors
///
/// Like [`open_secret`].
pub fn open_kept(path: impl AsRef<Path>) -> io::Result<File> {
    open_kept_with(path.as_ref(), OpenOptions::new().read(true))
}

/// Opens a kept file, or makes it if the options say so.
pub(crate) fn open_kept_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => check_kind(Class::Kept, &found.map_err(failed("opened"))?)?,
    }
    // It may be another one by now.
    let file = at_once(options).open(path).map_err(failed("opened"))?;
    check(Class::Kept, path, &file)?;
    Ok(file)
}

/// Makes a file that is its owner's alone (mode 0600), to be written and read. It must not be there yet, not even as a symbolic
/// link. That it was made outlasts a power failure; what is written to it is to be synced.
///
/// # Errors
///
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if it is there, otherwise why it cannot be made.
pub fn create_kept(path: impl AsRef<Path>) -> io::Result<File> {
    let path = path.as_ref();
    let file = for_owner_alone().read(true).create_new(true).open(path).map_err(failed("made"))?;
    if let Err(error) = sync_folder_of(path) {
        let _ = fs::remove_file(path);
        return Err(failed("made")(error));
    }
    Ok(file)
}

/// Replaces a kept file as a whole, or makes it: what was there or what is new is there, whole and synced, whatever happens. A
/// file beside it, with `.tmp` after its name, is left over only from a crash, and the next call removes it. Nobody else may
/// replace it at the same time.
///
/// # Errors
///
/// Like [`open_secret`]. What the rule refuses is not replaced.
pub fn replace_kept(path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    match open_kept(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let unfinished = beside(path, ".tmp");
    let written = write_new(&unfinished, content)
        .and_then(|()| fs::rename(&unfinished, path))
        .and_then(|()| sync_folder_of(path));
    if written.is_err() {
        // As on a full disk. If it cannot be removed, the next call removes it.
        let _ = fs::remove_file(&unfinished);
    }
    written.map_err(failed("written"))
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = for_owner_alone().create_new(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Refuses a folder in which somebody else may replace what is kept there.
///
/// # Errors
///
/// Like [`open_secret`].
pub fn check_folder(path: impl AsRef<Path>) -> io::Result<()> {
    let found = fs::metadata(path.as_ref()).map_err(failed("opened"))?;
    match decide(Class::Folder, path.as_ref(), &Found::new(&found, false), &Process::this()) {
        Decision::Refused(problem) => Err(refused(problem)),
        _ => Ok(()),
    }
}

/// Reads a text of at most `max_len` bytes to its end.
///
/// # Errors
///
/// [`InvalidData`](io::ErrorKind::InvalidData) if there is more, or if it is not UTF-8.
pub fn read_text(from: impl Read, max_len: usize) -> io::Result<Secret> {
    let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
    // A buffer that grows leaves copies behind. The end is found in what is left of it.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max_len.min(READ_AT_ONCE) + 1024));
    from.take(max_len as u64 + 1).read_to_end(&mut bytes).map_err(failed("read"))?;
    if bytes.len() > max_len {
        return Err(invalid(format!("it is larger than {max_len} bytes")));
    }
    std::str::from_utf8(&bytes).map(Secret::new).map_err(|_| invalid("it is not text".into()))
}

/// The path of the file that has `extension` after the whole of this one's name.
pub(crate) fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(extension);
    path.into()
}

/// Makes it outlast a power failure that a file was made or renamed.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match std::path::absolute(path)?.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// How to open a file for writing; one that is made is its owner's alone.
pub(crate) fn for_owner_alone() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Holds an open file against the rule; returns what is to be said of it.
fn check(class: Class, path: &Path, file: &File) -> io::Result<Option<String>> {
    let found = file.metadata().map_err(failed("read"))?;
    let found = Found::new(&found, is_fixed(file));
    match decide(class, path, &found, &Process::this()) {
        Decision::Taken => Ok(None),
        Decision::Warned(warning) => Ok(Some(warning)),
        Decision::Refused(problem) => Err(refused(problem)),
        Decision::TakenFromGroup => {
            take_from_group(file, found.mode).map_err(failed("taken away from its group"))?;
            let mode = format!("{:04o}", found.mode & 0o777);
            tracing::warn!(path = %path.display(), mode, "the group of a file could use it: that is taken away");
            Ok(None)
        }
    }
}

fn check_kind(class: Class, found: &Metadata) -> io::Result<()> {
    refused_kind(class, Kind::of(found)).map_or(Ok(()), |problem| Err(refused(problem.into())))
}

fn refused(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, problem)
}

/// The same error, which says what has failed.
fn failed(what: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("it cannot be {what}: {error}"))
}

#[cfg(test)]
mod tests;
