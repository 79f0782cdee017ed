//! A success response without a valid signature of bunq's is not used.

use bunq_partner::{Client, ErrorKind, Sent};
use bunq_partner_sandbox::{RawResponse, Sandbox, SignatureForm};
use serde_json::Value;

use crate::common::{calls, id, in_pkcs1, once, person, quick, ready, start, start_without_retries, vector_key};

const SIGNATURE: &str = "x-bunq-server-signature";

fn signature(response: &mut RawResponse) -> &mut String {
    response.headers.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(SIGNATURE)).map(|(_, value)| value).unwrap()
}

fn remove_signature(response: &mut RawResponse) {
    response.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(SIGNATURE));
}

fn change_body(response: &mut RawResponse) {
    response.body.push(b' ');
}

fn change_signature(response: &mut RawResponse) {
    let signature = signature(response);
    let other = if signature.starts_with('A') { "B" } else { "A" };
    signature.replace_range(..1, other);
}

fn no_base64(response: &mut RawResponse) {
    *signature(response) = "none of your business".into();
}

type Tampering = (&'static str, fn(&mut RawResponse));

const TAMPERINGS: [Tampering; 4] = [
    ("the signature is missing", remove_signature),
    ("the signature is another", change_signature),
    ("the signature is no base64", no_base64),
    ("the body is changed", change_body),
];

#[tokio::test]
async fn a_tampered_response_is_refused_at_every_operation() {
    test_timeout::start();
    for form in [SignatureForm::Body, SignatureForm::WithHeaders] {
        let sandbox = Sandbox::builder().signature_form(form).start().await.unwrap();
        let client = sandbox.client().retry(once()).build().unwrap();
        let id = ready(&client).await;
        let provisions = client.provisions();
        for (what, tamper) in TAMPERINGS {
            sandbox.after_signing(move |_, response| tamper(response));
            let errors = [
                provisions.create(person()).await.map(drop).unwrap_err(),
                provisions.get(id).await.map(drop).unwrap_err(),
                provisions.list().page().await.map(drop).unwrap_err(),
            ];
            for error in errors {
                assert_eq!((error.kind(), error.sent()), (ErrorKind::Signature, Sent::Responded), "{what}: {error}");
                assert_eq!(error.status(), Some(200), "{what}");
            }
            sandbox.clear_edits();
        }
        sandbox.after_signing(|_, response| change_body(response));
        assert_eq!(provisions.close(id).await.map(drop).unwrap_err().kind(), ErrorKind::Signature);
        assert_eq!(client.end_session().await.unwrap_err().kind(), ErrorKind::Signature);
    }
}

#[tokio::test]
async fn a_tampered_handshake_leads_to_no_session() {
    test_timeout::start();
    for step in ["/installation", "/device-server", "/session-server"] {
        let (sandbox, client) = start_without_retries().await;
        sandbox.after_signing(move |call, response| {
            if call.path.ends_with(step) {
                change_body(response);
            }
        });
        let error = client.provisions().get(id(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Signature, "{step}");
        assert!(calls(&sandbox, "GET", "/1").is_empty(), "{step}");

        // The completed steps are stored, and the opening resumes once the responses are good again.
        sandbox.clear_edits();
        assert_eq!(client.provisions().get(id(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(calls(&sandbox, "POST", "/installation").len(), if step == "/installation" { 2 } else { 1 });
    }
}

/// A client whose installation brings another key than the one that the sandbox signs with, or the same key in another
/// form.
async fn installed_with(key: impl Fn(&str) -> String + Send + 'static, is_signed: bool) -> (Sandbox, Client) {
    let (sandbox, client) = start_without_retries().await;
    sandbox.before_signing(move |call, response| {
        if call.path.ends_with("/installation") {
            let mut body: Value = serde_json::from_slice(&response.body).unwrap();
            let pem = &mut body["Response"][2]["ServerPublicKey"]["server_public_key"];
            *pem = key(pem.as_str().unwrap()).into();
            response.body = body.to_string().into_bytes();
        }
    });
    if !is_signed {
        sandbox.after_signing(|call, response| {
            if call.path.ends_with("/installation") {
                remove_signature(response);
            }
        });
    }
    (sandbox, client)
}

/// The error tells a key that cannot verify from a wrong signature.
#[tokio::test]
async fn a_key_that_cannot_verify_is_refused_where_it_is_read() {
    test_timeout::start();
    for (name, problem) in [
        ("1024 bits", "the public key has 1024 bits, and must have 2048 to 8192"),
        ("2047 bits", "the public key has 2047 bits, and must have 2048 to 8192"),
        ("PKCS#1, 1024 bits", "the public key has 1024 bits, and must have 2048 to 8192"),
        ("RSASSA-PSS", "the public key is not for RSA with PKCS#1 v1.5"),
        ("elliptic curve", "the public key is not RSA"),
    ] {
        for (is_signed, kind) in [(true, ErrorKind::Signature), (false, ErrorKind::InvalidResponse)] {
            let (sandbox, client) = installed_with(move |_| vector_key(name), is_signed).await;
            let error = client.open_session().await.unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {error}");
            assert!(error.to_string().contains(problem), "{name}: {error}");
            assert!(calls(&sandbox, "POST", "/device-server").is_empty(), "{name}");
        }
    }
}

#[tokio::test]
async fn a_key_in_pkcs1_verifies() {
    test_timeout::start();
    for is_signed in [true, false] {
        let (_sandbox, client) = installed_with(in_pkcs1, is_signed).await;
        let id = ready(&client).await;
        quick(client.provisions().close(id).await.unwrap()).wait().await.unwrap();
    }
}

#[tokio::test]
async fn another_banks_signature_is_not_bunqs() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    let id = ready(&client).await;
    let (other, other_client) = start().await;
    let other_id = ready(&other_client).await;

    // A complete response of another bunq, with that bunq's valid signature.
    let (send, receive) = std::sync::mpsc::channel();
    other.after_signing(move |_, response| send.send(response.clone()).unwrap());
    other_client.provisions().get(other_id).await.unwrap();
    let foreign = receive.recv().unwrap();
    // The response claims to belong to the request.
    sandbox.after_signing(move |call, response| {
        *response = foreign.clone();
        let echo = response.headers.iter_mut().find(|(name, _)| name == "X-Bunq-Client-Request-Id").unwrap();
        echo.1 = call.header("x-bunq-client-request-id").unwrap().into();
    });
    assert_eq!(client.provisions().get(id).await.unwrap_err().kind(), ErrorKind::Signature);
}

#[tokio::test]
async fn header_names_may_come_in_any_case() {
    test_timeout::start();
    for form in [SignatureForm::Body, SignatureForm::WithHeaders] {
        for case in [str::to_ascii_lowercase, str::to_ascii_uppercase] {
            let sandbox = Sandbox::builder().signature_form(form).start().await.unwrap();
            let client = sandbox.client().retry(once()).build().unwrap();
            sandbox.after_signing(move |_, response| {
                response.headers.iter_mut().for_each(|(name, _)| *name = case(name));
            });
            let id = ready(&client).await;
            quick(client.provisions().close(id).await.unwrap()).wait().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_header_that_was_signed_cannot_be_changed() {
    test_timeout::start();
    let sandbox = Sandbox::builder().signature_form(SignatureForm::WithHeaders).start().await.unwrap();
    let client: Client = sandbox.client().retry(once()).build().unwrap();
    let id = ready(&client).await;
    sandbox.after_signing(|_, response| response.headers.push(("X-Bunq-Warning".into(), "all is well".into())));
    assert_eq!(client.provisions().get(id).await.unwrap_err().kind(), ErrorKind::Signature);
}

#[tokio::test]
async fn an_unsigned_refusal_is_an_error() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    client.open_session().await.unwrap();
    sandbox.after_signing(|_, response| {
        assert!(response.headers.iter().all(|(name, _)| name != "X-Bunq-Server-Signature"));
    });
    assert_eq!(client.provisions().get(id(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
}
