//! The addresses that an API key may be used from.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::table::{Object, Table};

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
    /// Whether a credential may be used from an address; `None`: it is not among those of the credential.
    pub(crate) fn permits(&self, owner: u64, credential: u64, ip: IpAddr) -> Option<bool> {
        let mut addresses = self.of(owner).map(|address| &address.content);
        Some(addresses.find(|address| address.credential == credential && address.ip == ip)?.is_active)
    }
}
