//! What another process asks of the sandbox, which is no operation of bunq's: that a notification is sent now.

use serde::Deserialize;
use serde_json::json;

use crate::bank::Bank;
use crate::input;
use crate::wire::call::ReceivedCall;
use crate::wire::response::{RawResponse, Refusal};

/// Beside the path of bunq's API, so that no operation can ever be meant.
const PATH: &str = "/sandbox/notification";

/// What is to be told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trigger {
    pub(crate) category: String,
    pub(crate) provision_id: u64,
}

impl Trigger {
    /// What a call asks for; `None`: it is a call of bunq's API. Whoever has the API key may ask.
    pub(crate) fn of(call: &ReceivedCall, bank: &Bank) -> Option<Result<Self, Refusal>> {
        if call.path != PATH {
            return None;
        }
        let key = bank.settings.api_key.expose();
        Some(match call.header("Authorization").and_then(|value| value.strip_prefix("Bearer ")) {
            _ if call.method != "POST" => Err(Refusal::method_not_allowed(&call.method, PATH, "POST".to_owned())),
            Some(given) if given == key => input::body(&call.body),
            _ => Err(Refusal::unauthorized("The Authorization is not `Bearer`, a space and the API key.")),
        })
    }
}

/// How many targets are called.
pub(crate) fn answer(targets: usize) -> RawResponse {
    RawResponse::items(vec![json!({ "Notification": { "targets": targets } })])
}
