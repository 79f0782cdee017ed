//! The addresses that an API key may be used from.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::table::{Object, Stored, Table};

/// An address of a credential: an API key of the partner's or of a provisioned user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CredentialIp {
    /// The id of the credential.
    pub(crate) credential: u64,
    pub(crate) ip: IpAddr,
    pub(crate) is_active: bool,
}

impl Object for CredentialIp {
    const NAME: &'static str = "address";
}

impl Table<CredentialIp> {
    /// The address, if it is among those of the credential.
    pub(crate) fn find(&self, owner: u64, credential: u64, ip: IpAddr) -> Option<&Stored<CredentialIp>> {
        self.of(owner).find(|address| address.content.credential == credential && address.content.ip == ip)
    }
}
