//! The request for a new provision, in both of its documented shapes.
//!
//! The document's types say what each member may be. What members must go together is handled here.

use bunq_partner::types::{
    CreateProvisionRequest, NewProvision, NewProvisionByPointer, PointerType, RequestedProduct, UserVerifiedType,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::input;
use crate::wire::response::Refusal;

/// The member that names a company's director by the provision that was made for them.
const DIRECTOR: &str = "director_relation_provision_id";

/// A valid request for a new provision.
#[derive(Debug)]
pub(crate) struct Creation {
    pub(crate) external_uuid: Uuid,
    pub(crate) profile: UserProfile,
    /// The director's provision. The bank checks whether it exists.
    pub(crate) director: Option<u64>,
}

/// What is known of a user from the beginning.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UserProfile {
    pub(crate) display_name: String,
    pub(crate) is_company: bool,
    pub(crate) country: String,
    pub(crate) products: Vec<RequestedProduct>,
}

impl UserProfile {
    /// An ordinary person.
    pub(crate) fn example() -> Self {
        Self {
            display_name: "user".to_owned(),
            is_company: false,
            country: "NL".to_owned(),
            products: vec![RequestedProduct::UserVerified],
        }
    }
}

impl Creation {
    pub(crate) fn from_body(body: &[u8]) -> Result<Self, Refusal> {
        let request = read(body)?;
        let external_uuid = *request.external_uuid();
        let creation = match request {
            CreateProvisionRequest::NewProvision(new) => Self::from_current_shape(new)?,
            CreateProvisionRequest::NewProvisionByPointer(new) => Self::from_older_shape(new)?,
            _ => return Err(Refusal::not_implemented("this shape of a new provision")),
        };
        if creation.profile.products.is_empty() {
            return Err(Refusal::bad_request("products is empty: name at least one."));
        }
        Ok(Self { external_uuid, ..creation })
    }

    fn from_current_shape(new: NewProvision) -> Result<Self, Refusal> {
        let missing = |name: &str| Err(Refusal::bad_request(format!("{name} is required.")));
        let is_company = match new.user_verified_type {
            UserVerifiedType::PartnerUserPerson => false,
            UserVerifiedType::PartnerUserCompany => true,
            other => return Err(Refusal::not_implemented(other)),
        };
        // A person's director means nothing.
        let director = new.director_relation_provision_id.filter(|_| is_company);
        if is_company && director.is_none() {
            return missing(DIRECTOR);
        }
        if new.products.contains(&RequestedProduct::UserAnonymousTransactionAudit) {
            if new.date_of_birth.is_none() {
                return missing("date_of_birth");
            }
            if new.country_of_residence.is_none() {
                return missing("country_of_residence");
            }
        }
        let email = new.email.as_str();
        let profile = UserProfile {
            display_name: email.split('@').next().unwrap_or(email).to_owned(),
            is_company,
            country: new.country_of_residence.map_or_else(|| "NL".to_owned(), String::from),
            products: new.products,
        };
        Ok(Self { external_uuid: new.external_uuid, profile, director: director.map(u64::from) })
    }

    fn from_older_shape(new: NewProvisionByPointer) -> Result<Self, Refusal> {
        let is_email = new.pointer.value.as_str().contains('@');
        let fits = match new.pointer.type_ {
            PointerType::Email => is_email,
            PointerType::PhoneNumber => !is_email,
            other => return Err(Refusal::not_implemented(format_args!("a pointer of the type {other}"))),
        };
        if !fits {
            let problem = format!("pointer.value is not what pointer.type says: {}.", new.pointer.type_);
            return Err(Refusal::bad_request(problem));
        }
        let profile = UserProfile {
            display_name: new.pointer.name.into(),
            is_company: new.products.contains(&RequestedProduct::CompanyVerified),
            country: "NL".to_owned(),
            products: new.products,
        };
        Ok(Self { external_uuid: new.external_uuid, profile, director: None })
    }

    /// The refusal when there is no provision with the id `director`.
    pub(crate) fn unknown_director(director: u64) -> Refusal {
        Refusal::bad_request(format!("{DIRECTOR} has the value {director}: there is no such provision."))
    }
}

