//! What bunq wants to know of a user, and the answers that a call can give.

use std::fmt;

use jiff::Zoned;
use jiff::civil::Date;

use crate::error::Error;
use crate::operation::Operation;
use crate::provisions::WaitingFor;
use crate::types::{
    Address, CountryCode, Fulfillment, FulfillmentStatus, FulfillmentType, TaxResident, UpdateUserPersonRequest,
};

/// The answer to a [`Fulfillment`]: a variant for each call that gives one.
///
/// Its `Debug` shows which, and not what it says of the user.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FulfillmentAnswer {
    /// Where the user lives: answers `ADDRESS_MAIN`.
    AddressMain(Address),
    /// Where the user gets mail: answers `ADDRESS_POSTAL`.
    AddressPostal(Address),
    /// The date of birth, and names if there are any: answers `DATE_OF_BIRTH`.
    Person(UpdateUserPersonRequest),
    /// Where the user pays taxes: answers `TAX_RESIDENT`.
    TaxResident(Vec<TaxResident>),
    /// Of which countries the user is a national: answers `NATIONALITY`.
    Nationality(Vec<CountryCode>),
}

/// The kinds that a call answers, for messages.
const ANSWERABLE: &str = "ADDRESS_MAIN, ADDRESS_POSTAL, DATE_OF_BIRTH, NATIONALITY and TAX_RESIDENT";

/// How many countries a list has at most.
const MAX_COUNTRIES: usize = 50;

/// Nobody who is alive was born before.
const EARLIEST_BIRTH: Date = jiff::civil::date(1900, 1, 1);

impl Fulfillment {
    /// Whether [`Onboarding::answer`](crate::Onboarding::answer) can answer it. What it cannot is for the user, for the verification of
    /// its identity or for a document, or of a kind that this version does not know.
    pub fn is_answerable(&self) -> bool {
        self.type_.answered_with().is_some()
    }

    /// Whose turn it is: bunq's while it checks what it was given, nobody's when it is fulfilled, unknown if its status is, and otherwise the
    /// user's. `all_status_allowed` has the statuses with which it is no longer missing.
    pub fn waiting_for(&self) -> WaitingFor {
        match &self.status {
            None => WaitingFor::User,
            Some(FulfillmentStatus::InProgress) => WaitingFor::Bunq,
            Some(FulfillmentStatus::Fulfilled) => WaitingFor::Nobody,
            Some(FulfillmentStatus::Unknown(_)) => WaitingFor::Unknown,
        }
    }
}

impl FulfillmentType {
    /// The operation that answers a fulfilment of this kind, if one does.
    pub fn answered_with(&self) -> Option<&'static Operation> {
        match self {
            Self::AddressMain => Some(&Operation::CREATE_ADDRESS_MAIN),
            Self::AddressPostal => Some(&Operation::CREATE_ADDRESS_POSTAL),
            Self::DateOfBirth => Some(&Operation::UPDATE_USER_PERSON),
            Self::Nationality => Some(&Operation::CREATE_NATIONALITY),
            Self::TaxResident => Some(&Operation::CREATE_TAX_RESIDENT),
            Self::Email | Self::Unknown(_) => None,
        }
    }
}

impl FulfillmentAnswer {
    /// Returns the kind of fulfilments that it answers.
    pub fn kind(&self) -> FulfillmentType {
        match self {
            Self::AddressMain(_) => FulfillmentType::AddressMain,
            Self::AddressPostal(_) => FulfillmentType::AddressPostal,
            Self::Person(_) => FulfillmentType::DateOfBirth,
            Self::TaxResident(_) => FulfillmentType::TaxResident,
            Self::Nationality(_) => FulfillmentType::Nationality,
        }
    }

