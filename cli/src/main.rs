//! `bunq-partner`: provisions of users at bunq, at the terminal and in scripts.
//!
//! The command line is in [`arguments`], profiles are in [`profile`], and [`settings`] says which setting wins. [`connection`] reaches the
//! bank, and [`confirmation`] asks before a change. Results are written with [`columns`], [`output`], [`records`], [`words`] and
//! [`line_clock`]; [`calls`] shows the calls, and [`exit`] has the exit codes. Each command has a module, and [`declaration`] says what
//! it changes.

// `println!` panics once standard output is closed.
#![deny(clippy::print_stdout, clippy::print_stderr)]
// `bunq_partner::files` opens what is read and makes what is written.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod api;
mod arguments;
mod attachment;
mod batch;
mod bulk;
mod calls;
mod closing;
mod columns;
mod completion;
mod config;
mod confirmation;
mod connection;
mod custody;
mod declaration;
mod demo;
mod doctor;
mod download;
mod examination;
mod exit;
mod folders;
mod help;
mod ids;
mod inquiries;
mod interrupt;
mod invocation;
mod key_command;
mod line_clock;
mod lines;
mod listing;
mod oauth;
mod onboarding;
mod operations;
mod output;
mod pages;
mod postgres;
mod probe;
mod profile;
mod progress;
mod provisions;
mod questions;
mod reading;
mod receipts;
mod records;
mod rekey;
mod release;
mod sandbox;
mod schema;
mod screen;
mod secret_file;
mod settings;
mod spreadsheet;
mod standard_input;
mod standard_output;
mod upload;
mod usage;
mod users;
mod watch;
mod webhooks;
mod whoami;
mod words;

use std::env;
use std::io::{self, Write as _};
use std::process::ExitCode;

use bunq_partner::ReceiptFile;
use clap::ValueEnum as _;

use self::arguments::{
    AttachmentCommand, BankCommand, Color, Command, CommandLine, ConfigCommand, ConnectionOptions, FleetCommand,
    InquiriesCommand, OauthCommand, OutputFormat, OutputOptions, PostgresCommand, ReceiptsCommand, SessionCommand,
    UsersCommand,
};
use self::bulk::Order;
use self::closing::Closing;
use self::columns::{Results, View};
use self::confirmation::confirm;
use self::connection::{BankConnection, Needs};
use self::custody::CustodyPlace;
use self::declaration::{ContextUse, Declaration, Effect};
use self::exit::Failure;
use self::interrupt::until_interrupted;
use self::invocation::Invocation;
use self::output::{warn, write_out};
use self::settings::Settings;

fn main() -> ExitCode {
    // A line that is being typed is completed before anything else is read.
    if let Some(words) = completion::question(env::args_os()) {
        let answer = completion::answer(&words);
        let written = standard_output::check().and_then(|()| Ok(write_out(io::stdout(), answer.as_bytes())?));
        return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let arguments = match parse() {
        Ok(arguments) => arguments,
        // Only such a line is refused here.
        Err(failure) => return ExitCode::from(code(Err(failure), OutputFormat::Json)),
    };
    match arguments.output.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::write_global(anstream::ColorChoice::Always),
        Color::Never => anstream::ColorChoice::write_global(anstream::ColorChoice::Never),
    }
    let mut format = arguments.output.output.unwrap_or(OutputFormat::Table);
    let outcome = run(arguments, &mut format);
    ExitCode::from(code(outcome, format))
}

/// The exit code, after a failure is reported.
fn code(outcome: Result<(), Failure>, format: OutputFormat) -> u8 {
    let Err(failure) = outcome else { return 0 };
    if !failure.is_unread() {
        failure.report(format.is_json());
    }
    failure.code()
}

/// Reads the command line. `--help` after an operation shows the help of that operation. A line that clap refuses ends the process,
/// unless its `--output` is JSON: then it is a failure to be reported in it.
fn parse() -> Result<CommandLine, Failure> {
    CommandLine::read(env::args_os()).or_else(|error| {
        let words = env::args_os().filter(|word| word != "--help" && word != "-h");
        match CommandLine::read(words) {
            Ok(CommandLine { command: Command::Bank(BankCommand::Api(options)), connection, output, .. })
                if error.kind() == clap::error::ErrorKind::DisplayHelp =>
            {
                Ok(CommandLine::help(["api", options.operation.id], connection, output))
            }
            _ if error.use_stderr() && wants_json() => Err(error.into()),
            _ if error.use_stderr() => usage::cleaned(error, env::args_os()).exit(),
            _ => {
                let shown = standard_output::check().and_then(|()| {
                    error.print()?;
                    Ok(io::stdout().flush()?)
                });
                std::process::exit(code(shown, OutputFormat::Table).into())
            }
        }
    })
}

/// Whether the last `--output` of a line that clap refuses is JSON.
fn wants_json() -> bool {
    let words: Vec<_> = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let typed = completion::typed_value(&words, "output");
    typed.and_then(|format| OutputFormat::from_str(&format, false).ok()).is_some_and(OutputFormat::is_json)
}

