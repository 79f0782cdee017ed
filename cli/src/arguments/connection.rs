//! Options of all commands: which bank, with which key, and how results are written.

use std::fmt;
use std::path::PathBuf;

use bunq_partner::Environment;
use clap::{ArgAction, Args, ValueEnum, ValueHint, value_parser};

use super::values::environment;

/// Which bank, and with which key. The key is never on the command line: it comes from BUNQ_API_KEY, a file or the command of a
/// profile, or the program asks for it.
#[derive(Args, Default)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionOptions {
    /// Use the bank and key of this profile
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME", value_hint = ValueHint::Other)]
    pub(crate) profile: Option<String>,
    /// Environment of bunq: sandbox or production [default: sandbox]
    #[arg(long, global = true, hide_short_help = true, value_name = "ENVIRONMENT", value_parser = environment(), hide_possible_values = true)]
    pub(crate) env: Option<Environment>,
    /// Base URL, if not the environment's: HTTPS, loopback or --plain-http
    #[arg(long, global = true, hide_short_help = true, value_name = "URL", value_hint = ValueHint::Other)]
    pub(crate) base_url: Option<String>,
    /// Allow a base URL of plain HTTP on exactly this host, for a sandbox
    #[arg(long, global = true, hide_short_help = true, value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub(crate) plain_http: Option<String>,
    /// Read the API key from this file instead of BUNQ_API_KEY
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Keep key pair and session in this file [default: one file a key, in the state folder]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) context: Option<PathBuf>,
    /// Use a sandbox inside this program; nothing leaves the machine
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) sandbox: bool,
    /// For a rehearsal on loopback: multiply the speed of limits and retries
    #[arg(long, global = true, hide_short_help = true, value_name = "TIMES", value_hint = ValueHint::Other, value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) rehearse: Option<u32>,
    /// Change things in production without asking
    #[arg(long, short, global = true, hide_short_help = true)]
    pub(crate) yes: bool,
}

impl ConnectionOptions {
    /// The options that were typed, and choose a bank, a key or a session. A new option must be placed here, or beside `yes`.
    pub(crate) fn typed(&self) -> impl Iterator<Item = &'static str> {
        // Consent to what is asked about does nothing by itself, and is refused nowhere.
        let Self { profile, env, base_url, api_key_file, context, sandbox, rehearse, plain_http, yes: _ } = self;
        let options = [
            ("--profile", profile.is_some()),
            ("--env", env.is_some()),
            ("--base-url", base_url.is_some()),
            ("--api-key-file", api_key_file.is_some()),
            ("--plain-http", plain_http.is_some()),
            ("--context", context.is_some()),
            ("--sandbox", *sandbox),
            ("--rehearse", rehearse.is_some()),
        ];
        options.into_iter().filter(|(_, is_typed)| *is_typed).map(|(option, _)| option)
    }

    /// Two options that exclude each other. clap finds them only if both are before the command, or both after it.
    pub(crate) fn conflict(&self) -> Option<(&'static str, &'static str)> {
        let first = |options: [&str; 3]| self.typed().find(|option| options.contains(option));
        let of_bank = first(["--env", "--base-url", "--api-key-file"]);
        if self.sandbox {
            return of_bank.or(first(["--profile", "--plain-http", "--context"])).map(|other| ("--sandbox", other));
        }
        of_bank.filter(|_| self.profile.is_some()).map(|other| ("--profile", other))
    }
}

/// How results are written to standard output. Everything else goes to standard error.
#[derive(Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputOptions {
    /// Columns of a table or csv, in this order, like id,status
    #[arg(long, global = true, hide_short_help = true, value_delimiter = ',', value_name = "NAMES", value_hint = ValueHint::Other)]
    pub(crate) columns: Option<Vec<String>>,
    /// Leave out the header of a table or csv
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_header: bool,
    /// Format of the results: json is exact, for programs; csv is for spreadsheets, with ' before a text like =1 [default: table]
    #[arg(long, short, global = true, hide_short_help = true, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// When to use colour; NO_COLOR is respected
    #[arg(long, global = true, hide_short_help = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    /// Show tokens, after a confirmation at the terminal
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) show_secrets: bool,
    /// Log each call on standard error; -vv adds headers
    #[arg(long, short, global = true, hide_short_help = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    Table,
    Json,
    Jsonl,
    Csv,
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
        })
    }
}

impl OutputFormat {
    /// Whether failures are JSON too.
    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}
