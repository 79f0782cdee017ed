//! bunq's two environments and their base URLs.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// One of bunq's environments. An API key belongs to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Environment {
    /// For tests: its keys start with `sandbox_`.
    Sandbox,
    /// With real users and money.
    Production,
}

impl Environment {
    /// The base URL of this environment.
    pub const fn base_url(self) -> &'static str {
        match self {
            Self::Sandbox => "https://partner-api.sandbox.bunq.com/v1",
            Self::Production => "https://api.partner.bunq.com/v1",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
        })
    }
}

impl FromStr for Environment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "sandbox" => Ok(Self::Sandbox),
            "production" => Ok(Self::Production),
            other => Err(Error::invalid_input(
                "environment",
                format_args!("`{other}` is neither `sandbox` nor `production`"),
            )),
        }
    }
}
