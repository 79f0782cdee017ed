//! The answers in the file of `--from`: one JSON object, all of which is checked before anything is sent.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::Path;

use bunq_partner::jiff::civil::Date;
use bunq_partner::types::{
    Address, AttachmentId, City, CreateDocumentIdentificationRequest, DocumentType, FulfillmentType, HouseNumber,
    PostalCode, Street, TaxNumber, TaxResident, TaxResidentStatus, UpdateUserPersonRequest,
};
use bunq_partner::{CountryCode, FulfillmentAnswer, UserName, files};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, de};

use super::super::exit::Failure;
use super::super::reading;
use super::super::standard_input::announce;

/// No such file is larger.
const MAX_LEN: usize = 1024 * 1024;

/// What a file answers.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) given: Vec<FulfillmentAnswer>,
    pub(super) document: Option<CreateDocumentIdentificationRequest>,
}

/// What is read of an object alone. serde reads a list as a struct too, by the order of its members.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    address_main: Option<Object<AddressMembers>>,
    address_postal: Option<Object<AddressMembers>>,
    person: Option<Object<PersonMembers>>,
    tax_resident: Option<Vec<Object<TaxMembers>>>,
    nationality: Option<Vec<CountryCode>>,
    identity_document: Option<Object<DocumentMembers>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressMembers {
    street: Street,
    house_number: HouseNumber,
    postal_code: PostalCode,
    city: City,
    country: CountryCode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonMembers {
    first_name: Option<UserName>,
    middle_name: Option<UserName>,
    last_name: Option<UserName>,
    #[serde(deserialize_with = "date")]
    date_of_birth: Date,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaxMembers {
    country: CountryCode,
    tax_number: TaxNumber,
    #[serde(default = "confirmed")]
    status: TaxResidentStatus,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentMembers {
    document_type: DocumentType,
    country: CountryCode,
    front: AttachmentId,
    back: Option<AttachmentId>,
}

/// The member that answers a kind of fulfilments; `None` if no call answers it.
pub(super) fn member(kind: &FulfillmentType) -> Option<&'static str> {
    match kind {
        FulfillmentType::AddressMain => Some("address_main"),
        FulfillmentType::AddressPostal => Some("address_postal"),
        FulfillmentType::DateOfBirth => Some("person"),
        FulfillmentType::TaxResident => Some("tax_resident"),
        FulfillmentType::Nationality => Some("nationality"),
        _ => None,
    }
}

impl Answers {
    /// Reads and checks a file, or standard input if its path is `-`. Dropping the future waits for neither.
    pub(super) async fn read(path: &Path) -> Result<Self, Failure> {
        let refused = |problem: String| Failure::usage(format!("--from {}: {problem}", path.display()));
        let file = path.to_owned();
        let read = match path == Path::new("-") {
            true => {
                announce("answers as JSON");
                reading::text(MAX_LEN, || Ok(io::stdin())).await
            }
            false => reading::text(MAX_LEN, move || files::open_plain(file)).await,
        };
        let text = read.map_err(|error| refused(error.to_string()))?;
        Self::parse(text.expose()).map_err(refused)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Object::<Members>(members) = serde_json::from_str(text).map_err(|error| said(&error))?;
        let Members { address_main, address_postal, person, tax_resident, nationality, identity_document } = members;
        let given = [
            address_main.map(|address| FulfillmentAnswer::AddressMain(address.0.into())),
            address_postal.map(|address| FulfillmentAnswer::AddressPostal(address.0.into())),
            person.map(|person| FulfillmentAnswer::Person(person.0.into())),
            tax_resident.map(|all| FulfillmentAnswer::TaxResident(all.into_iter().map(|one| one.0.into()).collect())),
            nationality.map(FulfillmentAnswer::Nationality),
        ];
        let given: Vec<_> = given.into_iter().flatten().collect();
        for answer in &given {
            let name = member(&answer.kind()).unwrap_or_default();
            answer.validate().map_err(|error| format!("{name}: {error}"))?;
        }
        let document: Option<CreateDocumentIdentificationRequest> = identity_document.map(|document| document.0.into());
        if given.is_empty() && document.is_none() {
            return Err("it has no answer".to_owned());
        }
        Ok(Self { given, document })
    }

    /// Takes the answer to a kind of fulfilments.
    pub(super) fn take(&mut self, kind: &FulfillmentType) -> Option<FulfillmentAnswer> {
        let at = self.given.iter().position(|answer| answer.kind() == *kind)?;
        Some(self.given.remove(at))
    }
}

impl From<AddressMembers> for Address {
    fn from(AddressMembers { street, house_number, postal_code, city, country }: AddressMembers) -> Self {
        Self::new(city, country, house_number, postal_code, street)
    }
}

impl From<PersonMembers> for UpdateUserPersonRequest {
    fn from(PersonMembers { first_name, middle_name, last_name, date_of_birth }: PersonMembers) -> Self {
        let mut person = Self::new();
        (person.first_name, person.middle_name, person.last_name) = (first_name, middle_name, last_name);
        person.date_of_birth = Some(date_of_birth);
        person
    }
}

impl From<TaxMembers> for TaxResident {
    fn from(TaxMembers { country, tax_number, status }: TaxMembers) -> Self {
        Self::new(country, status, tax_number)
    }
}

impl From<DocumentMembers> for CreateDocumentIdentificationRequest {
    fn from(DocumentMembers { document_type, country, front, back }: DocumentMembers) -> Self {
        let mut request = Self::new(front, country, document_type);
        request.document_back_attachment_id = back;
        request
    }
}

fn confirmed() -> TaxResidentStatus {
    TaxResidentStatus::Confirmed
}

fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    // The message of jiff quotes the text.
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| de::Error::custom("a date is written as in 1990-12-31"))
}

