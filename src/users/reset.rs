//! A reset discards a credential. One that arrives late discards the new one: so none is sent while another may still arrive.

use tokio::time::Instant;

use super::Users;
use super::activation::is_over;
use super::user_client::UserShared;
use crate::custody::{Kept, Step, Steps};
use crate::error::Error;
use crate::operation::Operation;
use crate::reconcile::InFlight;
use crate::types::{Phase, Provision};

const RESET: &Operation = &Operation::UPDATE_PROVISION;

impl Users {
    /// Whether the custody has that a reset was begun, and nobody knows what came of it.
    pub(super) async fn is_reset_begun(&self, kept: &Kept) -> Result<bool, Error> {
        Ok(Steps::new(kept.clone()).known(RESET, &kept.id()).await? != Step::New)
    }

    /// Reads a provision as it is when no reset can arrive any more that was begun before.
    pub(super) async fn seen_after_reset(&self, kept: &Kept) -> Result<Provision, Error> {
        let (room, id) = (&self.0.room, kept.id());
        let (record, is_begun) = (kept.record().await?, self.is_reset_begun(kept).await?);
        let budget = room.api.budget();
        let mut seen = room.provisions.get(id).await?;
        let fresh = seen.fresh_credential().filter(|fresh| !is_over(fresh));
        let may_arrive = match &record {
            // Another credential is that of the reset.
            Some(record) => is_begun && fresh.is_none_or(|fresh| fresh.id == record.credential_id),
            // One may have been begun, for a credential that was in use or had expired.
            None => fresh.is_none(),
        };
        if may_arrive && seen.status.phase() != Phase::Reset && !seen.status.is_over() {
            let late_arrival = room.provisions.config().late_arrival;
            InFlight::until(Instant::now() + late_arrival).over_within(budget).await?;
            seen = room.provisions.get(id).await?;
        }
        if is_begun {
            Steps::new(kept.clone()).not_sent(RESET, &id).await?;
        }
        Ok(seen)
    }

    /// Requests another credential, and waits for it. The custody keeps that it is about to, if it has the user.
    pub(super) async fn reset_token(&self, user: &UserShared, kept: &Kept) -> Result<Provision, Error> {
        let (provisions, id) = (&self.0.room.provisions, kept.id());
        let steps = kept.record().await?.map_or_else(Steps::none, |_| Steps::new(kept.clone()));
        // Whoever waits with the credential before it holds the lock.
        user.forget();
        steps.begin(RESET, &id).await?;
        let waiter = match provisions.reset_token(id).await {
            Ok(waiter) => waiter,
            Err(error) if error.is_doubtful() => return Err(error),
            Err(error) => {
                steps.not_sent(RESET, &id).await?;
                return Err(error);
            }
        };
        let ready = waiter.wait().await?;
        steps.not_sent(RESET, &id).await?;
        Ok(ready)
    }
}
