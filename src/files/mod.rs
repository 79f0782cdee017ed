//! Which files with keys, tokens or personal data are used, and which are refused. The stores of this crate follow this
//! rule, and a program with such files of its own can follow it too.
//!
//! | | Read only | Kept | Folder | Own folder |
//! |---|---|---|---|---|
//! | For example | an API key, a public key, a certificate, receipts to be verified, the profiles of the program | the context, tokens, a journal, receipts, a copy of standard input, the reports of the program | the folder for the tokens of new users, that of the profiles | the custody of users |
//! | Functions | [`open_secret`], [`open_public`], [`open_plain`] | [`open_kept`], [`append_kept`], [`create_kept`], [`create_whole`], [`replace_kept`] | [`check_folder`] | [`check_own_folder`] |
//! | *Kind* | a regular file or a pipe, also through a symbolic link | a regular file, not through a symbolic link | a folder, also through a symbolic link | a folder, also through a symbolic link |
//! | *Owner* | the user of the process, or root | the user of the process | the user of the process, or root | the user of the process |
//! | *Names* (hard links) | any number | one: a second one is refused | | |
//! | *Others* can write | refused, for the group as for everybody | see the next lines | everybody: refused without the sticky bit; a group: refused unless the process belongs to it | refused |
//! | *The group* can read | [`open_secret`]: refused if `chmod 600` works, otherwise accepted, as with systemd's credentials and Kubernetes's `fsGroup` | the group's permissions are removed, and `tracing` gets an event; where nothing can be written they stay | allowed | refused |
//! | *Everybody* can read | [`open_secret`]: refused if `chmod 600` works, otherwise accepted with a warning, as with Docker's secrets | refused, because the content may be known or changed | allowed | refused |
//!
//! `chmod 600` works on a file that belongs to the user of the process, on a file system that is not mounted read-only.
//! Root is treated like any other user: root's files belong to root, and the files of others are refused. Everybody may
//! read what [`open_public`] opens.
//!
//! Of files without secrets or stored state only the kind matters ([`open_plain`]): the rows of a bulk operation, the
//! body of a call, the seed and the profile of a sandbox. The rule does not apply to the platform's certificates.
//!
//! A device is refused: it may have no end, or may do something when it is opened. A pipe, as the shell's `<(…)` is one
//! and `/dev/stdin` often leads to one, can make whoever opens or reads it wait for as long as its other end likes.
//! Read it on a thread that nothing waits for, and read no more of it than you need ([`read_text`]).
//!
//! On systems without Unix permissions only the kind is checked: there, the folder's permissions must keep others out.

pub(crate) mod lines;
pub(crate) mod lock;
mod rules;
mod system;

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;
use zeroize::Zeroizing;

use self::rules::{Class, Decision, Found, Kind, Process, decide, refused_kind};
use self::system::{at_once, has_no_locks, is_fixed, sync_folder, take_from_group};
use crate::types::Secret;

/// A text up to this length is read into one buffer, so that no copy of it stays in memory.
const READ_AT_ONCE: usize = 64 * 1024;

/// Opens a read-only file with a secret, such as an API key. If it is a pipe, this waits for the other end.
///
/// It also returns a warning of one line if everybody on the machine may read the file and this process cannot change
/// that.
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
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied) if [the rule](self) refuses it; the message says what to do.
/// Otherwise the error that opening it gave. No error names the path.
pub fn open_secret(path: impl AsRef<Path>) -> io::Result<(File, Option<String>)> {
    open_read_only(Class::Secret, path.as_ref())
}

/// Opens a read-only file without secrets, such as a public key or a certificate. Nobody else may be able to write to
/// it. If it is a pipe, this waits for the other end.
///
/// # Errors
///
/// Like [`open_secret`].
pub fn open_public(path: impl AsRef<Path>) -> io::Result<File> {
    open_read_only(Class::Public, path.as_ref()).map(|(file, _)| file)
}

/// Opens a read-only file of which only the kind matters, such as the body of a call. If it is a pipe, this waits for the
/// other end.
///
/// # Errors
///
/// Like [`open_secret`].
pub fn open_plain(path: impl AsRef<Path>) -> io::Result<File> {
    open_read_only(Class::Plain, path.as_ref()).map(|(file, _)| file)
}

