//! `sandbox`: a bunq on loopback as a process, for clients in other languages and for other people's tests.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bunq_partner::sandbox::{JournalEntry, Pace, RawResponse, Sandbox, SandboxBuilder};
use bunq_partner::{Operation, RateLimit, Secret};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::arguments::{Log, SandboxOptions};
use super::connection::check_mode;
use super::exit::Failure;
use super::interrupt::listen;
use super::words::clean;

/// The option of the file that holds keys.
const STATE: &str = "--state";

/// How often the state is written, if it has changed.
const SAVE_INTERVAL: Duration = Duration::from_millis(200);

/// No file of the command is larger.
const MAX_FILE: u64 = 256 * 1024 * 1024;

pub(super) async fn run(options: SandboxOptions) -> Result<(), Failure> {
    let (log, state) = (options.log, options.state.clone());
    let provisions = if state.as_ref().is_some_and(|file| file.exists()) { 0 } else { options.provisions };
    let sandbox = builder(options)?.start().await.map_err(|error| match error.kind() {
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
    let stop = listen().map_err(|error| Failure::local("signals cannot be listened to", &error))?;
    let mut stop = std::pin::pin!(stop);
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

fn builder(options: SandboxOptions) -> Result<SandboxBuilder, Failure> {
    let mut builder = Sandbox::builder().port(options.port);
    if let Some(times) = options.rate_limits {
        for operation in Operation::ALL {
            let RateLimit { calls, per, .. } = operation.rate_limit;
            builder = builder.rate_limit(operation, calls, per / times);
        }
    }
    builder = builder.pace(options.step.map_or(Pace::EachRead, Pace::Every));
    if let Some(file) = &options.profile {
        builder = builder.profile(read_json("--profile", file)?);
    }
    if let Some(file) = &options.seed {
        let seed: Vec<_> = read_json("--seed", file)?;
        builder = builder.seed(seed);
    }
    if !options.allowed_addresses.is_empty() {
        builder = builder.allowed_addresses(options.allowed_addresses);
    }
    if let Some(file) = options.state.as_ref().filter(|file| file.exists()) {
        builder = builder.saved_state(Secret::new(read(STATE, file)?));
    }
    if let Some(api_key) = options.api_key {
        builder = builder.api_key(api_key);
    }
    Ok(options.faults.into_iter().fold(builder, SandboxBuilder::inject))
}

fn read_json<T: DeserializeOwned>(option: &str, file: &Path) -> Result<T, Failure> {
    serde_json::from_str(&read(option, file)?)
        .map_err(|error| Failure::usage(format!("{option} {}: {error}", file.display())))
}

fn read(option: &str, path: &Path) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::usage(format!("{option} {}: {error}", path.display()));
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    if option == STATE {
        check_mode(option, path, &file)?;
    }
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Failure::usage(format!("{option} {}: it is larger than 256 MiB", path.display())));
    }
    Ok(text)
}

/// Writes the state if a call may have changed it.
fn save(sandbox: &Sandbox, file: &Path, is_changed: &AtomicBool) -> Result<(), Failure> {
    if !is_changed.swap(false, Ordering::AcqRel) {
        return Ok(());
    }
    let failed = |error: io::Error| Failure::local(format_args!("{STATE} {}", file.display()), &error);
    let state = sandbox.saved_state().map_err(failed)?;
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".tmp");
    let unfinished = PathBuf::from(unfinished);
    write_private(&unfinished, state.expose()).and_then(|()| fs::rename(&unfinished, file)).map_err(failed)
}

/// Writes a new file for its owner alone: it holds keys and tokens. One that is there is left over from a crash.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

fn write_log(log: Log, call: &JournalEntry, response: &RawResponse) {
    let fault = call.fault.map(|fault| format!("{fault:?}"));
    let signature = format!("{:?}", call.signature).to_lowercase();
    let (method, path, status) = (&call.method, clean(&call.path), response.status);
    // Nobody reads the log if standard error is closed.
    let _ = match log {
        Log::None => Ok(()),
        Log::Json => {
            let line = json!({
                "method": method, "path": path, "status": status, "signature": signature, "fault": fault,
                "carried_out": call.carried_out,
            });
            writeln!(io::stderr(), "{line}")
        }
        Log::Text => {
            let fault = fault.map(|fault| format!("  fault {fault}")).unwrap_or_default();
            writeln!(io::stderr(), "{status} {method} {path}  signature {signature}{fault}")
        }
    };
}
