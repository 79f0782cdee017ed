//! What can be said on the command line, and what the help says about it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bunq_partner::jiff::SignedDuration;
use bunq_partner::jiff::civil::Date;
use bunq_partner::{
    CountryCode, EmailAddress, Environment, Operation, PhoneNumber, ProvisionId, ProvisionStatus, Secret, Uuid,
};
use bunq_partner_sandbox::Injection;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;

use super::exit;

/// Create, follow and close provisions of users at bunq
#[derive(Parser)]
#[command(name = "bunq-partner", version, max_term_width = 100, after_help = "With --help, the options for the bank and the output are shown too.", after_long_help = exit::help(), arg_required_else_help = true)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) connection: ConnectionOptions,
    #[command(flatten)]
    pub(super) output: OutputOptions,
}

/// Which bank, and with which key. The key is never on the command line: it comes from BUNQ_API_KEY, from a file, or is asked
/// for.
#[derive(Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionOptions {
    /// bunq's environment: sandbox or production
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        env = "BUNQ_ENV",
        hide_env_values = true,
        default_value = "sandbox",
        value_name = "ENVIRONMENT"
    )]
    pub(super) env: Environment,
    /// The base URL, if it is not the environment's; HTTPS, or loopback
    #[arg(long, global = true, hide_short_help = true, value_name = "URL")]
    pub(super) base_url: Option<String>,
    /// A file with the API key, in place of BUNQ_API_KEY
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(super) api_key_file: Option<PathBuf>,
    /// Where keys and session are kept between runs [default: a file for each key in the state folder]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(super) context: Option<PathBuf>,
    /// Use a bunq of this program's own, with provisions in every state; nothing leaves the machine
    #[arg(long, global = true, hide_short_help = true, conflicts_with_all = ["base_url", "api_key_file", "context"])]
    pub(super) sandbox: bool,
    /// At a bank on this machine: call it this many times as fast as bunq's rate limits allow
    #[arg(long, global = true, hide_short_help = true, value_name = "TIMES", value_parser = value_parser!(u32).range(1..=1000))]
    pub(super) rehearse: Option<u32>,
    /// Do not ask before something is changed in production
    #[arg(long, short, global = true, hide_short_help = true)]
    pub(super) yes: bool,
}

/// How results are written to standard output. Everything else goes to standard error.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputOptions {
    /// How results are written
    #[arg(long, short, global = true, hide_short_help = true, value_enum, default_value_t = OutputFormat::Table, value_name = "FORMAT")]
    pub(super) output: OutputFormat,
    /// When to use colour; NO_COLOR is respected
    #[arg(long, global = true, hide_short_help = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(super) color: Color,
    /// Show tokens, after a question at the terminal
    #[arg(long, global = true, hide_short_help = true)]
    pub(super) show_secrets: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For people
    Table,
    /// One JSON value
    Json,
    /// A JSON value on each line, as it comes
    Jsonl,
    /// Comma-separated, with a header
    Csv,
}