/// Opens a regular file of which only the kind matters, not through a symbolic link. It never waits.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    check_kind(Class::Regular, &fs::symlink_metadata(path).map_err(failed("opened"))?)?;
    // Check again: another file may have taken its place.
    let file = at_once(OpenOptions::new().read(true)).open(path).map_err(failed("opened"))?;
    check(Class::Regular, path, &file)?;
    Ok(file)
}

fn open_read_only(class: Class, path: &Path) -> io::Result<(File, Option<String>)> {
    // Check the kind before opening: opening a device can have effects.
    let found = fs::metadata(path).map_err(failed("opened"))?;
    check_kind(class, &found)?;
    let file = File::open(path).map_err(failed("opened"))?;
    let warning = check(class, path, &file)?;
    Ok((file, warning))
}

/// Opens a file that this program keeps, for reading.
///
/// # Errors
///
/// Like [`open_secret`].
pub fn open_kept(path: impl AsRef<Path>) -> io::Result<File> {
    open_kept_with(path.as_ref(), OpenOptions::new().read(true))
}

/// Opens a file that this program keeps, to add to its end.
///
/// # Errors
///
/// Like [`open_secret`].
pub fn append_kept(path: impl AsRef<Path>) -> io::Result<File> {
    open_kept_with(path.as_ref(), OpenOptions::new().append(true))
}

/// Opens a kept file, or creates it if the options say so.
pub(crate) fn open_kept_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => check_kind(Class::Kept, &found.map_err(failed("opened"))?)?,
    }
    // Check again: another file may have taken its place.
    let file = at_once(options).open(path).map_err(failed("opened"))?;
    check(Class::Kept, path, &file)?;
    Ok(file)
}

/// Creates a file that only its owner can read and write (mode 0600), and opens it for both. The path must not exist
/// yet, not even as a symbolic link. The new file survives a power failure; sync what you write to it.
///
/// # Errors
///
/// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if the path exists, otherwise the error that creating it gave.
pub fn create_kept(path: impl AsRef<Path>) -> io::Result<File> {
    let path = path.as_ref();
    let file = for_owner_alone().read(true).create_new(true).open(path).map_err(failed("made"))?;
    if let Err(error) = sync_folder_of(path) {
        let _ = fs::remove_file(path);
        return Err(failed("made")(error));
    }
    Ok(file)
}

/// Creates a file like [`create_kept`], with this content. Whatever happens, the file is there complete and synced, or not at
/// all. Only a crash leaves a file beside it, whose name begins with `.bunq-partner-`.
///
/// # Errors
///
/// Like [`create_kept`].
pub fn create_whole(path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    // Another process may create the same file at the same time, or one whose name cannot be longer.
    let unfinished = path.with_file_name(format!(".bunq-partner-{}", Uuid::new_v4()));
    let named = write_new(&unfinished, content).and_then(|()| give_name(&unfinished, path));
    let _ = fs::remove_file(&unfinished);
    named.and_then(|()| sync_folder_of(path)).map_err(failed("written"))
}

/// Gives a file this name too, or moves it there, unless there is another file of this name.
fn give_name(file: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(file, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // The file system may have no hard links. A crash between the next two leaves an empty file.
            for_owner_alone().create_new(true).open(path)?;
            fs::rename(file, path).inspect_err(|_| {
                let _ = fs::remove_file(path);
            })
        }
        linked => linked,
    }
}

/// Replaces the whole content of a kept file, or creates the file. Whatever happens, either the old or the new content
/// is there, complete and synced. Only a crash leaves a file beside it, with `.bunq-partner-tmp` after its name; the
/// next call removes that file. The caller must make sure that nobody else replaces it at the same time.
///
/// # Errors
///
/// Like [`open_secret`]. A file that the rule refuses is not replaced.
pub fn replace_kept(path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
    let path = path.as_ref();
    // No file of somebody else has such a name.
    replace_kept_by(&beside(path, ".bunq-partner-tmp"), path, content)
}

