//! Bodies that are bytes: files that are sent and received, typed and by name.

use std::time::Duration;

use bunq_partner::types::{AttachmentContentType, AttachmentDescription, AttachmentId};
use bunq_partner::{Client, ErrorKind, Operation, Remedy, RequestBody, Sent};
use bunq_partner_sandbox::{Fault, Injection, RawResponse, ReceivedSignature, Sandbox};
use serde_json::{Value, json};

use crate::common::{calls, start, start_without_retries};
use crate::document::document;

const DESCRIPTION: &str = "X-Bunq-Attachment-Description";

fn attachment() -> AttachmentId {
    6001_u64.try_into().unwrap()
}

/// The example files of the document, with their content types.
fn files() -> Vec<(AttachmentContentType, Vec<u8>)> {
    let document = document();
    let files = &document["components"]["schemas"]["AttachmentContentType"]["x-bunq-files"];
    let known = AttachmentContentType::KNOWN.iter();
    known.map(|content_type| (*content_type, unhex(files[content_type.as_str()].as_str().unwrap()))).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Answers every call with this body, and signs it.
fn answer(sandbox: &Sandbox, body: impl Into<Vec<u8>>) {
    let body = body.into();
    sandbox.before_signing(move |_, response: &mut RawResponse| (response.status, response.body) = (200, body.clone()));
}

#[tokio::test]
async fn the_very_bytes_of_a_file_are_sent_and_signed() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    client.open_session().await.unwrap();
    let api = client.api();
    answer(&sandbox, r#"{"Response": [{"Id": {"id": 6001}}]}"#);
    let description: AttachmentDescription = "Passport, page 1".parse().unwrap();
    for (content_type, file) in files() {
        let id = api.create_attachment(content_type, file.clone(), Some(&description)).await.unwrap();
        assert_eq!(*id, attachment());
        let body = RequestBody::bytes(content_type.as_str(), file.clone());
        let parameters = [(DESCRIPTION, "Passport, page 1")];
        api.call(&Operation::CREATE_ATTACHMENT, &parameters, body).await.unwrap();
        let journal = sandbox.take_call_log();
        for call in &journal[journal.len() - 2..] {
            assert_eq!((call.signature, &call.bytes[..]), (ReceivedSignature::Valid, &file[..]));
            assert_eq!(call.header("content-type"), Some(content_type.as_str()));
            assert_eq!(call.header(DESCRIPTION), Some("Passport, page 1"));
        }
    }
    // Without a description there is no header.
    let [(content_type, file), ..] = &files()[..] else { panic!("there are no files") };
    api.create_attachment(*content_type, file.clone(), None).await.unwrap();
    assert_eq!(sandbox.call_log().pop().unwrap().header(DESCRIPTION), None);
}

#[tokio::test]
async fn a_file_is_sent_again_as_it_is() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    client.open_session().await.unwrap();
    answer(&sandbox, r#"{"Response": [{"Id": {"id": 6001}}]}"#);
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::CREATE_ATTACHMENT).times(1));
    let file = [b"GIF89a".as_slice(), &[0xff; 300_000]].concat();
    client.api().create_attachment(AttachmentContentType::ImageGif, file.clone(), None).await.unwrap();
    let sent = calls(&sandbox, "POST", "/attachment");
    let signature = |index: usize| sent[index].header("x-bunq-client-signature");
    assert!(sent.len() == 2 && sent.iter().all(|call| call.bytes == file), "{sent:?}");
    assert!(signature(0).is_some() && signature(0) == signature(1));
}

/// The problem of a call, of which nothing was sent.
async fn refused(client: &Client, parameters: &[(&str, &str)], body: RequestBody<'_>) -> String {
    let error = client.api().call(&Operation::CREATE_ATTACHMENT, parameters, body.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::InvalidInput, Sent::No), "{error}");
    let shown = client.api().preview(&Operation::CREATE_ATTACHMENT, parameters, body).unwrap_err();
    assert_eq!(shown.to_string(), error.to_string());
    error.to_string().strip_prefix("create_attachment: ").unwrap().to_owned()
}

