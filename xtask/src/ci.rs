//! Everything that must hold before a change lands, the quick things first.

use anyhow::{Result, bail};

use crate::{docs, endpoint, layers, package, path, run as command, spec, target, test_timeouts};

/// The library without the features that other crates of the workspace switch on, and everything with all of them.
const LINTED: [&[&str]; 2] = [&["--package", "bunq-partner"], &["--workspace", "--all-features"]];

pub(crate) fn run() -> Result<()> {
    command("cargo", &["fmt", "--all", "--check"], &[])?;
    if !spec::check()? {
        bail!("the document is not as it should be");
    }
    if let Some(release) = spec::last_release()?
        && !spec::since_release(&release)?
    {
        bail!("the document breaks what holds since {release}: undo that, or raise its version for a breaking change");
    }
    for linted in LINTED {
        let clippy = [&["clippy", "--all-targets"], linted, &["--", "--deny", "warnings"]].concat();
        command("cargo", &clippy, &[])?;
    }
    layers::run()?;
    test_timeouts::run()?;
    docs::run()?;

    // The README's two commands, and its example, which the second has built; they stay on loopback, whatever the environment
    // holds.
    command("cargo", &["run", "--", "demo"], &[])?;
    command("cargo", &["test", "--workspace", "--all-features"], &[])?;
    let example = target().join("debug/examples/close_provision");
    command("env", &["-u", "BUNQ_API_KEY", path(&example)?], &[])?;
    // Nights of thousands, killed twenty times. `--tests` takes what is built already; `--test` would build it for fewer features.
    let nights = ["test", "--workspace", "--all-features", "--tests", "--", "--ignored", "survive_twenty_kills"];
    command("cargo", &nights, &[])?;
    endpoint::run()?;
    package::run()?;
    command("cargo", &["xtask", "contract"], &[])
}
