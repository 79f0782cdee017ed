//! A certificate that bunq shows.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::error::Error;

/// A certificate, in DER.
pub(super) struct Certificate(Vec<u8>);

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(..)")
    }
}

impl Certificate {
    /// Reads one in PEM or in DER.
    pub(super) fn read(given: Vec<u8>) -> Result<Self, Error> {
        if is_der(&given) {
            return Ok(Self(given));
        }
        match pem::parse_many(&given).as_deref() {
            Ok([one]) if one.tag() == "CERTIFICATE" && is_der(one.contents()) => Ok(Self(one.contents().to_owned())),
            _ => {
                let problem = "it is not one certificate, in PEM or in DER: give the one of bunq's client alone";
                Err(Error::invalid_input("certificate", problem))
            }
        }
    }

    pub(super) fn is(&self, shown: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, shown).is_ok()
    }
}

/// Whether it is one value in DER, of the length of a certificate.
fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x82, high, low, rest @ ..] if rest.len() == usize::from(u16::from_be_bytes([*high, *low])))
}
