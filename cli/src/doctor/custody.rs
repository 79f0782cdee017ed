//! Whether the custody can be used, and how many users in it wait to be activated. Nothing secret is read.

use std::error::Error as _;
use std::io;

use bunq_partner::jiff::Timestamp;
use bunq_partner::{Custody, CustodyEntry, CustodyFilter, Error, ErrorKind, ProvisionId};
use futures_util::TryStreamExt as _;

use super::super::custody::entries;
use super::super::examination::step::Check;
use super::super::exit::told;
use super::super::words::relative;

const NAME: &str = "custody";

pub(super) async fn look_at(custody: &dyn Custody) -> Check {
    let unactivated: Result<Vec<_>, _> = entries(custody, CustodyFilter::Unactivated).try_collect().await;
    let problem = match unactivated {
        Ok(users) if users.iter().any(|user| user.problem.is_some()) => {
            let saw = users.into_iter().find_map(|user| user.problem).unwrap_or_default();
            return Check::failed(NAME, saw, "`bunq-partner users list` names each record that cannot be used");
        }
        Ok(users) => match usable(custody).await {
            Ok(()) => return found(&custody.name(), &users),
            Err(error) if is_in_use(&error) => {
                let remedy = "until its end, nothing can be done for these users from here";
                return Check::warning(NAME, told(&error), remedy);
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    Check::failed(NAME, told(&problem), "until it is put right, nothing can be done for its users")
}

/// Takes the lock that all take that act for users.
async fn usable(custody: &dyn Custody) -> Result<(), Error> {
    let id = ProvisionId::try_from(1_u64)?;
    custody.lock(id).await.map(drop)
}

fn is_in_use(error: &Error) -> bool {
    // Another machine has a lock in a database.
    if error.kind() == ErrorKind::Busy {
        return true;
    }
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::WouldBlock)
}

fn found(name: &str, users: &[CustodyEntry]) -> Check {
    if users.is_empty() {
        return Check::ok(NAME, format!("{name} can be used, and no user waits to be activated"));
    }
    let now = Timestamp::now();
    let expiries = users.iter().filter_map(|entry| entry.expiry).map(bunq_partner::Timestamp::as_jiff);
    let (expired, left): (Vec<_>, Vec<_>) = expiries.partition(|expiry| *expiry <= now);
    let mut saw = format!("{name} can be used; {} users are not activated", users.len());
    if let Some(next) = left.iter().min() {
        saw += &format!(", and the next credential expires {}", relative(*next, now));
    }
    if !expired.is_empty() {
        saw += &format!("; {} credentials have expired unused", expired.len());
    }
    let remedy = "`bunq-partner users list --unactivated` shows them; `users activate` activates, `users reset` replaces what has expired";
    Check::warning(NAME, saw, remedy)
}
