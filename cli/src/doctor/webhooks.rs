//! Whether bunq can call the URLs of the partner's notification filters, in one line: `webhooks check` says more.

use bunq_partner::{Error, ErrorKind, Notifications};

use super::super::examination::step::{Check, CheckState, Checks};
use super::super::exit::told;
use super::super::webhooks::check::{PIN, look_at_targets};

/// The name of the step.
pub(super) const WEBHOOKS: &str = "webhooks";

/// The first thing that is wrong. A signature that is not valid, or a token that is refused, is an error.
pub(super) async fn look(notifications: &Notifications) -> Result<Check, Error> {
    let filters = match notifications.list().await {
        Ok(filters) if filters.is_empty() => {
            return Ok(Check::skipped(WEBHOOKS, "bunq calls nobody: there is no notification filter"));
        }
        Ok(filters) => filters,
        Err(error) if matches!(error.kind(), ErrorKind::Signature | ErrorKind::Unauthorized) => return Err(error),
        Err(error) => {
            let remedy = "the notification filters cannot be listed, which does no harm";
            return Ok(Check::warning(WEBHOOKS, told(&error), remedy));
        }
    };
    let mut steps = Checks::default();
    look_at_targets(notifications, &filters, None, &mut steps).await?;
    // What only bunq can reach is no failure from here, but a certificate that is not the pinned one ends all calls.
    let unfit = steps.all.iter().find(|step| step.name == PIN && step.state == CheckState::Failed);
    let wrong = steps.all.iter().find(|step| matches!(step.state, CheckState::Failed | CheckState::Warning));
    let more =
        |step: &Check| format!("{}; `bunq-partner webhooks check` says more", step.remedy.clone().unwrap_or_default());
    Ok(match (unfit, wrong) {
        (Some(step), _) => Check::failed(WEBHOOKS, &step.saw, more(step)),
        (None, Some(step)) => Check::warning(WEBHOOKS, &step.saw, more(step)),
        (None, None) => Check::ok(WEBHOOKS, format!("{} filters, and bunq can call their URLs", filters.len())),
    })
}
