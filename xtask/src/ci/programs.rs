//! The programs of others with which some tests run: shells for the completions, a database, a pooler of
//! connections, and clocks that are wrong.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::run;

/// Installs those that are missing where there is `apt-get`. Elsewhere their tests say what to install.
pub(super) fn install() -> Result<()> {
    let is_there = |package: &str| match package {
        // Not in the path: its programs are in a folder for each version.
        "postgresql" => Path::new("/usr/lib/postgresql").exists(),
        "pgbouncer" => Path::new("/usr/sbin/pgbouncer").exists(),
        shell => is_installed(shell),
    };
    let packages = ["zsh", "fish", "postgresql", "pgbouncer", "faketime"];
    let missing: Vec<_> = packages.into_iter().filter(|package| !is_there(package)).collect();
    if missing.is_empty() || !is_installed("apt-get") {
        return Ok(());
    }
    run("apt-get", &["update", "-o", "Acquire::Retries=3"], &[])?;
    let install = ["install", "--yes", "--no-install-recommends", "-o", "Acquire::Retries=3"];
    run("apt-get", &[&install, &missing[..]].concat(), &[("DEBIAN_FRONTEND", "noninteractive")])
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}
