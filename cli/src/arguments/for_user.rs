//! The commands that act for one user, whose token is in custody.

use std::path::PathBuf;

use bunq_partner::ProvisionId;
use bunq_partner::types::{AttachmentDescription, AttachmentId, IdentityVerificationSessionId};
use clap::{Args, Subcommand, ValueHint};

use super::options::{CustodyOptions, DryRun, WaitOptions};
use super::values::{own_id, provision_id};

#[derive(Subcommand)]
pub(crate) enum AttachmentCommand {
    /// Upload a file of a user, and print its id
    #[command(after_help = examples!(
        "attachment put 1015 passport.png --custody users",
        "attachment put 1015 passport.png --custody users --description Passport"
    ))]
    Put(PutOptions),
    /// Download a file of a user
    #[command(after_help = examples!(
        "attachment get 1015 6001 --custody users --output-file passport.png",
        "attachment get 1015 6001 --custody users | sha256sum"
    ))]
    Get {
        /// Id of the user's provision
        #[arg(value_name = "ID", value_hint = ValueHint::Other, value_parser = provision_id)]
        id: ProvisionId,
        /// Id of the attachment
        #[arg(value_name = "ATTACHMENT", value_hint = ValueHint::Other, value_parser = own_id::<AttachmentId>)]
        attachment: AttachmentId,
        /// New file for it, for you alone
        #[arg(long, value_name = "FILE")]
        output_file: Option<PathBuf>,
        #[command(flatten)]
        custody: CustodyOptions,
    },
}

/// A file that a user uploads.
#[derive(Args)]
pub(crate) struct PutOptions {
    /// Id of the user's provision
    #[arg(value_name = "ID", value_hint = ValueHint::Other, value_parser = provision_id)]
    pub(crate) id: ProvisionId,
    /// PNG, JPEG, GIF or PDF of at most 16 MiB; - is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Describe the file, in ASCII
    #[arg(long, value_name = "TEXT", value_hint = ValueHint::Other)]
    pub(crate) description: Option<AttachmentDescription>,
    #[command(flatten)]
    pub(crate) custody: CustodyOptions,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

/// How a user comes to the statuses in which it can be served.
#[derive(Args)]
pub(crate) struct OnboardOptions {
    /// Id of the user's provision
    #[arg(value_name = "ID", value_hint = ValueHint::Other, value_parser = provision_id)]
    pub(crate) id: ProvisionId,
    /// Answers as JSON, instead of questions; - is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Start an identity session; its token in this new file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["submit_identity", "dry_run"])]
    pub(crate) identity_token_file: Option<PathBuf>,
    /// Start another session, though one may be there
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) another: bool,
    /// Tell bunq that the user has done this session
    #[arg(long, value_name = "SESSION", value_hint = ValueHint::Other, value_parser = own_id::<IdentityVerificationSessionId>, conflicts_with = "dry_run")]
    pub(crate) submit_identity: Option<IdentityVerificationSessionId>,
    #[command(flatten)]
    pub(crate) custody: CustodyOptions,
    #[command(flatten)]
    pub(crate) waiting: WaitOptions,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}
