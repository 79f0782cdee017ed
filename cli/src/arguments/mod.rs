//! The command line and its help: the commands here, their options in [`options`] and [`connection`], and values in [`values`].

/// The end of a command's help: examples, without the name of the program.
macro_rules! examples {
    ($($example:literal),+) => {
        concat!("Examples:", $("\n  bunq-partner ", $example),+)
    };
}

mod connection;
mod for_user;
mod needs;
mod options;
mod users;
mod values;
mod webhooks;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bunq_partner::{CallbackUrl, Uuid};
use clap::builder::PossibleValue;
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

pub(crate) use self::connection::{Color, ConnectionOptions, OutputFormat, OutputOptions};
pub(crate) use self::for_user::{
    AnswerOptions, Attached, AttachmentCommand, InquiriesCommand, InquiryListOptions, OnboardOptions, PutOptions,
};
pub(crate) use self::options::{
    ApiOptions, BulkOptions, CloseOptions, CreateOptions, CustodyOptions, DryRun, ListOptions, Log, Personal,
    ProbeOptions, ReceiptOptions, RekeyOptions, ReportOptions, SandboxOptions, WaitOptions,
};
pub(crate) use self::users::UsersCommand;
pub(crate) use self::values::{IdArgument, Topic, called_as, date, made_by};
use self::values::{external_uuid, id_argument, time};
pub(crate) use self::webhooks::{FilterOptions, ListenOptions, RetryOptions, ShownUrls, WebhooksCommand, Whose};

/// The end of the program's own help.
fn topics() -> String {
    let names: Vec<_> = Topic::all().map(|topic| topic.get_name().to_owned()).collect();
    format!("Topics of `bunq-partner help`:\n  {}", names.join(", "))
}

/// The end of the help of `help`.
fn topics_described() -> String {
    let line = |topic: PossibleValue| {
        let about = topic.get_help().map(ToString::to_string).unwrap_or_default();
        format!("\n  {:11}  {about}", topic.get_name())
    };
    let topics = Topic::all().map(line).fold("Topics:".to_owned(), |text, line| text + &line);
    format!("{topics}\n\n{}", examples!("help close", "help exit-codes"))
}

/// Create, follow and close provisions of users at bunq
#[derive(Parser)]
#[command(
    name = "bunq-partner",
    version,
    max_term_width = 100,
    after_help = topics(),
    arg_required_else_help = true,
    disable_help_flag = true,
    disable_help_subcommand = true
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print help
    #[arg(long, short, global = true, action = ArgAction::HelpShort)]
    _help: Option<bool>,
    #[command(flatten)]
    pub(crate) connection: ConnectionOptions,
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

impl CommandLine {
    /// Reads the words of a command line, the first of which is the program's name.
    pub(crate) fn read(words: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let mut program = Self::command();
        let read = program.try_get_matches_from_mut(&words);
        if read.as_ref().is_err_and(|error| error.kind() == ErrorKind::MissingRequiredArgument) {
            // What an option needs may stand in the place of what is missing.
            needs::check(&mut program, &Self::command().ignore_errors(true).try_get_matches_from(&words)?)?;
        }
        let mut matches = read?;
        needs::check(&mut program, &matches)?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut program))
    }

    /// The help about a topic, instead of a command with these options.
    pub(crate) fn help(topic: [&str; 2], connection: ConnectionOptions, output: OutputOptions) -> Self {
        let command = Command::Help { topic: topic.map(str::to_owned).into() };
        Self { command, _help: None, connection, output }
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create, follow and close a provision in a sandbox of its own
    #[command(after_help = examples!("demo", "--color never demo"))]
    Demo,
    #[command(flatten)]
    Bank(BankCommand),
    /// Show the outcome of each row of a bulk run
    #[command(after_help = examples!("report --from ids.csv", "report --from users.csv --failed --output csv"))]
    Report(ReportOptions),
    /// Verify bunq's signed responses
    #[command(subcommand)]
    Receipts(ReceiptsCommand),
    /// Show settings and the path of the profiles
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Manage the database that several machines share
    #[command(subcommand)]
    Postgres(PostgresCommand),
    /// Show what the machines that share a database do, and forget one
    #[command(subcommand)]
    Fleet(FleetCommand),
    /// Run a sandbox of bunq
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
    #[command(after_help = topics_described())]
    Help {
        /// Command, or topic
        #[arg(value_name = "TOPIC")]
        topic: Vec<String>,
    },
}

