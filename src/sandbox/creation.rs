//! The request for a new provision, in both of its documented shapes.

use jiff::civil::Date;
use serde_json::Value;
use uuid::Uuid;

use super::answer::Refusal;
use super::input::{self, Fields};

const AUDIT: &str = "USER_ANONYMOUS_TRANSACTION_AUDIT";
const COMPANY_VERIFIED: &str = "COMPANY_VERIFIED";
const PRODUCTS: [&str; 3] = ["USER_VERIFIED", COMPANY_VERIFIED, AUDIT];

const COMPANY: &str = "PARTNER_USER_COMPANY";
const USER_TYPES: [&str; 2] = ["PARTNER_USER_PERSON", COMPANY];

/// The member that names a company's director by the provision that was made for them.
const DIRECTOR: &str = "director_relation_provision_id";

/// A request for a new provision that is in order by itself.
#[derive(Debug)]
pub(super) struct Creation {
    pub(super) external_uuid: Uuid,
    pub(super) profile: Profile,
    /// The director's provision. Whether it exists is for the bank to say.
    pub(super) director: Option<u64>,
}

/// What is known of a user from the beginning.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) display_name: String,
    pub(super) is_company: bool,
    pub(super) country: String,
    pub(super) products: Vec<String>,
}

impl Profile {
    /// A person like any other.
    pub(super) fn example() -> Self {
        Self {
            display_name: "user".to_owned(),
            is_company: false,
            country: "NL".to_owned(),
            products: vec!["USER_VERIFIED".to_owned()],
        }
    }
}

impl Creation {
    pub(super) fn from_body(body: &[u8]) -> Result<Self, Refusal> {
        let fields = Fields::from_body(body)?;
        let external_uuid = fields.text("external_uuid")?;
        let external_uuid = input::uuid(external_uuid)
            .ok_or_else(|| fields.invalid("external_uuid", &external_uuid.into(), "a UUID"))?;
        let user = User::from_fields(&fields)?;
        let products = products(&fields)?;

        fields.optional_text_that("date_of_birth", "a date like 1990-12-31", is_date)?;
        let country = fields.optional_text_that("country_of_residence", "a country code like NL", is_country)?;
        if products.contains(&AUDIT) {
            fields.text("date_of_birth")?;
            fields.text("country_of_residence")?;
        }
        Ok(Self {
            external_uuid,
            director: user.director,
            profile: Profile {
                is_company: user.is_company.unwrap_or(products.contains(&COMPANY_VERIFIED)),
                display_name: user.display_name,
                country: country.unwrap_or("NL").to_owned(),
                products: products.into_iter().map(str::to_owned).collect(),
            },
        })
    }

    /// The refusal when there is no provision with the id `director`.
    pub(super) fn unknown_director(director: u64) -> Refusal {
        Refusal::bad_request(format!("{DIRECTOR} has the value {director}: there is no such provision."))
    }
}

/// For whom a provision is.
struct User {
    display_name: String,
    /// `None` where the request does not say: the older shape has no member for it.
    is_company: Option<bool>,
    director: Option<u64>,
}

impl User {
    /// Reads the members in which the two shapes differ.
    fn from_fields(fields: &Fields) -> Result<Self, Refusal> {
        let current =
            ["user_verified_type", "email", "phone_number"].into_iter().find(|name| fields.get(name).is_some());
        match (current, fields.get("pointer")) {
            (Some(_), None) => Self::from_current_shape(fields),
            (None, Some(_)) => Self::from_older_shape(fields),
            (Some(name), Some(_)) => {
                Err(Refusal::bad_request(format!("{name} and pointer belong to different shapes of this request.")))
            }
            (None, None) => Err(Refusal::bad_request(
                "user_verified_type, email and phone_number are required, or else a pointer, the older shape.",
            )),
        }
    }

    fn from_current_shape(fields: &Fields) -> Result<Self, Refusal> {
        let user_type = fields.text("user_verified_type")?;
        if !USER_TYPES.contains(&user_type) {
            return Err(fields.invalid("user_verified_type", &user_type.into(), &one_of(&USER_TYPES)));
        }
        let email = fields.text_that("email", "an e-mail address", is_email)?;
        fields.text_that("phone_number", "a phone number like +31612345678", is_phone_number)?;
        let is_company = user_type == COMPANY;
        Ok(Self {
            display_name: email.split('@').next().unwrap_or(email).to_owned(),
            is_company: Some(is_company),
            director: director(fields, is_company)?,
        })
    }

    fn from_older_shape(fields: &Fields) -> Result<Self, Refusal> {
        let pointer = fields.object("pointer")?;
        match pointer.text("type")? {
            "EMAIL" => pointer.text_that("value", "an e-mail address", is_email)?,
            "PHONE_NUMBER" => pointer.text_that("value", "a phone number like +31612345678", is_phone_number)?,
            other => return Err(pointer.invalid("type", &other.into(), &one_of(&["EMAIL", "PHONE_NUMBER"]))),
        };
        Ok(Self { display_name: pointer.text("name")?.to_owned(), is_company: None, director: None })
    }
}