#[tokio::test]
async fn what_is_no_file_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().max_upload_size(100).build().unwrap();
    assert_eq!(client.api().max_upload_size(), 100);
    let gif = |length: usize| [b"GIF89a".as_slice(), &vec![0; length - 6]].concat();
    let largest = "the file has 101 bytes, and at most 100 are sent: set max_upload_size to more";
    let convert =
        "it is none that the operation takes: convert it to one of image/png, image/jpeg, image/gif, application/pdf";
    let not_png = "by its first bytes, the file is not image/png: ";
    for (content_type, file, problem) in [
        (AttachmentContentType::ImageGif, vec![], "the file is empty".to_owned()),
        (AttachmentContentType::ImageGif, gif(101), largest.into()),
        (AttachmentContentType::ImagePng, gif(100), format!("{not_png}it is image/gif")),
        (AttachmentContentType::ImagePng, b"\x89PNG\n\x1a\n".to_vec(), format!("{not_png}{convert}")),
        (AttachmentContentType::ImagePng, b"\x89".to_vec(), format!("{not_png}{convert}")),
    ] {
        let error = client.api().create_attachment(content_type, file.clone(), None).await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::InvalidInput, Sent::No), "{error}");
        assert_eq!(error.to_string(), format!("create_attachment: {problem}"));
        let body = RequestBody::bytes(content_type.as_str(), file);
        assert_eq!(refused(&client, &[], body).await, problem);
    }
    for (content_type, file) in files().into_iter().filter(|(_, file)| file.len() <= 100) {
        let others = AttachmentContentType::KNOWN.iter().filter(|other| **other != content_type);
        for other in others {
            let problem = format!("by its first bytes, the file is not {other}: it is {content_type}");
            assert_eq!(refused(&client, &[], RequestBody::bytes(other.as_str(), file.clone())).await, problem);
        }
    }

    // What has types of its own where a call is not made by name.
    let file = || RequestBody::bytes("image/gif", gif(100));
    let types = "give image/png, image/jpeg, image/gif, application/pdf";
    let body = json!({});
    for (body, problem) in [
        (RequestBody::bytes("image/bmp", gif(100)), format!("`image/bmp` is no content type that it takes: {types}")),
        (RequestBody::bytes("", gif(100)), format!("`` is no content type that it takes: {types}")),
        (RequestBody::from(&body), "its body is bytes, not JSON".into()),
        (RequestBody::None, "it has a body, which is missing".into()),
    ] {
        assert_eq!(refused(&client, &[], body).await, problem);
    }
    let long = "x".repeat(1001);
    for description in ["two\nlines", "one\r\nX-Other: header", "P\u{e4}sse", "", " a", "a ", "\u{7f}", &*long] {
        let problem = refused(&client, &[(DESCRIPTION, description)], file()).await;
        assert!(
            problem.starts_with(&format!("{DESCRIPTION}: a description is 1 to 1,000 printable ASCII")),
            "{problem}"
        );
        assert!(description.parse::<AttachmentDescription>().is_err(), "{description:?}");
    }
    assert!("x".repeat(1000).parse::<AttachmentDescription>().is_ok());
    let unknown = refused(&client, &[("X-Bunq-Region", "nl_NL")], file()).await;
    assert_eq!(unknown, format!("it has no parameter `X-Bunq-Region` (parameters: {DESCRIPTION})"));
    let error = client.api().call(&Operation::UPDATE_PROVISION, &[("provision_id", "1")], file()).await.unwrap_err();
    assert_eq!(error.to_string(), "update_provision: its body is JSON, not bytes");
    assert!(sandbox.call_log().is_empty());
}

