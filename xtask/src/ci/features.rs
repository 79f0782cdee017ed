//! What a feature adds to the program is in no build without it.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::root;

/// Checks that the program without the feature `postgres` is built without the crate that all of it is in. With the feature it is there,
/// so that its name is the right one.
pub(super) fn check() -> Result<()> {
    const CRATE: &str = "bunq-partner-postgres";
    for (features, is_wanted) in [("", false), ("postgres", true)] {
        let arguments =
            ["tree", "--locked", "--package", "bunq-partner-cli", "--edges", "normal,build", "--prefix", "none"];
        let output = Command::new("cargo").args(arguments).args(["--features", features]).current_dir(root()).output();
        let output = output.context("cargo cannot be run")?;
        if !output.status.success() {
            bail!("`cargo tree` has failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let is_there = String::from_utf8(output.stdout)?.lines().any(|line| line.split(' ').next() == Some(CRATE));
        if is_there != is_wanted {
            let lacks = if is_there { "without its feature has" } else { "with the feature postgres lacks" };
            bail!("the program {lacks} the crate {CRATE}: see the features in cli/Cargo.toml");
        }
    }
    Ok(())
}
