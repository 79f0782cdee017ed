//! `bunq-partner`: provisions of users at bunq, at the terminal and in scripts.
//!
//! What can be said is in [`arguments`], with which bank it works in [`connection`], how it writes in [`output`], [`records`] and
//! [`words`], what is seen of its calls in [`calls`], and how it ends in [`exit`]; then a room for each command, of which
//! [`declaration`] says what it changes.

// `println!` panics once standard output is closed.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod api;
mod arguments;
mod bulk;
mod calls;
mod connection;
mod declaration;
mod demo;
mod doctor;
mod exit;
mod help;
mod interrupt;
mod invocation;
mod output;
mod probe;
mod progress;
mod provisions;
mod receipts;
mod records;
mod sandbox;
mod screen;
mod watch;
mod whoami;
mod words;

use std::io::{self, Write as _};
use std::process::ExitCode;

use bunq_partner::ReceiptFile;
use clap::{CommandFactory as _, Parser as _};

use self::arguments::{
    BankCommand, Color, Command, CommandLine, ConnectionOptions, OutputFormat, OutputOptions, ReceiptsCommand,
    SessionCommand,
};
use self::bulk::Order;
use self::connection::{BankConnection, confirm_change, confirm_secrets, is_production};
use self::declaration::{ContextUse, Declaration, Effect};
use self::exit::Failure;
use self::interrupt::until_interrupted;
use self::invocation::Invocation;
use self::output::warn;

fn main() -> ExitCode {
    let arguments = CommandLine::parse();
    match arguments.output.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::write_global(anstream::ColorChoice::Always),
        Color::Never => anstream::ColorChoice::write_global(anstream::ColorChoice::Never),
    }
    let is_json = arguments.output.output.is_json();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_unread() => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(is_json);
            ExitCode::from(failure.code())
        }
    }
}

fn run(arguments: CommandLine) -> Result<(), Failure> {
    let CommandLine { command, connection, output, .. } = arguments;
    match command {
        Command::Demo => in_runtime(showing_calls(&output, true, until_interrupted(None, demo::run()))),
        Command::Bank(command) => {
            // The meter of a bulk run says itself what holds it up.
            let tells_waits = !matches!(command.declaration().effect, Effect::ChangesRows(_));
            in_runtime(showing_calls(&output, tells_waits, ask_bank(command, &connection, &output)))
        }
        Command::Report(options) => in_runtime(bulk::report::run(&options, &output)),
        Command::Receipts(ReceiptsCommand::Verify { file, public_key }) => {
            receipts::verify(&file, public_key.as_deref(), output.output)
        }
        Command::Sandbox(options) => in_runtime(sandbox::run(options)),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "bunq-partner", &mut text);
            Ok(io::stdout().write_all(&text)?)
        }
        Command::Man => Ok(io::stdout().write_all(&help::manual()?)?),
        Command::Help { topic } => help::show(&topic),
    }
}

fn in_runtime(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::local("threads cannot be started", &error))?;
    let done = runtime.block_on(command);
    // A file that hangs does not hold up the end.
    runtime.shutdown_background();
    done
}

/// Runs a command that calls a bank.
async fn showing_calls(
    output: &OutputOptions,
    tells_waits: bool,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let hold_up = calls::show(output.verbose, output.output, tells_waits)?;
    tokio::select! {
        biased;
        done = command => done,
        never = hold_up.watch() => never,
    }
}

async fn ask_bank(command: BankCommand, options: &ConnectionOptions, output: &OutputOptions) -> Result<(), Failure> {
    let Declaration { effect, dry_run, has_records, receipts, context } = command.declaration();
    let is_dry_run = dry_run.is_some_and(|dry_run| dry_run.dry_run);
    if output.output == OutputFormat::Csv && (is_dry_run || !has_records) {
        return Err(Failure::usage("csv is for lists of provisions: use --output json here"));
    }
    if let (Effect::Provokes, true) = (&effect, is_production(options)) {
        let hint = "use a key of bunq's sandbox: `--env sandbox`, or unset BUNQ_ENV";
        return Err(
            Failure::usage("probe does wrong things on purpose, so it does not run in production").with_hint(hint)
        );
    }
    let order = match &effect {
        Effect::ChangesRows(rows) => Some(Order::new(rows, is_dry_run)?),
        Effect::Reads | Effect::Changes { .. } | Effect::Calls(_) | Effect::Provokes => None,
    };
    let mut unusable = None;
    let mut connection = match BankConnection::new(options, !is_dry_run).await {
        Err(failure) if context == ContextUse::Examined => {
            unusable = Some(failure);
            BankConnection::new(options, false).await?
        }
        connection => connection?,
    };
    if let Some(path) = receipts.and_then(|receipts| receipts.receipts.as_deref()) {
        connection.receipts = Some(ReceiptFile::open(path).await?);
    }
    let invocation = &Invocation { connection, output: *output };
    if let Some(warning) = &invocation.connection.warning {
        warn(invocation.format(), warning);
    }
    if !is_dry_run && context == ContextUse::Checked {
        invocation.client()?.context().await?;
    }
    match order {
        Some(Order::Plan(plan)) => return bulk::plan(invocation, plan),
        Some(Order::Run(order)) => {
            let confirm = async |change: &str| {
                confirm_change(options, change).await?;
                confirm_secrets(&invocation.output).await
            };
            return bulk::run(invocation, order, confirm).await;
        }
        None => {}
    }
    let mut body = None;
    let (change, goes_on) = match effect {
        Effect::Changes { what, goes_on } => (Some(what), goes_on),
        Effect::Calls(call) => {
            body = api::body(call)?;
            (api::change(invocation, call, body.as_ref())?, None)
        }
        Effect::Reads | Effect::ChangesRows(_) | Effect::Provokes => (None, None),
    };
    if let Some(change) = change.filter(|_| !is_dry_run) {
        confirm_change(options, &change).await?;
    }
    confirm_secrets(&invocation.output).await?;
    until_interrupted(goes_on, async {
        match &command {
            BankCommand::Close(options) => provisions::close(invocation, options).await,
            BankCommand::Create(options) => provisions::create(invocation, options).await,
            BankCommand::Get { ids } => provisions::get(invocation, ids).await,
            BankCommand::Find { external_uuid } => provisions::find(invocation, *external_uuid).await,
            BankCommand::List(options) => provisions::list(invocation, options).await,
            BankCommand::Watch { ids, timeout } => watch::run(invocation, ids, *timeout).await,
            BankCommand::ResetToken { id, waiting, dry_run } => {
                provisions::reset_token(invocation, *id, *waiting, dry_run.dry_run).await
            }
            BankCommand::Whoami => whoami::show(invocation).await,
            BankCommand::Session(SessionCommand::End { dry_run }) => {
                whoami::end_session(invocation, dry_run.dry_run).await
            }
            BankCommand::Api(options) => api::run(invocation, options, body.as_ref()).await,
            BankCommand::Doctor => doctor::run(invocation, unusable).await,
            BankCommand::Probe(options) => probe::run(invocation, options).await,
        }
    })
    .await
}
