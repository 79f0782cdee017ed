//! What all users of a partner share.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::events::{Events, UserEvent};
use crate::api::Api;
use crate::custody::{Kept, Records};
use crate::environment::Environment;
use crate::error::{Error, Remedy};
use crate::operation::Operation;
use crate::provisions::Provisions;
use crate::session::handshake::{Device, SigningKeys};
use crate::session::turns::Turns;
use crate::session::{Activation, Owner, Session, UserInstallation, UsersTurn};
use crate::types::{DeviceDescription, PermittedIps, ProvisionId, Secret};

/// How the sessions of users are opened: with installations that are registered as the partner's, or with that one.
#[derive(Debug)]
pub(crate) struct UserDevice {
    pub(crate) partner: Session,
    pub(crate) installation: UserInstallation,
    pub(crate) description: DeviceDescription,
    pub(crate) permitted_ips: PermittedIps,
    pub(crate) signing_keys: SigningKeys,
}

/// Exists while somebody acts for users. After that nothing waits for a turn: it would keep the custody from whoever comes next.
#[derive(Debug)]
pub(super) struct Acting(pub(super) Turns);

impl Drop for Acting {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[derive(Debug)]
pub(super) struct Room {
    pub(super) environment: Environment,
    /// That of the partner.
    pub(super) api: Api,
    pub(super) provisions: Provisions,
    pub(super) turns: Turns,
    device: UserDevice,
    /// `None` if the client has no custody.
    records: Option<Records>,
    pub(super) events: Arc<Events>,
}

impl Room {
    pub(super) fn new(
        environment: Environment,
        api: Api,
        provisions: Provisions,
        turns: Turns,
        device: UserDevice,
        records: Option<Records>,
    ) -> Self {
        let events = Arc::new(Events::new(records.clone(), provisions.clone(), lifetime(environment)));
        Self { environment, api, provisions, turns, device, records, events }
    }

    pub(super) fn records(&self) -> Result<&Records, Error> {
        let missing = || Error::invalid_input("custody", "there is none").with_remedy(Remedy::SetCustody);
        self.records.as_ref().ok_or_else(missing)
    }

    pub(super) fn kept(&self, id: ProvisionId) -> Result<Kept, Error> {
        self.events.watch();
        Ok(self.records()?.of(id))
    }

    /// What registers the session of a user, whose token this is.
    pub(super) fn device(&self, api_key: Secret) -> Device {
        let UserDevice { installation, description, permitted_ips, signing_keys, .. } = &self.device;
        let (description, permitted_ips) = (description.clone(), permitted_ips.clone());
        let user_installation = Some(*installation);
        Device { api_key, user_installation, description, permitted_ips, signing_keys: signing_keys.clone() }
    }

    /// The session of the partner, whose installation those of users may use.
    pub(super) fn partner(&self) -> Session {
        self.device.partner.clone()
    }

    /// How the session of a user has its turn. `expiry`: when the credential expires, if it was not used yet.
    /// `user`: what all share who act for it.
    pub(super) fn owner<T: Send + Sync + 'static>(
        &self,
        id: ProvisionId,
        expiry: Option<Instant>,
        user: &Arc<T>,
    ) -> Owner {
        let events = Arc::downgrade(&self.events);
        let told = move |outcome: Result<Activation, &Error>| {
            let Some(events) = events.upgrade() else { return };
            if outcome.is_ok() {
                events.opened(id);
            }
            let event = match outcome {
                Ok(Activation::Now) => UserEvent::Activated(id),
                Ok(Activation::Before) => return,
                Err(error) => {
                    tracing::warn!(provision = %id, %error, "no session can be opened for a user: others go first");
                    UserEvent::Delayed(id, error.clone())
                }
            };
            events.tell(event);
        };
        let turn = UsersTurn::new(self.turns.clone(), id, expiry, self.api.clone(), told).of(user);
        Owner::User(Box::new(turn))
    }

    /// How many sessions can be opened while a credential lives.
    pub(super) fn capacity(&self) -> usize {
        let interval = self.api.transport().limits().interval(&Operation::CREATE_SESSION);
        let capacity = self.lifetime().as_nanos().checked_div(interval.as_nanos());
        capacity.and_then(|capacity| capacity.try_into().ok()).unwrap_or(usize::MAX)
    }

    /// How long a credential lives that is not used.
    pub(super) fn lifetime(&self) -> Duration {
        lifetime(self.environment)
    }
}

/// How long a credential lives that is not used, as far as bunq documents it.
fn lifetime(environment: Environment) -> Duration {
    match environment {
        Environment::Production => Duration::from_secs(4 * 3600),
        Environment::Sandbox => Duration::from_secs(3600),
    }
}
