//! Reads what the document says of an operation with `x-bunq-*`.

use serde_json::{Value, json};

use super::document::{Fault, Operation};

/// The extensions that an operation has.
pub(crate) const EXTENSIONS: [&str; 3] = ["x-bunq-auth", "x-bunq-idempotent", "x-bunq-rate-limit"];

/// The token that a call carries.
pub(crate) enum Auth {
    None,
    Installation,
    Session,
}

/// How an operation is to be called.
pub(crate) struct Policy {
    pub(crate) auth: Auth,
    pub(crate) idempotent: bool,
    pub(crate) calls: u32,
    pub(crate) seconds: u32,
}

impl Policy {
    pub(crate) fn read(operation: &Operation<'_>) -> Result<Self, Fault> {
        let value = operation.value;
        let auth = match value["x-bunq-auth"].as_str() {
            Some("none") => Auth::None,
            Some("installation") => Auth::Installation,
            Some("session") => Auth::Session,
            _ => return Err(operation.fault("set x-bunq-auth to none, installation or session")),
        };
        let security = match auth {
            Auth::None => json!([]),
            Auth::Installation => json!([{"installationToken": []}]),
            Auth::Session => json!([{"sessionToken": []}]),
        };
        if value["security"] != security {
            return Err(operation.fault(format_args!("set security to {security}, as its x-bunq-auth says")));
        }
        let idempotent = value["x-bunq-idempotent"]
            .as_bool()
            .ok_or_else(|| operation.fault("set x-bunq-idempotent to true or false"))?;
        if operation.method == "get" && !idempotent {
            return Err(operation.fault("a GET changes nothing: set x-bunq-idempotent to true"));
        }
        let limit = value["x-bunq-rate-limit"].as_object().filter(|limit| limit.len() == 2);
        let positive = |member: &str| {
            limit?.get(member).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0)
        };
        let (Some(calls), Some(seconds)) = (positive("calls"), positive("seconds")) else {
            return Err(
                operation.fault("set x-bunq-rate-limit to {calls, seconds}, both positive integers, and nothing else")
            );
        };
        Ok(Self { auth, idempotent, calls, seconds })
    }
}
