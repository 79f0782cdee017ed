//! The shells in which the completions of the program are tested.

use std::process::Command;

use anyhow::Result;

use crate::run;

/// Installs those that are missing where there is `apt-get`. Elsewhere their tests say what to install.
pub(super) fn install() -> Result<()> {
    let missing: Vec<_> = ["zsh", "fish"].into_iter().filter(|shell| !is_installed(shell)).collect();
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
