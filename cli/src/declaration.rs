//! What each command declares: what it changes at the bank, what it writes, and how it uses the key and the context.
//!
//! Nothing here has a default: a new command does not compile without its declaration. `cargo xtask endpoint` tries it.

use bunq_partner::{BulkOperation, EmailAddress, ProvisionId};

use super::arguments::{
    AnswerOptions, ApiOptions, AttachmentCommand, BankCommand, Command, ConfigCommand, ConnectionOptions, DryRun,
    FleetCommand, IdArgument, InquiriesCommand, OauthCommand, PostgresCommand, ReceiptOptions, ReceiptsCommand,
    SessionCommand, UsersCommand, WebhooksCommand, Whose,
};
use super::attachment;
use super::bulk::{RowOptions, report};
use super::columns::Results;
use super::config;
use super::custody::{CustodyFolder, CustodyUse};
use super::exit::Failure;
use super::inquiries;
use super::oauth;
use super::onboarding;
use super::receipts;
use super::records::{ProvisionOutcome, provision_columns};
use super::users;
use super::webhooks::{self, TargetChange};

pub(super) struct Declaration<'a> {
    pub(super) effect: Effect<'a>,
    /// Its ids of provisions, or `-` for those on standard input.
    pub(super) ids: &'a [IdArgument],
    /// Its `--dry-run`, if it has one.
    pub(super) dry_run: Option<DryRun>,
    /// What it writes, without `--dry-run`.
    pub(super) results: Results,
    /// Its `--receipts`, if it has one.
    pub(super) receipts: Option<&'a ReceiptOptions>,
    pub(super) custody: CustodyUse<'a>,
    pub(super) context: ContextUse,
}

/// What a command does at the bank.
pub(super) enum Effect<'a> {
    Reads,
    /// It changes something. In production a person is asked first.
    Changes {
        /// What it changes, in the words of that question.
        what: String,
        /// What may go on at bunq after an interruption, and how to see it.
        goes_on: Option<String>,
    },
    /// It changes what bunq tells a URL, which is read first. In production a person sees it without its path, and is asked.
    ChangesTarget(TargetChange<'a>),
    /// It closes the provisions with its ids. In production a person sees them, and is asked.
    Closes,
    /// It activates the users with its ids. It ends by itself when it is interrupted.
    Activates,
    /// It onboards the user of a provision. It ends by itself when it is interrupted.
    Onboards(ProvisionId),
    /// It changes something for each row of a file, and asks once it knows how many there are.
    ChangesRows(RowOptions<'a>),
    /// It makes one call of any operation, which reads or changes.
    Calls(&'a ApiOptions),
    /// It takes calls of bunq's until it is interrupted, and ends by itself then.
    Listens,
    /// It sends wrong requests on purpose, and is refused in production.
    Provokes,
}

/// How the key and the context are used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ContextUse {
    /// They are checked before standard input is read or a journal begun.
    Checked,
    /// The command reports what is wrong with them.
    Examined,
    /// No call is made with the context.
    Unused,
    /// No call is made: neither is needed.
    Offline,
}

impl Declaration<'_> {
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run.is_some_and(|dry_run| dry_run.dry_run)
    }
}

impl Command {
    /// Refuses options that choose a bank, a key or a session where the command has a bank of its own: it would not be about the bank
    /// that was chosen. The other commands take them, so that scripts may begin all their commands with the same ones.
    #[deny(clippy::wildcard_enum_match_arm)]
    pub(super) fn accept(&self, options: &ConnectionOptions) -> Result<(), Failure> {
        let hint = match self {
            Self::Demo => {
                "`bunq-partner help create` and `bunq-partner help close` say how a bank is asked for what the demo does"
            }
            Self::Sandbox(_) => {
                "--bank-profile FILE says how the sandbox behaves, --api-key KEY which key it accepts, and --state FILE what it keeps"
            }
            Self::Bank(_)
            | Self::Report(_)
            | Self::Receipts(ReceiptsCommand::Verify { .. })
            | Self::Config(ConfigCommand::Show | ConfigCommand::Path)
            | Self::Postgres(PostgresCommand::Migrate)
            | Self::Fleet(FleetCommand::Status | FleetCommand::Forget { .. })
            | Self::Completions { .. }
            | Self::Man
            | Self::Help { .. } => return Ok(()),
        };
        options.typed().next().map_or(Ok(()), |option| {
            let problem = format!("{option} is for commands that call a bank: this one is a sandbox of its own");
            Err(Failure::usage(problem).with_hint(hint))
        })
    }

