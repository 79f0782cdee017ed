//! The sandbox as a separate process, so that the other chores run even if the crate does not build.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::root;

const RUN: [&str; 8] = ["run", "--quiet", "--package", "xtask", "--features", "sandbox", "--bin", "sandbox"];

/// The arguments of the sandbox's command.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Replaces this process with the sandbox, so that a signal to it ends the sandbox.
#[cfg(unix)]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    Err(command().args(&arguments.arguments).exec()).context("the sandbox cannot be run")
}

#[cfg(not(unix))]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let status = command().args(&arguments.arguments).status().context("the sandbox cannot be run")?;
    anyhow::ensure!(status.success(), "the sandbox has failed ({status})");
    Ok(())
}

fn command() -> Command {
    let mut command = Command::new("cargo");
    command.args(RUN).arg("--").current_dir(root());
    command
}

/// A sandbox that runs until it is dropped.
pub(crate) struct SandboxProcess {
    pub(crate) access: Access,
    _process: Process,
}

/// What the sandbox prints first.
#[derive(Deserialize)]
pub(crate) struct Access {
    pub(crate) base_url: String,
    pub(crate) api_key: String,
}

impl SandboxProcess {
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        let mut process = Process(command().args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let mut line = String::new();
        if let Some(output) = &mut process.0.stdout {
            BufReader::new(output).read_line(&mut line)?;
        }
        let access = serde_json::from_str(&line).context("the sandbox does not start")?;
        Ok(Self { access, _process: process })
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
