//! `bunq-partner`: provisions of users at bunq, at the terminal and in scripts.
//!
//! What can be said is in [`arguments`], with which bank it works in [`connection`], how it writes in [`output`], [`records`] and
//! [`words`], and how it ends in [`exit`]; then a room for each command.

// They panic where nobody reads any more.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod api;
mod arguments;
mod bulk;
mod connection;
mod demo;
mod doctor;
mod exit;
mod interrupt;
mod invocation;
mod output;
mod probe;
mod progress;
mod provisions;
mod receipts;
mod records;
mod sandbox;
mod watch;
mod whoami;
mod words;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use bunq_partner::EmailAddress;
use clap::{CommandFactory as _, Parser as _};
use serde_json::Value;

use self::arguments::{
    Arguments, BankCommand, Color, Command, ConnectionOptions, Format, OutputOptions, ReceiptsCommand, SessionCommand,
};
use self::bulk::{Kind, Order};
use self::connection::{Connection, confirm_change, confirm_secrets};
use self::exit::Failure;
use self::interrupt::until_interrupted;
use self::invocation::Invocation;
use self::output::warn;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
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

fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { command, connection, output } = arguments;
    match command {
        Command::Demo => in_runtime(until_interrupted(None, demo::run())),
        Command::Bank(command) => in_runtime(ask_bank(command, &connection, output)),
        Command::Report(options) => in_runtime(bulk::report::run(&options, &output)),
        Command::Receipts(ReceiptsCommand::Verify { file, public_key }) => {
            receipts::verify(&file, public_key.as_deref(), output.output)
        }
        Command::Sandbox(options) => in_runtime(sandbox::run(options)),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "bunq-partner", &mut text);
            Ok(io::stdout().write_all(&text)?)
        }
        Command::Man => Ok(io::stdout().write_all(&manual()?)?),
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

