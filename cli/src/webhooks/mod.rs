//! `webhooks`: which events bunq tells, and to which URLs; the calls that it could not deliver; and whether all of it fits together.
//!
//! A receiver knows bunq by a secret in the path of its URL. So a URL is no argument, and is shown without its path.

pub(crate) mod check;
mod failures;
mod filters;
mod listen;
mod served;
mod target;
mod trigger;

use bunq_partner::text::url_without_path;
use bunq_partner::types::NotificationTarget;
use bunq_partner::{Api, Notifications, ProvisionId};

pub(super) use self::failures::{columns as failure_columns, retry_columns};
pub(super) use self::filters::{columns, ensured_columns, removed_columns};
pub(super) use self::listen::columns as heard_columns;
pub(super) use self::target::TargetChange;
use super::arguments::WebhooksCommand;
use super::exit::Failure;
use super::invocation::Invocation;

/// Runs a command; `target` is the URL of one that is about a URL.
pub(super) async fn run(
    invocation: &Invocation,
    command: &WebhooksCommand,
    target: Option<&NotificationTarget>,
) -> Result<(), Failure> {
    match (command, target) {
        (WebhooksCommand::List { urls, whose }, _) => filters::list(invocation, *urls, whose.user).await,
        (WebhooksCommand::Ensure(options), Some(target)) => filters::ensure(invocation, options, target).await,
        (WebhooksCommand::Remove(options), Some(target)) => filters::remove(invocation, options, target).await,
        (WebhooksCommand::Ensure(_) | WebhooksCommand::Remove(_), None) => Err(Failure::usage("there is no URL")),
        (WebhooksCommand::Check { whose }, _) => check::run(invocation, whose.user).await,
        (WebhooksCommand::Failures { limit, urls, whose }, _) => {
            failures::list(invocation, *limit, *urls, whose.user).await
        }
        (WebhooksCommand::Retry(options), target) => failures::retry(invocation, options, target).await,
        (WebhooksCommand::Listen(options), _) => listen::run(invocation, options).await,
        (WebhooksCommand::Trigger { category, id }, _) => trigger::run(invocation, category, *id).await,
    }
}

/// The filters of the partner, or of a user in custody.
fn notifications(invocation: &Invocation, user: Option<ProvisionId>) -> Result<Notifications, Failure> {
    let client = invocation.client()?;
    Ok(user.map_or_else(|| client.notifications(), |id| client.users().of(id).notifications()))
}

/// The calls by name of the partner, or of a user in custody.
fn api(invocation: &Invocation, user: Option<ProvisionId>) -> Result<Api, Failure> {
    let client = invocation.client()?;
    Ok(user.map_or_else(|| client.api(), |id| client.users().of(id).api()))
}

/// A URL as it is shown.
fn shown(url: &str, is_whole: bool) -> String {
    if is_whole { url.to_owned() } else { url_without_path(url) }
}

/// The option that names the user, for a command in a message.
fn of(user: Option<ProvisionId>) -> String {
    user.map(|id| format!(" --user {id}")).unwrap_or_default()
}
