//! Prints the generated Rust that the build uses.

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::root;

const PARTS: [(&str, &str); 5] = [
    ("types.rs", "The data types, in src/types"),
    ("secrets.rs", "The names of secrets, in src/types/secret.rs"),
    ("operations.rs", "The table of operations, in src/operation.rs"),
    ("methods.rs", "The typed methods, in src/api/mod.rs"),
    ("client.rs", "The client, in src/api/client.rs"),
];

pub(crate) fn run() -> Result<()> {
    let folder = generated()?;
    let mut out = stdout().lock();
    for (name, what) in PARTS {
        let code = std::fs::read_to_string(folder.join(name)).with_context(|| format!("the build has no {name}"))?;
        // A pager that is closed early closes the pipe.
        if writeln!(out, "// {what}.\n\n{code}").is_err() {
            break;
        }
    }
    Ok(())
}

/// The folder to which the build script writes.
pub(crate) fn generated() -> Result<PathBuf> {
    let check = ["check", "--quiet", "--package", "bunq-partner", "--message-format", "json-render-diagnostics"];
    // Generated code that does not compile is worth reading too, so only the build script has to succeed.
    let output = Command::new("cargo").args(check).current_dir(root()).stderr(Stdio::inherit()).output()?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["reason"] == "build-script-executed")
        .filter_map(|message| Some(PathBuf::from(message["out_dir"].as_str()?)))
        .find(|folder| PARTS.iter().all(|(name, _)| folder.join(name).exists()))
        .context("nothing was generated: see above")
}
