//! What the types that are written by hand say of themselves to `schemars`. The generated ones derive it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::types::{
    CountryCode, DeviceDescription, EmailAddress, PermittedIp, PhoneNumber, PointerValue, ProvisionId, Secret,
    Timestamp, UserName,
};

/// A number of an IPv4 address.
macro_rules! octet {
    () => {
        "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    };
}

/// One `@` with something on both sides, without white space and control characters.
macro_rules! email {
    () => {
        r"[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+"
    };
}

macro_rules! json_schema {
    ($($name:ident: $schema:tt)+) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schemars::json_schema!($schema)
            }
        }
    )+};
}

json_schema! {
    CountryCode: {
        "type": "string",
        "pattern": "^[A-Z]{2}$",
        "description": "A country as the two capital letters of ISO 3166-1.",
    }
    DeviceDescription: {
        "type": "string",
        "minLength": 1,
        "description": "A name for a device, chosen by the caller.",
    }
    EmailAddress: {
        "type": "string",
        "minLength": 3,
        "maxLength": 254,
        "pattern": concat!("^", email!(), "$"),
        "description": "An e-mail address.",
    }
    PermittedIp: {
        "type": "string",
        "pattern": concat!(r"^(\*|(", octet!(), r"\.){3}", octet!(), ")$"),
        "description": "An IPv4 address, or `*` for every address.",
    }
    PhoneNumber: {
        "type": "string",
        "pattern": r"^\+[1-9][0-9]{6,14}$",
        "description": "A phone number in the form of E.164.",
    }
    PointerValue: {
        "type": "string",
        "minLength": 3,
        "maxLength": 254,
        "pattern": concat!("^(", email!(), r"|\+[1-9][0-9]{6,14})$"),
        "description": "An e-mail address or a phone number in the form of E.164.",
    }
    ProvisionId: {
        "type": "integer",
        "format": "int64",
        "minimum": 1,
        "description": "bunq's number of a provision.",
    }
    Secret: {
        "type": "string",
        "format": "password",
        "description": "A text that is kept secret: written out on the way to bunq alone.",
    }
    Timestamp: {
        "type": "string",
        "format": "bunq-timestamp",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z?$",
        "description": "A moment in UTC, to the microsecond and without a zone.",
    }
    UserName: {
        "type": "string",
        "minLength": 1,
        "description": "The name of a user.",
    }
}
