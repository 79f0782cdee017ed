//! The commands that act for users in custody.

use bunq_partner::ProvisionId;
use clap::Subcommand;

use super::options::{CustodyOptions, DryRun};
use super::values::{IdArgument, id_argument, provision_id};

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
        #[arg(value_name = "ID", value_parser = provision_id)]
        id: ProvisionId,
        #[command(flatten)]
        custody: CustodyOptions,
    },
    /// Activate the credentials of users, and keep their tokens
    #[command(after_help = concat!(
        "It waits for each credential, stores its token and opens its first session: one in 30 s,\n\
         that of the credential first which expires first. After an interruption it goes on.\n\n",
        examples!("users activate 1015 1019 --custody users", "users activate - --yes")
    ))]
    Activate {
        /// Ids of the provisions; - reads them from stdin, one a line
        #[arg(required = true, value_name = "ID", value_parser = id_argument)]
        users: Vec<IdArgument>,
        #[command(flatten)]
        custody: CustodyOptions,
        #[command(flatten)]
        dry_run: DryRun,
    },
    /// Replace the credential of a user, and activate the new one
    #[command(after_help = examples!("users reset 1015 --custody users", "users reset 1015 --dry-run"))]
    Reset {
        /// Id of the provision
        #[arg(value_name = "ID", value_parser = provision_id)]
        id: ProvisionId,
        #[command(flatten)]
        custody: CustodyOptions,
        #[command(flatten)]
        dry_run: DryRun,
    },
}
