//! Drift: changes that bunq may make to its responses without notice.

use serde_json::{Map, Value, json};

/// What is in no document.
const NOVELTY: &str = "NOVELTY";

/// The members that no client can do without, wherever they stand.
const ESSENTIAL: [&str; 9] = [
    "id",
    "status",
    "label_user",
    "oauth_request",
    "credential",
    "token_value",
    "token",
    "server_public_key",
    "error_description",
];

/// The members that hold enums, wherever they stand in a provision.
const ENUMS: [&str; 5] = ["status", "sub_status", "action_required", "products", "type"];

/// Gives a member of every provision an unknown value.
pub(crate) fn unknown_member(body: &mut Value, name: &str) {
    for members in provisions(body).filter_map(Value::as_object_mut) {
        members.insert(name.to_owned(), NOVELTY.into());
    }
}

/// Gives every enum of every provision an unknown value.
pub(crate) fn unknown_values(body: &mut Value) {
    provisions(body).for_each(make_values_unknown);
}

/// Adds a member to every object except the items, which have one member each.
pub(crate) fn unknown_fields(body: &mut Value) {
    objects(body).for_each(|(_, object)| add_member(object));
    body.get_mut("Pagination").into_iter().for_each(add_member);
    if let Some(envelope) = body.as_object_mut() {
        envelope.insert("novelty".to_owned(), novelty());
    }
}

/// Puts an item of an unknown kind before the others.
pub(crate) fn unknown_item(body: &mut Value) {
    if let Some(items) = body.get_mut("Response").and_then(Value::as_array_mut) {
        items.insert(0, json!({ "Novelty": novelty() }));
    }
}

/// Leaves out what is not essential.
pub(crate) fn without_optional_fields(body: &mut Value) {
    thin_out(body, Map::remove);
}

/// Makes null what is not essential.
pub(crate) fn with_null_fields(body: &mut Value) {
    thin_out(body, |members, name| members.insert(name.to_owned(), Value::Null));
}

/// The objects of a response with their kinds: what its items hold, or its errors.
fn objects(body: &mut Value) -> impl Iterator<Item = (&str, &mut Value)> {
    let members = body.as_object_mut().into_iter().flatten();
    members.flat_map(|(name, value)| {
        let is_wrapped = name == "Response";
        let items = value.as_array_mut().into_iter().flatten();
        items.flat_map(move |item| -> Vec<(&str, &mut Value)> {
            if is_wrapped {
                let kinds = item.as_object_mut().into_iter().flatten();
                kinds.map(|(kind, object)| (kind.as_str(), object)).collect()
            } else {
                vec![(name, item)]
            }
        })
    })
}

fn provisions(body: &mut Value) -> impl Iterator<Item = &mut Value> {
    objects(body).filter(|(kind, _)| *kind == "PartnerUserProvision").map(|(_, provision)| provision)
}

fn make_values_unknown(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if ENUMS.contains(&name.as_str()) => NOVELTY.clone_into(text),
                    Value::Array(list) if ENUMS.contains(&name.as_str()) => list.push(NOVELTY.into()),
                    other => make_values_unknown(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_values_unknown),
        _ => {}
    }
}

fn add_member(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(add_member);
            members.insert("novelty".to_owned(), novelty());
        }
        Value::Array(items) => items.iter_mut().for_each(add_member),
        _ => {}
    }
}

fn novelty() -> Value {
    json!({ "since": "today" })
}

/// Applies `away` to every member of the response's objects that is not essential.
fn thin_out(body: &mut Value, away: fn(&mut Map<String, Value>, &str) -> Option<Value>) {
    objects(body).for_each(|(_, object)| thin_out_object(object, away));
}

fn thin_out_object(object: &mut Value, away: fn(&mut Map<String, Value>, &str) -> Option<Value>) {
    let Some(members) = object.as_object_mut() else { return };
    let names: Vec<_> = members.keys().filter(|name| !ESSENTIAL.contains(&name.as_str())).cloned().collect();
    for name in names {
        away(members, &name);
    }
    for value in members.values_mut() {
        thin_out_object(value, away);
    }
}

/// Every item of the response twice.
pub(crate) fn repeated_items(body: &mut Value) {
    if let Some(items) = body.get_mut("Response").and_then(Value::as_array_mut) {
        *items = items.drain(..).flat_map(|item| [item.clone(), item]).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Value {
        json!({
            "Response": [{ "PartnerUserProvision": {
                "id": 7,
                "status": "ACTIVE",
                "sub_status": "NONE",
                "products": ["USER_VERIFIED"],
                "label_user": { "type": "PERSON" },
                "credential": null,
            }}],
            "Pagination": { "older_url": "/v1/older" },
        })
    }

    fn drifted(drift: fn(&mut Value)) -> Value {
        let mut body = page();
        drift(&mut body);
        body
    }

    #[test]
    fn values_become_unknown() {
        test_timeout::start();
        let mut body = page();
        unknown_member(&mut body, "status");
        assert_eq!(body["Response"][0]["PartnerUserProvision"]["status"], "NOVELTY");
        assert_eq!(body["Response"][0]["PartnerUserProvision"]["sub_status"], "NONE");
        assert_eq!(
            drifted(unknown_values)["Response"][0]["PartnerUserProvision"],
            json!({
                "id": 7,
                "status": "NOVELTY",
                "sub_status": "NOVELTY",
                "products": ["USER_VERIFIED", "NOVELTY"],
                "label_user": { "type": "NOVELTY" },
                "credential": null,
            })
        );
    }

    #[test]
    fn members_and_items_are_added() {
        test_timeout::start();
        let body = drifted(unknown_fields);
        let item = body["Response"][0].as_object().unwrap();
        assert_eq!(item.len(), 1, "an item is of one kind");
        for object in [&body, &item["PartnerUserProvision"], &item["PartnerUserProvision"]["label_user"]] {
            assert_eq!(object["novelty"]["since"], "today");
        }
        let body = drifted(unknown_item);
        assert!(body["Response"][0]["Novelty"].is_object());
        assert_eq!(body["Response"][1], page()["Response"][0]);
    }

    #[test]
    fn members_go_or_become_null() {
        test_timeout::start();
        let kept = json!({ "id": 7, "status": "ACTIVE", "label_user": {}, "credential": null });
        let body = drifted(without_optional_fields);
        assert_eq!(body["Response"][0]["PartnerUserProvision"], kept);
        assert_eq!(body["Pagination"], page()["Pagination"], "a missing link would mean something");
        let body = drifted(with_null_fields);
        assert_eq!(body["Response"][0]["PartnerUserProvision"]["label_user"], json!({ "type": null }));
        assert_eq!(body["Response"][0]["PartnerUserProvision"]["sub_status"], Value::Null);
    }

    #[test]
    fn an_error_may_drift_too() {
        test_timeout::start();
        let mut body = json!({ "Error": [{ "error_description": "a", "error_description_translated": "b" }] });
        unknown_item(&mut body);
        without_optional_fields(&mut body);
        unknown_fields(&mut body);
        assert_eq!(body["Error"], json!([{ "error_description": "a", "novelty": { "since": "today" } }]));
    }
}
