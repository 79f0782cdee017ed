//! Copies of the repository, or of parts of it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::root;

/// What the published crates are built from, and what their manifests name.
const SOURCES: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "benches",
    "cli",
    "docs",
    "openapi",
    "postgres",
    "sandbox",
    "src",
    "test-timeout",
];

/// Copies the sources of the published crates, and these files and folders of the repository, to another folder.
pub(crate) fn copy_sources(more: &[&str], to: &Path) -> Result<()> {
    SOURCES.iter().chain(more).try_for_each(|name| copy_all(&root().join(name), &to.join(name)))
}

/// Copies a file or a folder.
pub(crate) fn copy_all(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_all(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
    fs::copy(from, to).with_context(|| format!("{} cannot be copied", from.display()))?;
    Ok(())
}
