//! Tests the types against the document: its examples, its vectors, and values that it does not know.

mod patterns;
#[cfg(feature = "schemars")]
mod random;
#[cfg(feature = "schemars")]
mod schemas;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::types;

include!(concat!(env!("OUT_DIR"), "/examples.rs"));

/// The members of responses that are secrets.
const SECRETS: [&str; 6] = ["token", "token_value", "authorization_code", "redirect_url", "client_id", "secret"];

/// A value of a response as it is encoded: its secrets are redacted.
fn masked(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if SECRETS.contains(&name.as_str()) => "[redacted]".clone_into(text),
                    other => *other = masked(other.take()),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = masked(item.take())),
        _ => {}
    }
    value
}

#[test]
fn every_example_of_the_document_decodes_and_encodes_back_to_itself() {
    test_timeout::start();
    assert!(EXAMPLES.len() > 50, "only {} examples were found", EXAMPLES.len());
    for (place, schema, json) in EXAMPLES {
        let expected: Value = serde_json::from_str(json).unwrap();
        let expected = if place.contains(" request ") { expected } else { masked(expected) };
        let encoded = round_trip(schema, json);
        assert_eq!(encoded.unwrap_or_else(|error| panic!("{place}: {error}")), expected, "{place}");
    }
}

#[test]
fn the_decoding_vectors_hold() {
    test_timeout::start();
    let vectors: Value = serde_json::from_str(include_str!("../../../openapi/vectors/decoding.json")).unwrap();
    // Bytes are not decoded.
    for case in vectors["cases"].as_array().unwrap().iter().filter(|case| case.get("bytes").is_none()) {
        let place = match (case["callback"].as_str(), case["status"].as_u64()) {
            (Some(callback), None) => format!("{callback} callback "),
            (_, status) => {
                let status = status.unwrap();
                let kind = if status == 200 { "200".into() } else { format!("{}XX", status / 100) };
                format!("{} {kind} ", case["operation"].as_str().unwrap())
            }
        };
        let (_, schema, _) = EXAMPLES.iter().find(|(example, ..)| example.starts_with(&place)).unwrap();
        let decoded = round_trip(schema, &case["body"].to_string());
        assert_eq!(decoded.is_err(), case["refuse"] == true, "{}: {decoded:?}", case["name"]);
        for (pointer, expected) in case["expect"].as_object().into_iter().flatten() {
            let shown = decoded.as_ref().unwrap().pointer(pointer).unwrap_or(&Value::Null);
            let name = pointer.rsplit('/').next().unwrap_or_default();
            let expected = masked(serde_json::json!({name: expected}))[name].take();
            assert_eq!(shown, &expected, "{}: {pointer}", case["name"]);
        }
    }
}

#[test]
fn every_documented_body_of_a_callback_is_a_vector() {
    test_timeout::start();
    let vectors: Value = serde_json::from_str(include_str!("../../../openapi/vectors/decoding.json")).unwrap();
    let is_vector = |callback: &str, body: &Value| {
        let mut cases = vectors["cases"].as_array().unwrap().iter();
        cases.any(|case| case["callback"] == callback && case["body"] == *body && case["refuse"] != true)
    };
    let documented = EXAMPLES.iter().filter_map(|(place, _, json)| Some((place.split_once(" callback ")?, json)));
    let lacking: Vec<_> = documented
        .clone()
        .filter(|((callback, _), json)| !is_vector(callback, &serde_json::from_str(json).unwrap()))
        .map(|((_, example), _)| example)
        .collect();
    assert!(documented.count() > 5 && lacking.is_empty(), "no vectors: {lacking:?}");
}

#[test]
fn the_vectors_of_texts_hold() {
    test_timeout::start();
    let vectors: Value = serde_json::from_str(include_str!("../../../openapi/vectors/texts.json")).unwrap();
    for case in vectors["cases"].as_array().unwrap() {
        let decoded = round_trip(case["schema"].as_str().unwrap(), &case["text"].to_string());
        assert_eq!(decoded.is_ok(), case["valid"] == true, "{}: {decoded:?}", case["name"]);
    }
}

#[test]
fn an_enum_of_a_request_is_closed() {
    test_timeout::start();
    let error = serde_json::from_str::<types::RequestedStatus>("\"CLOSED\"").unwrap_err();
    assert!(error.to_string().starts_with("unknown variant `CLOSED`"), "{error}");
}

