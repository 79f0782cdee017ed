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
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, value_parser};
use clap_complete::Shell;

/// The end of the program's own help.
const TOPICS: &str = "\
Topics:
  bunq-partner help options      Options of all commands: bank, key, output
  bunq-partner help environment  Environment variables and files
  bunq-partner help exit-codes   Exit codes";

/// The end of a command's help: what can be typed after the name of the program.
macro_rules! examples {
    ($($example:literal),+) => {
        concat!("Examples:", $("\n  bunq-partner ", $example),+)
    };
}

/// Create, follow and close provisions of users at bunq
#[derive(Parser)]
#[command(
    name = "bunq-partner",
    version,
    max_term_width = 100,
    after_help = TOPICS,
    arg_required_else_help = true,
    disable_help_flag = true,
    disable_help_subcommand = true
)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) command: Command,
    /// Print help
    #[arg(long, short, global = true, action = ArgAction::HelpShort)]
    _help: Option<bool>,
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
    /// Environment of bunq: sandbox or production
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
    /// Base URL, if not the environment's: HTTPS, or loopback
    #[arg(long, global = true, hide_short_help = true, value_name = "URL")]
    pub(super) base_url: Option<String>,
    /// Read the API key from this file instead of BUNQ_API_KEY
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(super) api_key_file: Option<PathBuf>,
    /// Keep key pair and session in this file [default: one file a key, in the state folder]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(super) context: Option<PathBuf>,
    /// Use a sandbox inside this program; nothing leaves the machine
    #[arg(long, global = true, hide_short_help = true, conflicts_with_all = ["base_url", "api_key_file", "context"])]
    pub(super) sandbox: bool,
    /// For a rehearsal on loopback: multiply bunq's rate limits
    #[arg(long, global = true, hide_short_help = true, value_name = "TIMES", value_parser = value_parser!(u32).range(1..=1000))]
    pub(super) rehearse: Option<u32>,
    /// Change things in production without asking
    #[arg(long, short, global = true, hide_short_help = true)]
    pub(super) yes: bool,
}

/// How results are written to standard output. Everything else goes to standard error.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputOptions {
    /// Format of the results
    #[arg(long, short, global = true, hide_short_help = true, value_enum, default_value_t = OutputFormat::Table, value_name = "FORMAT")]
    pub(super) output: OutputFormat,
    /// When to use colour; NO_COLOR is respected
    #[arg(long, global = true, hide_short_help = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(super) color: Color,
    /// Show tokens, after a confirmation at the terminal
    #[arg(long, global = true, hide_short_help = true)]
    pub(super) show_secrets: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    Table,
    Json,
    Jsonl,
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
    /// Create, follow and close a provision, in a sandbox inside this program
    #[command(after_help = examples!("demo", "--output json demo"))]
    Demo,
    #[command(flatten)]
    Bank(BankCommand),
    /// Show the outcome of each row of a bulk run
    #[command(after_help = examples!("report --from ids.csv", "report --from users.csv --output csv"))]
    Report(ReportOptions),
    /// Verify bunq's signed responses
    #[command(subcommand)]
    Receipts(ReceiptsCommand),
    /// Run a sandbox of bunq on loopback
    #[command(after_help = examples!("sandbox --provisions 10", "sandbox --rate-limits=100 --fault drop,on=update_provision"))]
    Sandbox(SandboxOptions),
    /// Print the completion script of a shell
    #[command(after_help = examples!("completions bash", "completions zsh"))]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    #[command(after_help = examples!("man | man -l -"))]
    Man,
    /// Show the help of a command or a topic
    #[command(after_help = examples!("help close", "help exit-codes"))]
    Help {
        /// Command, or topic: options, environment, exit-codes, faults
        #[arg(value_name = "TOPIC")]
        topic: Vec<String>,
    },
}

