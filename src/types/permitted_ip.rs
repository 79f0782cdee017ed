//! The addresses from which an API key may be used.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// The addresses from which an API key may be used, as registered with the device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PermittedIps {
    /// Only the address that the device is registered from: bunq's default.
    #[default]
    Caller,
    /// The listed addresses. bunq does not support IPv6 here.
    Only(Vec<Ipv4Addr>),
    /// Every address.
    ///
    /// bunq's sources disagree on whether this means every address or the caller's own: prefer a list.
    Any,
}

impl From<PermittedIps> for Vec<PermittedIp> {
    fn from(permitted_ips: PermittedIps) -> Self {
        match permitted_ips {
            PermittedIps::Caller => Self::new(),
            PermittedIps::Only(addresses) => addresses.into_iter().map(PermittedIp::Only).collect(),
            PermittedIps::Any => vec![PermittedIp::Any],
        }
    }
}

/// One entry of the list of permitted addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PermittedIp {
    /// This address.
    Only(Ipv4Addr),
    /// Every address.
    Any,
}

impl TryFrom<String> for PermittedIp {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        match text.as_str() {
            "*" => Ok(Self::Any),
            address => address.parse().map(Self::Only).map_err(|_| {
                InvalidValue::new("permitted_ips", "an entry is an IPv4 address, as in 192.0.2.1, or `*`")
            }),
        }
    }
}

impl From<PermittedIp> for String {
    fn from(permitted: PermittedIp) -> Self {
        match permitted {
            PermittedIp::Only(address) => address.to_string(),
            PermittedIp::Any => "*".into(),
        }
    }
}
