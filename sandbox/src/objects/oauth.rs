//! The OAuth clients of the partner, and their callback URLs.

use bunq_partner::Secret;
use bunq_partner::wire::exposed;
use serde::{Deserialize, Serialize};

use super::table::{Object, Table};
use crate::clock::random_token;

/// An OAuth client. It stays when it is cancelled.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OauthClient {
    pub(crate) is_active: bool,
    #[serde(serialize_with = "exposed")]
    pub(crate) client_id: Secret,
    #[serde(serialize_with = "exposed")]
    pub(crate) secret: Secret,
}

impl OauthClient {
    pub(crate) fn new(is_active: bool) -> Self {
        Self { is_active, client_id: Secret::new(random_token()), secret: Secret::new(random_token()) }
    }
}

impl Object for OauthClient {
    const NAME: &'static str = "OAuth client";
}

/// A callback URL of an OAuth client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OauthCallbackUrl {
    /// The id of the client.
    pub(crate) client: u64,
    pub(crate) url: String,
}

impl Object for OauthCallbackUrl {
    const NAME: &'static str = "callback URL";
}

impl Table<OauthClient> {
    /// The ids of the active clients of this owner.
    pub(crate) fn active(&self, owner: u64) -> impl Iterator<Item = u64> {
        self.of(owner).filter(|client| client.content.is_active).map(|client| client.id)
    }
}
