//! Which state of an object a read has shown, and whether it is older than another.

use std::cmp::Ordering;

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use serde::Serialize;

use crate::error::Error;
use crate::types::{Credential, OauthRequest, Provision, Secret, Timestamp, UserInformationInquiry, UserOnboarding};

/// A state of an object. Two are the same if bunq has shown the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) updated: Option<Timestamp>,
    pub(super) digest: u64,
}

impl Version {
    /// Whether this one is older than another. Of two with one time, or without a time, neither is.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        let times = self.updated.map(micros).zip(other.updated.map(micros));
        times.is_some_and(|(own, others)| own < others)
    }

    /// Whether the object was changed later than a call claims. A mark has microseconds.
    pub(super) fn covers(&self, claim: Timestamp) -> bool {
        self.updated.is_some_and(|updated| micros(claim).cmp(&micros(updated)) != Ordering::Greater)
    }
}

fn micros(time: Timestamp) -> i64 {
    time.as_jiff().as_microsecond()
}

/// Makes the digests of states. Its key is the partner's, so that a journal tells nothing about a person, not even to whoever tries
/// all dates of birth.
pub(super) struct Digester(Key);

impl Digester {
    pub(super) fn new(api_key: &Secret) -> Self {
        Self(Key::new(HMAC_SHA256, api_key.expose().as_bytes()))
    }

    /// The secrets of a provision count too: another token is another state.
    pub(super) fn provision(&self, provision: &Provision) -> Result<Version, Error> {
        let credential = provision.credential.as_ref();
        let token = credential.and_then(|Credential { token_value, .. }| token_value.as_ref());
        let oauth = provision.oauth_request.as_ref();
        let of_oauth = oauth.map(|OauthRequest { authorization_code, client_id, redirect_url, .. }| {
            [authorization_code, client_id, redirect_url].map(Option::as_ref)
        });
        let [code, client, redirect] = of_oauth.unwrap_or_default();
        self.version(provision.updated, provision, &[token, code, client, redirect])
    }

    pub(super) fn onboarding(&self, onboarding: &UserOnboarding) -> Result<Version, Error> {
        self.version(onboarding.updated, onboarding, &[])
    }

    pub(super) fn inquiry(&self, inquiry: &UserInformationInquiry) -> Result<Version, Error> {
        self.version(inquiry.updated, inquiry, &[])
    }

    /// What is redacted when an object is serialized stands beside it.
    fn version(
        &self,
        updated: Option<Timestamp>,
        object: &impl Serialize,
        secrets: &[Option<&Secret>],
    ) -> Result<Version, Error> {
        let shown = serde_json::to_vec(object).map_err(|error| Error::internal(error.to_string()))?;
        let mut context = Context::with_key(&self.0);
        context.update(&shown);
        for secret in secrets {
            // No JSON has this byte, and no text.
            context.update(&[0xff]);
            context.update(secret.map_or(&[][..], |secret| secret.expose().as_bytes()));
        }
        let tag = context.sign();
        let first = tag.as_ref().first_chunk().copied().unwrap_or_default();
        Ok(Version { updated, digest: u64::from_be_bytes(first) })
    }
}
