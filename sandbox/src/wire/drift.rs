//! Drift: changes that bunq may make to its responses without notice.

use std::sync::LazyLock;

use bunq_partner::wire::SCHEMAS;
use serde_json::{Map, Value, json};

/// A value that is in no document.
const NOVELTY: &str = "NOVELTY";

/// The schemas of the document by their names.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(SCHEMAS).unwrap_or_default());

/// A schema of the document; null where the document has none.
#[derive(Clone, Copy)]
struct Schema(&'static Value);

impl Schema {
    /// The schema of a kind of object: of items of a response, or of its errors.
    fn of_kind(kind: &str) -> Self {
        let schemas = || DOCUMENT.as_object().into_iter().flatten().map(|(_, schema)| &schema["properties"]);
        // What bunq sends by itself has objects of the same names, with other members.
        let items = schemas().map(|properties| &Self::resolved(&properties["Response"]).items().0["properties"][kind]);
        let errors = schemas().filter(|_| kind == "Error").map(|properties| &properties["Error"]);
        let found = items.chain(errors).find(|property| !property.is_null());
        Self::resolved(found.unwrap_or(&Value::Null)).items()
    }

    /// Follows a reference, or the first of several choices (the other is null).
    fn resolved(schema: &'static Value) -> Self {
        if let Some(name) = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next()) {
            return Self::resolved(&DOCUMENT[name]);
        }
        let choices = ["anyOf", "allOf"].into_iter().find_map(|name| schema[name].as_array());
        choices.and_then(|choices| choices.first()).map_or(Self(schema), Self::resolved)
    }

    fn member(self, name: &str) -> Self {
        Self::resolved(&self.0["properties"][name])
    }

    /// The schema of the items of a list; the schema itself if it is not a list.
    fn items(self) -> Self {
        if self.0["items"].is_null() { self } else { Self::resolved(&self.0["items"]) }
    }

    fn requires(self, name: &str) -> bool {
        self.0["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name))
    }

    /// Whether it is one of an enum that may grow.
    fn is_open_enum(self) -> bool {
        !self.0["x-extensible-enum"].is_null()
    }
}

/// Gives a member of every item that has such an enum an unknown value.
pub(crate) fn unknown_member(body: &mut Value, name: &str) {
    for (kind, object) in objects(body) {
        if let (true, Some(members)) = (Schema::of_kind(kind).member(name).is_open_enum(), object.as_object_mut()) {
            members.insert(name.to_owned(), NOVELTY.into());
        }
    }
}

/// Gives every enum an unknown value.
pub(crate) fn unknown_values(body: &mut Value) {
    objects(body).for_each(|(kind, object)| make_values_unknown(object, Schema::of_kind(kind)));
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

/// Leaves out what the document does not require.
pub(crate) fn without_optional_fields(body: &mut Value) {
    thin_out(body, Map::remove);
}

/// Makes null what the document does not require.
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

fn make_values_unknown(value: &mut Value, schema: Schema) {
    match value {
        Value::Object(members) => {
            members.iter_mut().for_each(|(name, value)| make_values_unknown(value, schema.member(name)));
        }
        Value::Array(list) if schema.items().is_open_enum() => list.push(NOVELTY.into()),
        Value::Array(list) => list.iter_mut().for_each(|value| make_values_unknown(value, schema.items())),
        Value::String(text) if schema.is_open_enum() => NOVELTY.clone_into(text),
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

/// Removes a member from an object, or makes it null.
type Away = fn(&mut Map<String, Value>, &str) -> Option<Value>;

/// Applies `away` to every member of the response's objects that the document does not require.
fn thin_out(body: &mut Value, away: Away) {
    objects(body).for_each(|(kind, object)| thin_out_object(object, Schema::of_kind(kind), away));
}

fn thin_out_object(object: &mut Value, schema: Schema, away: Away) {
    let Some(members) = object.as_object_mut() else { return };
    let names: Vec<_> = members.keys().filter(|name| !schema.requires(name)).cloned().collect();
    for name in names {
        away(members, &name);
    }
    for (name, value) in members {
        thin_out_object(value, schema.member(name), away);
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
        assert_eq!(body["Error"], json!([{ "novelty": { "since": "today" } }]));
    }

    #[test]
    fn what_the_document_requires_stays_in_every_kind_of_item() {
        test_timeout::start();
        for (item, kept) in [
            (json!({ "Id": { "id": 1 } }), json!({ "id": 1 })),
            (json!({ "Token": { "id": 1, "token": "t" } }), json!({ "token": "t" })),
            (json!({ "UserCompany": { "id": 1, "display_name": "a" } }), json!({})),
            (json!({ "DeviceServer": { "id": 1, "status": "ACTIVE" } }), json!({ "id": 1 })),
        ] {
            let mut body = json!({ "Response": [item] });
            without_optional_fields(&mut body);
            let (_, object) = objects(&mut body).next().unwrap();
            assert_eq!(*object, kept);
        }
        let mut device =
            json!({ "Response": [{ "DeviceServer": { "id": 1, "description": "a", "status": "ACTIVE" } }] });
        unknown_values(&mut device);
        let item = json!({ "id": 1, "description": "a", "status": "NOVELTY" });
        assert_eq!(device["Response"][0]["DeviceServer"], item);
    }
}
