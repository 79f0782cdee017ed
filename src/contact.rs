//! How a person can be reached and where one lives: values that are checked when they are made.
//!
//! The rules are those of the document's schemas. They catch slips before anything is sent; whether an address
//! exists is bunq's to find out. Names, e-mail addresses and phone numbers are about people: they are not printed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Gives a text type its way in: checked, from a string or from JSON.
macro_rules! checked_text {
    ($(#[$attribute:meta])* $name:ident, $field:literal, $check:expr, $rule:literal) => {
        $(#[$attribute])*
        #[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err(Error::invalid_input($field, $rule)) }
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    };
}

pub(crate) use checked_text;

checked_text! {
    /// An e-mail address: at most 254 characters, one `@` with something on both sides, no white space.
    ///
    /// Its `Debug` does not show it.
    EmailAddress, "email", is_email, "an e-mail address is `name@host`, without spaces and of at most 254 characters"
}

checked_text! {
    /// A phone number in the form of E.164: `+`, then 7 to 15 digits of which the first is not 0.
    ///
    /// Its `Debug` does not show it.
    PhoneNumber, "phone_number", is_phone_number, "a phone number is `+` and 7 to 15 digits (E.164), as in +31600000000"
}

checked_text! {
    /// A country as the two capital letters of ISO 3166-1.
    #[derive(Debug)]
    CountryCode, "country_of_residence", is_country, "a country is two capital letters (ISO 3166-1), as in NL"
}

checked_text! {
    /// An e-mail address or a phone number, where bunq takes either.
    ///
    /// Its `Debug` does not show it.
    PointerValue, "pointer", |text| is_email(text) || is_phone_number(text),
    "it is neither an e-mail address nor a phone number in the form of E.164"
}

checked_text! {
    /// The name of a user, which is not empty.
    ///
    /// Its `Debug` does not show it.
    UserName, "name", |text| !text.is_empty(), "a user has a name: it is empty"
}

impl From<EmailAddress> for PointerValue {
    fn from(email: EmailAddress) -> Self {
        Self(email.0)
    }
}

impl From<PhoneNumber> for PointerValue {
    fn from(phone_number: PhoneNumber) -> Self {
        Self(phone_number.0)
    }
}

fn is_email(text: &str) -> bool {
    // JSON Schema counts the byte order mark as white space.
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '\u{feff}';
    let plain = text.chars().all(is_plain) && text.chars().count() <= 254;
    plain
        && text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
}

fn is_phone_number(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit()) && !digits.starts_with('0')
    })
}

fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|c| c.is_ascii_uppercase())
}

macro_rules! hidden {
    ($($name:ident)+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )+};
}

hidden! { EmailAddress PhoneNumber PointerValue UserName }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["a@b", "user+tag@mail.example.com", "ünï@example.com"] {
            assert!(good.parse::<EmailAddress>().is_ok(), "{good}");
        }
        let long = format!("{}@example.com", "x".repeat(250));
        for bad in ["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "nobody", &long] {
            let error = bad.parse::<EmailAddress>().unwrap_err();
            assert_eq!(
                error.to_string(),
                "email: an e-mail address is `name@host`, without spaces and of at most 254 characters"
            );
        }
    }

    #[test]
    fn phone_numbers() {
        for good in ["+31600000000", "+1234567", "+123456789012345"] {
            assert!(good.parse::<PhoneNumber>().is_ok(), "{good}");
        }
        for bad in
            ["", "+", "31600000000", "+0612345678", "+31 6000000", "+123456", "+1234567890123456", "+3160000000x"]
        {
            assert!(bad.parse::<PhoneNumber>().unwrap_err().to_string().starts_with("phone_number: "), "{bad}");
        }
    }

    #[test]
    fn countries() {
        assert!("NL".parse::<CountryCode>().is_ok());
        for bad in ["", "nl", "NLD", "N1", "ñL"] {
            assert!(bad.parse::<CountryCode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn people_are_not_printed() {
        let email: EmailAddress = "somebody@example.com".parse().unwrap();
        let phone: PhoneNumber = "+31600000000".parse().unwrap();
        assert_eq!(format!("{email:?} {phone:?}"), "EmailAddress(..) PhoneNumber(..)");
    }
}
