//! The commands that act for one user, whose token is in custody.

use std::path::PathBuf;

use bunq_partner::ProvisionId;
use bunq_partner::types::{AttachmentDescription, AttachmentId};
use clap::{Args, Subcommand, ValueHint};

use super::options::{CustodyOptions, DryRun};
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
