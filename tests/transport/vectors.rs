//! Tests the vectors themselves: each case tests something, and together they cover the document. The tests that run
//! the crate against them are in the modules that sign, verify and decode.

use std::collections::BTreeSet;

use bunq_partner::Operation;
use serde_json::{Value, json};

use crate::document::document;

const SIGNING: &str = include_str!("../../openapi/vectors/signing.json");
const VERIFYING: &str = include_str!("../../openapi/vectors/verifying.json");
const KEYS: &str = include_str!("../../openapi/vectors/keys.json");
const DECODING: &str = include_str!("../../openapi/vectors/decoding.json");

fn cases(file: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(file).unwrap()["cases"].as_array().unwrap().clone()
}

/// The bytes of a text in hexadecimal.
fn unhex(text: &Value) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_str()?.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[test]
fn case_names_are_unique() {
    test_timeout::start();
    for file in [SIGNING, VERIFYING, KEYS, DECODING] {
        let cases = cases(file);
        let names: BTreeSet<_> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
        assert!(!names.is_empty() && names.len() == cases.len(), "{names:?}");
    }
}

#[test]
fn valid_and_invalid_signatures_exist_in_both_forms() {
    test_timeout::start();
    let of = |valid: bool| cases(VERIFYING).iter().filter(|case| case["valid"] == valid).count();
    assert!(of(true) >= 2 && of(false) >= 2, "{} valid, {} not", of(true), of(false));
}

#[test]
fn cases_are_consistent_and_cover_every_operation() {
    test_timeout::start();
    let cases = cases(DECODING);
    for case in &cases {
        if let Some(bytes) = case.get("bytes") {
            let operation = Operation::by_id(case["operation"].as_str().unwrap()).unwrap();
            assert!(operation.returns_bytes && case["status"] == 200 && unhex(bytes).is_some(), "{}", case["name"]);
            assert!(case.get("body").or(case.get("expect")).is_none(), "{}: it has bytes", case["name"]);
            continue;
        }
        let expected = case["expect"].as_object().filter(|expected| !expected.is_empty());
        assert!(expected.is_some() != (case["refuse"] == true), "{}: `expect` or `refuse`", case["name"]);
        for (pointer, expected) in expected.into_iter().flatten() {
            let (parent, _) = pointer.rsplit_once('/').unwrap();
            let parent = case["body"].pointer(parent);
            assert!(
                parent.is_some_and(|parent| parent.is_object() || parent.is_array()),
                "{}: {pointer}",
                case["name"]
            );
            let there = case["body"].pointer(pointer).unwrap_or(&Value::Null);
            // The value is odd, and reads as absent.
            let is_odd = case["lenient"] == true && expected.is_null();
            let is_so = there == expected || (expected.is_null() && there == &json!([])) || is_odd;
            assert!(is_so, "{}: {pointer} is {there}", case["name"]);
        }
    }
    for operation in Operation::ALL {
        for success in [true, false] {
            let is_such = |case: &Value| case["operation"] == operation.id && (case["status"] == 200) == success;
            assert!(cases.iter().any(is_such), "{}: no case with success {success}", operation.id);
        }
    }
    for operation in
        document()["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    {
        for callback in operation["callbacks"].as_object().into_iter().flat_map(|callbacks| callbacks.keys()) {
            for refused in [true, false] {
                let is_such = |case: &Value| case["callback"] == *callback && (case["refuse"] == true) == refused;
                assert!(cases.iter().any(is_such), "{callback}: no case with refusal {refused}");
            }
        }
    }
}
