//! Ranges of addresses.

use std::net::IpAddr;

use crate::error::Error;

/// The addresses with the same first bits.
#[derive(Debug)]
pub(super) struct Range {
    first: IpAddr,
    prefix: u32,
}

impl Range {
    /// Parses `185.40.108.0/22`, or a single address.
    fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let rule = || format!("`{text}` is no range of addresses, as 192.0.2.0/24, 2001:db8::/32 and 192.0.2.7 are");
        let first: IpAddr = address.parse().map_err(|_| rule())?;
        if first.to_canonical() != first {
            return Err(format!("`{text}` is an IPv4 address within IPv6: give it as IPv4"));
        }
        let (width, zeros) = match first {
            IpAddr::V4(address) => (32, address.to_bits().trailing_zeros()),
            IpAddr::V6(address) => (128, address.to_bits().trailing_zeros()),
        };
        let prefix = prefix.map_or(Ok(width), str::parse).ok().filter(|prefix| *prefix <= width).ok_or_else(rule)?;
        if zeros < width - prefix {
            return Err(format!(
                "`{text}` is no range of addresses: its address is not zero after the first {prefix} bits"
            ));
        }
        Ok(Self { first, prefix })
    }

    /// Parses the ranges of a setting.
    pub(super) fn parse_all(setting: &str, texts: &[String]) -> Result<Vec<Self>, Error> {
        let ranges = texts.iter().map(|text| Self::parse(text));
        ranges.collect::<Result<_, _>>().map_err(|problem| Error::invalid_input(setting, problem))
    }

    /// Whether it has all addresses of its kind.
    pub(super) fn is_everybody(&self) -> bool {
        self.prefix == 0
    }

    /// Whether an address, which is not IPv4 within IPv6, is in this range.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let same = match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => (first.to_bits() ^ address.to_bits()).leading_zeros(),
            (IpAddr::V6(first), IpAddr::V6(address)) => (first.to_bits() ^ address.to_bits()).leading_zeros(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        same >= self.prefix
    }
}