    /// Checks what it says, as [`Onboarding::answer`](crate::Onboarding::answer) does. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it says what cannot be, such as a date of birth in the future, or one country
    /// twice. The message repeats nothing of it.
    pub fn validate(&self) -> Result<(), Error> {
        match self {
            Self::AddressMain(_) | Self::AddressPostal(_) => Ok(()),
            Self::Person(person) => check_birth(person.date_of_birth, Zoned::now().date()),
            Self::TaxResident(residences) => {
                let countries: Vec<_> = residences.iter().map(|residence| &residence.country).collect();
                check_countries("tax_resident", &countries)
            }
            Self::Nationality(countries) => check_countries("all_nationality", &countries.iter().collect::<Vec<_>>()),
        }
    }

    /// The operation that gives it.
    pub(super) fn operation(&self) -> &'static Operation {
        match self {
            Self::AddressMain(_) => &Operation::CREATE_ADDRESS_MAIN,
            Self::AddressPostal(_) => &Operation::CREATE_ADDRESS_POSTAL,
            Self::Person(_) => &Operation::UPDATE_USER_PERSON,
            Self::TaxResident(_) => &Operation::CREATE_TAX_RESIDENT,
            Self::Nationality(_) => &Operation::CREATE_NATIONALITY,
        }
    }

    /// What it is called in messages.
    fn name(&self) -> &'static str {
        match self {
            Self::AddressMain(_) => "a main address",
            Self::AddressPostal(_) => "a postal address",
            Self::Person(_) => "a person",
            Self::TaxResident(_) => "tax residences",
            Self::Nationality(_) => "nationalities",
        }
    }

    /// Checks that it answers a fulfilment, and what it says. Messages repeat nothing of it.
    pub(super) fn check(&self, fulfillment: &Fulfillment) -> Result<(), Error> {
        let (kind, name) = (&fulfillment.type_, self.name());
        let Some(operation) = kind.answered_with() else {
            return Err(Error::invalid_input(
                "fulfillment",
                format_args!(
                    "no call answers {}: calls answer {ANSWERABLE}; the others are for the user, for the verification of the \
                     identity or for a document",
                    kind.as_str()
                ),
            ));
        };
        if operation != self.operation() {
            let problem = format_args!("{} is not answered by {name}: its call is {}", kind.as_str(), operation.id);
            return Err(Error::invalid_input("answer", problem));
        }
        self.validate()
    }
}

fn check_birth(birth: Option<Date>, today: Date) -> Result<(), Error> {
    let invalid = |problem: &str| Err(Error::invalid_input("date_of_birth", problem));
    match birth {
        None => invalid("it is missing: DATE_OF_BIRTH is answered by a person with a date of birth"),
        // It is a day later already east of here.
        Some(birth) if birth > today.saturating_add(jiff::Span::new().days(1)) => invalid("it is in the future"),
        Some(birth) if birth < EARLIEST_BIRTH => invalid("it is before 1900"),
        Some(_) => Ok(()),
    }
}

fn check_countries(field: &str, countries: &[&CountryCode]) -> Result<(), Error> {
    let is_twice = |at: usize| countries[..at].contains(&countries[at]);
    let problem = match countries.len() {
        0 => "it has no country: give one at least".to_owned(),
        count if count > MAX_COUNTRIES => format!("it has {count} countries: give {MAX_COUNTRIES} at most"),
        count if (0..count).any(is_twice) => "it has one country twice".to_owned(),
        _ => return Ok(()),
    };
    Err(Error::invalid_input(field, problem))
}

