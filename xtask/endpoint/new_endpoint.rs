//! Calls operations for which no Rust has been written. `cargo xtask endpoint` adds them to a copy of the document and
//! runs this test there.

#![allow(clippy::panic, clippy::unwrap_used)]

use bunq_partner::types::{
    DrawingContentType, InquiryRefusal, InquiryRequest, ListInquiriesQuery, ListReportsQuery, NoteId, PartId, PartRequest,
    RetryReportsRequest, Rule, RuleCall, RuleCategory, RuleTarget, RulesRequest,
};
use bunq_partner::{Api, ErrorKind, InvalidValue, Operation, PageSize, PathUser, RequestBody, SessionOf, UserId};
use bunq_partner_sandbox::{ReceivedSignature, Sandbox};
use futures_util::TryStreamExt as _;

/// Replaces every response with this body, before it is signed.
fn respond(sandbox: &Sandbox, body: &'static str) {
    sandbox.before_signing(move |_, response| (response.status, response.body) = (200, body.into()));
}

fn id<T: TryFrom<u64, Error = InvalidValue>>(number: u64) -> T {
    number.try_into().unwrap()
}

#[tokio::test]
async fn new_operations_are_signed_verified_and_typed() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let user = client.user().await.unwrap().id;
    let api = client.api();

    respond(&sandbox, r#"{"Response": [{"Note": {"id": 7, "token_value": "t"}}, {"Novelty": {}}]}"#);
    let notes = api.list_notes().await.unwrap();
    assert_eq!((notes.len(), notes[0].id.get()), (1, 7));
    assert_eq!(notes[0].token_value.as_ref().unwrap().expose(), "t");
    assert_eq!(serde_json::to_value(&notes[0]).unwrap()["token_value"], "[redacted]");
    let call = sandbox.call_log().pop().unwrap();
    assert_eq!(call.path, format!("/v1/user/{user}/note"));
    assert_eq!(notes.request_id(), call.header("x-bunq-client-request-id"));
    assert!(notes.response_id().is_some());

    assert_eq!(api.get_note(id(7)).await.unwrap().id, id(7));
    let error = api.get_note(id(8)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert!(error.to_string().contains("the response is about note_id 7, not 8"), "{error}");

    respond(&sandbox, r#"{"Response": []}"#);
    api.retry_reports(&RetryReportsRequest::new("1,2".into())).await.unwrap();
    let call = sandbox.call_log().pop().unwrap();
    assert_eq!(call.body, r#"{"report_ids":"1,2"}"#);
    assert_eq!(call.signature, ReceivedSignature::Valid);
    // What the sandbox itself says of an operation that no resource of its answers.
    assert_eq!((call.status, call.carried_out), (501, false));

    // Where the result is nothing, so may the response be: signed, and empty.
    respond(&sandbox, "");
    api.retry_reports(&RetryReportsRequest::new("1,2".into())).await.unwrap();
    assert_eq!(api.list_notes().await.unwrap_err().kind(), ErrorKind::InvalidResponse);

    ids_and_users(&sandbox, &api, user).await;
    names_that_are_keywords(&sandbox, api.clone(), user).await;
    what_goes_both_ways(&sandbox, api.clone()).await;

    // There are two pages: the first leads to the second.
    sandbox.before_signing(|call, response| {
        let is_second = call.query.as_ref().is_some_and(|query| query.contains("older_id=5"));
        let (id, older) = if is_second { (4, "null") } else { (5, r#""/v1/reports?count=1&older_id=5""#) };
        response.status = 200;
        response.body = format!(
            r#"{{"Response": [{{"Report": {{"id": {id}}}}}],
                "Pagination": {{"older_url": {older}, "newer_url": null, "future_url": null}}}}"#
        )
        .into();
    });
    let query = ListReportsQuery::default().count(PageSize::new(1).unwrap());
    let reports: Vec<_> = api.list_reports_stream(None, query).try_collect().await.unwrap();
    assert_eq!(reports.iter().map(|report| report.id.get()).collect::<Vec<_>>(), [5, 4]);

    respond(&sandbox, "%PDF \u{0}");
    assert_eq!(&api.get_drawing_content(id(1)).await.unwrap()[..], b"%PDF \0");
    let parameters = [("drawing_id", "2")];
    let bytes = api.call(Operation::by_id("get_drawing_content").unwrap(), &parameters, None).await.unwrap();
    assert_eq!(&bytes[..], b"%PDF \0");

    respond(&sandbox, "");
    let title = "plan".parse().unwrap();
    api.create_drawing(DrawingContentType::ImageXB, &b"\x0b\x01\xff"[..], Some(&title)).await.unwrap();
    let create = Operation::by_id("create_drawing").unwrap();
    let parameters = [("X-Drawing-Title", "plan")];
    api.call(create, &parameters, RequestBody::bytes("image/x-b", &b"\x0b\x01\xff"[..])).await.unwrap();
    for call in sandbox.call_log().iter().rev().take(2) {
        assert_eq!((&call.bytes[..], call.header("content-type")), (&b"\x0b\x01\xff"[..], Some("image/x-b")));
        assert_eq!((call.header("x-drawing-title"), call.signature), (Some("plan"), ReceivedSignature::Valid));
    }
    let error = api.create_drawing(DrawingContentType::ImageXA, vec![0x0b, 0], None).await.unwrap_err();
    assert!(error.to_string().contains("the file is not image/x-a: it is image/x-b"), "{error}");
    respond(&sandbox, "%PDF \u{0}");

    // A response that does not verify is not returned.
    sandbox.after_signing(|_, response| response.body.push(b' '));
    assert_eq!(api.list_notes().await.unwrap_err().kind(), ErrorKind::Signature);
    assert_eq!(api.get_drawing_content(id(1)).await.unwrap_err().kind(), ErrorKind::Signature);
}

/// Rules as somebody else has set them: with a category, members and a target that the document does not know.
const RULES: &str = r#"{"Response": [
    {"Rule": {"category": "PAYMENT", "target": "https://a.example", "labels": null, "priority": null}},
    {"Rule": {"category": "NOVELTY", "target": "http://b.example", "labels": ["x"], "since": 1.50, "token": "qzx", "of": {"a":  [null, 18446744073709551616]}}}
]}"#;

async fn what_goes_both_ways(sandbox: &Sandbox, api: Api) {
    respond(sandbox, RULES);
    let mut rules = api.list_rules().await.unwrap().into_inner();
    assert_eq!((rules[0].labels.len(), &rules[1].labels[..]), (0, &["x".to_owned()][..]));
    assert_eq!(rules[1].category, RuleCategory::Unknown("NOVELTY".into()));
    assert_eq!(rules[1].target.as_str(), "http://b.example");
    // Shown, they are redacted; sent, they are as they came.
    let shown = format!("{rules:?} {}", serde_json::to_string(&rules).unwrap());
    assert!(!shown.contains("qzx") && shown.contains(r#""token":"[redacted]""#) && shown.contains("since"), "{shown}");

    // One that is made is made of what it must have, and a target is checked.
    let error = "http://c.example".parse::<RuleTarget>().unwrap_err();
    assert!(error.to_string().contains("a target begins with https://"), "{error}");
    rules.push(Rule::new(RuleCategory::Card, "https://c.example".parse().unwrap()));
    let second = rules[1].clone();
    assert_eq!(api.replace_rules(&RulesRequest::new(rules)).await.unwrap().len(), 2);
    let sent = sandbox.call_log().pop().unwrap();
    assert_eq!(sent.signature, ReceivedSignature::Valid);
    let kept = r#"{"category":"NOVELTY","labels":["x"],"target":"http://b.example","since":1.50,"token":"qzx","of":{"a":  [null, 18446744073709551616]}}"#;
    let first = r#"{"category":"PAYMENT","target":"https://a.example"}"#;
    let made = r#"{"category":"CARD","target":"https://c.example"}"#;
    assert_eq!(sent.body, format!(r#"{{"rules":[{first},{kept},{made}]}}"#));

    respond(sandbox, r#"{"Response": []}"#);
    api.update_rule(&second).await.unwrap();
    assert_eq!(sandbox.call_log().pop().unwrap().body, kept);
}

/// What bunq sends by itself has a type, which redacts.
#[test]
fn a_callback_is_typed() {
    test_timeout::start();
    let body = r#"{"RuleApplied": {"rule": {"category": "NOVELTY", "target": "x", "labels": null}, "token": "qzx", "novelty": 1}}"#;
    let applied = serde_json::from_str::<RuleCall>(body).unwrap().rule_applied;
    assert_eq!(applied.rule.as_ref().unwrap().category, RuleCategory::Unknown("NOVELTY".into()));
    assert_eq!(applied.token.as_ref().unwrap().expose(), "qzx");
    let shown = format!("{applied:?} {}", serde_json::to_string(&applied).unwrap());
    assert!(!shown.contains("qzx"), "{shown}");
}

async fn ids_and_users(sandbox: &Sandbox, api: &Api, user: UserId) {
    let operation = |id: &str| Operation::by_id(id).unwrap();
    let sent = || sandbox.call_log().pop().unwrap();

    // Two ids of different kinds and a body. The result is the id of the part.
    respond(sandbox, r#"{"Response": [{"Id": {"id": 8}}]}"#);
    let (note, part) = (id::<NoteId>(7), id::<PartId>(8));
    let mut text = PartRequest::new("a".into());
    text.relates_to = Some(note);
    assert_eq!(*api.update_part(note, part, &text).await.unwrap(), part);
    let call = sent();
    assert_eq!((call.path, call.body), (format!("/v1/user/{user}/note/7/part/8"), r#"{"relates_to":7,"text":"a"}"#.into()));
    assert_eq!(call.signature, ReceivedSignature::Valid);
    let error = api.update_part(note, id(9), &text).await.unwrap_err();
    assert!(error.to_string().contains("the response is about part_id 8, not 9"), "{error}");
    respond(sandbox, r#"{"Response": [{"Id": {"id": 0}}]}"#);
    let error = api.update_part(note, part, &text).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert!(error.to_string().contains("part_id: `0` is not a positive integer"), "{error}");
    assert_eq!((operation("update_part").ids, operation("update_part").session_of), (&["note_id", "part_id"][..], Some(SessionOf::Either)));

    // The user of the session, and one that is chosen.
    respond(sandbox, r#"{"Response": [], "Pagination": {"older_url": null, "newer_url": null, "future_url": null}}"#);
    for (chosen, expected) in [(None, user), (Some(id(9)), id(9))] {
        api.list_reports(chosen, ListReportsQuery::default()).await.unwrap();
        assert_eq!(sent().path, format!("/v1/user/{expected}/report"));
        let by_name = chosen.map(|chosen| chosen.to_string());
        let by_name: Vec<_> = by_name.iter().map(|chosen| ("user_id", &**chosen)).collect();
        api.call(operation("list_reports"), &by_name, None).await.unwrap();
        assert_eq!(sent().path, format!("/v1/user/{expected}/report"));
    }
    api.call(operation("list_notes"), &[], None).await.unwrap();
    assert_eq!(sent().path, format!("/v1/user/{user}/note"));
    let [of_session, of_any] = ["list_notes", "list_reports"].map(operation);
    assert_eq!([of_session.path_user, of_any.path_user], [Some(PathUser::Session), Some(PathUser::Chosen)]);
    assert_eq!([of_session.path_parameters().count(), of_any.path_parameters().count()], [0, 1]);

    // Before anything is sent.
    let before = sandbox.call_log().len();
    for (of, parameters, problem) in [
        ("list_notes", &[("user_id", "7")][..], "the client fills in `user_id`, the user of the session: leave it out"),
        ("list_reports", &[("user_id", "0")], "the parameter user_id: `0` is not a positive integer of at most 63 bits"),
        ("get_note", &[("note_id", "0")], "the parameter note_id: `0` is not a positive integer of at most 63 bits"),
        ("get_note", &[("note_id", "550e8400-e29b-41d4-a716-446655440000")], "is not a positive integer of at most 63 bits"),
        ("get_note", &[], "the parameter `note_id` is missing (parameters: note_id)"),
    ] {
        let error = api.call(operation(of), parameters, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(problem), "{error}");
    }
    for text in ["", "..", ".\t.", "a\nb"] {
        let error = api.call(operation("get_drawer"), &[("drawer", text)], None).await.unwrap_err();
        assert!(error.to_string().contains("the parameter `drawer` cannot be a segment of a path"), "{error}");
    }
    for text in ["", ".", ".."] {
        let error = api.get_drawer(text.into()).await.unwrap_err();
        assert!(error.to_string().contains("a parameter cannot be a segment of its path"), "{error}");
    }
    let preview = api.preview(operation("get_note"), &[("note_id", "7")], None).unwrap();
    assert!(preview.url.ends_with("/v1/user/{user_id}/note/7"), "{}", preview.url);
    assert_eq!(sandbox.call_log().len(), before);

    // A text is escaped and stays within its segment, whatever it is.
    for (text, segment) in [("1/../2?x=#", "1%2F..%2F2%3Fx=%23"), ("{user_id}", "%7Buser_id%7D"), ("a\\b", "a%5Cb")] {
        api.call(operation("get_drawer"), &[("drawer", text)], None).await.unwrap();
        assert_eq!(sent().path, format!("/v1/user/{user}/drawer/{segment}"));
        api.get_drawer(text.into()).await.unwrap();
        assert_eq!(sent().path, format!("/v1/user/{user}/drawer/{segment}"));
    }
}

async fn names_that_are_keywords(sandbox: &Sandbox, api: Api, user: UserId) {
    respond(sandbox, r#"{"Response": [{"Inquiry": {"type": "PERSON", "ref": 3, "self": ["a"]}}]}"#);
    let query = ListInquiriesQuery::default().type_(["A".into(), "B".into()]).query([1, 2]).async_(true);
    let inquiries = api.list_inquiries(id(3), query.response_body("c".into())).await.unwrap();
    assert_eq!((inquiries[0].type_.as_deref(), &inquiries[0].self_[..]), (Some("PERSON"), &["a".to_owned()][..]));
    let call = sandbox.call_log().pop().unwrap();
    assert_eq!(call.path, format!("/v1/user/{user}/match/3/inquiry"));
    let mut query: Vec<_> = call.query.as_deref().unwrap().split('&').collect();
    query.sort_unstable();
    assert_eq!(query, ["async=true", "query=1%2C2", "response-body=c", "type=A%2CB"]);

    let person = InquiryRequest::new("PERSON".into());
    api.create_inquiry(id(3), &person).await.unwrap();
    assert_eq!(sandbox.call_log().pop().unwrap().body, r#"{"type":"PERSON"}"#);
    let wrong = "the response is about type PERSON, not COMPANY";
    let error = api.create_inquiry(id(3), &InquiryRequest::new("COMPANY".into())).await.unwrap_err();
    assert!(error.to_string().contains(wrong), "{error}");
    let error = api.create_inquiry(id(4), &person).await.unwrap_err();
    assert!(error.to_string().contains("the response is about match 3, not 4"), "{error}");

    // A refusal says more.
    let added = r#"[{"AdditionalFulfillmentParameter": {"all_fulfillment": [{"type": "EMAIL", "token": "t"}]}}, {"Novelty": [1]}]"#;
    let body = format!(r#"{{"Error": [{{"error_description": "No.", "error_additional_parameter": {added}}}]}}"#);
    sandbox.before_signing(move |_, response| (response.status, response.body) = (466, body.clone().into()));
    let error = api.create_inquiry(id(3), &person).await.unwrap_err();
    let details: Vec<InquiryRefusal> = error.details().unwrap();
    let [InquiryRefusal::AdditionalFulfillmentParameter(known), InquiryRefusal::Unknown(novelty)] = &details[..] else {
        panic!("{details:?}")
    };
    assert_eq!(known.all_fulfillment[0].type_.as_deref(), Some("EMAIL"));
    assert_eq!(novelty.as_json(), r#"{"Novelty": [1]}"#);
    let written = serde_json::to_value(&details).unwrap();
    assert_eq!(written[0]["AdditionalFulfillmentParameter"]["all_fulfillment"][0]["token"], "[redacted]");
    assert_eq!(written[1], serde_json::json!({"Novelty": [1]}));
}
