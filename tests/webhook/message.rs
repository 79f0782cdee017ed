//! The message of a call: what it becomes, what is kept of it, and where it ends.

use bunq_partner::webhook::{Hint, HintedObject, InvalidNotification, Notification, NotifiedObject};
use bunq_partner::{ProvisionId, Timestamp};
use serde_json::{Value, json};

/// The vectors of callbacks: name, body, what is expected, and whether it is refused.
pub(crate) fn vectors() -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("../../openapi/vectors/decoding.json")).unwrap();
    vectors["cases"].as_array().unwrap().iter().filter(|case| case["callback"].is_string()).cloned().collect()
}

pub(crate) fn read(body: &Value) -> Result<Notification, InvalidNotification> {
    Notification::from_bytes(body.to_string().as_bytes())
}

/// A call about such an object.
fn about(object: Value) -> Value {
    json!({ "NotificationUrl": { "category": "PARTNER_USER_PROVISION", "object": object } })
}

pub(crate) fn arrived() -> Timestamp {
    "2026-08-13 14:45:20.123456".parse().unwrap()
}

#[test]
fn every_vector_is_read_or_refused() {
    test_timeout::start();
    let (mut kinds, vectors) = ([0; 4], vectors());
    for case in &vectors {
        let notification = read(&case["body"]);
        assert_eq!(notification.is_err(), case["refuse"] == true, "{}: {notification:?}", case["name"]);
        let Ok(notification) = notification else { continue };
        let written = json!({ "NotificationUrl": notification });
        // What is absent for others, because it is odd, is kept whole here.
        for (pointer, expected) in case["expect"].as_object().unwrap().iter().filter(|(_, value)| !value.is_null()) {
            let is_secret =
                ["token_value", "redirect_url", "authorization_code"].iter().any(|end| pointer.ends_with(end));
            let expected = if is_secret { &json!("[redacted]") } else { expected };
            assert_eq!(written.pointer(pointer), Some(expected), "{}: {pointer}", case["name"]);
        }
        let (index, is_whole) = match &notification.object {
            Some(NotifiedObject::Provision(_)) => (0, false),
            Some(NotifiedObject::Onboarding(_)) => (1, false),
            Some(NotifiedObject::Inquiry(_)) => (2, false),
            Some(_) => (3, true),
            None => continue,
        };
        assert!(!is_whole || written["NotificationUrl"]["object"] == case["body"]["NotificationUrl"]["object"]);
        kinds[index] += 1;
    }
    assert!(vectors.len() > 20 && kinds.iter().all(|count| *count > 1), "{kinds:?}");
}