#[tokio::test]
async fn a_preview_shows_how_large_a_file_is() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let body = RequestBody::bytes("image/gif", &b"GIF89a"[..]);
    let preview = client.api().preview(&Operation::CREATE_ATTACHMENT, &[(DESCRIPTION, "Passport")], body).unwrap();
    let expected = json!({
        "method": "POST",
        "url": format!("{}/user/{{user_id}}/attachment", sandbox.base_url()),
        "headers": { "X-Bunq-Attachment-Description": "Passport" },
        "body": null,
        "upload": { "content_type": "image/gif", "size": 6 },
    });
    assert_eq!(serde_json::to_value(&preview).unwrap(), expected);
    assert!(!format!("{preview:?}").contains("Passport"));
    let hidden = preview.without_personal();
    assert_eq!(
        serde_json::to_value(&hidden.headers).unwrap(),
        json!({ "X-Bunq-Attachment-Description": "[redacted]" })
    );
    let closing = json!({ "status": "CANCELLED" });
    let preview = client.api().preview(&Operation::UPDATE_PROVISION, &[("provision_id", "1")], &closing).unwrap();
    let shown = serde_json::to_value(&preview).unwrap();
    assert_eq!((&shown["body"], &shown["headers"], &shown["upload"]), (&closing, &json!({}), &json!(null)));
    assert_eq!(preview.clone().without_personal(), preview, "nothing of it is about a person");
    assert!(sandbox.call_log().is_empty());
}

#[tokio::test]
async fn a_file_that_is_received_has_a_bound_of_its_own() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    client.open_session().await.unwrap();
    let file = vec![0xff; 5 * 1024 * 1024];
    answer(&sandbox, file.clone());
    let parameters = [("attachment_id", "6001")];
    assert!(client.api().get_attachment_content(attachment()).await.unwrap()[..] == file[..]);
    let by_name = client.api().call(&Operation::GET_ATTACHMENT_CONTENT, &parameters, None).await.unwrap();
    assert!(by_name[..] == file[..]);
    assert_eq!(sandbox.call_log().pop().unwrap().header("accept"), Some("*/*"));

    let bounded = || sandbox.client().max_download_size(1000).max_response_size(2000).build().unwrap();
    for (length, is_read) in [(1000, true), (1001, false)] {
        let client = bounded();
        sandbox.clear_edits();
        client.open_session().await.unwrap();
        answer(&sandbox, vec![0; length]);
        match client.api().get_attachment_content(attachment()).await {
            Ok(read) => assert!(is_read && read.len() == length),
            Err(error) => {
                assert!(!is_read && error.kind() == ErrorKind::InvalidResponse, "{error}");
                let problem = "the response is larger than 1000 bytes: set max_download_size to more";
                assert!(error.to_string().contains(problem), "{error}");
            }
        }
    }
    // A refusal is bounded like any other.
    for (length, is_bunqs) in [(1500, true), (2500, false)] {
        let client = bounded();
        sandbox.clear_edits();
        client.open_session().await.unwrap();
        let refusal = json!({ "Error": [{ "error_description": "x".repeat(length) }] }).to_string();
        sandbox.before_signing(move |_, response| (response.status, response.body) = (404, refusal.clone().into()));
        let error = client.api().get_attachment_content(attachment()).await.unwrap_err();
        assert_eq!(error.kind() == ErrorKind::NotFound, is_bunqs, "{error}");
        assert_eq!(error.to_string().contains("set max_response_size to more"), !is_bunqs, "{error}");
    }
}