/// Runs the command. `format` becomes that of a profile, if one sets it, so that a failure is written in it too.
fn run(arguments: CommandLine, format: &mut OutputFormat) -> Result<(), Failure> {
    standard_output::check()?;
    let CommandLine { command, connection, output, .. } = arguments;
    command.accept(&connection)?;
    let results = command.results();
    if let Results::Text = results {
        results.view(&output, OutputFormat::Table)?;
    }
    let mut settle = || {
        let settings = Settings::load(&connection)?;
        *format = settings.output(output.output).value;
        let view = results.view(&output, *format)?;
        *format = view.format;
        Ok::<_, Failure>((settings, view))
    };
    match command {
        Command::Demo => {
            // It has no settings: README's first command depends on no file.
            *format = results.view(&output, *format)?.format;
            let format = *format;
            in_runtime(showing_calls(output.verbose, format, true, until_interrupted(None, demo::run(format))))
        }
        Command::Bank(command) => {
            let (settings, view) = settle()?;
            // The meter of a bulk run says itself what holds it up.
            let tells_waits = !matches!(command.declaration().effect, Effect::ChangesRows(_));
            let (verbose, format) = (output.verbose, view.format);
            let asked = ask_bank(command, &connection, &settings, output, view);
            in_runtime(showing_calls(verbose, format, tells_waits, asked))
        }
        Command::Report(options) => in_runtime(bulk::report::run(&options, settle()?.1)),
        Command::Receipts(ReceiptsCommand::Verify { file, public_key }) => {
            in_runtime(until_interrupted(None, receipts::verify(&file, public_key.as_deref(), settle()?.1)))
        }
        Command::Config(ConfigCommand::Show) => {
            let (settings, view) = settle()?;
            config::show(&settings, output.output, view)
        }
        Command::Config(ConfigCommand::Path) => config::path(settle()?.1.format),
        Command::Postgres(PostgresCommand::Migrate) => {
            let (settings, view) = settle()?;
            in_runtime(until_interrupted(None, postgres::migrate(&settings, view)))
        }
        Command::Fleet(FleetCommand::Status) => {
            let (settings, view) = settle()?;
            in_runtime(until_interrupted(None, postgres::status(&settings, view)))
        }
        Command::Fleet(FleetCommand::Forget { name }) => {
            let (settings, view) = settle()?;
            in_runtime(until_interrupted(None, postgres::forget(&settings, &name, view)))
        }
        Command::Sandbox(options) => in_runtime(sandbox::run(options)),
        Command::Completions { shell } => Ok(write_out(io::stdout(), &completion::script(shell))?),
        Command::Man => Ok(write_out(io::stdout(), &help::manual()?)?),
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
    verbose: u8,
    format: OutputFormat,
    tells_waits: bool,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let hold_up = calls::show(verbose, format, tells_waits)?;
    tokio::select! {
        biased;
        done = command => done,
        never = hold_up.watch() => never,
    }
}

async fn ask_bank(
    command: BankCommand,
    options: &ConnectionOptions,
    settings: &Settings<'_>,
    output: OutputOptions,
    view: View,
) -> Result<(), Failure> {
    let declaration = command.declaration();
    let is_dry_run = declaration.is_dry_run();
    let Declaration { effect, ids, receipts, custody, context, .. } = declaration;
    let (bank, rehearse) = (&settings.bank()?, options.rehearse.unwrap_or(1));
    if let (Effect::Provokes, true) = (&effect, bank.is_production()) {
        let hint = "use a key of bunq's sandbox: `--env sandbox`, or unset BUNQ_ENV, or give another --profile";
        return Err(
            Failure::usage("probe does wrong things on purpose, so it does not run in production").with_hint(hint)
        );
    }
    let place = CustodyPlace::of(custody, bank)?;
    let order = match &effect {
        Effect::ChangesRows(rows) => Some(Order::new(rows, place.folder(), is_dry_run)?),
        Effect::Reads
        | Effect::Changes { .. }
        | Effect::ChangesTarget(_)
        | Effect::Closes
        | Effect::Activates
        | Effect::Onboards(_)
        | Effect::Calls(_)
        | Effect::Listens
        | Effect::Provokes => None,
    };
    let (mut unusable, makes_calls) = (None, !is_dry_run && context != ContextUse::Offline);
    let needs = Needs { key: makes_calls, database: makes_calls || matches!(place, CustodyPlace::Database) };
    let mut connection = match BankConnection::new(bank, rehearse, needs).await {
        Err(failure) if context == ContextUse::Examined && !failure.is_interruption() => {
            unusable = Some(failure);
            BankConnection::new(bank, rehearse, Needs::default()).await?
        }
        connection => connection?,
    };
    connection.custody = place.custody(connection.shared.as_ref());
    // Once the key is read, a signal does not end the process by itself any more, so whatever may take time listens for it.
    if let CustodyPlace::Memory = place {
        until_interrupted(None, connection.take_sample_user()).await?;
    }
    if let Some(path) = receipts.and_then(|receipts| receipts.receipts.as_deref()) {
        connection.receipts = Some(until_interrupted(None, async { Ok(ReceiptFile::open(path).await?) }).await?);
    }
    let asks = bank.is_production() && !options.yes && !is_dry_run;
    let invocation = &Invocation { connection, output, view, asks };
    for warning in &invocation.connection.warnings {
        warn(invocation.format(), warning);
    }
    if !is_dry_run && context == ContextUse::Checked {
        until_interrupted(None, async { Ok(invocation.client()?.context().await?) }).await?;
    }
    match order {
        Some(Order::Plan(plan)) => return until_interrupted(None, bulk::plan(invocation, plan)).await,
        Some(Order::Run(order)) => return bulk::run(invocation, order).await,
        None => {}
    }
    // After an interruption, what a probe has made is removed, each user has an outcome, and bunq's last response to an onboarding is waited
    // for, and what was heard is counted: these listen themselves.
    let listens = matches!(effect, Effect::Provokes | Effect::Activates | Effect::Onboards(_) | Effect::Listens);
    let agreed = until_interrupted(None, async {
        let ids = ids::resolve(ids).await?;
        let (mut body, mut closing, mut target) = (api::Body::None, None, None);
        let (change, goes_on) = match effect {
            Effect::Changes { what, goes_on } => (Some(what), goes_on),
            Effect::ChangesTarget(change) => {
                let url = change.target(invocation).await?;
                let what = change.what(&url);
                target = Some(url);
                (Some(what), Some(change.goes_on()))
            }
            Effect::Closes => {
                closing = Some(Closing::of(&ids));
                (Some(closing::change(&ids)), Some(closing::goes_on(&ids)))
            }
            Effect::Activates => (Some(users::change(&ids)), None),
            Effect::Onboards(id) => (Some(format!("Onboard the user of provision {id}")), None),
            Effect::Calls(call) => {
                api::check(invocation, call)?;
                body = api::body(call).await?;
                (api::change(invocation, call, &body)?, None)
            }
            Effect::Reads | Effect::ChangesRows(_) | Effect::Listens | Effect::Provokes => (None, None),
        };
        confirm(invocation, change.as_deref(), closing).await?;
        Ok((ids, body, target, goes_on))
    });
    let (ids, body, target, goes_on) = agreed.await?;
    let done = async {
        match &command {
            BankCommand::Close(options) => provisions::close(invocation, options, &ids).await,
            BankCommand::Create(options) => provisions::create(invocation, options).await,
            BankCommand::Get { .. } => provisions::get(invocation, &ids).await,
            BankCommand::Find { external_uuid } => provisions::find(invocation, *external_uuid).await,
            BankCommand::List(options) => provisions::list(invocation, options).await,
            BankCommand::Watch { timeout, .. } => watch::run(invocation, &ids, *timeout).await,
            BankCommand::Users(UsersCommand::List { unactivated, .. }) => users::list(invocation, *unactivated).await,
            BankCommand::Users(UsersCommand::Show { id, .. }) => users::show(invocation, *id).await,
            BankCommand::Users(UsersCommand::Activate { dry_run, .. }) => {
                users::activate(invocation, &ids, dry_run.dry_run).await
            }
            BankCommand::Users(UsersCommand::Reset { id, dry_run, .. }) => {
                users::reset(invocation, *id, dry_run.dry_run).await
            }
            BankCommand::Onboard(options) => onboarding::run(invocation, options).await,
            BankCommand::Inquiries(InquiriesCommand::List(options)) => inquiries::list(invocation, options).await,
            BankCommand::Inquiries(InquiriesCommand::Answer(options)) => inquiries::answer(invocation, options).await,
            BankCommand::Attachment(AttachmentCommand::Put(options)) => attachment::put(invocation, options).await,
            BankCommand::Attachment(AttachmentCommand::Get { id, attachment, output_file, .. }) => {
                attachment::get(invocation, *id, *attachment, output_file.as_deref()).await
            }
            BankCommand::Webhooks(command) => webhooks::run(invocation, command, target.as_ref()).await,
            BankCommand::Whoami => whoami::show(invocation).await,
            BankCommand::Oauth(OauthCommand::Show) => oauth::show(invocation).await,
            BankCommand::Oauth(OauthCommand::Ensure { url, secret_file }) => {
                oauth::ensure(invocation, url, secret_file.as_deref()).await
            }
            BankCommand::Session(SessionCommand::End { dry_run }) => {
                whoami::end_session(invocation, dry_run.dry_run).await
            }
            BankCommand::Session(SessionCommand::Reinstall) => whoami::reinstall(invocation).await,
            BankCommand::Rekey(options) => rekey::run(invocation, options).await,
            BankCommand::Api(options) => api::run(invocation, options, &body).await,
            BankCommand::Doctor(_) => doctor::run(invocation, unusable).await,
            BankCommand::Probe(options) => probe::run(invocation, options).await,
        }
    };
    let done = if listens { done.await } else { until_interrupted(goes_on, done).await };
    done.map_err(|failure| invocation.connection.of_sample_user(failure))
}
