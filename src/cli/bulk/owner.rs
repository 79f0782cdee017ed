//! Files of their owner's alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Makes a file that is not there yet.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Fails if nothing can be stored in a folder.
pub(super) fn check(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".bunq-partner-{}", std::process::id()));
    let mut file = create_new(&probe)?;
    let written = file.write_all(&[0; 4096]).and_then(|()| file.sync_all());
    fs::remove_file(&probe)?;
    written
}
