//! `users`: what is in custody of users, and acting for them.

mod activation;
mod records;

use std::pin::pin;

use bunq_partner::{CustodyFilter, ErrorKind, ProvisionId, ProvisionStatus};
use futures_util::{StreamExt as _, stream};

pub(super) use self::activation::{activate, change, reset};
pub(super) use self::records::{list_columns, outcome_columns, show_columns};
use super::custody::entries;
use super::exit::{Failure, after_output, told};
use super::invocation::Invocation;

/// Lists what is in custody, and asks bunq nothing.
pub(super) async fn list(invocation: &Invocation, wants_unactivated: bool) -> Result<(), Failure> {
    let filter = if wants_unactivated { CustodyFilter::Unactivated } else { CustodyFilter::All };
    let custody = invocation.connection.custody.as_deref();
    let mut entries = pin!(stream::iter(custody).flat_map(|custody| entries(custody, filter)));
    let mut printer = invocation.printer();
    let (mut count, mut unusable) = (0_u64, 0_u64);
    while let Some(entry) = entries.next().await {
        let entry = entry?;
        count += 1;
        unusable += u64::from(entry.problem.is_some());
        printer.add(records::entry(&entry))?;
    }
    if count == 0 {
        invocation.note("there are none");
    }
    let outcome = match unusable {
        0 => Ok(()),
        count => {
            let problem = format!("the records of {count} users cannot be used: the column `problem` says why");
            Err(Failure::of_kind(ErrorKind::Context, problem))
        }
    };
    after_output(outcome, printer.finish())
}

/// Shows what is in custody of a user, and what bunq says of its provision.
pub(super) async fn show(invocation: &Invocation, id: ProvisionId) -> Result<(), Failure> {
    let client = invocation.client()?;
    let users = client.users();
    let seen = client.provisions().get(id).await?;
    if seen.status == ProvisionStatus::Closed {
        // Reading that it is closed removes what is kept of its user, after a while.
        users.remove(id).await?;
    }
    let entry = users.get(id).await?;
    let context = match &entry {
        Some(entry) if entry.is_activated => users.of(id).context().await,
        _ => Ok(None),
    };
    let problem = context.as_ref().err().map(told);
    let session = context.as_ref().ok().and_then(Option::as_ref);
    let record = records::details(&seen, entry.as_ref(), session, problem);
    let written = invocation.printer().single(record);
    after_output(context.map(drop).map_err(Failure::from), written)
}
