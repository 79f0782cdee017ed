//! `sandbox`: a bunq on loopback as a process, for clients in other languages and for other people's tests.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bunq_partner::{Operation, RateLimit, Secret, files};
use bunq_partner_sandbox::{CallLogEntry, Pace, RawResponse, Sandbox, SandboxBuilder};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::arguments::{Log, SandboxOptions};
use super::exit::Failure;
use super::interrupt::listen;
use super::reading;
use super::screen;
use super::words::clean;

/// The option of the file that holds keys.
const STATE: &str = "--state";

/// How often the state is written, if it has changed.
const SAVE_INTERVAL: Duration = Duration::from_millis(200);

/// No file of the command is larger.
const MAX_FILE: usize = 256 * 1024 * 1024;

pub(super) async fn run(options: SandboxOptions) -> Result<(), Failure> {
    let (log, state) = (options.log, options.state.clone());
    let saved = state.as_deref().map(saved_state).transpose()?.flatten();
    let provisions = if saved.is_some() { 0 } else { options.provisions };
    let mut stop = std::pin::pin!(listen()?);
    let builder = tokio::select! {
        biased;
        builder = builder(options, saved) => builder?,
        () = &mut stop => return Err(Failure::interrupted(None)),
    };
    let sandbox = builder.start().await.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => {
            let file = state.as_ref().filter(|_| error.to_string().contains("saved state"));
            Failure::usage(
                file.map(|file| format!("{STATE} {}: ", file.display())).unwrap_or_default() + &error.to_string(),
            )
        }
        io::ErrorKind::AddrInUse => Failure::local("the sandbox cannot be started", &error)
            .with_hint("without --port it takes one that is free"),
        _ => Failure::local("the sandbox cannot be started", &error),
    })?;
    sandbox.populate(usize::try_from(provisions).unwrap_or_default());

    let is_changed = Arc::new(AtomicBool::new(true));
    let changed = Arc::clone(&is_changed);
    sandbox.after_signing(move |call, response| {
        changed.store(true, Ordering::Release);
        write_log(log, call, response);
    });
    if let Some(file) = &state {
        // It is there before the first call.
        save(&sandbox, file, &is_changed)?;
    }
    let mut ticks = interval(SAVE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    writeln!(io::stdout(), "{}", json!({ "base_url": sandbox.base_url(), "api_key": sandbox.api_key().expose() }))?;
    io::stdout().flush()?;
    loop {
        let is_over = tokio::select! {
            () = &mut stop => true,
            _ = ticks.tick() => false,
        };
        if let Some(file) = &state {
            // What arrives late is not seen.
            is_changed.fetch_or(is_over, Ordering::AcqRel);
            save(&sandbox, file, &is_changed)?;
        }
        if is_over {
            return Ok(());
        }
    }
}

async fn builder(options: SandboxOptions, saved: Option<Secret>) -> Result<SandboxBuilder, Failure> {
    let mut builder = Sandbox::builder().port(options.port);
    if let Some(times) = options.rate_limits {
        for operation in Operation::ALL {
            let RateLimit { calls, per, .. } = operation.rate_limit;
            builder = builder.rate_limit(operation, calls, per / times);
        }
    }
    builder = builder.pace(options.step.map_or(Pace::EachRead, Pace::Every));
    if let Some(file) = &options.bank_profile {
        builder = builder.profile(read_json("--bank-profile", file).await?);
    }
    if let Some(file) = &options.seed {
        let seed: Vec<_> = read_json("--seed", file).await?;
        builder = builder.seed(seed);
    }
    if !options.allowed_addresses.is_empty() {
        builder = builder.allowed_addresses(options.allowed_addresses);
    }
    if let Some(saved) = saved {
        builder = builder.saved_state(saved);
    }
    if let Some(api_key) = options.api_key {
        builder = builder.api_key(api_key);
    }
    Ok(options.faults.into_iter().fold(builder, SandboxBuilder::inject))
}

async fn read_json<T: DeserializeOwned>(option: &str, file: &Path) -> Result<T, Failure> {
    let failed = |error: io::Error| Failure::usage(format!("{option} {}: {error}", file.display()));
    let path = file.to_owned();
    let text = reading::text(MAX_FILE, move || files::open_plain(path)).await.map_err(failed)?;
    serde_json::from_str(text.expose()).map_err(|error| failed(error.into()))
}

/// The state of an earlier sandbox, which holds keys and tokens. `None`: there was none.
fn saved_state(file: &Path) -> Result<Option<Secret>, Failure> {
    match files::open_kept(file).and_then(|file| files::read_text(file, MAX_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(|error| Failure::usage(format!("{STATE} {}: {error}", file.display()))),
    }
}

/// Writes the state if a call may have changed it.
fn save(sandbox: &Sandbox, file: &Path, is_changed: &AtomicBool) -> Result<(), Failure> {
    if !is_changed.swap(false, Ordering::AcqRel) {
        return Ok(());
    }
    let failed = |error: io::Error| Failure::local(format_args!("{STATE} {}", file.display()), &error);
    let state = sandbox.saved_state().map_err(failed)?;
    files::replace_kept(file, state.expose().as_bytes()).map_err(failed)
}

fn write_log(log: Log, call: &CallLogEntry, response: &RawResponse) {
    let fault = call.fault.map(|fault| format!("{fault:?}"));
    let signature = format!("{:?}", call.signature).to_lowercase();
    let (method, path, status) = (&call.method, &call.path, response.status);
    match log {
        Log::None => {}
        Log::Json => {
            screen::say_json(&json!({
                "method": method, "path": path, "status": status, "signature": signature, "fault": fault,
                "carried_out": call.carried_out,
            }));
        }
        Log::Text => {
            let fault = fault.map(|fault| format!("  fault {fault}")).unwrap_or_default();
            screen::say(&format!("{status} {method} {}  signature {signature}{fault}\n", clean(path)));
        }
    }
}
