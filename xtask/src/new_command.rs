//! Proof that a command says what it changes: adds one to a copy of the program without its declaration, which does not compile.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The file, the text before which something is added, and what is.
const ADDED: [(&str, &str, &str); 2] = [
    (
        "arguments/mod.rs",
        "    /// Diagnose connection, key and session\n",
        "    /// Change something\n    Added(CloseOptions),\n",
    ),
    (
        "main.rs",
        "            BankCommand::Doctor(_) =>",
        "            BankCommand::Added(options) => provisions::close(invocation, options, &ids).await,\n",
    ),
];

/// Adds the command to the program of this copy of the repository.
pub(crate) fn run(copy: &Path, target: &str) -> Result<()> {
    for (name, before, added) in ADDED {
        let file = copy.join("cli/src").join(name);
        let text = fs::read_to_string(&file)?;
        let at = text.find(before).with_context(|| format!("{name} has no {before:?}"))?;
        let (start, rest) = text.split_at(at);
        fs::write(&file, [start, added, rest].concat())?;
    }
    let build =
        ["test", "--workspace", "--all-features", "--no-run", "--bin", "bunq-partner", "--message-format", "short"];
    let output = Command::new("cargo").args(build).env("CARGO_TARGET_DIR", target).current_dir(copy).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<_> = said.lines().filter(|line| line.contains(": error")).collect();
    match errors[..] {
        [error] if error.contains("declaration.rs") && error.contains("`&BankCommand::Added(_)` not covered") => {
            println!("new command: it does not compile without its declaration");
            Ok(())
        }
        _ => bail!("a command without a declaration should be missed in declaration.rs alone:\n{said}"),
    }
}
