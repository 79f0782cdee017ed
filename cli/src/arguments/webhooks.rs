//! The commands about notifications: which events bunq tells, to which URLs. A URL has a secret in its path, so none is an argument.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::PathBuf;

use bunq_partner::ProvisionId;
use bunq_partner::types::{NotificationCategory, NotificationFilterFailureId};
use clap::builder::{PathBufValueParser, PossibleValue, TypedValueParser};
use clap::{Arg, Args, Command, Subcommand, ValueHint};

use super::options::{CustodyOptions, DryRun};
use super::values::{OpenParser, count, listening_address, own_id, provision_id};

#[derive(Subcommand)]
pub(crate) enum WebhooksCommand {
    /// List which events bunq tells, and to which URLs
    #[command(after_help = examples!("webhooks list", "webhooks list --user 1015 --custody users --show-urls"))]
    List {
        #[command(flatten)]
        urls: ShownUrls,
        #[command(flatten)]
        whose: Whose,
    },
    /// Have bunq call your URL when something of a category happens
    #[command(after_help = concat!(
        "Filters that others have set stay. The URL is in --url-file or BUNQ_WEBHOOK_URL, or is\n\
         asked for: its path is a secret.\n\n",
        examples!(
            "webhooks ensure PARTNER_USER_PROVISION --url-file webhook.url",
            "webhooks ensure USER_ONBOARDING --user 1015 --custody users"
        )
    ))]
    Ensure(FilterOptions),
    /// Have bunq not call your URL any more when something of a category happens
    #[command(after_help = examples!(
        "webhooks remove PARTNER_USER_PROVISION --url-file old.url",
        "webhooks remove SUPPORT --user 1015 --dry-run"
    ))]
    Remove(FilterOptions),
    /// Check what bunq tells: filters, URLs, certificates, failed calls
    #[command(after_help = concat!(
        "It connects to each URL, and sends nothing there.\n\n",
        examples!("webhooks check", "webhooks check --user 1015 --custody users")
    ))]
    Check {
        #[command(flatten)]
        whose: Whose,
    },
    /// List the calls that bunq could not deliver, newest first
    #[command(after_help = examples!("webhooks failures --limit 20", "webhooks failures --output csv"))]
    Failures {
        /// Largest number of calls
        #[arg(long, value_name = "COUNT", value_hint = ValueHint::Other, value_parser = count)]
        limit: Option<usize>,
        #[command(flatten)]
        urls: ShownUrls,
        #[command(flatten)]
        whose: Whose,
    },
    /// Have bunq make calls again that it could not deliver
    #[command(after_help = concat!(
        "Without ids these are the calls to your URL, and those to others are left alone.\n\n",
        examples!("webhooks retry --url-file webhook.url", "webhooks retry 9001 9002")
    ))]
    Retry(RetryOptions),
    /// Show bunq's calls as they come, and what bunq says to each
    #[command(after_help = concat!(
        "bunq calls HTTPS alone: give --certificate, or have a proxy hand its calls on. The URL\n\
         is in --url-file or BUNQ_WEBHOOK_URL; without one, a terminal shows a random one once.\n\
         Without --journal a crash loses calls that were answered and are not shown yet.\n\n",
        examples!(
            "webhooks listen --port 8080 --url-file webhook.url --trusted-proxy 127.0.0.1",
            "webhooks listen --listen 0.0.0.0 --port 8443 --certificate chain.pem --key key.pem"
        )
    ))]
    Listen(ListenOptions),
    /// Have a sandbox tell of a provision or its user now
    #[command(after_help = concat!(
        "It is for a `bunq-partner sandbox` that runs elsewhere: bunq cannot be asked.\n\n",
        examples!(
            "webhooks trigger PARTNER_USER_PROVISION 1015 --profile test",
            "webhooks trigger USER_ONBOARDING 1015 --output json"
        )
    ))]
    Trigger {
        /// Category, like PARTNER_USER_PROVISION
        #[arg(value_name = "CATEGORY", value_parser = NoUrl(CATEGORY), hide_possible_values = true)]
        category: NotificationCategory,
        /// Id of the provision
        #[arg(value_name = "ID", value_hint = ValueHint::Other, value_parser = provision_id)]
        id: ProvisionId,
    },
}