impl OutputFormat {
    /// Whether failures are JSON too.
    pub(super) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a provision, follow it and close it, in a bunq of this program's own
    Demo,
    #[command(flatten)]
    Bank(BankCommand),
    /// Say what became of each row of a file that was closed or created from
    Report(ReportOptions),
    /// bunq's signed responses
    #[command(subcommand)]
    Receipts(ReceiptsCommand),
    /// Run a bunq on loopback until interrupted
    Sandbox(SandboxOptions),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// The commands that call a bank.
#[derive(Subcommand)]
pub(super) enum BankCommand {
    /// Close provisions
    Close(CloseOptions),
    /// Create a provision
    Create(CreateOptions),
    /// Show provisions
    Get {
        /// The ids of the provisions
        #[arg(required = true, value_name = "ID", value_parser = provision_id)]
        ids: Vec<ProvisionId>,
    },
    /// Find the provision that was created with a key of yours
    Find {
        /// The external_uuid
        #[arg(value_name = "UUID")]
        external_uuid: Uuid,
    },
    /// List provisions, newest first
    List(ListOptions),
    /// Show every change of provisions until nothing is in progress; without ids, of all, until interrupted
    Watch {
        /// The ids of the provisions
        #[arg(value_name = "ID", value_parser = provision_id)]
        ids: Vec<ProvisionId>,
        /// How long to watch at most, as in 90s or 2h [default: until nothing is in progress, or until interrupted]
        #[arg(long, value_name = "TIME", value_parser = time)]
        timeout: Option<Duration>,
    },
    /// Replace the credential of a provision
    ResetToken {
        /// The id of the provision
        #[arg(value_name = "ID", value_parser = provision_id)]
        id: ProvisionId,
        #[command(flatten)]
        waiting: WaitOptions,
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Show whom the API key belongs to
    Whoami,
    /// The session with bunq
    #[command(subcommand)]
    Session(SessionCommand),
    /// Call any operation of bunq's API, signed and verified
    Api(ApiOptions),
    /// Find out why bunq says no
    Doctor,
    /// Find out how bunq's sandbox behaves where no document says it
    Probe(ProbeOptions),
}

#[derive(Args)]
pub(super) struct CloseOptions {
    /// The ids of the provisions
    #[arg(required_unless_present = "from", conflicts_with = "from", value_name = "ID", value_parser = provision_id)]
    pub(super) ids: Vec<ProvisionId>,
    #[command(flatten)]
    pub(super) waiting: WaitOptions,
    #[command(flatten)]
    pub(super) dry_run: DryRun,
    #[command(flatten)]
    pub(super) receipts: ReceiptOptions,
    #[command(flatten)]
    pub(super) bulk: BulkOptions,
}

/// Many rows of a file, with a journal from which an interrupted run continues.
#[derive(Args)]
#[command(next_help_heading = "Many at once")]
pub(super) struct BulkOptions {
    /// Take the rows of this file: CSV with a header, or JSON lines; - is standard input, kept in JOURNAL.input
    #[arg(long, value_name = "FILE", conflicts_with = "wait")]
    pub(super) from: Option<PathBuf>,
    /// Where it is kept what was done [default: FILE.journal]
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(super) journal: Option<PathBuf>,
    /// Continue an interrupted run
    #[arg(long, requires = "from", conflicts_with = "dry_run")]
    pub(super) resume: bool,
}

/// Where bunq's signed responses are kept.
#[derive(Args)]
pub(super) struct ReceiptOptions {
    /// Add bunq's signed responses to this file, for `bunq-partner receipts verify`
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(super) receipts: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(super) enum ReceiptsCommand {
    /// Check the receipts of a file, without calling anybody
    Verify {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// bunq's public key as PEM; receipts that are signed with another are refused
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(super) struct ReportOptions {
    /// The file that the rows were taken from
    #[arg(long, value_name = "FILE")]
    pub(super) from: PathBuf,
    /// The journal of the run [default: FILE.journal]
    #[arg(long, value_name = "FILE")]
    pub(super) journal: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct CreateOptions {
    /// The e-mail address of the user
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    pub(super) email: Option<EmailAddress>,
    /// The telephone number of the user, as in +31600000000
    #[arg(long, value_name = "NUMBER", required_unless_present = "from", conflicts_with = "from")]
    pub(super) phone_number: Option<PhoneNumber>,
    /// Your own key for the user [default: a random one, which is printed first]
    #[arg(long, value_name = "UUID", conflicts_with = "from")]
    external_uuid: Option<Uuid>,
    /// The key if none is given.
    #[arg(skip = Uuid::new_v4())]
    random_uuid: Uuid,
    /// Take the provision with this external_uuid if there is one, as after a request whose outcome is unknown; with --from that is
    /// always so
    #[arg(long, requires = "external_uuid", conflicts_with = "from")]
    pub(super) ensure: bool,
    /// Create a company, whose director is the person of this provision
    #[arg(long, value_name = "ID", value_parser = provision_id, conflicts_with_all = ["date_of_birth", "country", "from"])]
    pub(super) director: Option<ProvisionId>,
    /// The date of birth, for USER_ANONYMOUS_TRANSACTION_AUDIT
    #[arg(long, value_name = "YYYY-MM-DD", requires = "country", conflicts_with = "from")]
    pub(super) date_of_birth: Option<Date>,
    /// The country of residence, for USER_ANONYMOUS_TRANSACTION_AUDIT
    #[arg(long, value_name = "COUNTRY", requires = "date_of_birth", conflicts_with = "from")]
    pub(super) country: Option<CountryCode>,
    #[command(flatten)]
    pub(super) waiting: WaitOptions,
    #[command(flatten)]
    pub(super) dry_run: DryRun,
    #[command(flatten)]
    pub(super) receipts: ReceiptOptions,
    #[command(flatten)]
    pub(super) bulk: BulkOptions,
    /// Activate each new user before its credential expires; its token and its context are kept in this folder
    #[arg(long, value_name = "FOLDER", requires = "from", help_heading = "Many at once")]
    pub(super) activate: Option<PathBuf>,
}

impl CreateOptions {
    pub(super) fn external_uuid(&self) -> Uuid {
        self.external_uuid.unwrap_or(self.random_uuid)
    }
}

#[derive(Args)]
pub(super) struct ListOptions {
    /// Only those with one of these statuses
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status, ignore_case = true)]
    pub(super) status: Vec<ProvisionStatus>,
    /// At most this many
    #[arg(long, value_name = "COUNT")]
    pub(super) limit: Option<usize>,
}

/// Whether and how long to wait.
#[derive(Args, Clone, Copy)]
pub(super) struct WaitOptions {
    /// Wait until bunq is done
    #[arg(long, short)]
    pub(super) wait: bool,
    /// How long to wait at most, as in 90s or 2h
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = time)]
    pub(super) timeout: Duration,
}

#[derive(Args, Clone, Copy)]
pub(super) struct DryRun {
    /// Show what would be sent, and send nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Subcommand)]
pub(super) enum SessionCommand {
    /// End the session at bunq; the next call opens another
    End {
        #[command(flatten)]
        dry_run: DryRun,
    },
}

#[derive(Args)]
pub(super) struct ApiOptions {
    /// The operation
    #[arg(value_parser = PossibleValuesParser::new(operations()).try_map(operation))]
    pub(super) operation: &'static Operation,
    /// A parameter of the path or the query; can be repeated
    #[arg(long = "param", short, value_name = "NAME=VALUE", value_parser = parameter)]
    pub(super) parameters: Vec<(String, String)>,
    /// The body as JSON; @FILE is a file, - is standard input
    #[arg(long, short, value_name = "JSON")]
    pub(super) body: Option<String>,
    #[command(flatten)]
    pub(super) dry_run: DryRun,
}

#[derive(Args)]
pub(super) struct ProbeOptions {
    /// Create a provision too, and close it
    #[arg(long)]
    pub(super) create: bool,
    /// Write report.md, report.json and profile.json into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(super) save: Option<PathBuf>,
}

/// The first line on standard output is JSON: `base_url` and `api_key`. Calls are logged on standard error.
#[derive(Args)]
pub(super) struct SandboxOptions {
    /// The port on 127.0.0.1; 0 is any that is free
    #[arg(long, default_value_t = 0)]
    pub(super) port: u16,
    /// The partner's API key, of this sandbox only [default: a random one]
    #[arg(long, value_name = "KEY")]
    pub(super) api_key: Option<Secret>,
    /// Keep bunq's rate limits, or limits that allow this many times as many calls
    #[arg(long, value_name = "TIMES", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = value_parser!(u32).range(1..=1000))]
    pub(super) rate_limits: Option<u32>,
    /// Play a fault: its name, and after commas on=OPERATION, after=CALLS, times=CALLS or times=always; can be repeated
    #[arg(long = "fault", value_name = "FAULT", long_help = fault_help())]
    pub(super) faults: Vec<Injection>,
    /// Begin with the provisions of this file: [{"status": "ACTIVE", "display_name": …, "external_uuid": …}, …]
    #[arg(long, value_name = "FILE")]
    pub(super) seed: Option<PathBuf>,
    /// Begin with this many provisions, all in use
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = value_parser!(u32).range(..=1_000_000))]
    pub(super) provisions: u32,
    /// Go on from the state in this file, and keep it there
    #[arg(long, value_name = "FILE")]
    pub(super) state: Option<PathBuf>,
    /// Behave as this profile says, which `bunq-partner probe` writes
    #[arg(long, value_name = "FILE")]
    pub(super) profile: Option<PathBuf>,
    /// Allow the API key only from these addresses
    #[arg(long = "allow", value_name = "ADDRESS")]
    pub(super) allowed_addresses: Vec<IpAddr>,
    /// Move provisions on by time, a step for each so long, instead of by each read
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) step: Option<Duration>,
    /// How calls are logged
    #[arg(long, value_enum, default_value_t = Log::Text, value_name = "FORMAT")]
    pub(super) log: Log,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Log {
    Text,
    Json,
    None,
}

fn operations() -> impl Iterator<Item = &'static str> {
    Operation::ALL.iter().filter(|operation| !operation.managed).map(|operation| operation.id)
}

