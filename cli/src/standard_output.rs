//! Whether what is written to standard output arrives.

use super::exit::Failure;

/// Refuses a standard output that is closed or cannot be written to: the standard library takes every write to it for done.
///
/// Before `main`, the standard library opens `/dev/null` in the place of a closed descriptor, for reading and writing. A shell's
/// `>/dev/null` is open for writing alone, but others, such as Python for `DEVNULL`, open it as the standard library does. They give it
/// to several descriptors, as a daemon has it, and so does the standard library if several are closed. So one is taken for closed that is
/// like no other.
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
    let is_given = looks_closed(stderr()) || looks_closed(stdin()) && are_one(stdin(), stdout());
    if looks_closed(stdout()) && !is_given {
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

/// Whether two descriptors are of the same opening of a file. Its flags, which they share, are changed for a moment.
#[cfg(unix)]
fn are_one(one: std::os::fd::BorrowedFd<'_>, other: std::os::fd::BorrowedFd<'_>) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    let (Ok(before), Ok(of_other)) = (fcntl_getfl(one), fcntl_getfl(other)) else { return false };
    let is_changed = fcntl_setfl(one, before ^ OFlags::APPEND).is_ok() && fcntl_getfl(other) != Ok(of_other);
    // It is that of `/dev/null`, which no flag makes different.
    let _ = fcntl_setfl(one, before);
    is_changed
}

/// Elsewhere that is not known.
#[cfg(not(unix))]
pub(super) fn check() -> Result<(), Failure> {
    Ok(())
}
