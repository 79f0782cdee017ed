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
