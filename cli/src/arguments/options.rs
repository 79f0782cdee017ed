//! The options of each command.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bunq_partner::jiff::civil::Date;
use bunq_partner::{CountryCode, EmailAddress, Operation, PhoneNumber, ProvisionId, ProvisionStatus, Secret, Uuid};
use bunq_partner_sandbox::Injection;
use clap::{Args, ValueEnum, ValueHint, value_parser};

use super::values::{
    IdArgument, OperationParser, address, content_type, count, date, external_uuid, fault, id_argument,
    listening_address, parameter, provision_id, status, time,
};

#[derive(Args)]
pub(crate) struct CloseOptions {
    /// Ids of the provisions; - reads them from stdin, one a line
    #[arg(required_unless_present = "from", conflicts_with = "from", value_name = "ID", value_hint = ValueHint::Other, value_parser = id_argument)]
    pub(crate) ids: Vec<IdArgument>,
    #[command(flatten)]
    pub(crate) waiting: WaitOptions,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    #[command(flatten)]
    pub(crate) receipts: ReceiptOptions,
    #[command(flatten)]
    pub(crate) bulk: BulkOptions,
}

/// Many rows of a file, with a journal from which an interrupted run continues.
#[derive(Args)]
#[command(next_help_heading = "Many at once")]
pub(crate) struct BulkOptions {
    /// Rows as CSV with a header or JSON lines; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wait", "timeout"])]
    pub(crate) from: Option<PathBuf>,
    /// Record of what was done [default: FILE.journal]
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Continue an interrupted run
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) resume: bool,
}

/// The file for bunq's signed responses.
#[derive(Args)]
pub(crate) struct ReceiptOptions {
    /// Append bunq's signed responses to this file
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(crate) receipts: Option<PathBuf>,
}

/// The folder with the tokens and the sessions of users.
#[derive(Args)]
pub(crate) struct CustodyOptions {
    /// Folder with what is kept of users [default: the profile's]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) custody: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct RekeyOptions {
    /// File with the API key before [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    pub(crate) old_api_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) custody: CustodyOptions,
}

#[derive(Args)]
pub(crate) struct ReportOptions {
    /// File with the rows of the run
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// Journal of the run [default: FILE.journal]
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Write the rows that have failed as a new input, with --output csv
    #[arg(long)]
    pub(crate) failed: bool,
}

#[derive(Args)]
pub(crate) struct CreateOptions {
    /// E-mail address of the user
    #[arg(long, value_hint = ValueHint::Other, required_unless_present = "from", conflicts_with = "from")]
    pub(crate) email: Option<EmailAddress>,
    /// Phone number of the user, like +31600000000
    #[arg(long, value_name = "NUMBER", value_hint = ValueHint::Other, required_unless_present = "from", conflicts_with = "from")]
    pub(crate) phone_number: Option<PhoneNumber>,
    /// Your key for the user [default: random]
    #[arg(long, value_name = "UUID", value_hint = ValueHint::Other, value_parser = external_uuid, conflicts_with = "from")]
    external_uuid: Option<Uuid>,
    /// The key if none is given.
    #[arg(skip = Uuid::new_v4())]
    random_uuid: Uuid,
    /// Adopt the provision with this key, if it exists
    #[arg(long, conflicts_with = "from")]
    pub(crate) ensure: bool,
    /// Create a company, directed by this person
    #[arg(long, value_name = "ID", value_hint = ValueHint::Other, value_parser = provision_id, conflicts_with_all = ["date_of_birth", "country", "from"])]
    pub(crate) director: Option<ProvisionId>,
    /// For USER_ANONYMOUS_TRANSACTION_AUDIT: date of birth
    #[arg(long, value_name = "DATE", value_hint = ValueHint::Other, value_parser = date, conflicts_with = "from")]
    pub(crate) date_of_birth: Option<Date>,
    /// Country of residence, with --date-of-birth
    #[arg(long, value_name = "COUNTRY", value_hint = ValueHint::Other, conflicts_with = "from")]
    pub(crate) country: Option<CountryCode>,
    #[command(flatten)]
    pub(crate) waiting: WaitOptions,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    #[command(flatten)]
    pub(crate) receipts: ReceiptOptions,
    #[command(flatten)]
    pub(crate) bulk: BulkOptions,
    /// Activate and keep new users [default: the profile's custody]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, num_args = 0..=1, help_heading = "Many at once")]
    pub(crate) activate: Option<Option<PathBuf>>,
}

impl CreateOptions {
    pub(crate) fn external_uuid(&self) -> Uuid {
        self.external_uuid.unwrap_or(self.random_uuid)
    }
}

