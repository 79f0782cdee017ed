//! Redocly CLI, as `xtask/redocly/package-lock.json` pins it.

use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use crate::{root, run};

const FOLDER: &str = "xtask/redocly";
const CONFIG: &str = "xtask/redocly/redocly.yaml";
const TEMPLATE: &str = "xtask/redocly/page.hbs";

/// Lints the document, and says whether nothing was found; what was, it prints.
pub(crate) fn lint(document: &str) -> Result<bool> {
    redocly(&["lint", "--config", CONFIG, "--format", "stylish", document])
}

/// Renders the document as one page that needs nothing from outside.
pub(crate) fn build_docs(document: &str, page: &str) -> Result<()> {
    let arguments = ["--config", CONFIG, "--template", TEMPLATE, "--inlineBundle", "--output", page];
    if !redocly(&[&["build-docs", document], arguments.as_slice()].concat())? {
        bail!("Redocly has not rendered {document}, see above");
    }
    Ok(())
}

/// Says whether Redocly is content; if not, shows what it says.
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

/// Installs what the lock file says, unless that was done since it changed.
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
