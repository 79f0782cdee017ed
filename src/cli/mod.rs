//! The command-line tool: what can be said ([`arguments`]), with which bank it works ([`connection`]), how it writes
//! ([`output`], [`records`], [`words`]) and how it ends ([`exit`]); then a room for each command.
//!
//! It uses the public interface of the crate, and `raw` for `probe`.

mod api;
mod arguments;
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
mod records;
mod sandbox;
mod watch;
mod whoami;
mod words;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::arguments::{Arguments, Color, Command, SessionCommand};
use self::connection::{Connection, confirm_change, confirm_secrets};
use self::exit::Failure;
use self::interrupt::until_interrupted;
use self::invocation::Invocation;

pub(super) fn main() -> ExitCode {
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
    match arguments.command {
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "bunq-partner", &mut text);
            return Ok(io::stdout().write_all(&text)?);
        }
        Command::Man => return Ok(io::stdout().write_all(&manual()?)?),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(command(arguments));
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

async fn command(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { command, connection, output } = arguments;
    match command {
        Command::Demo => return until_interrupted(None, demo::run()).await,
        Command::Sandbox(options) => return sandbox::run(options).await,
        _ => {}
    }
    let call = match &command {
        Command::Api(options) => Some(api::Call::read(options)?),
        _ => None,
    };
    if let Some(change) = change(&command, call.as_ref()) {
        confirm_change(&connection, &change)?;
    }
    if let Command::Probe(_) = &command {
        probe::check(connection.env)?;
    }
    confirm_secrets(&output)?;
    let connection = Connection::new(&connection, !is_dry_run(&command)).await?;
    let hint = after_interrupt(&command);
    match &command {
        Command::Doctor => return until_interrupted(hint, doctor::run(&connection, output.output)).await,
        Command::Probe(options) => {
            return until_interrupted(hint, probe::run(&connection, options, output.output)).await;
        }
        _ => {}
    }
    let client = connection.client()?;
    let invocation = Invocation { connection, client, output };
    until_interrupted(hint, async {
        match command {
            Command::Close(options) => provisions::close(&invocation, &options).await,
            Command::Create(options) => provisions::create(&invocation, &options).await,
            Command::Get { ids } => provisions::get(&invocation, &ids).await,
            Command::Find { external_uuid } => provisions::find(&invocation, external_uuid).await,
            Command::List(options) => provisions::list(&invocation, &options).await,
            Command::Watch { ids, timeout } => watch::run(&invocation, &ids, timeout).await,
            Command::ResetToken { id, waiting, dry_run } => {
                provisions::reset_token(&invocation, id, waiting, dry_run.dry_run).await
            }
            Command::Whoami => whoami::show(&invocation).await,
            Command::Session(SessionCommand::End { dry_run }) => {
                whoami::end_session(&invocation, dry_run.dry_run).await
            }
            Command::Api(options) => match call {
                Some(call) => call.run(&invocation, &options).await,
                None => Ok(()),
            },
            Command::Doctor
            | Command::Probe(_)
            | Command::Demo
            | Command::Sandbox(_)
            | Command::Completions { .. }
            | Command::Man => Ok(()),
        }
    })
    .await
}

/// What a command changes at bunq, in the words of a question.
fn change(command: &Command, call: Option<&api::Call>) -> Option<String> {
    if is_dry_run(command) {
        return None;
    }
    match command {
        Command::Close(options) => {
            let ids: Vec<_> = options.ids.iter().map(ToString::to_string).collect();
            Some(format!("Close {}", ids.join(", ")))
        }
        Command::Create(options) => Some(format!("Create a user with the e-mail address {}", options.email.as_str())),
        Command::ResetToken { id, .. } => Some(format!("Replace the credential of {id}, which stops working,")),
        Command::Session(SessionCommand::End { .. }) => Some("End the session".into()),
        Command::Api(_) => {
            let operation = call?.operation;
            (operation.method != "GET")
                .then(|| format!("Call {} ({} {})", operation.id, operation.method, operation.path))
        }
        _ => None,
    }
}

fn is_dry_run(command: &Command) -> bool {
    match command {
        Command::Close(options) => options.dry_run.dry_run,
        Command::Create(options) => options.dry_run.dry_run,
        Command::ResetToken { dry_run, .. } | Command::Session(SessionCommand::End { dry_run }) => dry_run.dry_run,
        Command::Api(options) => options.dry_run.dry_run,
        _ => false,
    }
}

/// What goes on at bunq after an interruption, and how to see it.
fn after_interrupt(command: &Command) -> Option<String> {
    match command {
        Command::Close(options) => {
            let ids: Vec<_> = options.ids.iter().map(ToString::to_string).collect();
            Some(format!("what was requested goes on at bunq: `bunq-partner watch {}`", ids.join(" ")))
        }
        Command::Create(_) => Some("the user may have been created: `bunq-partner find UUID` shows it".into()),
        Command::ResetToken { id, .. } => Some(format!("the reset may go on at bunq: `bunq-partner watch {id}`")),
        _ => None,
    }
}