/// A filter, and what becomes of it.
#[derive(Args)]
pub(crate) struct FilterOptions {
    /// Category, like PARTNER_USER_PROVISION
    #[arg(value_name = "CATEGORY", value_parser = NoUrl(CATEGORY), hide_possible_values = true)]
    pub(crate) category: NotificationCategory,
    // A URL beside it is refused without being repeated.
    #[arg(hide = true, value_name = "URL", value_hint = ValueHint::Other, value_parser = NoUrl(refused))]
    _url: Option<String>,
    #[command(flatten)]
    pub(crate) url: UrlOptions,
    #[command(flatten)]
    pub(crate) whose: Whose,
    #[command(flatten)]
    pub(crate) urls: ShownUrls,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct RetryOptions {
    /// Ids of failed calls, of any URL
    #[arg(value_name = "FAILURE", value_hint = ValueHint::Other, conflicts_with = "url_file", value_parser = NoUrl(own_id::<NotificationFilterFailureId>))]
    pub(crate) failures: Vec<NotificationFilterFailureId>,
    #[command(flatten)]
    pub(crate) url: UrlOptions,
    #[command(flatten)]
    pub(crate) whose: Whose,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

/// Which calls are taken, and where.
#[derive(Args)]
pub(crate) struct ListenOptions {
    /// IP address to listen on; 0.0.0.0 is all [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", value_hint = ValueHint::Other, value_parser = listening_address)]
    pub(crate) listen: Option<IpAddr>,
    /// Port; 0 takes a free one
    #[arg(long, value_hint = ValueHint::Other, default_value_t = 0)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) url: UrlOptions,
    /// Serve HTTPS with this certificate and its chain, in PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) certificate: Option<PathBuf>,
    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Option<PathBuf>,
    // The journal of a bulk run has another id.
    /// Keep calls in this file until they are shown [default: memory]
    #[arg(long = "journal", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) hints: Option<PathBuf>,
    /// Believe a proxy in this range who calls; can be repeated
    #[arg(long = "trusted-proxy", value_name = "RANGE", value_hint = ValueHint::Other)]
    pub(crate) trusted_proxies: Vec<String>,
    // The file of a bulk run has another id.
    /// Take calls from this range alone; can be repeated
    #[arg(long = "from", value_name = "RANGE", value_hint = ValueHint::Other)]
    pub(crate) ranges: Vec<String>,
    #[command(flatten)]
    pub(crate) custody: CustodyOptions,
}

/// Where the URL is that bunq calls.
#[derive(Args)]
pub(crate) struct UrlOptions {
    /// Read the URL from this file instead of BUNQ_WEBHOOK_URL; - is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = NoUrl(PathBufValueParser::new()))]
    pub(crate) url_file: Option<PathBuf>,
}

/// The path of a URL is hidden unless it is asked for: whoever knows it can call the receiver.
#[derive(Args, Clone, Copy)]
pub(crate) struct ShownUrls {
    /// Show the paths of URLs, too: they are secret
    #[arg(long)]
    pub(crate) show_urls: bool,
}

/// Whose filters they are: the partner's, or those of a user.
#[derive(Args)]
pub(crate) struct Whose {
    /// Those of the user of this provision, who is in custody
    #[arg(long, value_name = "ID", value_parser = provision_id)]
    pub(crate) user: Option<ProvisionId>,
    #[command(flatten)]
    pub(crate) custody: CustodyOptions,
}

const CATEGORY: OpenParser<NotificationCategory> =
    OpenParser(NotificationCategory::KNOWN, NotificationCategory::as_str);

fn refused(_: &str) -> Result<String, String> {
    Err("one category is given at a time".to_owned())
}

/// Another parser, before which a URL is refused, and not repeated: it has a secret in its path.
#[derive(Clone)]
struct NoUrl<P>(P);

impl<P: TypedValueParser> TypedValueParser for NoUrl<P> {
    type Value = P::Value;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<P::Value, clap::Error> {
        if !value.to_string_lossy().contains("://") {
            return self.0.parse_ref(command, argument, value);
        }
        let refuse = |_: &str| {
            let rule =
                "whoever lists processes sees arguments: put it into a file for --url-file, or into BUNQ_WEBHOOK_URL";
            Err::<P::Value, _>(rule.to_owned())
        };
        refuse.parse_ref(command, argument, OsStr::new("a URL"))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}
