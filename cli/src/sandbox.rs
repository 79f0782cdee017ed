//! `sandbox`: a bunq as a process, for clients in other languages and for other people's tests.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use bunq_partner::{Operation, RateLimit, files};
use bunq_partner_sandbox::{CallLogEntry, Pace, RawResponse, Sandbox, SandboxBuilder};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::arguments::{Log, OutputFormat, SandboxOptions};
use super::exit::Failure;
use super::interrupt::listen;
use super::output::warn;
use super::reading;
use super::screen;
use super::words::clean;

/// How often it is checked whether the state could be written.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// No file of the command is larger.
const MAX_FILE: usize = 256 * 1024 * 1024;

pub(super) async fn run(options: SandboxOptions) -> Result<(), Failure> {
    let SandboxOptions { log, listen: address, provisions, .. } = options;
    check_state(&options)?;
    let mut stop = std::pin::pin!(listen()?);
    let builder = tokio::select! {
        biased;
        builder = builder(options) => builder?,
        () = &mut stop => return Err(Failure::interrupted(None)),
    };
    let sandbox = builder.start().await.map_err(|error| {
        let failure = Failure::local("the sandbox cannot be started", &error);
        match error.kind() {
            io::ErrorKind::InvalidData => Failure::usage(error.to_string()),
            io::ErrorKind::AddrInUse => failure.with_hint("without --port it takes one that is free"),
            io::ErrorKind::AddrNotAvailable => failure.with_hint("--listen takes an address of this machine"),
            _ => failure,
        }
    })?;
    sandbox.populate(usize::try_from(provisions.unwrap_or_default()).unwrap_or_default());
    let saved = || sandbox.save_state().map_err(|error| Failure::local("the sandbox cannot go on", &error));
    saved()?;
    sandbox.after_signing(move |call, response| write_log(log, call, response));
    let mut ticks = interval(CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    warn_of_others(address, log);
    writeln!(io::stdout(), "{}", json!({ "base_url": sandbox.base_url(), "api_key": sandbox.api_key().expose() }))?;
    io::stdout().flush()?;
    loop {
        let is_over = tokio::select! {
            () = &mut stop => true,
            _ = ticks.tick() => false,
        };
        saved()?;
        if is_over {
            return Ok(());
        }
    }
}

/// Refuses what a state that is there already makes void.
fn check_state(options: &SandboxOptions) -> Result<(), Failure> {
    let Some(file) = options.state.as_deref().filter(|file| file.symlink_metadata().is_ok()) else { return Ok(()) };
    let void = [
        ("--provisions", options.provisions.is_some()),
        ("--seed", options.seed.is_some()),
        ("--no-oauth-client", options.no_oauth_client),
    ];
    void.into_iter().find(|(_, is_typed)| *is_typed).map_or(Ok(()), |(option, _)| {
        let problem = format!("{option} is for a new state, but {} has one already", file.display());
        Err(Failure::usage(problem).with_hint(format!("leave {option} out, or remove the file to begin anew")))
    })
}

/// Says that the sandbox is not this machine's alone, if it listens on such an address.
fn warn_of_others(address: Option<IpAddr>, log: Log) {
    if let Some(address) = address.filter(|address| !address.to_canonical().is_loopback()) {
        let format = if log == Log::Json { OutputFormat::Json } else { OutputFormat::Table };
        let reach = "other machines can reach this sandbox, without TLS, and its API key is all that they need";
        warn(format, &format!("--listen {address}: {reach}"));
    }
}

async fn builder(options: SandboxOptions) -> Result<SandboxBuilder, Failure> {
    let mut builder = Sandbox::builder().port(options.port);
    if let Some(address) = options.listen {
        builder = builder.listen(address);
    }
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
    if options.no_oauth_client {
        builder = builder.without_oauth_client();
    }
    if !options.allowed_addresses.is_empty() {
        builder = builder.allowed_addresses(options.allowed_addresses);
    }
    if let Some(file) = options.state {
        builder = builder.state_file(file);
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