/// The commands that call a bank.
#[derive(Subcommand)]
pub(crate) enum BankCommand {
    /// Close provisions
    #[command(after_help = examples!("close 1015 1019 --wait", "close --from ids.csv --resume"))]
    Close(CloseOptions),
    /// Create a provision for a new user
    #[command(after_help = examples!("create --email user@example.com --phone-number +31600000000", "create --from users.csv --activate users"))]
    Create(CreateOptions),
    /// Show provisions
    #[command(after_help = examples!("get 1015", "get 1015 1019 --output json"))]
    Get {
        /// Ids of the provisions; - reads them from stdin, one a line
        #[arg(required = true, value_name = "ID", value_hint = ValueHint::Other, value_parser = id_argument)]
        ids: Vec<IdArgument>,
    },
    /// Find a provision by its external_uuid
    #[command(after_help = examples!("find 00000000-0000-4000-8000-000000000005", "--output json find 00000000-0000-4000-8000-000000000005"))]
    Find {
        /// The external_uuid
        #[arg(value_name = "UUID", value_hint = ValueHint::Other, value_parser = external_uuid)]
        external_uuid: Uuid,
    },
    /// List provisions, newest first
    #[command(after_help = examples!("list --status CREATED,ACTIVE", "list --limit 100 --output csv"))]
    List(ListOptions),
    /// Print each change of provisions, until none is in progress
    #[command(after_help = examples!("watch 1007", "watch --timeout 2h"))]
    Watch {
        /// Ids of the provisions; - reads them from stdin, one a line
        #[arg(value_name = "ID", value_hint = ValueHint::Other, value_parser = id_argument)]
        ids: Vec<IdArgument>,
        /// Longest time, like 90s or 2h [default: no limit]
        #[arg(long, value_name = "TIME", value_hint = ValueHint::Other, value_parser = time)]
        timeout: Option<Duration>,
    },
    /// Act for users whose tokens are in custody
    #[command(subcommand)]
    Users(UsersCommand),
    /// Bring a user to the statuses in which it can be served
    #[command(after_help = concat!(
        "At a terminal it asks for what is missing. Run it again to go on.\n\n",
        examples!("onboard 1015 --custody users --wait", "onboard 1015 --custody users --from answers.json")
    ))]
    Onboard(OnboardOptions),
    /// Show and answer what bunq asks of a user
    #[command(subcommand)]
    Inquiries(InquiriesCommand),
    /// Send and fetch the files of a user
    #[command(subcommand)]
    Attachment(AttachmentCommand),
    /// Manage which events bunq tells, and to which URLs
    #[command(subcommand)]
    Webhooks(WebhooksCommand),
    /// Show the user of the API key
    #[command(after_help = examples!("whoami", "whoami --output json"))]
    Whoami,
    /// Manage the OAuth client, without which no user is provisioned
    #[command(subcommand)]
    Oauth(OauthCommand),
    /// Manage the session with bunq
    #[command(subcommand)]
    Session(SessionCommand),
    /// Seal what is kept of users and of the session for a new API key
    #[command(after_help = concat!(
        "Run it after the API key was replaced, with the new one in its place: what is\n\
         kept is sealed under the key before. It asks bunq nothing. It may end at any\n\
         point, and goes on when it is run again. Stop other programs that use the same\n\
         custody first.\n\n",
        examples!("rekey --old-api-key-file old-key.txt --custody users", "rekey --profile test")
    ))]
    Rekey(RekeyOptions),
    /// Call any operation of bunq's API
    #[command(after_help = concat!(
        "It prints the whole answer, but for tokens: it may be about a person.\n\n",
        examples!("api get_provision --param provision_id=1015", "api update_provision -p provision_id=1015 -b @body.json --dry-run")
    ))]
    Api(ApiOptions),
    /// Diagnose connection, key and session
    #[command(after_help = examples!("doctor", "doctor --api-key-file key.txt --env production"))]
    Doctor(CustodyOptions),
    /// Record how bunq's sandbox behaves where no documentation says it
    #[command(after_help = examples!("probe --save report", "probe --create --save report"))]
    Probe(ProbeOptions),
}

