//! What an exchange looks like on the wire: the request as it is sent, the response as it is received, and what the client makes of it.

#![allow(unreachable_pub, clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use bunq_partner_sandbox::{CallLogEntry, RawResponse, ReceivedSignature, Sandbox};

pub struct Wire {
    pub sandbox: Sandbox,
}

impl Wire {
    /// Makes a call, responds with this body, and records request, response and what is shown of the result.
    pub async fn record(&self, name: &str, body: Vec<u8>, call: impl Future<Output = String>) {
        let is_installation = name == "create_installation";
        self.sandbox.before_signing(move |_, response| (response.status, response.body) = (200, body.clone()));
        let received = Arc::new(Mutex::new(None));
        let receiver = Arc::clone(&received);
        self.sandbox.after_signing(move |_, response| {
            // The key in the example is not a key, so nothing can be verified with it.
            response.headers.retain(|(name, _)| !(is_installation && name == "X-Bunq-Server-Signature"));
            *receiver.lock().unwrap() = Some(response.clone());
        });
        let result = call.await;
        self.sandbox.clear_edits();
        let received = received.lock().unwrap().take().unwrap();
        let (sent, received) = (self.sent(&self.sandbox.call_log().pop().unwrap()), received_text(&received));
        let text = format!("{sent}\n\n=== response ===\n\n{received}\n\n=== result ===\n\n{result}");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../transport/snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(format!("transport__wire__{name}"), text));
    }

    /// The request as it was received: its line, its headers by name, its body. Values that differ from run to run are
    /// replaced.
    fn sent(&self, call: &CallLogEntry) -> String {
        let mut headers: Vec<String> = call
            .headers
            .iter()
            .map(|(name, value)| match name.as_str() {
                "host" => "host: [loopback]".into(),
                "user-agent" => format!("user-agent: {}", value.replace(env!("CARGO_PKG_VERSION"), "[version]")),
                "x-bunq-client-request-id" => format!("{name}: [{} characters]", value.len()),
                "x-bunq-client-authentication" => format!("{name}: [token]"),
                "x-bunq-client-signature" => {
                    assert_eq!(call.signature, ReceivedSignature::Valid);
                    format!("{name}: [valid]")
                }
                _ => format!("{name}: {value}"),
            })
            .collect();
        headers.sort();
        let query = call.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let body = shown(&call.bytes).replace(self.sandbox.api_key().expose(), "[api key]");
        let body = match body.split_once("-----BEGIN PUBLIC KEY-----") {
            Some((before, _)) => format!("{before}[public key]\"}}"),
            None => body,
        };
        format!("{} {}{query}\n{}\n\n{body}", call.method, call.path, headers.join("\n"))
    }
}

/// A body, with escapes if it is no text.
fn shown(body: &[u8]) -> String {
    std::str::from_utf8(body).map_or_else(|_| body.escape_ascii().to_string(), str::to_owned)
}

/// The response as it was sent: its status, its headers by name, its body.
fn received_text(response: &RawResponse) -> String {
    let mut headers: Vec<String> = response
        .headers
        .iter()
        .map(|(name, value)| match name.as_str() {
            "X-Bunq-Server-Signature" => format!("{name}: [signature]"),
            "X-Bunq-Client-Request-Id" | "X-Bunq-Client-Response-Id" => format!("{name}: [{} characters]", value.len()),
            _ => format!("{name}: {value}"),
        })
        .collect();
    headers.sort();
    format!("{}\n{}\n\n{}", response.status, headers.join("\n"), shown(&response.body))
}
