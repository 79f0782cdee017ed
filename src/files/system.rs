//! Reads and sets the file attributes that the rule needs: on Unix all of them, elsewhere only the kind.

use std::fs::{File, FileTimes, Metadata, OpenOptions};
use std::io;
use std::path::Path;

use super::rules::{Class, Found, Kind, Process};

impl Kind {
    pub(super) fn of(found: &Metadata) -> Self {
        if found.is_symlink() {
            Self::Link
        } else if found.is_file() {
            Self::File
        } else if found.is_dir() {
            Self::Folder
        } else if is_pipe(found) {
            Self::Pipe
        } else {
            Self::Other
        }
    }
}

#[cfg(unix)]
fn is_pipe(found: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&found.file_type())
}

#[cfg(not(unix))]
fn is_pipe(_found: &Metadata) -> bool {
    false
}

#[cfg(unix)]
impl Found {
    pub(super) fn new(found: &Metadata, is_fixed: bool) -> Self {
        use std::os::unix::fs::MetadataExt as _;

        let (mode, owner, group, links) = (found.mode(), found.uid(), found.gid(), found.nlink());
        Self { kind: Kind::of(found), mode, owner, group, links, is_fixed }
    }
}

/// Only the kind is known.
#[cfg(not(unix))]
impl Found {
    pub(super) fn new(found: &Metadata, is_fixed: bool) -> Self {
        Self { kind: Kind::of(found), mode: 0o600, owner: 0, group: 0, links: 1, is_fixed }
    }
}

#[cfg(unix)]
impl Process {
    pub(super) fn this(class: Class) -> Self {
        use rustix::process::{getegid, geteuid, getgroups};

        let user = geteuid().as_raw();
        if class != Class::Folder {
            // Only a folder is checked for its group, and many files may be checked.
            return Self { user, groups: Vec::new() };
        }
        let mut groups: Vec<_> = getgroups().unwrap_or_default().into_iter().map(|group| group.as_raw()).collect();
        groups.push(getegid().as_raw());
        Self { user, groups }
    }
}

#[cfg(not(unix))]
impl Process {
    pub(super) fn this(_class: Class) -> Self {
        Self { user: 0, groups: Vec::new() }
    }
}

/// Whether the file system is mounted read-only. Otherwise root may write to it.
///
/// It is asked to set the time of the last access to what it is. That a mount is read-only is said before anything is
/// checked of the owner and the mode, so also to an owner who could not open the file to write. Where it can be
/// written, the file gets a new time of its last change of status (ctime).
pub(super) fn is_fixed(file: &File, found: &Metadata) -> bool {
    let same = found.accessed().map(|time| FileTimes::new().set_accessed(time));
    let set = same.and_then(|same| file.set_times(same));
    set.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

#[cfg(unix)]
pub(super) fn take_from_group(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode & 0o700))
}

#[cfg(not(unix))]
pub(super) fn take_from_group(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Opens without waiting, for example for the other end of a pipe, and without following a symbolic link.
#[cfg(unix)]
pub(super) fn at_once(options: &mut OpenOptions) -> &OpenOptions {
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NONBLOCK | libc::O_NOFOLLOW)
}

/// Opening never waits here.
#[cfg(not(unix))]
pub(super) fn at_once(options: &mut OpenOptions) -> &OpenOptions {
    options
}

/// Whether a lock has failed because the file system has none.
pub(super) fn has_no_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::ENOLCK) {
        return true;
    }
    error.kind() == io::ErrorKind::Unsupported
}

#[cfg(unix)]
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Folders cannot be opened here, so they cannot be synced.
#[cfg(not(unix))]
pub(super) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
