//! Options of all commands: which bank, with which key, and how results are written.

use std::path::PathBuf;

use bunq_partner::Environment;
use clap::{ArgAction, Args, ValueEnum, value_parser};

/// Which bank, and with which key. The key is never on the command line: it comes from BUNQ_API_KEY, from a file, or is asked
/// for.
#[derive(Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionOptions {
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
    pub(crate) env: Environment,
    /// Base URL, if not the environment's: HTTPS, or loopback
    #[arg(long, global = true, hide_short_help = true, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Read the API key from this file instead of BUNQ_API_KEY
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Keep key pair and session in this file [default: one file a key, in the state folder]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub(crate) context: Option<PathBuf>,
    /// Use a sandbox inside this program; nothing leaves the machine
    #[arg(long, global = true, hide_short_help = true, conflicts_with_all = ["base_url", "api_key_file", "context"])]
    pub(crate) sandbox: bool,
    /// For a rehearsal on loopback: multiply bunq's rate limits
    #[arg(long, global = true, hide_short_help = true, value_name = "TIMES", value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) rehearse: Option<u32>,
    /// Change things in production without asking
    #[arg(long, short, global = true, hide_short_help = true)]
    pub(crate) yes: bool,
}

/// How results are written to standard output. Everything else goes to standard error.
#[derive(Args, Clone, Copy)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputOptions {
    /// Format of the results
    #[arg(long, short, global = true, hide_short_help = true, value_enum, default_value_t = OutputFormat::Table, value_name = "FORMAT")]
    pub(crate) output: OutputFormat,
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    Table,
    Json,
    Jsonl,
    Csv,
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