/// A receiver may know bunq's calls by a secret part of the path.
#[test]
fn of_a_notification_target_only_the_origin_is_shown() {
    test_timeout::start();
    for (target, shown) in [
        ("https://partner.example.com/bunq/s3cret", "https://partner.example.com/\u{2026}"),
        ("https://partner.example.com:8443?s3cret", "https://partner.example.com:8443/\u{2026}"),
        ("https://user:s3cret@partner.example.com", "https://partner.example.com"),
        ("/bunq/s3cret", "something that is no URL"),
    ] {
        let read: types::NotificationTarget = serde_json::from_value(target.into()).unwrap();
        assert_eq!((format!("{read:?}"), read.as_str()), (format!("NotificationTarget({shown:?})"), target));
        let failure =
            json!({ "id": 1, "notification_target": target, "exception_message": format!("{target} is slow") });
        let failure: types::NotificationFilterFailure = serde_json::from_value(failure).unwrap();
        let debug = format!("{failure:?}");
        assert!(debug.contains(shown) && !debug.contains("s3cret") && !debug.contains("slow"), "{debug}");
    }
}

#[test]
fn what_is_sent_of_notifications_is_checked() {
    test_timeout::start();
    let ids = |count: usize| vec!["9001"; count].join(",").parse::<types::NotificationFilterFailedIds>();
    assert!(ids(1).is_ok() && ids(100).is_ok());
    let error = ids(101).unwrap_err().to_string();
    assert!(
        error.starts_with("notification_filter_failed_ids: the ids of failures are one text of 1 to 100"),
        "{error}"
    );
    for target in ["http://127.0.0.1:8080/bunq?a", "http://localhost", "http://[::1]/", "https://a.example"] {
        assert!(target.parse::<types::NotificationTarget>().is_ok(), "{target}");
    }
    for target in [
        "http://a.example",
        "http://127.0.0.1.example",
        "http://localhost:8080@a.example",
        "HTTPS://a.example",
        "https://",
        "https://a.example/a b",
        "https://a.example/\n",
    ] {
        let error = target.parse::<types::NotificationTarget>().unwrap_err().to_string();
        assert!(
            error.starts_with("notification_target: the target of a filter is a URL that begins with https://"),
            "{error}"
        );
        // What bunq says is read.
        let read: types::NotificationTarget = serde_json::from_value(target.into()).unwrap();
        assert_eq!(read.as_str(), target);
    }
    let pem = |length: usize| {
        let (begin, end) = ("-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n");
        let filling = "A".repeat(length - begin.len() - end.len());
        format!("{begin}{filling}{end}").parse::<types::CertificatePem>()
    };
    assert!(pem(16_384).is_ok() && pem(16_385).is_err());
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".parse::<types::CertificatePem>();
    let error = key.unwrap_err().to_string();
    assert!(error.starts_with("certificate: a certificate is one in PEM form") && !error.contains("AAAA"), "{error}");
}

#[test]
fn debug_shows_nothing_about_a_person() {
    test_timeout::start();
    let new = types::NewProvision::person(
        uuid::Uuid::nil(),
        "ada@example.com".parse().unwrap(),
        "+31600000000".parse().unwrap(),
    )
    .with_transaction_audit(jiff::civil::date(1990, 1, 31), "NL".parse().unwrap());
    let label: types::LabelUser =
        serde_json::from_str(r#"{"display_name": "Ada Lovelace", "public_nick_name": "Ada", "type": "PERSON"}"#)
            .unwrap();
    let shown = format!("{new:?} {label:?}");
    for personal in ["ada@example.com", "600000000", "1990", "Ada", "Lovelace"] {
        assert!(!shown.contains(personal), "{shown}");
    }
    assert!(shown.contains("date_of_birth: Some(..)") && shown.contains("display_name: Some(..)"), "{shown}");
}

#[test]
fn the_debug_of_a_value_is_the_value() {
    test_timeout::start();
    assert_eq!(format!("{:?}", Some(types::ActionRequired::None)), "Some(NONE)");
    assert_eq!(format!("{:?}", types::RequestedStatus::Cancelled), "CANCELLED");
    let unknown: types::ProvisionStatus = serde_json::from_str("\"SO\\nNEW\"").unwrap();
    assert_eq!(format!("{unknown:?}"), "Unknown(\"SO\\nNEW\")");
}

#[test]
fn names_take_no_control_characters() {
    test_timeout::start();
    for text in ["two\nlines", "\u{1b}[31mred", "a\u{202e}b", "a\u{2028}b", "\u{0}", ""] {
        assert!(text.parse::<types::UserName>().is_err(), "{text:?}");
        assert!(text.parse::<types::DeviceDescription>().is_err(), "{text:?}");
        assert!(format!("{text}@example.com").parse::<types::EmailAddress>().is_err(), "{text:?}");
    }
    assert!("Zoë van der Berg-Müller".parse::<types::UserName>().is_ok());
}

/// A provision each of whose lenient members is odd.
const ODD: &str = r#"{
    "id": 7, "status": "ACTIVE", "external_uuid": null, "credential": {"status": "NEVER_HEARD_OF", "id": 3},
    "created": [1, {"a": [2]}], "updated": 5, "action_required": {"x": {"y": []}}, "products": ["BUNQ_PACK", {"a": 1}],
    "label_user": {
        "uuid": 1.5, "type": ["PERSON"], "country": true, "display_name": "Ada",
        "avatar": {"uuid": "no uuid", "style": {}, "image": [{"height": "high", "width": 4, "urls": [{"url": null}, 3]}]}
    },
    "oauth_request": "none"
}"#;

