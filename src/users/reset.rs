//! The credential of a user is replaced by another. A reset that arrives late would discard the new one: so none is sent while another may
//! still arrive.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::credential::{check_in_use, closed, is_used_or_expired};
use super::user_shared::UserShared;
use super::{UserClient, Users, warn};
use crate::custody::{Kept, Step, Steps, UserRecord};
use crate::error::{Error, ErrorKind, Remedy, Sent};
use crate::operation::Operation;
use crate::reconcile::InFlight;
use crate::types::{Credential, Phase, Provision, ProvisionId, Secret};

const RESET: &Operation = &Operation::UPDATE_PROVISION;

impl Users {
    /// Gets another credential for a user, stores it, and activates it. What was done with the one before ends, its session among it, and
    /// so does a wait for that.
    ///
    /// A credential that bunq shows, and that nobody has used, is activated first, and no other is requested; so is one in custody that
    /// bunq has opened a session with, if the custody does not know of one. So it can be called again after a crash or a doubtful
    /// failure. If bunq refuses it, or its session cannot be opened before it expires, another is requested,
    /// once. Of calls at the same time, also of other clients with the same custody, one requests a credential, and all return the user.
    ///
    /// The custody keeps that a reset is about to be requested. While nobody knows what came of it, another is requested only when the
    /// first cannot [arrive any more](crate::ClientBuilder::late_arrival), and bunq shows the same credential as before. Of a user who is
    /// not in custody nobody knows whether one was begun, so its reset begins with that wait.
    ///
    /// # Errors
    ///
    /// Those of [`reset_token`](crate::Provisions::reset_token) and of [`activate`](Self::activate).
    /// [`RateLimited`](ErrorKind::RateLimited) if the session of another credential could not be opened in time either, or if only this
    /// machine's clock says that the one that there is has expired.
    pub async fn reset(&self, id: ProvisionId) -> Result<UserClient, Error> {
        let client = self.of(id);
        let outcome = match self.0.room.kept(id) {
            Ok(kept) => self.reset_in_turn(client.shared(), &kept).await,
            Err(error) => Err(error),
        };
        self.told(id, outcome.map(|()| client))
    }

    async fn reset_in_turn(&self, user: &Arc<UserShared>, kept: &Kept) -> Result<(), Error> {
        let before = kept.record().await?;
        // Whoever waits for a turn with a credential that is to be replaced holds this up.
        user.forget_renewal();
        let _working = user.work.lock().await;
        let replaced = self.replace(user, kept, before.as_ref()).await;
        if replaced.as_ref().is_err_and(closed) {
            warn(user.id, self.remove_kept(user.id).await);
        }
        replaced
    }

    async fn replace(&self, user: &Arc<UserShared>, kept: &Kept, before: Option<&UserRecord>) -> Result<(), Error> {
        if is_done(before, kept.record().await?.as_ref()) {
            return self.open(user).await;
        }
        let seen = self.seen_after_reset(kept).await?;
        check_going(&seen)?;
        let unused = unused(&seen).cloned();
        if unused.is_some() {
            self.take(user, &seen, before).await?;
        }
        if unused.is_some() || is_in_use_unknown(&seen, kept.record().await?.as_ref()) {
            let opened = self.open(user).await;
            if !opened.as_ref().is_err_and(|error| self.is_mended_by_another(user, error)) {
                return opened;
            }
        }
        // Nothing is opened with it any more.
        user.forget();
        if let Some(ready) = self.another(kept, before, unused.as_ref()).await? {
            self.take(user, &ready, before).await?;
        }
        self.open(user).await
    }

    /// Whether another credential helps against the error of a session.
    fn is_mended_by_another(&self, user: &UserShared, error: &Error) -> bool {
        let (is_clock_in_doubt, is_reset) =
            (user.has_expired_by_clock_alone(), error.remedy().is_some_and(Remedy::is_reset));
        match error.kind() {
            ErrorKind::RateLimited => {
                let is_in_time = error.retry_after().is_none_or(|needed| needed < self.0.room.lifetime());
                is_reset && is_in_time && !is_clock_in_doubt
            }
            // It may have expired, though bunq shows it as unused.
            _ if is_clock_in_doubt => error.is_from_bunq() && !error.is_retryable(),
            _ => is_reset,
        }
    }

