//! Whether a client sends a request again by itself, which can do a thing twice and sends a request id twice.

use std::fs::{self, File};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;

use super::environment;
use super::sandbox_process::SandboxProcess;
use crate::tool_folder::ToolFolder;

/// What clients are known to repeat after: a connection that is closed without a response, no response for longer than the
/// drivers wait, and refusals that ask for another try.
const FAULTS: [&str; 6] = ["drop", "late=3600s", "status=503", "unsigned-status=503", "status=408", "retry-after=0s"];

/// Requests that a client may take to be safe to repeat: a POST on a fresh connection, a POST and a PUT on a kept one.
const OPERATIONS: [&str; 3] = ["create_installation", "create_provision", "update_provision"];

/// A line in the sandbox's log.
#[derive(Deserialize)]
struct Call {
    fault: Option<String>,
}

/// Runs a driver to each of these requests with each fault, and counts what arrives.
pub(super) fn check(folder: &ToolFolder, program: &str, driver: &str, openapi: &str) -> Result<()> {
    let play =
        |operation: &str| FAULTS.iter().try_for_each(|fault| play(folder, program, driver, openapi, fault, operation));
    thread::scope(|scope| {
        // At once, because a driver waits half a minute for a response that does not come.
        let played = OPERATIONS.map(|operation| scope.spawn(move || play(operation)));
        played.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("a thread has failed"))?)
    })
}

fn play(folder: &ToolFolder, program: &str, driver: &str, openapi: &str, fault: &str, operation: &str) -> Result<()> {
    let (log, written) = (folder.join(&format!("{operation}.log")), folder.join(&format!("{operation}.written")));
    let injection = format!("{fault},on={operation},times=always");
    let sandbox = SandboxProcess::start_with_log(File::create(&log)?, &["--fault", &injection])?;
    let environment = environment(&sandbox, &[("BUNQ_OPENAPI", openapi)]);
    // It fails, because it never gets a response.
    folder.run_into(File::create(&written)?, program, &[driver], &environment)?;
    drop(sandbox);
    let log = fs::read_to_string(&log).with_context(|| log.display().to_string())?;
    let calls = log.lines().filter_map(|line| serde_json::from_str::<Call>(line).ok());
    match calls.filter(|call| call.fault.is_some()).count() {
        1 => Ok(()),
        0 => bail!("{operation} was not sent; see {}", written.display()),
        sent => bail!("after `{fault}`, {operation} was sent {sent} times"),
    }
}