/// A person's is read too, but means nothing.
fn director(fields: &Fields, is_company: bool) -> Result<Option<u64>, Refusal> {
    match fields.given(DIRECTOR) {
        None if is_company => Err(fields.missing(DIRECTOR)),
        None => Ok(None),
        Some(value) => {
            let id = value.as_i64().and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
            let id = id.ok_or_else(|| fields.invalid(DIRECTOR, value, "the id of the director's provision"))?;
            Ok(is_company.then_some(id))
        }
    }
}

fn products(fields: &Fields) -> Result<Vec<&str>, Refusal> {
    let products = fields.texts("products")?.ok_or_else(|| fields.missing("products"))?;
    if products.is_empty() {
        return Err(fields.invalid("products", &Value::Array(Vec::new()), "a list that is not empty"));
    }
    match products.iter().find(|product| !PRODUCTS.contains(product)) {
        Some(unknown) => Err(fields.invalid("products", &(*unknown).into(), &one_of(&PRODUCTS))),
        None => Ok(products),
    }
}

fn one_of(values: &[&str]) -> String {
    format!("one of {}", values.join(", "))
}

fn is_email(text: &str) -> bool {
    let mut parts = text.split('@');
    let is_foreign = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    let is_part = |part: Option<&str>| part.is_some_and(|part| !part.is_empty() && !part.contains(is_foreign));
    is_part(parts.next()) && is_part(parts.next()) && parts.next().is_none() && text.chars().count() <= 254
}

/// E.164: a plus and seven to fifteen digits, the first not 0.
fn is_phone_number(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && Date::strptime("%Y-%m-%d", text).is_ok()
}

fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
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
        let current = read(&person()).unwrap();
        assert_eq!((current.profile.display_name.as_str(), current.profile.is_company), ("ada", false));
        let older = read(&older()).unwrap();
        assert_eq!((older.profile.display_name.as_str(), older.profile.is_company), ("Ada", false));
        assert_eq!(current.external_uuid, older.external_uuid);
    }

    #[test]
    fn the_older_shape_says_by_its_products_whether_it_is_a_companys() {
        let mut company = older();
        company["products"] = json!(["COMPANY_VERIFIED"]);
        assert!(read(&company).unwrap().profile.is_company);
    }

    #[test]
    fn every_member_is_checked_and_named_with_its_value() {
        for (name, value, complaint) in [
            ("external_uuid", json!(null), "external_uuid is required."),
            ("external_uuid", json!("42"), r#"external_uuid has the value "42": it must be a UUID."#),
            ("user_verified_type", json!("ROBOT"), r#"user_verified_type has the value "ROBOT""#),
            ("email", json!("ada@home@example.com"), r#"email has the value "ada@home@example.com""#),
            ("email", json!("@"), r#"email has the value "@""#),
            ("phone_number", json!("0612345678"), r#"phone_number has the value "0612345678""#),
            ("phone_number", json!("+0612345678"), r#"phone_number has the value "+0612345678""#),
            ("phone_number", json!(31612345678_u64), "phone_number has the value 31612345678"),
            ("products", json!(null), "products has the value null"),
            ("date_of_birth", json!(null), "date_of_birth has the value null"),
            ("director_relation_provision_id", json!(null), "director_relation_provision_id has the value null"),
            ("director_relation_provision_id", json!(0), "director_relation_provision_id has the value 0"),
            ("products", json!([]), "products has the value []"),
            ("products", json!(["USER_VERIFIED", "GOLD"]), r#"products has the value "GOLD""#),
            ("date_of_birth", json!("31-12-1990"), r#"date_of_birth has the value "31-12-1990""#),
            ("date_of_birth", json!("1990-02-30"), r#"date_of_birth has the value "1990-02-30""#),
            ("country_of_residence", json!("Holland"), r#"country_of_residence has the value "Holland""#),
        ] {
            let mut body = person();
            body[name] = value;
            let message = read(&body).unwrap_err();
            assert!(message.starts_with(complaint), "{message}");
        }
    }

    #[test]
    fn the_shapes_do_not_mix() {
        let mut both = older();
        both["email"] = json!("ada@example.com");
        assert!(read(&both).unwrap_err().contains("different shapes"));
        let mut neither = older();
        neither["pointer"] = Value::Null;
        assert!(read(&neither).unwrap_err().contains("pointer"));
        let mut pointer = older();
        pointer["pointer"]["type"] = json!("IBAN");
        assert!(read(&pointer).unwrap_err().starts_with(r#"pointer.type has the value "IBAN""#));
    }

    #[test]
    fn a_company_needs_its_director_and_an_audit_its_person() {
        let mut company = person();
        company["user_verified_type"] = json!("PARTNER_USER_COMPANY");
        company["products"] = json!(["COMPANY_VERIFIED"]);
        assert_eq!(read(&company).unwrap_err(), "director_relation_provision_id is required.");
        company["director_relation_provision_id"] = json!(-1);
        assert!(read(&company).unwrap_err().starts_with("director_relation_provision_id has the value -1"));
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
