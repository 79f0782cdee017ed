//! Whether what is written to standard output arrives.

use super::exit::Failure;

/// Refuses a standard output that is closed or cannot be written to: the standard library takes every write to it for done.
///
/// Before `main`, the standard library opens `/dev/null` in the place of a closed descriptor, for reading and writing. A shell's
/// `>/dev/null` is open for writing alone, but others, such as Python for `DEVNULL`, open it as the standard library does. Daemons
/// have several descriptors like that, so one alone is taken for closed.
#[cfg(unix)]
pub(super) fn check() -> Result<(), Failure> {
    use bunq_partner::ErrorKind::Internal;
    use rustix::fs::{OFlags, fcntl_getfl};
    use rustix::stdio::{stderr, stdin, stdout};

    let is_open_for = |descriptor, mode| fcntl_getfl(descriptor).is_ok_and(|flags| flags & OFlags::RWMODE == mode);
    let looks_closed = |descriptor| is_open_for(descriptor, OFlags::RDWR) && is_null(descriptor);
    if is_open_for(stdout(), OFlags::RDONLY) {
        return Err(Failure::of_kind(Internal, "standard output is open for reading alone"));
    }
    if looks_closed(stdout()) && !looks_closed(stdin()) && !looks_closed(stderr()) {
        let hint = "`>/dev/null` if nobody reads it; one that is opened for reading too, as by Python's DEVNULL, looks like a closed one";
        return Err(Failure::of_kind(Internal, "standard output is closed").with_hint(hint));
    }
    Ok(())
}

#[cfg(unix)]
fn is_null(descriptor: std::os::fd::BorrowedFd<'_>) -> bool {
    use rustix::fs::{FileType, fstat, stat};

    let (Ok(found), Ok(null)) = (fstat(descriptor), stat("/dev/null")) else { return false };
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == null.st_rdev
}

/// Elsewhere that is not known.
#[cfg(not(unix))]
pub(super) fn check() -> Result<(), Failure> {
    Ok(())
}