    /// Gets another credential in place of `unusable`. `None` if others have meanwhile stored one. The custody keeps that one is about to
    /// be requested, if it has the user.
    async fn another(
        &self,
        kept: &Kept,
        before: Option<&UserRecord>,
        unusable: Option<&Secret>,
    ) -> Result<Option<Provision>, Error> {
        let id = kept.id();
        let steps = kept.record().await?.map_or_else(Steps::none, |_| Steps::new(kept.clone()));
        while steps.begin(RESET, &id).await? != Step::New {
            // Others with this custody have begun one since.
            let seen = self.seen_after_reset(kept).await?;
            if is_other(&seen, unusable) {
                return Ok(Some(seen));
            }
        }
        let requested = self.request(kept, before, unusable).await;
        if !requested.as_ref().is_err_and(Error::is_doubtful)
            && let Err(error) = steps.not_sent(RESET, &id).await
        {
            tracing::warn!(provision = %id, %error, "a reset that has ended is kept as begun");
        }
        requested
    }

    /// Requests another credential in place of `unusable`, and waits for it. `None` if others have meanwhile stored one.
    async fn request(
        &self,
        kept: &Kept,
        before: Option<&UserRecord>,
        unusable: Option<&Secret>,
    ) -> Result<Option<Provision>, Error> {
        let (provisions, id) = (&self.0.room.provisions, kept.id());
        let (waiter, known) = {
            // Of all with this custody, one requests it.
            let _lock = kept.lock().await?;
            let known = kept.record().await?;
            if is_done(before, known.as_ref()) {
                return Ok(None);
            }
            let seen = provisions.get(id).await?;
            check_going(&seen)?;
            if is_other(&seen, unusable) {
                return Ok(Some(seen));
            }
            let waiter = match seen.status.phase() {
                Phase::Reset => provisions.wait_until_ready(id),
                _ => provisions.reset_token(id).await?,
            };
            (waiter, known)
        };
        let error = match waiter.wait().await {
            Ok(ready) => return Ok(Some(ready)),
            Err(error) => error,
        };
        // Others may have been faster, so that bunq does not show it any more. They store it before they use it.
        let now = kept.record().await?.map(|now| now.token);
        if now.is_some() && now != known.map(|known| known.token) { Ok(None) } else { Err(error) }
    }

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
        let fresh = seen.fresh_credential();
        let may_arrive = match &record {
            // Another credential is that of the reset.
            Some(record) => is_begun && fresh.is_none_or(|fresh| fresh.id == record.credential_id),
            // One may have been begun, for a credential that was in use or had expired.
            None => fresh.is_none_or(is_over),
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
}

/// Whether the credential in custody is in use, and the custody does not know: nobody has seen the answer to its session.
fn is_in_use_unknown(seen: &Provision, record: Option<&UserRecord>) -> bool {
    let is_going = seen.status.phase() != Phase::Reset && is_used_or_expired(seen);
    is_going && record.is_some_and(|record| !record.is_activated) && check_in_use(seen, record).is_ok()
}

/// Whether the time of an unused credential is over, whatever bunq calls it.
fn is_over(fresh: &Credential) -> bool {
    fresh.expiry_time.is_some_and(|expiry| expiry.as_jiff() <= Timestamp::now())
}

/// Whether bunq shows an unused credential in place of `unusable`.
fn is_other(seen: &Provision, unusable: Option<&Secret>) -> bool {
    unused(seen).is_some_and(|unused| Some(unused) != unusable)
}

/// Whether a credential was activated since the record was read before.
fn is_done(before: Option<&UserRecord>, now: Option<&UserRecord>) -> bool {
    let is_since = |now: &UserRecord| before.is_none_or(|before| before.token != now.token || !before.is_activated);
    now.is_some_and(|now| now.is_activated && is_since(now))
}

/// The token of a credential that nobody has used.
fn unused(seen: &Provision) -> Option<&Secret> {
    seen.fresh_credential().and_then(|Credential { token_value, .. }| token_value.as_ref())
}

fn check_going(seen: &Provision) -> Result<(), Error> {
    if !seen.status.is_over() {
        return Ok(());
    }
    let problem = format_args!("provision {} is {}: its credential is not replaced any more", seen.id, seen.status);
    Err(Error::new(ErrorKind::Unattainable, Sent::Responded, problem).with_last_seen(Arc::new(seen.clone())))
}
