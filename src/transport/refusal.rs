//! The error that a refusal becomes: who refuses, and what the refusal means.

use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::credentials::Credentials;
use super::response::{ReceivedResponse, SIGNATURE, invalid_signature};
use crate::error::{Error, ErrorKind, FORBIDDEN, Sent, is_token_refusal};
use crate::operation::{Auth, Operation};
use crate::types::{ErrorResponse, from_json};

/// How many of bunq's messages an error carries.
const MAX_MESSAGES: usize = 5;

/// For a refusal whose signature is not valid.
const CONTRADICTED: &str = "refused, perhaps not by bunq: the signature of the refusal is not valid";

/// For a refusal that either has bunq's envelope or echoes the id, but not both.
const UNPROVEN: &str = "refused, perhaps not by bunq but by a proxy: check what is between this machine and bunq";

/// For a refusal that has neither.
const NOT_BUNQ: &str =
    "something other than bunq has answered, such as a proxy: check what is between this machine and bunq";

/// For a refusal of a body for its size.
const TOO_LARGE: &str =
    "something other than bunq, such as a proxy, takes no body of this size: raise its limit, or send a smaller file";

/// Returns the error for a response that is not a success, and decides whether bunq itself refuses.
///
/// bunq refuses if the body is bunq's envelope and the response belongs to the request with `request_id`. Most refusals
/// are not signed; if there is a signature, it must be valid. Before there is an installation, no signature can be
/// verified.
pub(crate) fn refusal(
    response: &ReceivedResponse,
    is_signed: bool,
    operation: &Operation,
    credentials: &Credentials,
    request_id: Option<&str>,
    max_details: usize,
) -> Error {
    let items = from_json(&response.body).map(|envelope: ErrorResponse| envelope.error);
    let items = items.unwrap_or_default();
    let is_echoed = response.echo().is_some_and(|echo| request_id.map(str::as_bytes) == Some(echo));
    let compression = response.compression(credentials);
    let is_contradicted = compression.is_none()
        && response.headers.contains_key(SIGNATURE)
        && credentials.installation.is_some()
        && !is_signed;
    let is_envelope = !items.is_empty();
    let is_from_bunq = is_envelope && is_echoed && !is_contradicted;

    let additional = is_envelope.then(|| additional_parameters(&response.body, max_details)).flatten();
    let additional = additional.map(|text| text.map(|text| credentials.redact(&text)));
    let texts = items.into_iter().filter_map(|item| item.error_description.or(item.error_description_translated));
    let messages: Vec<_> = texts.take(MAX_MESSAGES).map(|text| credentials.redact(&text)).collect();
    let (kind, bunqs) = meaning(response.status.as_u16(), operation, &messages);
    let message = match kind {
        _ if kind == ErrorKind::Server || is_from_bunq => bunqs,
        _ if response.status == StatusCode::PAYLOAD_TOO_LARGE => TOO_LARGE,
        _ if is_envelope || is_echoed => UNPROVEN,
        _ => NOT_BUNQ,
    };
    // Only bunq knows what a caller may do, so another's 403 is a plain refusal.
    let kind = if kind == ErrorKind::Forbidden && !is_from_bunq { ErrorKind::Rejected } else { kind };
    let error = match compression {
        Some(problem) if kind != ErrorKind::Server => Error::new(kind, Sent::Responded, problem),
        _ if is_contradicted => invalid_signature(kind, CONTRADICTED, credentials),
        // It is the first call, and its path holds no id.
        _ if response.status == StatusCode::NOT_FOUND && operation.auth == Auth::None => {
            Error::new(ErrorKind::Rejected, Sent::Responded, NO_API).due_to_a_setting(true)
        }
        _ => Error::new(kind, Sent::Responded, message),
    };
    error.with_refusal(is_from_bunq, &messages, additional)
}