fn is_read(provision: &types::Provision) {
    assert_eq!(provision.id.get(), 7);
    assert_eq!(provision.status, types::ProvisionStatus::Active);
    assert_eq!((provision.created, provision.updated, &provision.action_required), (None, None, &None));
    assert_eq!((provision.products.len(), &provision.oauth_request), (0, &None));
    assert_eq!(provision.credential.as_ref().unwrap().id, Some(3_u64.try_into().unwrap()));
    let label = provision.label_user.as_ref().unwrap();
    assert_eq!((label.uuid, &label.type_, &label.country), (None, &None, &None));
    assert_eq!(label.display_name.as_deref(), Some("Ada"));
    let avatar = label.avatar.as_ref().unwrap();
    assert_eq!((avatar.uuid, &avatar.style, avatar.image.len()), (None, &None, 1));
    assert_eq!((avatar.image[0].height, avatar.image[0].width, avatar.image[0].urls.len()), (None, Some(4), 0));
}

/// Programs store provisions in forms of their own.
#[test]
fn odd_values_are_read_from_any_deserializer() {
    test_timeout::start();

    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        #[allow(dead_code)]
        Other {
            nothing_has: String,
        },
        Provision(Box<types::Provision>),
    }

    #[derive(serde::Deserialize)]
    struct Flattened {
        stored_by: String,
        #[serde(flatten)]
        provision: types::Provision,
    }

    is_read(&serde_json::from_str(ODD).unwrap());
    is_read(&serde_json::from_slice(ODD.as_bytes()).unwrap());
    is_read(&serde_json::from_reader(ODD.as_bytes()).unwrap());
    let value: Value = serde_json::from_str(ODD).unwrap();
    is_read(&serde_json::from_value(value.clone()).unwrap());
    is_read(&serde::Deserialize::deserialize(&value).unwrap());
    let members = value.as_object().unwrap().clone().into_iter();
    let members = serde::de::value::MapDeserializer::<_, serde_json::Error>::new(members);
    is_read(&serde::Deserialize::deserialize(members).unwrap());
    match serde_json::from_str(ODD).unwrap() {
        Untagged::Provision(provision) => is_read(&provision),
        Untagged::Other { .. } => panic!("it is a provision"),
    }
    let flattened: Flattened = serde_json::from_str(&ODD.replacen('{', r#"{"stored_by": "us", "#, 1)).unwrap();
    assert_eq!(flattened.stored_by, "us");
    is_read(&flattened.provision);
}

/// Any JSON, three levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9 -]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let names =
            prop_oneof![Just("avatar"), Just("image"), Just("urls"), Just("url"), Just("display_name"), Just("x")];
        let object = proptest::collection::vec((names.prop_map(str::to_owned), inner.clone()), 0..6);
        prop_oneof![
            proptest::collection::vec(inner, 0..14).prop_map(Value::from),
            object.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever value a lenient member has, the provision and the members after it are read.
    #[test]
    fn no_value_of_a_lenient_member_breaks_the_provision(
        member in prop_oneof![
            Just("label_user"), Just("oauth_request"), Just("products"), Just("created"), Just("action_required")
        ],
        value in any_json(),
    ) {
        test_timeout::start();
        let text = format!(r#"{{"id": 7, "{member}": {value}, "status": "ACTIVE", "external_uuid": null}}"#);
        let provision: types::Provision = serde_json::from_str(&text).map_err(|error| {
            TestCaseError::fail(format!("{error}: {text}"))
        })?;
        prop_assert_eq!(provision.status, types::ProvisionStatus::Active);
        // Deserializers other than that for text read it too.
        let of_value: types::Provision = serde_json::from_value(serde_json::from_str(&text).unwrap()).unwrap();
        prop_assert_eq!(of_value.id, provision.id);
    }
}