/// Replaces a kept file like [`replace_kept`], through this file in the same folder. Only a crash leaves that one.
pub(crate) fn replace_kept_by(unfinished: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    match open_kept(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written =
        write_new(unfinished, content).and_then(|()| fs::rename(unfinished, path)).and_then(|()| sync_folder_of(path));
    if written.is_err() {
        // For example, the disk is full. If removing it fails, the next call removes it.
        let _ = fs::remove_file(unfinished);
    }
    written.map_err(failed("written"))
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    remove_if_there(path)?;
    let mut file = for_owner_alone().create_new(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes a kept file, if it is there. It stays removed after a power failure.
pub(crate) fn remove_kept(path: &Path) -> io::Result<()> {
    remove_if_there(path).and_then(|()| sync_folder_of(path)).map_err(failed("removed"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Makes a folder that nobody but its owner may use, unless it is there.
pub(crate) fn create_own_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_own_folder(path),
        made => made.and_then(|()| sync_folder_of(path)).map_err(failed("made")),
    }
}

/// Refuses a folder in which others may replace files.
///
/// # Errors
///
/// Like [`open_secret`].
pub fn check_folder(path: impl AsRef<Path>) -> io::Result<()> {
    check_folder_as(Class::Folder, path.as_ref())
}

/// Refuses a folder that anybody but its owner, the user of the process, may use.
///
/// # Errors
///
/// Like [`open_secret`]; [`NotFound`](io::ErrorKind::NotFound) if it is not there.
pub fn check_own_folder(path: impl AsRef<Path>) -> io::Result<()> {
    check_folder_as(Class::OwnFolder, path.as_ref())
}

fn check_folder_as(class: Class, path: &Path) -> io::Result<()> {
    let found = fs::metadata(path).map_err(failed("opened"))?;
    match decide(class, path, &Found::new(&found, false), &Process::this(class)) {
        Decision::Refused(problem) => Err(refused(problem)),
        _ => Ok(()),
    }
}

/// Reads a text of at most `max_len` bytes to its end, without the byte order mark that some editors put first.
///
/// # Errors
///
/// [`InvalidData`](io::ErrorKind::InvalidData) if it is longer or not UTF-8.
pub fn read_text(from: impl Read, max_len: usize) -> io::Result<Secret> {
    let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
    // A buffer that grows leaves copies in memory. The extra capacity lets the end be found without growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max_len.min(READ_AT_ONCE) + 1024));
    from.take(max_len as u64 + 1).read_to_end(&mut bytes).map_err(failed("read"))?;
    if bytes.len() > max_len {
        return Err(invalid(format!("it is larger than {max_len} bytes")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not text".into()))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text).into())
}

/// The path with `extension` appended to the whole file name.
pub(crate) fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(extension);
    path.into()
}

/// Syncs the folder, so that a created or renamed file survives a power failure.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match std::path::absolute(path)?.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Why a file cannot be locked, and what to do.
pub(crate) fn not_locked(error: io::Error) -> io::Error {
    if !has_no_locks(&error) {
        return failed("locked")(error);
    }
    let problem = format!(
        "it cannot be locked, because its file system has no locks, as that of some networks: {error}: give a path on \
         another, such as a local disk"
    );
    io::Error::new(error.kind(), problem)
}

/// Options to open a file for writing. If it is created, only its owner can read and write it.
pub(crate) fn for_owner_alone() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Checks an open file by the rule. Returns a warning, if there is one.
fn check(class: Class, path: &Path, file: &File) -> io::Result<Option<String>> {
    let metadata = file.metadata().map_err(failed("read"))?;
    let (found, process) = (Found::new(&metadata, false), Process::this(class));
    let decision = match decide(class, path, &found, &process) {
        // The owner cannot do anything about it where nothing can be written. Asking changes a file, so others are not.
        Decision::Refused(_) if found.owner == process.user && is_fixed(file, &metadata) => {
            decide(class, path, &Found { is_fixed: true, ..found }, &process)
        }
        decision => decision,
    };
    match decision {
        Decision::Taken => Ok(None),
        Decision::Warned(warning) => Ok(Some(warning)),
        Decision::Refused(problem) => Err(refused(problem)),
        Decision::TakenFromGroup => {
            match take_from_group(file, found.mode) {
                // Nobody can change it there.
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => return Ok(None),
                taken => taken.map_err(failed("taken away from its group"))?,
            }
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

/// Adds to an error what has failed.
fn failed(what: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| {
        let remedy = match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => ": give a path where files can be written",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": make space there, and try again",
            _ => "",
        };
        io::Error::new(error.kind(), format!("it cannot be {what}: {error}{remedy}"))
    }
}

#[cfg(test)]
mod tests;