/// The manual page: that of the program, and each command's below it.
fn manual() -> io::Result<Vec<u8>> {
    let mut command = Arguments::command();
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    let mut below: Vec<_> = command.get_subcommands().collect();
    while !below.is_empty() {
        let command = below.remove(0);
        if command.get_name() == "help" {
            continue;
        }
        below.extend(command.get_subcommands());
        writeln!(page, ".SH \"{}\"", command.get_display_name().unwrap_or(command.get_name()).to_uppercase())?;
        let man = clap_mangen::Man::new(command.clone());
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    Ok(page)
}

async fn ask_bank(command: BankCommand, options: &ConnectionOptions, output: OutputOptions) -> Result<(), Failure> {
    if output.output == Format::Csv && (is_dry_run(&command) || !has_records(&command)) {
        return Err(Failure::usage("csv is for lists of provisions: use --output json here"));
    }
    if let BankCommand::Probe(_) = &command {
        probe::check(options)?;
    }
    let order = order(&command)?;
    let mut unusable = None;
    let mut connection = match Connection::new(options, !is_dry_run(&command)).await {
        // What is missing is a finding.
        Err(failure) if matches!(command, BankCommand::Doctor) => {
            unusable = Some(failure);
            Connection::new(options, false).await?
        }
        connection => connection?,
    };
    if let Some(path) = receipts(&command) {
        connection.keep_receipts(path).await?;
    }
    let invocation = &Invocation { connection, output };
    if let Some(warning) = &invocation.connection.warning {
        warn(invocation.format(), warning);
    }
    if !is_dry_run(&command) && !matches!(command, BankCommand::Doctor | BankCommand::Probe(_)) {
        // What must not be used is refused before standard input is taken, or a journal begun.
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
    let body = match &command {
        BankCommand::Api(options) => api::body(options)?,
        _ => None,
    };
    if let Some(change) = change(invocation, &command, body.as_ref())? {
        confirm_change(options, &change).await?;
    }
    confirm_secrets(&invocation.output).await?;
    until_interrupted(after_interrupt(&command), async {
        match command {
            BankCommand::Close(options) => provisions::close(invocation, &options).await,
            BankCommand::Create(options) => provisions::create(invocation, &options).await,
            BankCommand::Get { ids } => provisions::get(invocation, &ids).await,
            BankCommand::Find { external_uuid } => provisions::find(invocation, external_uuid).await,
            BankCommand::List(options) => provisions::list(invocation, &options).await,
            BankCommand::Watch { ids, timeout } => watch::run(invocation, &ids, timeout).await,
            BankCommand::ResetToken { id, waiting, dry_run } => {
                provisions::reset_token(invocation, id, waiting, dry_run.dry_run).await
            }
            BankCommand::Whoami => whoami::show(invocation).await,
            BankCommand::Session(SessionCommand::End { dry_run }) => {
                whoami::end_session(invocation, dry_run.dry_run).await
            }
            BankCommand::Api(options) => api::run(invocation, &options, body.as_ref()).await,
            BankCommand::Doctor => doctor::run(invocation, unusable).await,
            BankCommand::Probe(options) => probe::run(invocation, &options).await,
        }
    })
    .await
}

/// Where receipts are kept, if they are.
fn receipts(command: &BankCommand) -> Option<&Path> {
    match command {
        BankCommand::Close(options) => options.receipts.receipts.as_deref(),
        BankCommand::Create(options) => options.receipts.receipts.as_deref(),
        _ => None,
    }
}

/// What is to be done with the rows of a file, if the command takes some.
fn order(command: &BankCommand) -> Result<Option<Order>, Failure> {
    match command {
        BankCommand::Close(options) => Order::new(Kind::Close, &options.bulk, None, options.dry_run.dry_run),
        BankCommand::Create(options) if options.ensure && options.bulk.from.is_some() => {
            Err(Failure::usage("--ensure: with --from it is always so; leave it out"))
        }
        BankCommand::Create(options) => {
            Order::new(Kind::Create, &options.bulk, options.take_into_use.as_deref(), options.dry_run.dry_run)
        }
        _ => Ok(None),
    }
}

/// What a command changes at bunq, in the words of a question.
fn change(invocation: &Invocation, command: &BankCommand, body: Option<&Value>) -> Result<Option<String>, Failure> {
    if is_dry_run(command) {
        return Ok(None);
    }
    Ok(match command {
        BankCommand::Close(options) => {
            let ids: Vec<_> = options.ids.iter().map(ToString::to_string).collect();
            Some(format!("Close {}", ids.join(", ")))
        }
        BankCommand::Create(options) => {
            let email = options.email.as_ref().map(EmailAddress::as_str).unwrap_or_default();
            Some(format!("Create a user with the e-mail address {email}"))
        }
        BankCommand::ResetToken { id, .. } => Some(format!("Replace the credential of {id}, which stops working,")),
        BankCommand::Session(SessionCommand::End { .. }) => Some("End the session".into()),
        BankCommand::Api(options) if options.operation.method != "GET" => {
            let preview = api::preview(invocation, options, body)?;
            let body = body.map(|body| format!(" with {body}")).unwrap_or_default();
            Some(format!("Send {} {}{body}", preview.method, preview.url))
        }
        _ => None,
    })
}

/// Whether a command writes records, of which each can be a line of CSV.
fn has_records(command: &BankCommand) -> bool {
    !matches!(
        command,
        BankCommand::Api(_)
            | BankCommand::Doctor
            | BankCommand::Probe(_)
            | BankCommand::Session(SessionCommand::End { .. })
    )
}

fn is_dry_run(command: &BankCommand) -> bool {
    match command {
        BankCommand::Close(options) => options.dry_run.dry_run,
        BankCommand::Create(options) => options.dry_run.dry_run,
        BankCommand::ResetToken { dry_run, .. } | BankCommand::Session(SessionCommand::End { dry_run }) => {
            dry_run.dry_run
        }
        BankCommand::Api(options) => options.dry_run.dry_run,
        _ => false,
    }
}

/// What goes on at bunq after an interruption, and how to see it.
fn after_interrupt(command: &BankCommand) -> Option<String> {
    match command {
        BankCommand::Close(options) => {
            let ids: Vec<_> = options.ids.iter().map(ToString::to_string).collect();
            Some(format!("what was requested goes on at bunq: `bunq-partner watch {}`", ids.join(" ")))
        }
        BankCommand::Create(options) => {
            let uuid = options.external_uuid();
            Some(format!("the user may have been created: `bunq-partner find {uuid}` shows it"))
        }
        BankCommand::ResetToken { id, .. } => Some(format!("the reset may go on at bunq: `bunq-partner watch {id}`")),
        _ => None,
    }
}
