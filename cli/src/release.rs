//! What is kept of users is removed from the profile's custody once their provisions are closed.

use std::collections::HashSet;

use bunq_partner::{Client, CustodyFilter, Error, ProvisionId, ProvisionStatus};
use futures_util::TryStreamExt as _;
use serde_json::json;

use super::custody::entries;
use super::exit::told;
use super::invocation::Invocation;
use super::output::warn;
use super::pages;
use super::screen;

/// How many ids are named in a note.
const MAX_NAMED: usize = 20;

/// The users in custody whose provisions a command closes.
pub(super) struct Release(Vec<ProvisionId>);

impl Release {
    /// Nobody.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Those among a few provisions.
    pub(super) async fn of(invocation: &Invocation, client: &Client, ids: &[ProvisionId]) -> Self {
        let mut kept = Vec::new();
        for id in ids.iter().filter(|_| invocation.connection.custody.is_some()) {
            match client.users().get(*id).await {
                Ok(Some(_)) => kept.push(*id),
                Ok(None) => {}
                Err(error) => return Self::unread(invocation, &error),
            }
        }
        Self(kept)
    }

    /// Those among many provisions.
    pub(super) async fn among(invocation: &Invocation, ids: impl Iterator<Item = ProvisionId>) -> Self {
        let Some(custody) = invocation.connection.custody.as_deref() else { return Self::none() };
        let closed: HashSet<_> = ids.collect();
        let kept = entries(custody, CustodyFilter::All).map_ok(|entry| entry.provision_id);
        match kept.try_filter(|id| std::future::ready(closed.contains(id))).try_collect().await {
            Ok(kept) => Self(kept),
            Err(error) => Self::unread(invocation, &error),
        }
    }

    /// A closing does not depend on the custody.
    fn unread(invocation: &Invocation, error: &Error) -> Self {
        warn(invocation.format(), &format!("nothing is removed from the custody: {}", told(error)));
        Self::none()
    }

    /// Removes what is kept of those that are closed by now, and says what stays.
    pub(super) async fn remove_closed(self, invocation: &Invocation, client: &Client) {
        let Self(kept) = self;
        if kept.is_empty() {
            return;
        }
        let users = client.users();
        let seen = match pages::read(&client.provisions(), &kept).await {
            Ok(seen) => seen,
            Err(error) => {
                let problem = format!("it is not known which users in custody are closed: {}", told(&error));
                return warn(invocation.format(), &problem);
            }
        };
        let (mut removed, mut open) = (Vec::new(), Vec::new());
        for id in kept {
            if seen.get(&id).is_none_or(|seen| seen.status != ProvisionStatus::Closed) {
                open.push(id);
                continue;
            }
            // The read that has shown it begins the removal.
            let removal = match users.get(id).await {
                Ok(None) => Ok(()),
                _ => users.remove(id).await,
            };
            match removal {
                Ok(()) => removed.push(id),
                Err(error) => {
                    let problem = format!("what is kept of the user of {id} is not removed: {}", told(&error));
                    warn(invocation.format(), &problem);
                }
            }
        }
        if invocation.format().is_json() {
            return screen::say_json(&json!({ "custody": { "removed": removed, "kept": open } }));
        }
        if !removed.is_empty() {
            invocation.note(&format!("removed from the custody, because it is closed: {}", named(&removed)));
        }
        if !open.is_empty() {
            let later = match open.len() {
                ..=MAX_NAMED => format!("`bunq-partner close {} --wait`", spaced(&open)),
                _ => "the same command with --resume".to_owned(),
            };
            let users = named(&open);
            invocation.note(&format!("kept in the custody until bunq has closed it: {users}; {later} removes it then"));
        }
    }
}

fn named(ids: &[ProvisionId]) -> String {
    match ids {
        [id] => format!("the user of {id}"),
        ids if ids.len() <= MAX_NAMED => format!("each user of {}", spaced(ids)),
        ids => format!("each of {} users", ids.len()),
    }
}

fn spaced(ids: &[ProvisionId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