fn operation(id: String) -> Result<&'static Operation, String> {
    Operation::by_id(&id).ok_or_else(|| "there is no such operation".to_owned())
}

fn fault_help() -> String {
    format!(
        "Play a fault, as in `drop,on=update_provision,times=2`: its name, and after commas on=OPERATION, after=CALLS, and \
         times=CALLS or times=always. Can be repeated.\n\nFaults: {}",
        Injection::fault_names()
    )
}

fn provision_id(text: &str) -> Result<ProvisionId, String> {
    text.parse::<ProvisionId>().map_err(|error| format!("{error}; `bunq-partner list` shows the ids"))
}

fn status(text: &str) -> Result<ProvisionStatus, String> {
    let known = |status: &&ProvisionStatus| status.as_str().eq_ignore_ascii_case(text);
    ProvisionStatus::KNOWN.iter().find(known).cloned().ok_or_else(|| {
        let known: Vec<_> = ProvisionStatus::KNOWN.iter().map(ProvisionStatus::as_str).collect();
        format!("there are {}", known.join(", "))
    })
}

fn time(text: &str) -> Result<Duration, String> {
    let time: Option<SignedDuration> = text.parse().ok();
    time.and_then(|time| time.try_into().ok()).ok_or_else(|| "a time is written as in 90s, 15m or 2h".to_owned())
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a parameter is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The long help of each command has all options; the short one those of the command.
    #[test]
    fn each_command_shows_the_options_of_all_commands() {
        test_timeout::start();
        let mut program = CommandLine::command();
        program.build();
        let global: Vec<_> = program.get_arguments().filter(|argument| argument.is_global_set()).collect();
        let global: Vec<_> = global.iter().map(|option| format!("--{}", option.get_long().unwrap())).collect();
        assert!(global.len() > 9, "{global:?}");
        let mut commands: Vec<_> = program.get_subcommands().cloned().collect();
        let mut count = 0;
        while let Some(mut command) = commands.pop() {
            if command.get_name() == "help" {
                continue;
            }
            commands.extend(command.get_subcommands().cloned());
            let (long, short) = (command.render_long_help().to_string(), command.render_help().to_string());
            for option in &global {
                assert!(long.contains(option), "{}: {option}: {long}", command.get_name());
                assert!(!short.contains(&format!("{option} ")), "{}: {option}: {short}", command.get_name());
            }
            count += 1;
        }
        assert!(count > 18, "{count}");
    }
}