    /// What the command writes. `schema.json` describes it.
    #[deny(clippy::wildcard_enum_match_arm)]
    pub(super) fn results(&self) -> Results {
        match self {
            Self::Bank(command) => {
                let declaration = command.declaration();
                // Requests, or how many of them.
                if declaration.is_dry_run() { Results::Value } else { declaration.results }
            }
            // The new input has the columns of the input.
            Self::Report(options) if options.failed => Results::Text,
            Self::Report(_) => Results::Records(report::columns()),
            Self::Receipts(ReceiptsCommand::Verify { .. }) => Results::Records(receipts::columns()),
            Self::Config(ConfigCommand::Show) => Results::Records(config::columns()),
            Self::Demo
            | Self::Config(ConfigCommand::Path)
            | Self::Postgres(PostgresCommand::Migrate)
            | Self::Fleet(FleetCommand::Status | FleetCommand::Forget { .. }) => Results::Value,
            Self::Sandbox(_) | Self::Completions { .. } | Self::Man | Self::Help { .. } => Results::Text,
        }
    }
}

impl BankCommand {
    #[deny(clippy::wildcard_enum_match_arm)]
    pub(super) fn declaration(&self) -> Declaration<'_> {
        use ContextUse::{Checked, Examined, Offline, Unused};
        use Effect::{Activates, Calls, Listens, Provokes, Reads};
        // Most act for no user.
        let custody = CustodyUse::Unused;
        let reads = |ids, results, context| Declaration {
            effect: Reads,
            ids,
            dry_run: None,
            results,
            receipts: None,
            custody,
            context,
        };
        match self {
            Self::Close(options) => {
                let bulk = &options.bulk;
                let (effect, columns) = match &bulk.from {
                    Some(from) => {
                        let rows = RowOptions { operation: BulkOperation::Close, from, bulk, activates: false };
                        (Effect::ChangesRows(rows), report::columns())
                    }
                    None => (Effect::Closes, ProvisionOutcome::columns()),
                };
                let results = Results::Records(columns);
                let (dry_run, receipts) = (Some(options.dry_run), Some(&options.receipts));
                let custody = if options.dry_run.dry_run { custody } else { CustodyUse::Released };
                Declaration { effect, ids: &options.ids, dry_run, results, receipts, custody, context: Checked }
            }
            Self::Create(options) => {
                let bulk = &options.bulk;
                let custody = match &options.activate {
                    Some(folder) => {
                        CustodyUse::Needed(CustodyFolder { option: "--activate", folder: folder.as_deref() })
                    }
                    None => custody,
                };
                let email = options.email.as_ref().map(EmailAddress::as_str).unwrap_or_default();
                let uuid = options.external_uuid();
                let (effect, columns) = match &bulk.from {
                    Some(from) => {
                        let activates = options.activate.is_some();
                        let rows = RowOptions { operation: BulkOperation::Create, from, bulk, activates };
                        (Effect::ChangesRows(rows), report::columns())
                    }
                    None => {
                        let shown = format!("the user may have been created: `bunq-partner find {uuid}` shows it");
                        let what = format!("Create a user with the e-mail address {email}");
                        (Effect::Changes { what, goes_on: Some(shown) }, ProvisionOutcome::columns())
                    }
                };
                let results = Results::Records(columns);
                let (dry_run, receipts) = (Some(options.dry_run), Some(&options.receipts));
                Declaration { effect, ids: &[], dry_run, results, receipts, custody, context: Checked }
            }
            Self::Oauth(OauthCommand::Show) => reads(&[], Results::Records(oauth::client_columns()), Checked),
            Self::Oauth(OauthCommand::Ensure { url, .. }) => {
                let effect = Effect::Changes {
                    what: format!("Create the OAuth client and its callback URL {}, where they lack,", url.as_str()),
                    goes_on: Some("they may have been created: `bunq-partner oauth show` shows them".into()),
                };
                let results = Results::Records(oauth::setup_columns());
                Declaration { effect, ids: &[], dry_run: None, results, receipts: None, custody, context: Checked }
            }
            Self::Session(SessionCommand::End { dry_run }) => {
                let effect = Effect::Changes { what: "End the session".into(), goes_on: None };
                let (dry_run, results) = (Some(*dry_run), Results::Value);
                Declaration { effect, ids: &[], dry_run, results, receipts: None, custody, context: Checked }
            }
            Self::Session(SessionCommand::Reinstall) => {
                let what = "Make another installation and device, which replace those in the context file,".into();
                let effect = Effect::Changes { what, goes_on: None };
                let results = Results::Value;
                Declaration { effect, ids: &[], dry_run: None, results, receipts: None, custody, context: Checked }
            }
            Self::Api(options) => {
                let (effect, dry_run) = (Calls(options), Some(options.dry_run));
                let custody = options.user.map_or(custody, |_| CustodyUse::of(&options.custody, options.dry_run));
                Declaration {
                    effect,
                    ids: &[],
                    dry_run,
                    results: Results::Value,
                    receipts: None,
                    custody,
                    context: Checked,
                }
            }
            Self::Onboard(options) => {
                let effect = Effect::Onboards(options.id);
                let (dry_run, results) = (Some(options.dry_run), Results::Records(onboarding::columns()));
                let custody = CustodyUse::of(&options.custody, options.dry_run);
                Declaration { effect, ids: &[], dry_run, results, receipts: None, custody, context: Checked }
            }
            Self::Inquiries(InquiriesCommand::List(options)) => {
                let results = Results::Records(inquiries::columns());
                Declaration { custody: CustodyUse::Needed((&options.custody).into()), ..reads(&[], results, Checked) }
            }
            Self::Inquiries(InquiriesCommand::Answer(options)) => {
                let AnswerOptions { id, inquiry, entry, .. } = options;
                let effect = Effect::Changes {
                    what: format!("Answer the entry {entry} of the inquiry {inquiry} of the user of provision {id}"),
                    goes_on: Some(format!(
                        "the answer may have been sent: `bunq-partner inquiries list {id}` shows how far the entry is"
                    )),
                };
                let (dry_run, results) = (Some(options.dry_run), Results::Records(inquiries::answer_columns()));
                let custody = CustodyUse::of(&options.custody, options.dry_run);
                Declaration { effect, ids: &[], dry_run, results, receipts: None, custody, context: Checked }
            }
            Self::Attachment(AttachmentCommand::Put(options)) => {
                let effect = Effect::Changes {
                    what: format!("Upload a file of the user of provision {}", options.id),
                    goes_on: Some("the file may have been uploaded: a second one does no harm".into()),
                };
                let (dry_run, results) = (Some(options.dry_run), Results::Records(attachment::columns()));
                let custody = CustodyUse::of(&options.custody, options.dry_run);
                Declaration { effect, ids: &[], dry_run, results, receipts: None, custody, context: Checked }
            }
            Self::Attachment(AttachmentCommand::Get { custody, .. }) => {
                Declaration { custody: CustodyUse::Needed(custody.into()), ..reads(&[], Results::Value, Checked) }
            }
            Self::Get { ids } => reads(ids, Results::Records(provision_columns()), Checked),
            Self::Find { .. } | Self::List(_) => reads(&[], Results::Records(provision_columns()), Checked),
            Self::Watch { ids, .. } => reads(ids, Results::Changes(provision_columns()), Checked),
            Self::Users(UsersCommand::List { custody, .. }) => {
                let results = Results::Records(users::list_columns());
                Declaration { custody: CustodyUse::Needed(custody.into()), ..reads(&[], results, Offline) }
            }
            Self::Users(UsersCommand::Show { custody, .. }) => {
                let results = Results::Records(users::show_columns());
                Declaration { custody: CustodyUse::Needed(custody.into()), ..reads(&[], results, Checked) }
            }
            Self::Users(UsersCommand::Activate { users: ids, custody, dry_run }) => {
                let (custody, results) =
                    (CustodyUse::of(custody, *dry_run), Results::Records(users::outcome_columns()));
                let dry_run = Some(*dry_run);
                Declaration { effect: Activates, ids, dry_run, results, receipts: None, custody, context: Checked }
            }
            Self::Users(UsersCommand::Reset { id, custody, dry_run }) => {
                let effect = Effect::Changes {
                    what: format!("Replace the credential of {id}, which stops working,"),
                    goes_on: Some(format!(
                        "the reset may go on at bunq: `bunq-partner users activate {id}` takes the new credential"
                    )),
                };
                let (custody, results) =
                    (CustodyUse::of(custody, *dry_run), Results::Records(users::outcome_columns()));
                let (ids, dry_run) = (&[], Some(*dry_run));
                Declaration { effect, ids, dry_run, results, receipts: None, custody, context: Checked }
            }
            Self::Webhooks(WebhooksCommand::List { whose, .. }) => {
                let results = Results::Records(webhooks::columns());
                Declaration { custody: of_user(whose, DryRun::default()), ..reads(&[], results, Checked) }
            }
            Self::Webhooks(WebhooksCommand::Ensure(options)) => {
                let (effect, dry_run) = (Effect::ChangesTarget(TargetChange::Ensure(options)), Some(options.dry_run));
                let results = Results::Records(webhooks::ensured_columns());
                let custody = of_user(&options.whose, options.dry_run);
                Declaration { effect, ids: &[], dry_run, results, receipts: None, custody, context: Checked }
            }
            Self::Webhooks(WebhooksCommand::Remove(options)) => {
                let (effect, dry_run) = (Effect::ChangesTarget(TargetChange::Remove(options)), Some(options.dry_run));
                let results = Results::Records(webhooks::removed_columns());
                let custody = of_user(&options.whose, options.dry_run);
                Declaration { effect, ids: &[], dry_run, results, receipts: None, custody, context: Checked }
            }
            Self::Webhooks(WebhooksCommand::Check { whose }) => {
                Declaration { custody: of_user(whose, DryRun::default()), ..reads(&[], Results::Value, Checked) }
            }
            Self::Webhooks(WebhooksCommand::Failures { whose, .. }) => {
                let results = Results::Records(webhooks::failure_columns());
                Declaration { custody: of_user(whose, DryRun::default()), ..reads(&[], results, Checked) }
            }
            Self::Webhooks(WebhooksCommand::Retry(options)) => {
                let effect = match options.failures.len() {
                    0 => Effect::ChangesTarget(TargetChange::Retry(options)),
                    count => Effect::Changes {
                        what: format!("Have bunq make {count} failed calls again"),
                        goes_on: Some(TargetChange::Retry(options).goes_on()),
                    },
                };
                let (dry_run, results) = (Some(options.dry_run), Results::Records(webhooks::retry_columns()));
                let custody = of_user(&options.whose, options.dry_run);
                Declaration { effect, ids: &[], dry_run, results, receipts: None, custody, context: Checked }
            }
            Self::Webhooks(WebhooksCommand::Listen(options)) => {
                let results = Results::Changes(webhooks::heard_columns());
                let custody = CustodyUse::Optional((&options.custody).into());
                Declaration { effect: Listens, custody, ..reads(&[], results, Checked) }
            }
            Self::Rekey(options) => {
                let custody = CustodyUse::Optional((&options.custody).into());
                Declaration { custody, ..reads(&[], Results::Value, Unused) }
            }
            // It changes nothing at the bank: a sandbox makes a call.
            Self::Webhooks(WebhooksCommand::Trigger { .. }) => reads(&[], Results::Value, Unused),
            Self::Whoami => reads(&[], Results::Value, Checked),
            Self::Doctor(options) => {
                let custody = CustodyUse::Optional(options.into());
                Declaration { custody, ..reads(&[], Results::Value, Examined) }
            }
            Self::Probe(_) => {
                let results = Results::Value;
                Declaration {
                    effect: Provokes,
                    ids: &[],
                    dry_run: None,
                    results,
                    receipts: None,
                    custody,
                    context: Unused,
                }
            }
        }
    }
}

/// The custody of a command that acts for the partner, or for a user who is in it.
fn of_user(whose: &Whose, dry_run: DryRun) -> CustodyUse<'_> {
    whose.user.map_or(CustodyUse::Unused, |_| CustodyUse::of(&whose.custody, dry_run))
}
