//! The certificates that bunq accepts from the targets of filters: pinned, removed, and replaced without a gap.

use std::fmt;

use super::Notifications;
use crate::error::Error;
use crate::feed::Acceptance;
use crate::operation::Operation;
use crate::reconcile::{InDoubt, InFlight, Reconcile, Reconciled, Requests, VerbConfig};
use crate::transport::call_budget::CallBudget;
use crate::types::{
    CertificatePem, CertificatePinned, CertificatePinnedId, CreatePinnedCertificateRequest, PinnedCertificate,
};

const PIN: &Operation = &Operation::CREATE_PINNED_CERTIFICATE;

/// A chain of certificates that bunq accepts, after [`Notifications::pin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinnedChain {
    /// bunq's id of the chain.
    pub id: CertificatePinnedId,
    /// Whether it was pinned by this call, or was there [`Already`](Acceptance::Already).
    pub acceptance: Acceptance,
}

/// The next chain of a target is pinned beside the one that it shows. Made by [`Notifications::rotate`].
#[must_use = "the old chain stays pinned until it is told that a call has come through with the next one"]
pub struct Rotation {
    notifications: Notifications,
    old: PinnedChain,
    next: PinnedChain,
}

impl Notifications {
    /// Lists the chains of certificates that bunq accepts from the targets of the filters. If there is none, bunq accepts what TLS accepts.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn pinned(&self) -> Result<Vec<CertificatePinned>, Error> {
        self.read_pinned(self.api.budget()).await
    }

    /// Pins a chain: the certificate of the target first, then those that it is signed with. From then on, bunq calls no target that shows
    /// another one than those that are pinned, and does not say so. The same chain again is the one that is there.
    ///
    /// After a failure in doubt it reads [for a while](crate::ClientBuilder::late_arrival) before it pins again. Concurrent calls of this
    /// client and its clones pin a chain once.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if there is no certificate, or more than ten. If the error [is
    /// doubtful](Error::is_doubtful), the outcome of a request is unknown. To call this again does no harm.
    pub async fn pin(&self, chain: &[CertificatePem]) -> Result<PinnedChain, Error> {
        if chain.is_empty() {
            return Err(Error::invalid_input("chain", "it has no certificate: give that of the target first"));
        }
        let certificates = chain.iter().cloned().map(PinnedCertificate::new).collect();
        let request = &CreatePinnedCertificateRequest::new(certificates);
        // Refused by the bounds of the document, before anything is read.
        self.api.preview_of(|api| async move { api.create_pinned_certificate(request).await })?;
        let budget = self.api.budget();
        let problem = "another call pins a certificate, and that takes too long";
        let mut in_flight = budget.lock(&self.changes.pins, problem).await?;
        in_flight.over_within(budget).await?;
        *in_flight = InFlight::NONE;
        match find(&self.read_pinned(budget).await.map_err(Error::before_sending)?, chain) {
            Some(id) => Ok(PinnedChain { id, acceptance: Acceptance::Already }),
            None => self.send_pin(chain, request, budget, &mut in_flight).await,
        }
    }

    async fn send_pin(
        &self,
        chain: &[CertificatePem],
        request: &CreatePinnedCertificateRequest,
        budget: CallBudget,
        in_flight: &mut InFlight,
    ) -> Result<PinnedChain, Error> {
        let api = self.api.until(budget);
        let send = |reuse| {
            let api = api.over(reuse);
            async move { Ok(api.create_pinned_certificate(request).await?.into_inner()) }
        };
        let check = || async { Ok(find(&self.read_pinned(self.api.check_by(budget)).await?, chain)) };
        let VerbConfig { poll_interval, late_arrival } = self.config;
        let (policy, in_doubt) = (self.api.transport().policy(PIN), InDoubt::RepeatAfterLateArrival);
        let mut requests = Requests::new(in_flight, late_arrival);
        let in_flight = requests.in_flight();
        let reconcile = Reconcile { policy, budget, poll_interval, late_arrival, in_doubt, in_flight };
        let outcome = reconcile.until_known(send, check).await;
        // It has added those that are in doubt.
        requests.are_known();
        let Reconciled { done: id, acceptance, .. } = outcome?;
        Ok(PinnedChain { id, acceptance })
    }

    /// Removes a pinned chain. [`Already`](Acceptance::Already): it is not pinned.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn unpin(&self, id: CertificatePinnedId) -> Result<Acceptance, Error> {
        match self.api.delete_pinned_certificate(id).await {
            Ok(_) => Ok(Acceptance::Accepted),
            Err(error) if error.is_gone() => Ok(Acceptance::Already),
            Err(error) => Err(error),
        }
    }

    /// Begins to replace the certificate of a target: sees to it that the chain that it shows is pinned, and pins the next one beside it.
    /// Then let the target show the next one, and call [`delivered`](Rotation::delivered) when a call of bunq's has come through. So there
    /// is no time at which bunq accepts neither. Chains of other targets stay pinned.
    ///
    /// Call it again with the same chains after a crash.
    ///
    /// # Errors
    ///
    /// Those of [`pin`](Self::pin), and [`InvalidInput`](crate::ErrorKind::InvalidInput) if both chains are the same.
    pub async fn rotate(&self, shown: &[CertificatePem], next: &[CertificatePem]) -> Result<Rotation, Error> {
        if joined(shown) == joined(next) {
            return Err(Error::invalid_input("next", "it is the chain that the target shows now"));
        }
        // bunq calls no target any more whose chain is not among those that are pinned.
        let old = self.pin(shown).await?;
        let next = self.pin(next).await?;
        Ok(Rotation { notifications: self.clone(), old, next })
    }

    async fn read_pinned(&self, budget: CallBudget) -> Result<Vec<CertificatePinned>, Error> {
        Ok(self.api.until(budget).list_pinned_certificates().await?.into_inner())
    }
}

impl Rotation {
    /// The next chain.
    pub fn next(&self) -> PinnedChain {
        self.next
    }

    /// The chain that is removed at the end.
    pub fn old(&self) -> PinnedChain {
        self.old
    }

    /// Removes the old chain: a call of bunq's has come through to the target, which shows the next one.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind). To call it again does no harm.
    pub async fn delivered(&self) -> Result<(), Error> {
        self.notifications.unpin(self.old.id).await.map(drop)
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation").field("old", &self.old).field("next", &self.next).finish_non_exhaustive()
    }
}

/// The id of this chain among those that are pinned. bunq shows a chain as one text.
fn find(pinned: &[CertificatePinned], chain: &[CertificatePem]) -> Option<CertificatePinnedId> {
    let chain = joined(chain);
    let is_same = |shown: &str| without_space(shown) == chain;
    pinned.iter().find(|pinned| pinned.certificate_chain.as_deref().is_some_and(is_same)).map(|pinned| pinned.id)
}

fn joined(chain: &[CertificatePem]) -> String {
    chain.iter().map(|certificate| without_space(certificate.as_str())).collect()
}

/// A text in PEM form without the ends of its lines, which may be of either kind.
fn without_space(pem: &str) -> String {
    pem.chars().filter(|c| !c.is_whitespace()).collect()
}