/// What is wrong, with the place. serde_json quotes a value of a wrong type, which may be about a person.
fn said(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let is_quoted = message.starts_with("invalid ") || message.starts_with("unknown variant ");
    let what = match message.rsplit_once(", expected ") {
        Some((_, expected)) if is_quoted => format!("{expected} is expected here"),
        _ => message.to_owned(),
    };
    format!("line {}, column {}: {what}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let problem = Answers::parse(text).unwrap_err();
        assert!(!problem.contains("Planted"), "{problem}");
        problem
    }

    #[test]
    fn a_file_has_an_answer_for_each_member() {
        test_timeout::start();
        let address = r#"{"street": "Example Street", "house_number": "1a", "postal_code": "1000 AA", "city": "Exampleton", "country": "NL"}"#;
        let text = format!(
            r#"{{"address_main": {address}, "address_postal": {address}, "person": {{"date_of_birth": "1990-01-31"}},
            "tax_resident": [{{"country": "NL", "tax_number": "123456782"}}], "nationality": ["NL", "DE"],
            "identity_document": {{"document_type": "PASSPORT", "country": "NL", "front": 6001, "back": 6002}}}}"#
        );
        let mut answers = Answers::parse(&text).unwrap();
        let kinds = [
            FulfillmentType::AddressMain,
            FulfillmentType::AddressPostal,
            FulfillmentType::DateOfBirth,
            FulfillmentType::TaxResident,
            FulfillmentType::Nationality,
        ];
        for kind in kinds {
            assert!(member(&kind).is_some() && answers.take(&kind).is_some() && answers.take(&kind).is_none());
        }
        assert!(answers.document.is_some() && answers.given.is_empty());
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place() {
        test_timeout::start();
        let address = r#""street": "Planted", "house_number": "1", "postal_code": "1", "country": "NL""#;
        for (text, problem) in [
            ("{}".to_owned(), "it has no answer"),
            ("[]".into(), "line 1, column 0: an object is expected here"),
            (r#"{"person": [null, null, null, "1990-12-31"]}"#.into(), "an object is expected here"),
            (r#"{"tax_resident": [["NL", "Planted"]]}"#.into(), "an object is expected here"),
            ("{\"person\": ".into(), "line 1, column 11: EOF while parsing a value"),
            (r#"{"persons": {}}"#.into(), "line 1, column 10: unknown field `persons`, expected one of `address_main`"),
            (
                "{\"nationality\": [\"NL\"],\n \"nationality\": [\"DE\"]}".into(),
                "line 2, column 14: duplicate field `nationality`",
            ),
            (format!(r#"{{"address_main": {{{address}}}}}"#), "missing field `city`"),
            (format!(r#"{{"address_main": {{{address}, "town": "Planted"}}}}"#), "unknown field `town`"),
            (r#"{"nationality": "Planted"}"#.into(), "line 1, column 25: a sequence is expected here"),
            (r#"{"nationality": ["Planted"]}"#.into(), "a country is two capital letters"),
            (r#"{"nationality": []}"#.into(), "nationality: all_nationality: it has no country"),
            (r#"{"person": {}}"#.into(), "missing field `date_of_birth`"),
            (r#"{"person": {"date_of_birth": "31-12-1990"}}"#.into(), "a date is written as in 1990-12-31"),
            (r#"{"person": {"date_of_birth": 19901231}}"#.into(), "a string is expected here"),
            (r#"{"person": {"date_of_birth": "1890-12-31"}}"#.into(), "person: date_of_birth: it is before 1900"),
            (
                r#"{"tax_resident": [{"country": "NL", "tax_number": "1", "status": "Planted"}]}"#.into(),
                "line 1, column",
            ),
        ] {
            let refusal = refused(&text);
            assert!(refusal.contains(problem), "{text}: {refusal}");
        }
    }
}