/// The commands that call a bank.
#[derive(Subcommand)]
pub(super) enum BankCommand {
    /// Close provisions
    #[command(after_help = examples!("close 1015 1019 --wait", "close --from ids.csv --resume"))]
    Close(CloseOptions),
    /// Create a provision for a new user
    #[command(after_help = examples!("create --email user@example.com --phone-number +31600000000", "create --from users.csv --activate tokens"))]
    Create(CreateOptions),
    /// Show provisions
    #[command(after_help = examples!("get 1015", "get 1015 1019 --output json"))]
    Get {
        /// Ids of the provisions
        #[arg(required = true, value_name = "ID", value_parser = provision_id)]
        ids: Vec<ProvisionId>,
    },
    /// Find a provision by its external_uuid
    #[command(after_help = examples!("find 00000000-0000-4000-8000-000000000005", "--output json find 00000000-0000-4000-8000-000000000005"))]
    Find {
        /// The external_uuid
        #[arg(value_name = "UUID")]
        external_uuid: Uuid,
    },
    /// List provisions, newest first
    #[command(after_help = examples!("list --status CREATED,ACTIVE", "list --limit 100 --output csv"))]
    List(ListOptions),
    /// Print each change of provisions, until none is in progress
    #[command(after_help = examples!("watch 1007", "watch --timeout 2h"))]
    Watch {
        /// Ids of the provisions
        #[arg(value_name = "ID", value_parser = provision_id)]
        ids: Vec<ProvisionId>,
        /// Longest time, like 90s or 2h [default: no limit]
        #[arg(long, value_name = "TIME", value_parser = time)]
        timeout: Option<Duration>,
    },
    /// Replace the credential of a provision
    #[command(after_help = examples!("reset-token 1015 --wait", "reset-token 1015 --dry-run"))]
    ResetToken {
        /// Id of the provision
        #[arg(value_name = "ID", value_parser = provision_id)]
        id: ProvisionId,
        #[command(flatten)]
        waiting: WaitOptions,
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Show the user of the API key
    #[command(after_help = examples!("whoami", "whoami --output json"))]
    Whoami,
    /// Manage the session with bunq
    #[command(subcommand)]
    Session(SessionCommand),
    /// Call any operation of bunq's API
    #[command(after_help = examples!("api get_provision --param provision_id=1015", "api update_provision -p provision_id=1015 -b @body.json --dry-run"))]
    Api(ApiOptions),
    /// Diagnose connection, key and session
    #[command(after_help = examples!("doctor", "doctor --api-key-file key.txt --env production"))]
    Doctor,
    /// Record how bunq's sandbox behaves where no documentation says it
    #[command(after_help = examples!("probe --save report", "probe --create --save report"))]
    Probe(ProbeOptions),
}

#[derive(Args)]
pub(super) struct CloseOptions {
    /// Ids of the provisions
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
    /// Rows as CSV with a header or JSON lines; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "wait")]
    pub(super) from: Option<PathBuf>,
    /// Record of what was done [default: FILE.journal]
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(super) journal: Option<PathBuf>,
    /// Continue an interrupted run
    #[arg(long, requires = "from", conflicts_with = "dry_run")]
    pub(super) resume: bool,
}

/// Where bunq's signed responses are kept.
#[derive(Args)]
pub(super) struct ReceiptOptions {
    /// Append bunq's signed responses to this file
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(super) receipts: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(super) enum ReceiptsCommand {
    /// Verify the receipts in a file, offline
    #[command(after_help = examples!("receipts verify closings.jsonl", "receipts verify closings.jsonl --public-key bunq.pem"))]
    Verify {
        /// File of receipts
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Require this public key of bunq's, in PEM
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(super) struct ReportOptions {
    /// File with the rows of the run
    #[arg(long, value_name = "FILE")]
    pub(super) from: PathBuf,
    /// Journal of the run [default: FILE.journal]
    #[arg(long, value_name = "FILE")]
    pub(super) journal: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct CreateOptions {
    /// E-mail address of the user
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    pub(super) email: Option<EmailAddress>,
    /// Phone number of the user, like +31600000000
    #[arg(long, value_name = "NUMBER", required_unless_present = "from", conflicts_with = "from")]
    pub(super) phone_number: Option<PhoneNumber>,
    /// Your key for the user [default: random]
    #[arg(long, value_name = "UUID", conflicts_with = "from")]
    external_uuid: Option<Uuid>,
    /// The key if none is given.
    #[arg(skip = Uuid::new_v4())]
    random_uuid: Uuid,
    /// Adopt the provision with this key, if it exists
    #[arg(long, requires = "external_uuid", conflicts_with = "from")]
    pub(super) ensure: bool,
    /// Create a company, directed by this person
    #[arg(long, value_name = "ID", value_parser = provision_id, conflicts_with_all = ["date_of_birth", "country", "from"])]
    pub(super) director: Option<ProvisionId>,
    /// For USER_ANONYMOUS_TRANSACTION_AUDIT: date of birth
    #[arg(long, value_name = "DATE", requires = "country", conflicts_with = "from")]
    pub(super) date_of_birth: Option<Date>,
    /// With it: country of residence
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
    /// Activate new users; keep their tokens in this folder
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
    /// Only provisions with one of these statuses
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status, ignore_case = true)]
    pub(super) status: Vec<ProvisionStatus>,
    /// Largest number of provisions
    #[arg(long, value_name = "COUNT")]
    pub(super) limit: Option<usize>,
}

/// Whether and how long to wait.
#[derive(Args, Clone, Copy)]
pub(super) struct WaitOptions {
    /// Wait until bunq is done
    #[arg(long, short)]
    pub(super) wait: bool,
    /// Longest wait, like 90s or 2h
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = time)]
    pub(super) timeout: Duration,
}

#[derive(Args, Clone, Copy)]
pub(super) struct DryRun {
    /// Show the requests, and send nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Subcommand)]
pub(super) enum SessionCommand {
    /// End the session at bunq; the next call opens another
    #[command(after_help = examples!("session end", "session end --dry-run"))]
    End {
        #[command(flatten)]
        dry_run: DryRun,
    },
}

#[derive(Args)]
pub(super) struct ApiOptions {
    /// Operation of the document
    #[arg(value_parser = PossibleValuesParser::new(operations()).try_map(operation))]
    pub(super) operation: &'static Operation,
    /// Parameter of the path or the query; can be repeated
    #[arg(long = "param", short, value_name = "NAME=VALUE", value_parser = parameter)]
    pub(super) parameters: Vec<(String, String)>,
    /// Body as JSON; @FILE reads a file, - reads stdin
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
    /// Write report.md, report.json and profile.json here
    #[arg(long, value_name = "FOLDER")]
    pub(super) save: Option<PathBuf>,
}

/// The first line on standard output is JSON: `base_url` and `api_key`. Calls are logged on standard error.
#[derive(Args)]
pub(super) struct SandboxOptions {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub(super) port: u16,
    /// API key that it accepts [default: random]
    #[arg(long, value_name = "KEY")]
    pub(super) api_key: Option<Secret>,
    /// Enforce bunq's rate limits, or a multiple of them
    #[arg(long, value_name = "TIMES", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = value_parser!(u32).range(1..=1000))]
    pub(super) rate_limits: Option<u32>,
    /// Inject a fault: see `help faults`; can be repeated
    #[arg(long = "fault", value_name = "FAULT")]
    pub(super) faults: Vec<Injection>,
    /// Start with the provisions in this JSON file
    #[arg(long, value_name = "FILE")]
    pub(super) seed: Option<PathBuf>,
    /// Start with this many active provisions
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = value_parser!(u32).range(..=1_000_000))]
    pub(super) provisions: u32,
    /// Keep the state in this file, over restarts
    #[arg(long, value_name = "FILE")]
    pub(super) state: Option<PathBuf>,
    /// Behave like this profile of `probe`
    #[arg(long, value_name = "FILE")]
    pub(super) profile: Option<PathBuf>,
    /// Accept the API key only from this address; can be repeated
    #[arg(long = "allow", value_name = "ADDRESS")]
    pub(super) allowed_addresses: Vec<IpAddr>,
    /// Advance provisions by time instead of by reads
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) step: Option<Duration>,
    /// Format of the log of calls
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

    /// All commands, with those below them.
    fn commands() -> Vec<clap::Command> {
        let mut program = CommandLine::command();
        program.build();
        let mut all = vec![program];
        let mut next = 0;
        while let Some(command) = all.get(next) {
            let below: Vec<_> = command.get_subcommands().cloned().collect();
            all.extend(below);
            next += 1;
        }
        all
    }

    #[test]
    fn the_help_of_each_command_fits_a_screen() {
        test_timeout::start();
        let mut seen = 0;
        for command in commands() {
            let help = command.clone().term_width(80).render_help().to_string();
            assert!(help.lines().count() <= 40, "{} lines:\n{help}", help.lines().count());
            assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
            let is_leaf = command.get_subcommands().next().is_none();
            assert_eq!(is_leaf, help.contains("Examples:\n"), "{help}");
            seen += 1;
        }
        assert!(seen > 20, "{seen}");
    }

    #[test]
    fn the_examples_of_the_help_can_be_typed() {
        test_timeout::start();
        let mut seen = 0;
        for mut command in commands() {
            let help = command.render_help().to_string();
            let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
            for example in examples.lines().map(str::trim).filter(|line| !line.is_empty()) {
                let words = example.split(" | ").next().unwrap().split_whitespace();
                let parsed = CommandLine::try_parse_from(words).map(drop);
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
                seen += 1;
            }
        }
        assert!(seen > 30, "{seen}");
    }

    #[test]
    fn each_summary_starts_with_a_verb() {
        test_timeout::start();
        for command in commands().iter().skip(1) {
            let summary = command.get_about().unwrap().to_string();
            let first = summary.split(' ').next().unwrap();
            assert!(!["The", "A", "An", "bunq's"].contains(&first) && !summary.ends_with('.'), "{summary}");
        }
    }
}
