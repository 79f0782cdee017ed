//! Redocly CLI, at the version that `xtask/redocly/package-lock.json` pins.

use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::{root, run};

const FOLDER: &str = "xtask/redocly";
const CONFIG: &str = "xtask/redocly/redocly.yaml";
const TEMPLATE: &str = "xtask/redocly/page.hbs";

/// Lints the document and prints the findings. Returns true if there are none.
pub(crate) fn lint(document: &str) -> Result<bool> {
    redocly(&["lint", "--config", CONFIG, "--format", "stylish", document])
}

/// Renders the document as one page without external resources.
pub(crate) fn build_docs(document: &str, page: &str) -> Result<()> {
    let arguments = ["--config", CONFIG, "--template", TEMPLATE, "--inlineBundle", "--output", page];
    if !redocly(&[&["build-docs", document], arguments.as_slice()].concat())? {
        bail!("Redocly has not rendered {document}, see above");
    }
    Ok(())
}

/// Runs Redocly. If it fails, prints its output and returns false.
fn redocly(arguments: &[&str]) -> Result<bool> {
    install()?;
    let output = Command::new(root().join(FOLDER).join("node_modules/.bin/redocly"))
        .args(arguments)
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .current_dir(root())
        .output()
        .context("Redocly CLI cannot be run")?;
    if !output.status.success() {
        eprintln!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    }
    Ok(output.status.success())
}

/// Installs from the lock file, unless it has not changed since the last installation.
fn install() -> Result<()> {
    let folder = root().join(FOLDER);
    let changed = |file: &str| folder.join(file).metadata().and_then(|file| file.modified()).ok();
    let installed: Option<SystemTime> = changed("node_modules/.package-lock.json");
    if installed.is_some() && installed >= changed("package-lock.json") {
        return Ok(());
    }
    run("npm", &["ci", "--silent", "--prefix", FOLDER], &[])
        .context("Redocly CLI needs Node 20.19 or later, with npm: install Debian's `nodejs` and `npm`, or newer ones")
}
