//! The sandbox as a process of the program, so that the other chores run even if the crate does not build.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::root;

const RUN: [&str; 5] = ["run", "--quiet", "--", "sandbox", "--log"];

/// A sandbox that runs until it is dropped.
pub(crate) struct SandboxProcess {
    pub(crate) access: Access,
    _process: Process,
}

/// The first line that the sandbox prints.
#[derive(Deserialize)]
pub(crate) struct Access {
    pub(crate) base_url: String,
    pub(crate) api_key: String,
}

impl SandboxProcess {
    /// Starts a sandbox.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        Self::start_with("none", Stdio::inherit(), arguments)
    }

    /// Starts a sandbox that writes each call to `log`, as JSON, before it responds.
    pub(crate) fn start_with_log(log: File, arguments: &[&str]) -> Result<Self> {
        Self::start_with("json", log.into(), arguments)
    }

    fn start_with(format: &str, log: Stdio, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("cargo");
        command.args(RUN).arg(format).args(arguments).current_dir(root()).stderr(log);
        let mut process = Process(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
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
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