#[tokio::test]
async fn what_is_received_in_place_of_a_file_is_refused() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    client.open_session().await.unwrap();
    let (api, parameters) = (client.api(), [("attachment_id", "6001")]);
    let by_name = || api.call(&Operation::GET_ATTACHMENT_CONTENT, &parameters, None);
    for (body, problem) in [
        ("", "the response is empty"),
        (r#"{"Response": []}"#, "the response is bunq's envelope, where a file is expected"),
        (" {\"Response\": [{\"Id\": {\"id\": 1}}]}\n", "the response is bunq's envelope, where a file is expected"),
    ] {
        sandbox.clear_edits();
        answer(&sandbox, body);
        let typed = api.get_attachment_content(attachment()).await.map(drop).unwrap_err();
        for error in [typed, by_name().await.unwrap_err()] {
            assert_eq!((error.kind(), error.sent()), (ErrorKind::InvalidResponse, Sent::Responded), "{error}");
            assert!(error.to_string().contains(problem) && error.request_id().is_some(), "{error}");
        }
    }
    // JSON that is no envelope may be a file.
    sandbox.clear_edits();
    answer(&sandbox, r#"{"response": []}"#);
    assert_eq!(by_name().await.unwrap()[..], br#"{"response": []}"#[..]);
}

/// Nothing in the bytes says which file they are, and whose.
#[tokio::test]
async fn a_file_that_does_not_name_its_request_is_not_used() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    client.open_session().await.unwrap();
    let api = client.api();
    let mut uploaded = Vec::new();
    for (content_type, file) in files() {
        uploaded.push((api.create_attachment(content_type, file.clone(), None).await.unwrap().into_inner(), file));
    }
    let [(one, of_one), (other, of_other), ..] = &uploaded[..] else { panic!("there are too few files") };
    assert_eq!(api.get_attachment_content(*one).await.unwrap()[..], of_one[..]);
    let replayed = || Injection::new(Fault::Replayed).on(&Operation::GET_ATTACHMENT_CONTENT);
    sandbox.inject(replayed().times(1));
    assert_eq!(api.get_attachment_content(*other).await.unwrap()[..], of_other[..]);
    sandbox.inject(replayed().always());
    let error = api.get_attachment_content(*one).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert!(error.to_string().contains("does not say to which request it belongs"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_too_large_for_a_proxy_is_sent_once() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    client.open_session().await.unwrap();
    sandbox.inject(Injection::new(Fault::UnsignedStatus(413)).on(&Operation::CREATE_ATTACHMENT).always());
    let api = client.api();
    let upload = api.create_attachment(AttachmentContentType::ImageGif, &b"GIF89a"[..], None);
    let error = upload.await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Rejected, false), "{error}");
    let problem =
        "something other than bunq, such as a proxy, takes no body of this size: raise its limit, or send a smaller";
    assert!(error.to_string().contains(problem) && error.to_string().contains("HTTP status 413"), "{error}");
    assert_eq!(calls(&sandbox, "POST", "/attachment").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_takes_too_long_names_the_setting() {
    test_timeout::start();
    let (sandbox, client) = start_without_retries().await;
    client.open_session().await.unwrap();
    sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(3600))).always());
    let (api, id) = (client.api(), attachment());
    let upload = api.create_attachment(AttachmentContentType::ImageGif, &b"GIF89a"[..], None);
    let errors = [
        (upload.await.map(drop).unwrap_err(), true),
        (api.get_attachment_content(id).await.map(drop).unwrap_err(), true),
        (api.get_attachment(id).await.map(drop).unwrap_err(), false),
    ];
    for (error, is_file) in errors {
        let is_named = error.remedy() == Some(Remedy::RaiseAttemptTimeout);
        assert_eq!((error.kind(), is_named), (ErrorKind::Timeout, is_file), "{error}");
        assert_eq!(error.to_string().contains("raise `attempt_timeout` and `operation_timeout`"), is_file, "{error}");
    }
}

/// The vectors of responses that are bytes.
#[tokio::test]
async fn the_vectors_of_bytes_hold() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    client.open_session().await.unwrap();
    let vectors: Value = serde_json::from_str(include_str!("../../openapi/vectors/decoding.json")).unwrap();
    let mut count = 0;
    for (case, bytes) in
        vectors["cases"].as_array().unwrap().iter().filter_map(|case| Some((case, case["bytes"].as_str()?)))
    {
        answer(&sandbox, unhex(bytes));
        let operation = Operation::by_id(case["operation"].as_str().unwrap()).unwrap();
        let parameters: Vec<_> = operation.path_parameters().map(|name| (name, "1")).collect();
        let response = client.api().call(operation, &parameters, None).await.unwrap();
        assert_eq!(response[..], unhex(bytes), "{}", case["name"]);
        count += 1;
    }
    assert!(count > 0);
}
