//! The answers of a person at the terminal: each is checked as it is typed.

use std::str::FromStr;

use bunq_partner::types::{
    Address, Fulfillment, FulfillmentType, TaxResident, TaxResidentStatus, UpdateUserPersonRequest,
};
use bunq_partner::{CountryCode, FulfillmentAnswer, InvalidValue};

use super::super::arguments::date;
use super::super::exit::Failure;
use super::super::questions;
use super::super::screen;
use super::super::words::clean;
use super::giving::GOES_ON;

/// What is typed to leave something out.
const SKIP: &str = "-";

/// What a question has come to.
type Typed<T> = Result<T, Unanswered>;

/// Why there is no answer.
enum Unanswered {
    Skipped,
    Failed(Failure),
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Asks for the answer to a fulfilment; `None` if the person leaves it out, or if no call answers it.
pub(super) async fn ask(fulfillment: &Fulfillment) -> Result<Option<FulfillmentAnswer>, Failure> {
    let kind = &fulfillment.type_;
    if !fulfillment.is_answerable() {
        return Ok(None);
    }
    let reason = fulfillment.reason.as_ref().map(|reason| format!(": {}", clean(reason))).unwrap_or_default();
    screen::say(&format!("\x1b[1m{}\x1b[0m{reason} ({SKIP} leaves it out)\n", clean(kind.as_str())));
    loop {
        let answer = match answer(kind).await {
            Ok(Some(answer)) => answer,
            Ok(None) | Err(Unanswered::Skipped) => return Ok(None),
            Err(Unanswered::Failed(failure)) => return Err(failure),
        };
        match answer.validate() {
            Ok(()) => return Ok(Some(answer)),
            Err(error) => screen::say(&format!("  {}\n", clean(&error.to_string()))),
        }
    }
}

async fn answer(kind: &FulfillmentType) -> Typed<Option<FulfillmentAnswer>> {
    Ok(Some(match kind {
        FulfillmentType::AddressMain => FulfillmentAnswer::AddressMain(address().await?),
        FulfillmentType::AddressPostal => FulfillmentAnswer::AddressPostal(address().await?),
        FulfillmentType::DateOfBirth => {
            let mut person = UpdateUserPersonRequest::new();
            person.date_of_birth = Some(checked("date of birth", date).await?);
            FulfillmentAnswer::Person(person)
        }
        FulfillmentType::TaxResident => {
            let country = value("country where taxes are paid").await?;
            let number = hidden("tax number").await?;
            FulfillmentAnswer::TaxResident(vec![TaxResident::new(country, TaxResidentStatus::Confirmed, number)])
        }
        FulfillmentType::Nationality => {
            let read = |text: &str| text.split([',', ' ']).filter(|one| !one.is_empty()).map(read).collect();
            FulfillmentAnswer::Nationality(checked::<Vec<CountryCode>>("nationalities, like NL or NL,DE", read).await?)
        }
        _ => return Ok(None),
    }))
}

async fn address() -> Typed<Address> {
    let street = value("street").await?;
    let house_number = value("house number").await?;
    let postal_code = value("postal code").await?;
    let city = value("city").await?;
    let country = value("country").await?;
    Ok(Address::new(city, country, house_number, postal_code, street))
}

fn read<T: FromStr<Err = InvalidValue>>(text: &str) -> Result<T, String> {
    text.parse::<T>().map_err(|error| error.rule().to_owned())
}

async fn value<T: FromStr<Err = InvalidValue>>(name: &str) -> Typed<T> {
    checked(name, read).await
}

/// Asks until what is typed fits.
async fn checked<T>(name: &str, read: impl Fn(&str) -> Result<T, String>) -> Typed<T> {
    loop {
        let line = questions::line(format!("  {name}: ")).await?;
        let line =
            line.ok_or_else(|| Failure::negative("the input has ended: nothing more was answered").with_hint(GOES_ON))?;
        if let Some(value) = taken(line.trim(), &read)? {
            return Ok(value);
        }
    }
}

async fn hidden<T: FromStr<Err = InvalidValue>>(name: &str) -> Typed<T> {
    loop {
        let text = questions::hidden(format!("  {name} (it is not shown): "), name).await?;
        if let Some(value) = taken(text.expose(), read)? {
            return Ok(value);
        }
    }
}

/// The value of a text; `None`: it does not fit, which is said.
fn taken<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Typed<Option<T>> {
    if text == SKIP {
        return Err(Unanswered::Skipped);
    }
    match read(text) {
        Ok(value) => Ok(Some(value)),
        Err(rule) => {
            screen::say(&format!("  {}\n", clean(&rule)));
            Ok(None)
        }
    }
}
