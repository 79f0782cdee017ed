//! What bunq is told of the device that an API key is bound to.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::contact::checked_text;
use crate::error::Error;
use crate::secret::Secret;

/// What the device is registered as.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) api_key: Secret,
    pub(crate) description: DeviceDescription,
    pub(crate) permitted_ips: PermittedIps,
}

checked_text! {
    /// A name for a device, which is not empty.
    #[derive(Debug)]
    DeviceDescription, "device_description", |text| !text.is_empty(), "a device has a name: it is empty"
}

/// From where an API key may be used, as told to bunq when the device is registered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PermittedIps {
    /// From the address that registers it alone, which is what bunq does unless told otherwise.
    #[default]
    Caller,
    /// From these addresses. bunq knows no IPv6 here.
    Only(Vec<Ipv4Addr>),
    /// From anywhere.
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

/// From where an API key may be used, as an entry of the list that bunq takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PermittedIp {
    /// From this address.
    Only(Ipv4Addr),
    /// From anywhere.
    Any,
}

impl TryFrom<String> for PermittedIp {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        match text.as_str() {
            "*" => Ok(Self::Any),
            address => address.parse().map(Self::Only).map_err(|_| {
                Error::invalid_input("permitted_ips", "an entry is an IPv4 address, as in 192.0.2.1, or `*`")
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