#[derive(Args)]
pub(crate) struct ListOptions {
    /// Only provisions with one of these statuses
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status(), ignore_case = true, hide_possible_values = true)]
    pub(crate) status: Vec<ProvisionStatus>,
    /// Largest number of provisions
    #[arg(long, value_name = "COUNT", value_hint = ValueHint::Other, value_parser = count)]
    pub(crate) limit: Option<usize>,
}

/// Whether and how long to wait.
#[derive(Args, Clone, Copy)]
pub(crate) struct WaitOptions {
    /// Wait until bunq is done
    #[arg(long, short)]
    pub(crate) wait: bool,
    /// With --wait: the longest, like 90s or 2h
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other, default_value = "15m", value_parser = time)]
    pub(crate) timeout: Duration,
}

#[derive(Args, Clone, Copy, Default)]
pub(crate) struct DryRun {
    /// Show the requests, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What is about a person is hidden unless it is asked for: in results, and in the requests of a dry run.
#[derive(Args, Clone, Copy)]
pub(crate) struct Personal {
    /// Show what is about a person, too
    #[arg(long)]
    pub(crate) show_personal: bool,
}

#[derive(Args)]
pub(crate) struct ApiOptions {
    /// Operation of the API: see `help operations`
    #[arg(value_parser = OperationParser, hide_possible_values = true)]
    pub(crate) operation: &'static Operation,
    /// Parameter: see `help api OPERATION`; can be repeated
    #[arg(long = "param", short, value_name = "NAME=VALUE", value_parser = parameter)]
    pub(crate) parameters: Vec<(String, String)>,
    /// Call it as the user of this provision, who is in custody
    #[arg(long, value_name = "ID", value_parser = provision_id)]
    pub(crate) user: Option<ProvisionId>,
    #[command(flatten)]
    pub(crate) custody: CustodyOptions,
    /// Body as JSON, or a file; @FILE reads one, - reads stdin
    #[arg(long, short, value_name = "JSON")]
    pub(crate) body: Option<String>,
    /// Content type of a file [default: by its first bytes]
    #[arg(long, value_name = "TYPE", value_parser = content_type(), hide_possible_values = true)]
    pub(crate) content_type: Option<&'static str>,
    /// New file for a response that is a file, for you alone
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(crate) output_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct ProbeOptions {
    /// Create a provision too, and close it
    #[arg(long)]
    pub(crate) create: bool,
    /// Write report.md, report.json and profile.json here
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) save: Option<PathBuf>,
}

/// The first line on standard output is JSON: `base_url` and `api_key`. Calls are logged on standard error.
#[derive(Args)]
pub(crate) struct SandboxOptions {
    /// IP address to listen on; 0.0.0.0 is all [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", value_hint = ValueHint::Other, value_parser = listening_address)]
    pub(crate) listen: Option<IpAddr>,
    /// Port; 0 takes a free one
    #[arg(long, value_hint = ValueHint::Other, default_value_t = 0)]
    pub(crate) port: u16,
    /// API key that it accepts [default: random]
    #[arg(long, value_name = "KEY", value_hint = ValueHint::Other)]
    pub(crate) api_key: Option<Secret>,
    /// Enforce bunq's rate limits, or a multiple of them
    #[arg(long, value_name = "TIMES", value_hint = ValueHint::Other, num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) rate_limits: Option<u32>,
    /// Inject a fault: see `help faults`; can be repeated
    #[arg(long = "fault", value_name = "FAULT", value_parser = fault)]
    pub(crate) faults: Vec<Injection>,
    /// Start with the provisions in this JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) seed: Option<PathBuf>,
    /// Start with this many active provisions [default: 0]
    #[arg(long, value_name = "COUNT", value_hint = ValueHint::Other, value_parser = value_parser!(u32).range(..=1_000_000))]
    pub(crate) provisions: Option<u32>,
    /// Start without an OAuth client: no user is provisioned
    #[arg(long)]
    pub(crate) no_oauth_client: bool,
    /// Keep the state in this file: each change before its response
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Behave like the bank in this profile of `probe`
    #[arg(long, value_name = "FILE")]
    pub(crate) bank_profile: Option<PathBuf>,
    /// Accept the API key only from this address; can be repeated
    #[arg(long = "allow", value_name = "ADDRESS", value_hint = ValueHint::Other, value_parser = address)]
    pub(crate) allowed_addresses: Vec<IpAddr>,
    /// Advance provisions by time instead of by reads
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other, value_parser = time)]
    pub(crate) step: Option<Duration>,
    /// Format of the log of calls
    #[arg(long, value_enum, default_value_t = Log::Text, value_name = "FORMAT")]
    pub(crate) log: Log,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    Text,
    Json,
    None,
}