/// What bunq adds to the messages of a refusal, as a JSON array with a value for each message, or the problem if it is longer than `most`
/// bytes; none if it adds nothing.
fn additional_parameters(body: &[u8], most: usize) -> Option<Result<String, String>> {
    #[derive(Deserialize)]
    struct Refusal<'a> {
        #[serde(rename = "Error", borrow)]
        error: Vec<Item<'a>>,
    }
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow, default)]
        error_additional_parameter: Option<&'a RawValue>,
        #[serde(default)]
        error_description: Option<IgnoredAny>,
        #[serde(default)]
        error_description_translated: Option<IgnoredAny>,
    }
    let refusal: Refusal<'_> = serde_json::from_slice(body).ok()?;
    if refusal.error.iter().all(|item| item.error_additional_parameter.is_none()) {
        return None;
    }
    let values = refusal.error.into_iter().filter_map(|item| {
        let is_message = item.error_description.or(item.error_description_translated).is_some();
        item.error_additional_parameter.map(RawValue::get).or(is_message.then_some("null"))
    });
    let values: Vec<_> = values.collect();
    // Each with a comma or a bracket behind it.
    let length = 1 + values.iter().map(|value| value.len() + 1).sum::<usize>();
    if length > most {
        return Some(Err(format!("bunq has added {length} bytes to the refusal, and {most} are kept")));
    }
    Some(Ok(format!("[{}]", values.join(","))))
}

/// For a server that does not know the path of the installation.
const NO_API: &str =
    "the base URL does not lead to bunq's API: it ends with `/v1`, after the path of a gateway if there is one";