#[derive(Subcommand)]
pub(crate) enum ReceiptsCommand {
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

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show each setting and its source
    #[command(after_help = examples!("config show", "config show --profile test --output json"))]
    Show,
    /// Print the path of the file with the profiles
    #[command(after_help = examples!("config path", "config path --output json"))]
    Path,
}

#[derive(Subcommand)]
pub(crate) enum PostgresCommand {
    /// Make the schema in the database, or bring it to the version that this program needs
    #[command(after_help = concat!(
        "The URL is in BUNQ_PARTNER_POSTGRES, or in url_file of a profile's postgres: its user\n\
         may create the schema, or owns it. It may be run again, and by several at once.\n\n",
        examples!("postgres migrate", "postgres migrate --profile production")
    ))]
    Migrate,
}

#[derive(Subcommand)]
pub(crate) enum FleetCommand {
    /// Show the windows of the rate limits, the locks, members and shares
    #[command(after_help = concat!(
        "A member is a process that takes permits. Windows in which nothing counts are left\n\
         out.\n\n",
        examples!("fleet status", "fleet status --profile production --output json")
    ))]
    Status,
    /// Forget a member that has ended for good, and free its share
    #[command(after_help = concat!(
        "A member with a share of the limits uses it while it cannot reach the database.\n\
         So the share is held back from the others until the member is there again.\n\
         Forget it only when its process has ended. `fleet status` shows the shares.\n\n",
        examples!("fleet forget machine-1", "fleet forget machine-1 --profile production")
    ))]
    Forget {
        /// The name of the member
        #[arg(value_hint = ValueHint::Other)]
        name: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum OauthCommand {
    /// Show the OAuth clients and their callback URLs
    #[command(after_help = examples!("oauth show", "oauth show --output json"))]
    Show,
    /// Create the OAuth client and its callback URL, where they lack
    #[command(after_help = concat!(
        "An active client is adopted, and so is a URL that is registered. Run it once: two of\n\
         these commands at one time do not know of each other.\n\n",
        examples!(
            "oauth ensure https://partner.example.com/callback",
            "oauth ensure https://partner.example.com/callback --secret-file oauth.json"
        )
    ))]
    Ensure {
        /// Callback URL, with HTTPS
        #[arg(value_name = "URL", value_hint = ValueHint::Other)]
        url: CallbackUrl,
        /// Keep client id and secret in this file, for its owner alone
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(crate) enum SessionCommand {
    /// End the session at bunq; the next call opens another
    #[command(after_help = examples!("session end", "session end --dry-run"))]
    End {
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Make another installation and device at bunq, and a session with them
    #[command(after_help = concat!(
        "They replace those in the context file: for when bunq has forgotten them, or signs\n\
         with another key. Only TLS proves the new key: do it in a network that you trust.\n\n",
        examples!("session reinstall", "session reinstall --env production --yes")
    ))]
    Reinstall,
}

#[cfg(test)]
mod tests {
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
    fn a_value_is_refused_with_the_rule_for_it() {
        test_timeout::start();
        let create = "create --email user@example.com --phone-number +31600000000";
        for (typed, rule) in [
            ("find 7".to_owned(), "a UUID is written as in 550e8400-e29b-41d4-a716-446655440000"),
            (format!("{create} --external-uuid 7"), "a UUID is written as in 550e8400-e29b-41d4-a716-446655440000"),
            (format!("{create} --country NL --date-of-birth 31-12-1990"), "a date is written as in 1990-12-31"),
            ("list --limit all".into(), "a count is written as in 100"),
            ("watch --timeout 1".into(), "a time is written as in 90s, 15m or 2h"),
            ("sandbox --allow localhost".into(), "an address is written as in 192.0.2.7 or 2001:db8::7"),
        ] {
            let words = format!("bunq-partner {typed}");
            let refusal = CommandLine::try_parse_from(words.split(' ')).map(drop).unwrap_err().to_string();
            assert!(refusal.contains(rule), "{typed}: {refusal}");
        }
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
