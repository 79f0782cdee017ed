//! Files that are their owner's alone: how they are opened, and what is refused.
//!
//! It does not know what is in them.

pub(crate) mod lines;

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// How to open a file for writing; one that is made is its owner's alone.
pub(crate) fn for_owner_alone() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Opens without waiting, as for the other end of a pipe, and no symbolic link.
#[cfg(unix)]
pub(crate) fn at_once(options: &mut OpenOptions) -> &OpenOptions {
    use rustix::fs::OFlags;

    // The bits are the same, whatever their type is called.
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, flags)
}

/// Elsewhere nothing that can be opened waits.
#[cfg(not(unix))]
pub(crate) fn at_once(options: &mut OpenOptions) -> &OpenOptions {
    options
}

/// Makes it outlast a power failure that a file in `folder` was made or renamed.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A folder cannot be synced where it cannot be opened.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Refuses a file of another user.
#[cfg(unix)]
pub(crate) fn check_owner(found: &Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;

    let user = rustix::process::geteuid().as_raw();
    if found.uid() == user {
        return Ok(());
    }
    Err(format!(
        "it belongs to the user {}, not to {user}, who runs this program: give the path of a file of your own",
        found.uid()
    ))
}

#[cfg(not(unix))]
pub(crate) fn check_owner(_found: &Metadata) -> Result<(), String> {
    Ok(())
}