/// What a status of bunq's means, as a kind and in words. A wrong API key has the status 400; its message tells it from
/// other mistakes.
fn meaning(status: u16, operation: &Operation, messages: &[String]) -> (ErrorKind, &'static str) {
    let takes_api_key = operation.auth == Auth::Installation;
    let is_about_the_key = || messages.iter().any(|message| message.contains("Incorrect API key or IP address"));
    // The key has opened the session, so the message does not blame the key.
    let refused = match operation.auth {
        Auth::None => "bunq does not accept the installation",
        Auth::Installation | Auth::Session => "bunq does not accept the session any more: a later call opens another",
    };
    let is_about_the_token = || messages.iter().any(|message| is_token_refusal(message));
    match status {
        400 if takes_api_key && is_about_the_key() => (ErrorKind::Unauthorized, "bunq does not accept the API key"),
        401 | 403 if takes_api_key => {
            (ErrorKind::Unauthorized, "bunq does not accept the API key, or not the installation it came with")
        }
        401 => (ErrorKind::Unauthorized, refused),
        403 if is_about_the_token() => (ErrorKind::Unauthorized, refused),
        403 => (ErrorKind::Forbidden, FORBIDDEN),
        404 => (ErrorKind::NotFound, "bunq has no such object"),
        429 => (ErrorKind::RateLimited, "too many calls for bunq's rate limit"),
        466 => (ErrorKind::Rejected, "bunq demands a signature"),
        491 => (ErrorKind::Maintenance, "bunq is under maintenance"),
        // bunq's own server errors are not always in its envelope.
        408 | 500.. => (ErrorKind::Server, "bunq, or a proxy in front of it, has failed"),
        _ => (ErrorKind::Rejected, "bunq refuses the request"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::response::samples::{at_once, credentials, response};
    use crate::transport::response::{FormInUse, is_signed};
    use crate::transport::signature::{SigningKey, VerifyingKey};

    /// The rule that decides who refuses.
    #[test]
    fn a_refusal_of_bunqs_own_has_its_envelope_and_the_echo() {
        test_timeout::start();
        let key = SigningKey::generate().unwrap();
        let credentials = credentials(VerifyingKey::from_pem(&key.public_key_pem().unwrap()).unwrap());
        let envelope = r#"{"Error":[{"error_description":"No."}]}"#;
        let signature = key.sign(envelope.as_bytes()).unwrap();
        for (body, echo, signature, expected) in [
            (envelope, Some("sent"), None, true),
            (envelope, Some("sent"), Some(signature.as_str()), true),
            (envelope, Some("sent"), Some("AAAA"), false),
            (envelope, Some("another"), None, false),
            (envelope, Some("another"), Some(signature.as_str()), false),
            (envelope, None, None, false),
            (r#"{"Error":[]}"#, Some("sent"), None, false),
            (r#"{"error":"No."}"#, Some("sent"), None, false),
            ("<html>", Some("sent"), None, false),
            ("", Some("sent"), None, false),
        ] {
            let headers = [("X-Bunq-Client-Request-Id", echo), ("X-Bunq-Server-Signature", signature)];
            let response = response(403, headers.into_iter().filter_map(|(name, value)| Some((name, value?))), body);
            let is_signed = at_once(is_signed(&response, &credentials, &FormInUse::default()));
            let refusal = refusal(&response, is_signed, &Operation::GET_PROVISION, &credentials, Some("sent"), 0);
            assert_eq!(refusal.is_from_bunq(), expected, "{body} {echo:?} {signature:?}");
        }
    }

    #[test]
    fn a_wrong_key_is_told_from_another_mistake() {
        test_timeout::start();
        let wrong_key = ["User credentials are incorrect. Incorrect API key or IP address.".to_owned()];
        let mistake = ["The description is too long.".to_owned()];
        for operation in [&Operation::CREATE_DEVICE_SERVER, &Operation::CREATE_SESSION] {
            assert_eq!(meaning(400, operation, &wrong_key).0, ErrorKind::Unauthorized);
            assert_eq!(meaning(400, operation, &mistake).0, ErrorKind::Rejected);
            assert_eq!([401, 403].map(|status| meaning(status, operation, &[]).0), [ErrorKind::Unauthorized; 2]);
        }
        assert_eq!(meaning(400, &Operation::CREATE_PROVISION, &wrong_key).0, ErrorKind::Rejected);
        assert_eq!(meaning(403, &Operation::CREATE_PROVISION, &[]).0, ErrorKind::Forbidden);
        let dead_token = ["Insufficient authorisation.".to_owned()];
        assert_eq!(meaning(403, &Operation::CREATE_PROVISION, &dead_token).0, ErrorKind::Unauthorized);
    }

    #[test]
    fn what_bunq_adds_to_its_messages_is_kept() {
        test_timeout::start();
        const MOST: usize = 20_000;
        let refusal = |additional: &str| {
            let body = format!(r#"{{"Error":[{{"error_description":"No."{additional}}}, {{}}]}}"#);
            refusal(&response(466, [], body), false, &Operation::GET_PROVISION, &Credentials::default(), None, MOST)
        };
        let kept = refusal(r#","error_additional_parameter":[{"secret": "x"}]"#);
        assert_eq!(kept.additional_parameter(), Some(r#"[[{"secret": "x"}]]"#));
        assert!(!format!("{kept} {kept:?}").contains("secret"));
        assert_eq!(kept.details::<serde_json::Value>().unwrap(), [serde_json::json!({ "secret": "x" })]);
        let none = refusal(r#","error_additional_parameter":null"#);
        assert_eq!((none.additional_parameter(), none.details::<String>().unwrap()), (None, Vec::new()));
        let beside = refusal(r#","error_additional_parameter":["x"]},{"error_description_translated":"Nee.""#);
        assert_eq!(beside.additional_parameter(), Some(r#"[["x"],null]"#));
        assert_eq!(beside.details::<String>().unwrap(), ["x"]);
        assert_eq!(beside.details_by_message::<String>().unwrap(), [vec!["x".to_owned()], vec![]]);
        let one = refusal(r#","error_additional_parameter":"x""#);
        assert_eq!(one.details::<String>().unwrap(), ["x"]);
        assert_eq!(one.details::<u8>().unwrap_err().kind(), ErrorKind::InvalidResponse);
        let many = refusal(&format!(r#","error_additional_parameter":[{}0]"#, "0,".repeat(1000)));
        assert!(many.additional_parameter().is_some() && many.details::<u8>().is_err());

        let text =
            |length: usize| format!(r#","error_additional_parameter":"{}""#, "x".repeat(length - r#"[""]"#.len()));
        assert_eq!(refusal(&text(MOST)).details::<String>().unwrap()[0].len(), MOST - 4);
        let cut = refusal(&text(MOST + 1));
        assert_eq!(cut.additional_parameter(), None);
        let told = cut.details::<String>().unwrap_err().to_string();
        let expected = "bunq has added 20001 bytes to the refusal, and 20000 are kept";
        assert!(told.contains(expected), "{told}");
    }
}