#[test]
fn what_is_not_known_is_kept_whole_and_shown_redacted() {
    test_timeout::start();
    let provision = json!({ "id": 7, "credential": { "token_value": "qzx" } });
    for object in [
        json!({ "Payment": { "id": 1.5, "token": "qzx", "of": [{ "secret": { "deep": "qzx" } }] } }),
        // Nobody knows which of the two it is.
        json!({ "PartnerUserProvision": provision, "UserOnboarding": { "id": 7 } }),
        json!({ "PartnerUserProvision": [provision] }),
        json!([provision]),
        json!("text"),
        json!({}),
    ] {
        let notification = read(&about(object.clone())).unwrap();
        let Some(NotifiedObject::Other(whole)) = &notification.object else { panic!("{notification:?}") };
        assert_eq!(serde_json::from_str::<Value>(whole.as_json()).unwrap(), object);
        let shown = format!("{notification:?} {notification:#?} {}", json!(notification));
        assert!(!shown.contains("qzx"), "{shown}");
    }
    // JSON allows more than one member of a name, numbers of any size, and halves of characters.
    for object in [
        r#"{"PartnerUserProvision": {"id": 7, "id": 8, "credential": {"token_value": "qzx"}}}"#,
        r#"{"Payment": {"id": 7, "amount": 1e999, "token_value": "qzx"}}"#,
        r#"{"Payment": {"id": 7, "text": "\ud800", "token_value": "qzx"}}"#,
    ] {
        let body =
            format!(r#"{{"NotificationUrl": {{"category": "\u0050AYMENT", "event_type": [], "object": {object}}}}}"#);
        let notification = Notification::from_bytes(body.as_bytes()).unwrap();
        let Some(NotifiedObject::Other(whole)) = &notification.object else { panic!("{notification:?}") };
        assert_eq!((whole.as_json(), &notification.event_type), (object, &None));
        let shown = format!("{notification:?} {}", serde_json::to_string(&notification).unwrap());
        assert!(!shown.contains("qzx"), "{shown}");
    }
}

#[test]
fn what_is_no_notification_fails_without_its_text() {
    test_timeout::start();
    use InvalidNotification::{NotJson, NotNotification, TooDeep, TooLong, TooManyMembers};
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 2), "]".repeat(depth - 2));
        format!(r#"{{"NotificationUrl":{{"category":"qzx","x":{open}{close}}}}}"#)
    };
    let members = |count: usize| {
        let items = vec!["1"; count - 3].join(",");
        format!(r#"{{"NotificationUrl":{{"category":"qzx","x":[{items}]}}}}"#)
    };
    let long = |length: usize| {
        let rest = r#"{"NotificationUrl":{"category":"qzx","x":""}}"#.len();
        format!(
            r#"{{"NotificationUrl":{{"category":"qzx","x":"{}"}}}}"#,
            "[{,".repeat(length / 3).get(..length - rest).unwrap()
        )
    };
    let is_read = |body: String| Notification::from_bytes(body.as_bytes()).map(drop);
    assert_eq!(is_read(nested(Notification::MAX_DEPTH)), Ok(()));
    assert_eq!(is_read(members(Notification::MAX_MEMBERS)), Ok(()));
    assert_eq!(is_read(long(Notification::MAX_LEN)), Ok(()));
    let refused = [
        (nested(Notification::MAX_DEPTH + 1), TooDeep),
        (members(Notification::MAX_MEMBERS + 1), TooManyMembers),
        (long(Notification::MAX_LEN + 1), TooLong),
        (String::new(), NotJson),
        ("qzx".into(), NotJson),
        (r#"{"NotificationUrl": {"category": "qzx"}} qzx"#.into(), NotJson),
        (r#"{"NotificationUrl": {"category": "qzx", "object": {"qzx": }}}"#.into(), NotJson),
        (r#"{"NotificationUrl": {"category": "qzx""#.into(), NotJson),
        (r#"["qzx"]"#.into(), NotNotification),
        (r#"{"NotificationUrl": "qzx"}"#.into(), NotNotification),
        (r#"{"NotificationUrl": {"qzx": 1}}"#.into(), NotNotification),
        (r#"{"NotificationUrl": {"category": {"qzx": 1}}}"#.into(), NotNotification),
        (r#"{"NotificationUrl": {"category": "a", "category": "qzx"}}"#.into(), NotNotification),
    ];
    for (body, expected) in refused {
        let error = Notification::from_bytes(body.as_bytes()).unwrap_err();
        assert_eq!(error, expected, "{}", body.get(..100).unwrap_or(&body));
        let shown = format!("{error} {error:?}");
        assert!(shown.starts_with("the body is no notification of bunq's: it ") && !shown.contains("qzx"), "{shown}");
    }
    assert_eq!(Notification::from_bytes(b"{\"NotificationUrl\": {\"category\": \"\xff\"}}"), Err(NotJson));
}

#[test]
fn a_hint_says_which_object_it_is_and_no_more() {
    test_timeout::start();
    let hint = |case: &str| {
        let vectors = vectors();
        let case = vectors.iter().find(|vector| vector["name"] == format!("callback: {case}")).unwrap();
        read(&case["body"]).unwrap().hint(arrived())
    };
    for (case, json) in [
        (
            "provision, with its live key",
            json!([
                "PARTNER_USER_PROVISION",
                "PARTNER_USER_PROVISION_PROCESS_UPDATED",
                "provision",
                123,
                null,
                1_755_096_324_700_000_i64,
                1_786_632_320_123_i64
            ]),
        ),
        (
            "onboarding",
            json!([
                "USER_ONBOARDING",
                "USER_ONBOARDING_UPDATED",
                "onboarding",
                77,
                5002,
                1_786_632_618_621_550_i64,
                1_786_632_320_123_i64
            ]),
        ),
        (
            "inquiry",
            json!([
                "USER_INFORMATION_INQUIRY",
                "USER_INFORMATION_INQUIRY_EXPECTING_REPLY_FROM_USER",
                "inquiry",
                88,
                5002,
                1_786_632_318_621_550_i64,
                1_786_632_320_123_i64
            ]),
        ),
        ("card", json!(["CARD", "CARD_UPDATED", "CardDebit", 1001, null, null, 1_786_632_320_123_i64])),
        // It has no id.
        (
            "challenge",
            json!([
                "MASTERCARD_IDENTITY_CHECK",
                "MASTERCARD_IDENTITY_CHECK_CHALLENGE_CREATED",
                null,
                null,
                null,
                null,
                1_786_632_320_123_i64
            ]),
        ),
        ("all that may lack", json!(["SUPPORT", null, null, null, null, null, 1_786_632_320_123_i64])),
    ] {
        let hint = hint(case);
        assert_eq!(json!(hint), json, "{case}");
        let encoded = serde_json::to_string(&hint).unwrap();
        assert!(encoded.len() <= Hint::MAX_LEN, "{encoded}");
        assert_eq!(serde_json::from_str::<Hint>(&encoded).unwrap(), hint, "{case}");
    }
    // Times that are finer than bunq's are as they are stored, and one that cannot be stored, as some write for "never", is left out.
    for updated in ["2026-08-13 14:45:18.123456789", "1969-12-31 23:59:59.123456789", "9999-12-31 23:59:59.999999"] {
        let hint = read(&about(json!({ "UserOnboarding": { "updated": updated } }))).unwrap().hint(arrived());
        assert_eq!(hint.updated.is_some(), !updated.starts_with("9999"), "{updated}");
        assert_eq!(serde_json::from_value::<Hint>(json!(hint)).unwrap(), hint, "{updated}");
    }
    // An object that does not decode still says which one it is.
    let body = r#"{"NotificationUrl": {"category": "A", "object": {"PartnerUserProvision": {"id": 7, "status": "A", "status": "B"}}}}"#;
    let object = Notification::from_bytes(body.as_bytes()).unwrap().hint(arrived()).object;
    assert_eq!(object, Some(HintedObject::Provision(ProvisionId::try_from(7_u64).unwrap())));
}

#[test]
fn a_hint_is_bounded_and_has_no_name_that_does_not_look_like_bunqs() {
    test_timeout::start();
    let of = |category: &str, event: &str, kind: &str, id: Value| {
        let object = json!({ kind: { "id": id, "user_id": u64::MAX >> 1, "updated": "-009998-01-01T00:00:00Z" } });
        let body = json!({ "NotificationUrl": { "category": category, "event_type": event, "object": object } });
        read(&body).unwrap().hint(arrived())
    };
    let most = json!(u64::MAX >> 1);
    let long = of("USER_INFORMATION_INQUIRY", &"E".repeat(53), "UserInformationInquiry", most.clone());
    assert!(long.updated.is_some() && long.event_type.is_some() && long.user_id.is_some());
    let length = serde_json::to_string(&long).unwrap().len();
    assert!((Hint::MAX_LEN - 8..=Hint::MAX_LEN).contains(&length), "{length}");
    for length in [54, 1000, 60_000] {
        assert_eq!(
            of("USER_INFORMATION_INQUIRY", &"E".repeat(length), "UserInformationInquiry", most.clone()).event_type,
            None
        );
        assert_eq!(of(&"C".repeat(length + 31), "E", "Payment", most.clone()).category, None);
        assert_eq!(of("C", "E", &"K".repeat(length + 30), most.clone()).object, None);
    }
    for odd in ["Ada", "sandbox_0123456789", "a", "", "A B", "A\n", "Ä"] {
        let hint = of(odd, odd, "Payment", json!(1));
        assert_eq!((hint.category, hint.event_type), (None, None), "{odd}");
    }
    for (kind, id) in [
        ("ada@example.com", json!(1)),
        ("A_B", json!(1)),
        ("", json!(1)),
        ("Payment", json!(0)),
        ("Payment", json!("1")),
        ("Payment", json!(u64::MAX)),
    ] {
        assert_eq!(of("C", "E", kind, id).object, None, "{kind}");
    }
    // What is stored is held against the same rules.
    for stored in [
        r#"["qzx","E","provision",0,null,null,0]"#,
        r#"["C","E","qzx",1,null,null,0]"#,
        r#"["C","E",null,0,null,null,0]"#,
        r#"["C","E","provision",1,null,9223372036854775807,0]"#,
        r#"["C","E","provision",1,null,null,9223372036854775807]"#,
    ] {
        let error = serde_json::from_str::<Hint>(stored).unwrap_err().to_string();
        assert!(error.starts_with("a hint has no such") && !error.contains("qzx"), "{error}");
    }
    let stored: Hint = serde_json::from_str(r#"["qzx","qzx",null,null,null,null,0]"#).unwrap();
    assert_eq!((stored.category, stored.event_type, stored.object), (None, None, None));
    let without_kind: Hint = serde_json::from_str(r#"["C","E",null,1,null,null,0]"#).unwrap();
    assert_eq!(without_kind.object, Some(HintedObject::Other { kind: None, id: 1 }));
}
