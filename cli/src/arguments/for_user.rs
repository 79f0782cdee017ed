//! The commands that act for one user, whose token is in custody.

use std::path::PathBuf;

use bunq_partner::ProvisionId;
use bunq_partner::types::{
    AttachmentDescription, AttachmentId, IdentityVerificationSessionId, InquiryPurpose, InquiryStatus, InquiryType,
    UserInformationInquiryEntryId, UserInformationInquiryId,
};
use clap::{ArgGroup, Args, Subcommand, ValueHint};

use super::options::{CustodyOptions, DryRun, Personal, WaitOptions};
use super::values::{OpenParser, count, own_id, provision_id};

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
    #[command(flatten)]
    pub(crate) personal: Personal,
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
    /// Start an identity verification session; its token in this new file
    #[arg(long, value_name = "FILE", conflicts_with = "submit_identity")]
    pub(crate) identity_token_file: Option<PathBuf>,
    /// Start another session, though one may be there
    #[arg(long)]
    pub(crate) another: bool,
    /// Tell bunq that the user has done this session
    #[arg(long, value_name = "SESSION", value_hint = ValueHint::Other, value_parser = own_id::<IdentityVerificationSessionId>)]
    pub(crate) submit_identity: Option<IdentityVerificationSessionId>,
    #[command(flatten)]
    pub(crate) custody: CustodyOptions,
    #[command(flatten)]
    pub(crate) waiting: WaitOptions,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    #[command(flatten)]
    pub(crate) personal: Personal,
}

#[derive(Subcommand)]
pub(crate) enum InquiriesCommand {
    /// List what bunq asks of a user, newest first
    #[command(after_help = examples!(
        "inquiries list 1015 --custody users --status EXPECTING_REPLY_FROM_USER",
        "inquiries list 1015 --custody users --show-personal"
    ))]
    List(InquiryListOptions),
    /// Answer an entry of an inquiry
    #[command(after_help = examples!(
        "inquiries answer 1015 88 881 --text @answer.txt --custody users --wait",
        "inquiries answer 1015 88 882 --attach payslip.pdf --custody users"
    ))]
    Answer(AnswerOptions),
}

#[derive(Args)]
pub(crate) struct InquiryListOptions {
    /// Id of the user's provision
    #[arg(value_name = "ID", value_hint = ValueHint::Other, value_parser = provision_id)]
    pub(crate) id: ProvisionId,
    /// Only inquiries with one of these statuses
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = OpenParser(InquiryStatus::KNOWN, InquiryStatus::as_str), hide_possible_values = true)]
    pub(crate) status: Vec<InquiryStatus>,
    /// Only inquiries with one of these purposes
    #[arg(long, value_name = "PURPOSE", value_delimiter = ',', value_parser = OpenParser(InquiryPurpose::KNOWN, InquiryPurpose::as_str), hide_possible_values = true)]
    pub(crate) purpose: Vec<InquiryPurpose>,
    /// Only inquiries about one of these, like USER_PERSON
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = OpenParser(InquiryType::KNOWN, InquiryType::as_str), hide_possible_values = true)]
    pub(crate) kind: Vec<InquiryType>,
    /// Largest number of inquiries
    #[arg(long, value_name = "COUNT", value_hint = ValueHint::Other, value_parser = count)]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) personal: Personal,
    #[command(flatten)]
    pub(crate) custody: CustodyOptions,
}

#[derive(Args)]
#[command(
    group = ArgGroup::new("answer").args(["text", "attach"]).required(true).multiple(true),
    // With the group, the line is longer than a screen is wide.
    override_usage = "bunq-partner inquiries answer [OPTIONS] <ID> <INQUIRY> <ENTRY>"
)]
pub(crate) struct AnswerOptions {
    /// Id of the user's provision
    #[arg(value_name = "ID", value_hint = ValueHint::Other, value_parser = provision_id)]
    pub(crate) id: ProvisionId,
    /// Id of the inquiry
    #[arg(value_name = "INQUIRY", value_hint = ValueHint::Other, value_parser = own_id::<UserInformationInquiryId>)]
    pub(crate) inquiry: UserInformationInquiryId,
    /// Id of the entry
    #[arg(value_name = "ENTRY", value_hint = ValueHint::Other, value_parser = own_id::<UserInformationInquiryEntryId>)]
    pub(crate) entry: UserInformationInquiryEntryId,
    /// Answer in words; @FILE reads a file, - reads stdin
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// File, or id of an attachment; can be repeated
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, value_parser = attached)]
    pub(crate) attach: Vec<Attached>,
    #[command(flatten)]
    pub(crate) custody: CustodyOptions,
    #[command(flatten)]
    pub(crate) waiting: WaitOptions,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    #[command(flatten)]
    pub(crate) personal: Personal,
}

/// A file of an answer.
#[derive(Clone)]
pub(crate) enum Attached {
    Id(AttachmentId),
    File(PathBuf),
}

fn attached(text: &str) -> Result<Attached, String> {
    if !text.chars().all(|c| c.is_ascii_digit()) {
        return Ok(Attached::File(text.into()));
    }
    own_id(text).map(Attached::Id)
}