impl fmt::Debug for FulfillmentAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FulfillmentAnswer({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TaxResidentStatus;

    fn address() -> Address {
        let parse = |text: &str| text.parse();
        Address::new(
            "Exampleton".parse().unwrap(),
            parse("NL").unwrap(),
            "1a".parse().unwrap(),
            "1000 AA".parse().unwrap(),
            "Example Street".parse().unwrap(),
        )
    }

    fn born(date: &str) -> FulfillmentAnswer {
        let mut person = UpdateUserPersonRequest::new();
        person.date_of_birth = Some(date.parse().unwrap());
        FulfillmentAnswer::Person(person)
    }

    fn nationality(countries: &[&str]) -> FulfillmentAnswer {
        FulfillmentAnswer::Nationality(countries.iter().map(|country| country.parse().unwrap()).collect())
    }

    fn resident(countries: &[&str]) -> FulfillmentAnswer {
        let resident = |country: &&str| {
            TaxResident::new(country.parse().unwrap(), TaxResidentStatus::Confirmed, "123456782".parse().unwrap())
        };
        FulfillmentAnswer::TaxResident(countries.iter().map(resident).collect())
    }

    fn fulfillment(kind: &str) -> Fulfillment {
        serde_json::from_value(serde_json::json!({ "type": kind })).unwrap()
    }

    #[test]
    fn each_kind_has_its_answer() {
        test_timeout::start();
        let answers = [
            ("ADDRESS_MAIN", FulfillmentAnswer::AddressMain(address())),
            ("ADDRESS_POSTAL", FulfillmentAnswer::AddressPostal(address())),
            ("DATE_OF_BIRTH", born("1990-01-31")),
            ("TAX_RESIDENT", resident(&["NL", "DE"])),
            ("NATIONALITY", nationality(&["NL"])),
        ];
        for (kind, answer) in &answers {
            assert!(fulfillment(kind).is_answerable());
            for (other, _) in &answers {
                let checked = answer.check(&fulfillment(other)).map_err(|error| error.to_string());
                assert_eq!(checked.is_ok(), kind == other, "{kind} {other}: {checked:?}");
            }
            for other in ["EMAIL", "IDENTITY_VERIFICATION", "SELFIE"] {
                assert!(!fulfillment(other).is_answerable());
                let error = answer.check(&fulfillment(other)).unwrap_err().to_string();
                assert!(error.contains(&format!("no call answers {other}: calls answer ADDRESS_MAIN, ")), "{error}");
            }
        }
        let error = nationality(&["NL"]).check(&fulfillment("ADDRESS_MAIN")).unwrap_err().to_string();
        assert!(
            error.contains("ADDRESS_MAIN is not answered by nationalities: its call is create_address_main"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        test_timeout::start();
        let tomorrow = Zoned::now().date().saturating_add(jiff::Span::new().days(3)).to_string();
        for (kind, answer, problem) in [
            ("DATE_OF_BIRTH", born(&tomorrow), "date_of_birth: it is in the future"),
            ("DATE_OF_BIRTH", born("1899-12-31"), "date_of_birth: it is before 1900"),
            (
                "DATE_OF_BIRTH",
                FulfillmentAnswer::Person(UpdateUserPersonRequest::new()),
                "date_of_birth: it is missing",
            ),
            ("NATIONALITY", nationality(&[]), "all_nationality: it has no country"),
            ("NATIONALITY", nationality(&["NL", "DE", "NL"]), "all_nationality: it has one country twice"),
            ("TAX_RESIDENT", resident(&["NL"; 51]), "tax_resident: it has 51 countries"),
            ("TAX_RESIDENT", resident(&["NL"; 2]), "tax_resident: it has one country twice"),
        ] {
            let error = answer.check(&fulfillment(kind)).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn whose_turn_it_is() {
        test_timeout::start();
        for (status, waiting_for) in [
            (serde_json::Value::Null, WaitingFor::User),
            ("IN_PROGRESS".into(), WaitingFor::Bunq),
            ("FULFILLED".into(), WaitingFor::Nobody),
            ("LOST".into(), WaitingFor::Unknown),
        ] {
            let one = serde_json::json!({ "type": "EMAIL", "status": status });
            assert_eq!(serde_json::from_value::<Fulfillment>(one).unwrap().waiting_for(), waiting_for, "{status}");
        }
    }

    #[test]
    fn debug_shows_nothing_about_a_person() {
        test_timeout::start();
        let answers =
            [FulfillmentAnswer::AddressMain(address()), born("1990-01-31"), resident(&["NL"]), nationality(&["NL"])];
        let shown = format!("{answers:?} {:?}", address());
        for personal in ["Example", "1a", "1000", "NL", "1990", "1234"] {
            assert!(!shown.contains(personal), "{shown}");
        }
    }
}
