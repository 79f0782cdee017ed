//! The generated room: what `build.rs` makes of the document. Written by hand is the one helper that it calls.

#![allow(dead_code, unreachable_pub)]

use serde::{Deserialize, Deserializer};

include!(concat!(env!("OUT_DIR"), "/client.rs"));

/// Reads a list that bunq may leave out as well as a null in its place.
fn null_as_empty<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
#[cfg(feature = "schemars")]
mod random;
#[cfg(test)]
#[cfg(feature = "schemars")]
mod schema_tests;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::types;
    use crate::secret::on_wire;

    include!(concat!(env!("OUT_DIR"), "/examples.rs"));

    #[tokio::test]
    async fn every_example_of_the_document_decodes_and_encodes_back_to_itself() {
        assert!(EXAMPLES.len() > 50, "only {} examples were found", EXAMPLES.len());
        for (place, schema, json) in EXAMPLES {
            let expected: Value = serde_json::from_str(json).unwrap();
            let encoded = on_wire(async { round_trip(schema, json) }).await;
            assert_eq!(encoded.unwrap_or_else(|error| panic!("{place}: {error}")), expected, "{place}");
        }
    }

    /// The first example of each operation's answer, as it decodes.
    #[test]
    fn the_answers_as_decoded() {
        for operation in crate::Operation::ALL {
            let place = format!("{} 200 ", operation.id);
            let (_, schema, json) = EXAMPLES.iter().find(|(example, ..)| example.starts_with(&place)).unwrap();
            insta::with_settings!({ snapshot_path => "../tests/snapshots", prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(format!("answer_to_{}", operation.id), decoded(schema, json).unwrap());
            });
        }
    }

    #[tokio::test]
    async fn decodes_as_the_vectors_do() {
        let vectors: Value = serde_json::from_str(include_str!("../openapi/vectors/decoding.json")).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let status = case["status"].as_u64().unwrap();
            let kind = if status == 200 { "200".into() } else { format!("{}XX", status / 100) };
            let place = format!("{} {kind} ", case["operation"].as_str().unwrap());
            let (_, schema, _) = EXAMPLES.iter().find(|(example, ..)| example.starts_with(&place)).unwrap();
            let decoded = on_wire(async { round_trip(schema, &case["body"].to_string()) }).await;
            assert_eq!(decoded.is_err(), case["refuse"] == true, "{}: {decoded:?}", case["name"]);
            for (pointer, expected) in case["expect"].as_object().into_iter().flatten() {
                let shown = decoded.as_ref().unwrap().pointer(pointer).unwrap_or(&Value::Null);
                assert_eq!(shown, expected, "{}: {pointer}", case["name"]);
            }
        }
    }

    #[test]
    fn what_bunq_may_add_or_leave_out_survives() {
        let drifted = r#"{
            "id": 7,
            "status": "PAUSED",
            "sub_status": "PENDING_PROCESS_HOLIDAY",
            "action_required": null,
            "products": null,
            "oauth_request": {"scope": null, "status": "HALF_ACCEPTED", "novelty": [1, 2]},
            "novelty": {"of": "bunq"}
        }"#;
        let provision: types::Provision = serde_json::from_str(drifted).unwrap();
        assert_eq!(provision.status, types::ProvisionStatus::Unknown("PAUSED".into()));
        assert_eq!(provision.credential, None);
        assert!(provision.products.is_empty());

        let encoded = serde_json::to_value(&provision).unwrap();
        assert_eq!(encoded["status"], "PAUSED");
        assert_eq!(encoded["sub_status"], "PENDING_PROCESS_HOLIDAY");
        assert_eq!(encoded["oauth_request"]["status"], "HALF_ACCEPTED");

        let item: types::ProvisionResponse = serde_json::from_str(r#"{"Response": [{"Novelty": {}}, {}]}"#).unwrap();
        assert!(item.response.iter().all(|item| item.id.is_none() && item.partner_user_provision.is_none()));
    }

    #[test]
    fn an_enum_of_a_request_is_closed() {
        let error = serde_json::from_str::<types::RequestedStatus>("\"CLOSED\"").unwrap_err();
        assert!(error.to_string().starts_with("unknown variant `CLOSED`"), "{error}");
    }
}
