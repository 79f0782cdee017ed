//! What each command that calls a bank says of itself: what it changes there, and what of the program's own it uses.
//!
//! Nothing here has a default: a command that is added does not compile before it has said all of it, which `cargo xtask endpoint`
//! tries.

use bunq_partner::{BulkOperation, EmailAddress};

use super::arguments::{ApiOptions, BankCommand, DryRun, IdArgument, ReceiptOptions, SessionCommand};
use super::bulk::RowOptions;

pub(super) struct Declaration<'a> {
    pub(super) effect: Effect<'a>,
    /// The ids of provisions that it is given, or `-` for those on standard input.
    pub(super) ids: &'a [IdArgument],
    /// Its `--dry-run`, if it has one.
    pub(super) dry_run: Option<DryRun>,
    /// Whether it writes records, of which each can be a line of CSV.
    pub(super) has_records: bool,
    /// Its `--receipts`, if it has that.
    pub(super) receipts: Option<&'a ReceiptOptions>,
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
    /// It closes the provisions with its ids. In production a person sees them, and is asked.
    Closes,
    /// It changes something for each row of a file, and asks once it knows how many there are.
    ChangesRows(RowOptions<'a>),
    /// It makes one call of any operation, which reads or changes.
    Calls(&'a ApiOptions),
    /// It does wrong things on purpose, and is refused in production.
    Provokes,
}

/// What becomes of the key and the context before the command begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ContextUse {
    /// They are checked: what must not be used is refused before standard input is taken, or a journal begun.
    Checked,
    /// What is wrong with them is a finding of the command.
    Examined,
    /// The context is not used.
    Unused,
}

impl BankCommand {
    #[deny(clippy::wildcard_enum_match_arm)]
    pub(super) fn declaration(&self) -> Declaration<'_> {
        use ContextUse::{Checked, Examined, Unused};
        use Effect::{Calls, Provokes, Reads};
        match self {
            Self::Close(options) => {
                let bulk = &options.bulk;
                let effect = match &bulk.from {
                    Some(from) => {
                        Effect::ChangesRows(RowOptions { operation: BulkOperation::Close, from, bulk, users: None })
                    }
                    None => Effect::Closes,
                };
                let (dry_run, receipts) = (Some(options.dry_run), Some(&options.receipts));
                Declaration { effect, ids: &options.ids, dry_run, has_records: true, receipts, context: Checked }
            }
            Self::Create(options) => {
                let (bulk, users) = (&options.bulk, options.activate.as_deref());
                let email = options.email.as_ref().map(EmailAddress::as_str).unwrap_or_default();
                let uuid = options.external_uuid();
                let effect = match &bulk.from {
                    Some(from) => {
                        Effect::ChangesRows(RowOptions { operation: BulkOperation::Create, from, bulk, users })
                    }
                    None => Effect::Changes {
                        what: format!("Create a user with the e-mail address {email}"),
                        goes_on: Some(format!("the user may have been created: `bunq-partner find {uuid}` shows it")),
                    },
                };
                let (dry_run, receipts) = (Some(options.dry_run), Some(&options.receipts));
                Declaration { effect, ids: &[], dry_run, has_records: true, receipts, context: Checked }
            }
            Self::ResetToken { id, dry_run, .. } => {
                let effect = Effect::Changes {
                    what: format!("Replace the credential of {id}, which stops working,"),
                    goes_on: Some(format!("the reset may go on at bunq: `bunq-partner watch {id}`")),
                };
                let dry_run = Some(*dry_run);
                Declaration { effect, ids: &[], dry_run, has_records: true, receipts: None, context: Checked }
            }
            Self::Session(SessionCommand::End { dry_run }) => {
                let effect = Effect::Changes { what: "End the session".into(), goes_on: None };
                let dry_run = Some(*dry_run);
                Declaration { effect, ids: &[], dry_run, has_records: false, receipts: None, context: Checked }
            }
            Self::Api(options) => {
                let (effect, dry_run) = (Calls(options), Some(options.dry_run));
                Declaration { effect, ids: &[], dry_run, has_records: false, receipts: None, context: Checked }
            }
            Self::Get { ids } | Self::Watch { ids, .. } => {
                Declaration { effect: Reads, ids, dry_run: None, has_records: true, receipts: None, context: Checked }
            }
            Self::Find { .. } | Self::List(_) | Self::Whoami => {
                let (dry_run, receipts) = (None, None);
                Declaration { effect: Reads, ids: &[], dry_run, has_records: true, receipts, context: Checked }
            }
            Self::Doctor => {
                let (dry_run, receipts) = (None, None);
                Declaration { effect: Reads, ids: &[], dry_run, has_records: false, receipts, context: Examined }
            }
            Self::Probe(_) => {
                let (dry_run, receipts) = (None, None);
                Declaration { effect: Provokes, ids: &[], dry_run, has_records: false, receipts, context: Unused }
            }
        }
    }
}
