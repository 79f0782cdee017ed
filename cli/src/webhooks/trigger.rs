//! `webhooks trigger`: a sandbox in another process sends a notification now.

use std::slice;
use std::time::Duration;

use bunq_partner::types::NotificationCategory;
use bunq_partner::{Environment, ErrorKind, ProvisionId};
use serde_json::{Value, json};

use super::super::arguments::OutputFormat;
use super::super::exit::Failure;
use super::super::invocation::Invocation;
use super::super::output::write_value;

/// How long the sandbox may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Beside the path of bunq's API.
const PATH: &str = "/sandbox/notification";

pub(super) async fn run(
    invocation: &Invocation,
    category: &NotificationCategory,
    id: ProvisionId,
) -> Result<(), Failure> {
    let (client, connection) = (invocation.client()?, &invocation.connection);
    // The key goes to whoever answers there.
    if !Environment::is_loopback(&connection.base_url) {
        let failure = Failure::usage("bunq cannot be asked for a notification: trigger is for a sandbox on loopback");
        return Err(failure.with_hint("start `bunq-partner sandbox`, and give its address with --base-url"));
    }
    invocation.note_unknown(slice::from_ref(category), NotificationCategory::KNOWN, NotificationCategory::as_str);
    let root = client.base_url().trim_end_matches('/').trim_end_matches("/v1");
    let body = json!({ "category": category, "provision_id": id });
    let request = client.reqwest_client()?.post(format!("{root}{PATH}")).bearer_auth(connection.api_key.expose());
    let request = request.header("content-type", "application/json").body(body.to_string()).timeout(PATIENCE);
    let failed = |error: bunq_partner::reqwest::Error| {
        let kind = if error.is_connect() { ErrorKind::Connect } else { ErrorKind::Connection };
        Failure::of_kind(kind, format!("the sandbox does not answer: {}", error.without_url()))
    };
    let response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let answer: Value = serde_json::from_slice(&response.bytes().await.map_err(failed)?).unwrap_or_default();
    let targets = answer.pointer("/Response/0/Notification/targets").and_then(Value::as_u64);
    let targets = match (status, targets) {
        (200, Some(targets)) => targets,
        (401, _) => {
            let problem = "the sandbox does not accept the API key";
            return Err(
                Failure::of_kind(ErrorKind::Unauthorized, problem).with_hint("give the key that it has printed")
            );
        }
        _ => {
            let problem = format!("it is no sandbox of this version: it answers with HTTP status {status}");
            return Err(Failure::of_kind(ErrorKind::InvalidResponse, problem));
        }
    };
    if targets == 0 {
        let problem = format!("there is no filter for {category}, or nothing of it about {id}: nobody is called");
        let hint = "`bunq-partner webhooks list` shows the filters; those of a user are shown with --user ID";
        return Err(Failure::of_kind(ErrorKind::NotFound, problem).with_hint(hint));
    }
    match invocation.format() {
        OutputFormat::Table => {
            invocation.note(&format!("the sandbox calls {targets} {}", if targets == 1 { "URL" } else { "URLs" }));
        }
        format => write_value(format, &json!({ "targets": targets }))?,
    }
    Ok(())
}