/// Reads the shape that the body has.
fn read(body: &[u8]) -> Result<CreateProvisionRequest, Refusal> {
    let value: Value = input::body(body)?;
    // The types read more forms of these two than are documented.
    let text = |name: &str| value[name].as_str();
    if text("external_uuid").is_some_and(|text| input::uuid(text).is_none()) {
        return Err(Refusal::bad_request("external_uuid is not a UUID."));
    }
    if text("date_of_birth").is_some_and(|text| text.len() != 10) {
        return Err(Refusal::bad_request("date_of_birth is not a date like 1990-12-31."));
    }
    let current = ["user_verified_type", "email", "phone_number"].into_iter().find(|name| !value[name].is_null());
    match (current, value["pointer"].is_null()) {
        (Some(name), false) => {
            Err(Refusal::bad_request(format!("{name} and pointer belong to different shapes of this request.")))
        }
        (None, false) => input::body(body).map(CreateProvisionRequest::NewProvisionByPointer),
        _ => input::body(body).map(CreateProvisionRequest::NewProvision),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn person() -> Value {
        json!({
            "external_uuid": "550e8400-e29b-41d4-a716-446655440000",
            "user_verified_type": "PARTNER_USER_PERSON",
            "email": "ada@example.com",
            "phone_number": "+31612345678",
            "products": ["USER_VERIFIED"],
        })
    }

    fn older() -> Value {
        json!({
            "external_uuid": "550e8400-e29b-41d4-a716-446655440000",
            "pointer": { "type": "EMAIL", "value": "ada@example.com", "name": "Ada" },
            "products": ["USER_VERIFIED"],
        })
    }

    fn read(body: &Value) -> Result<Creation, String> {
        Creation::from_body(body.to_string().as_bytes()).map_err(|refusal| {
            assert_eq!(refusal.status, 400);
            refusal.message
        })
    }

    #[test]
    fn both_shapes_are_read() {
        test_timeout::start();
        let current = read(&person()).unwrap();
        assert_eq!((current.profile.display_name.as_str(), current.profile.is_company), ("ada", false));
        let older = read(&older()).unwrap();
        assert_eq!((older.profile.display_name.as_str(), older.profile.is_company), ("Ada", false));
        assert_eq!(current.external_uuid, older.external_uuid);
    }

    #[test]
    fn the_older_shape_says_by_its_products_whether_it_is_a_companys() {
        test_timeout::start();
        let mut company = older();
        company["products"] = json!(["COMPANY_VERIFIED"]);
        assert!(read(&company).unwrap().profile.is_company);
    }

    #[test]
    fn every_member_is_checked() {
        test_timeout::start();
        for (name, value, complaint) in [
            ("external_uuid", json!("42"), "external_uuid is not a UUID."),
            ("user_verified_type", json!("ROBOT"), "unknown variant `ROBOT`"),
            ("email", json!("ada@home@example.com"), "email: an e-mail address"),
            ("phone_number", json!("+0612345678"), "phone_number: a phone number"),
            ("phone_number", json!(31612345678_u64), "invalid type: integer"),
            ("products", json!(null), "invalid type: null"),
            ("date_of_birth", json!(null), "invalid type: null"),
            ("director_relation_provision_id", json!(null), "invalid type: null"),
            ("director_relation_provision_id", json!(0), "provision_id: `0`"),
            ("products", json!([]), "products is empty"),
            ("products", json!(["USER_VERIFIED", "GOLD"]), "unknown variant `GOLD`"),
            ("date_of_birth", json!("31-12-1990"), "parse"),
            ("date_of_birth", json!("1990-02-30"), "day"),
            ("date_of_birth", json!("1990-02-03T00:00"), "date_of_birth is not a date"),
            ("country_of_residence", json!("Holland"), "country_code: a country"),
        ] {
            let mut body = person();
            body[name] = value;
            let message = read(&body).unwrap_err();
            assert!(message.contains(complaint), "{message}");
        }
        let mut keyless = person();
        keyless.as_object_mut().unwrap().remove("external_uuid");
        assert!(read(&keyless).unwrap_err().contains("missing field `external_uuid`"));
    }

    #[test]
    fn each_product_has_been_thought_of() {
        test_timeout::start();
        use RequestedProduct::{CompanyVerified, UserAnonymousTransactionAudit, UserVerified};
        assert_eq!(RequestedProduct::KNOWN, [UserVerified, CompanyVerified, UserAnonymousTransactionAudit]);
    }

    #[test]
    fn the_shapes_do_not_mix() {
        test_timeout::start();
        let mut both = older();
        both["email"] = json!("ada@example.com");
        assert!(read(&both).unwrap_err().contains("different shapes"));
        let mut neither = older();
        neither["pointer"] = Value::Null;
        assert!(read(&neither).unwrap_err().contains("missing field `email`"));
        let mut pointer = older();
        pointer["pointer"]["type"] = json!("IBAN");
        assert!(read(&pointer).unwrap_err().contains("unknown variant `IBAN`"));
        pointer["pointer"]["type"] = json!("PHONE_NUMBER");
        assert!(read(&pointer).unwrap_err().contains("pointer.value is not what pointer.type says: PHONE_NUMBER"));
    }

    #[test]
    fn a_company_needs_its_director_and_an_audit_its_person() {
        test_timeout::start();
        let mut company = person();
        company["user_verified_type"] = json!("PARTNER_USER_COMPANY");
        company["products"] = json!(["COMPANY_VERIFIED"]);
        assert_eq!(read(&company).unwrap_err(), "director_relation_provision_id is required.");
        company["director_relation_provision_id"] = json!(-1);
        assert!(read(&company).unwrap_err().contains("-1"));
        company["director_relation_provision_id"] = json!(7);
        assert_eq!(read(&company).unwrap().director, Some(7));

        let mut audit = person();
        audit["products"] = json!(["USER_ANONYMOUS_TRANSACTION_AUDIT"]);
        assert_eq!(read(&audit).unwrap_err(), "date_of_birth is required.");
        audit["date_of_birth"] = json!("1990-12-31");
        assert_eq!(read(&audit).unwrap_err(), "country_of_residence is required.");
        audit["country_of_residence"] = json!("BE");
        assert_eq!(read(&audit).unwrap().profile.country, "BE");
    }
}
