//! Reads what the document says of an operation with `x-bunq-*`.

use serde_json::Value;

use super::document::{Fault, Operation, members};

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
        let token = match auth {
            Auth::None => None,
            Auth::Installation => Some("installationToken"),
            Auth::Session => Some("sessionToken"),
        };
        let demanded: Vec<_> = value["security"].as_array().into_iter().flatten().flat_map(members).collect();
        if demanded.iter().map(|(name, _)| *name).ne(token) {
            let security = token.map_or("[]".into(), |token| format!("[{{{token}: []}}]"));
            return Err(operation.fault(format_args!("set security to {security}, as its x-bunq-auth says")));
        }
        let idempotent = value["x-bunq-idempotent"]
            .as_bool()
            .ok_or_else(|| operation.fault("set x-bunq-idempotent to true or false"))?;
        if operation.method == "get" && !idempotent {
            return Err(operation.fault("a GET changes nothing: set x-bunq-idempotent to true"));
        }
        let limit = &value["x-bunq-rate-limit"];
        let positive = |member: &str| {
            limit.get(member).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0)
        };
        let (Some(calls), Some(seconds)) = (positive("calls"), positive("seconds")) else {
            return Err(operation.fault("set x-bunq-rate-limit to {calls, seconds}, both positive integers"));
        };
        let known = ["x-bunq-auth", "x-bunq-idempotent", "x-bunq-rate-limit"];
        if let Some((name, _)) = members(value).find(|(name, _)| name.starts_with("x-bunq-") && !known.contains(name)) {
            return Err(operation.fault(format_args!("`{name}` means nothing here: remove or rename it")));
        }
        Ok(Self { auth, idempotent, calls, seconds })
    }
}
