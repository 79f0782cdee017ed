//! The commands that act for users in custody.

use bunq_partner::ProvisionId;
use clap::{Subcommand, ValueHint};

use super::options::CustodyOptions;
use super::values::provision_id;

#[derive(Subcommand)]
pub(crate) enum UsersCommand {
    /// List the users in custody, without a call
    #[command(after_help = examples!("users list --custody users", "users list --unactivated --output csv"))]
    List {
        /// Only those whose credential nobody has activated
        #[arg(long)]
        unactivated: bool,
        #[command(flatten)]
        custody: CustodyOptions,
    },
    /// Show what is in custody of a user, and what bunq says of it
    #[command(after_help = examples!("users show 1015", "users show 1015 --custody users --output json"))]
    Show {
        /// Id of the provision
        #[arg(value_name = "ID", value_hint = ValueHint::Other, value_parser = provision_id)]
        id: ProvisionId,
        #[command(flatten)]
        custody: CustodyOptions,
    },
}
