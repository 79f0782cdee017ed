//! `config`: shows each setting with its source, and the path of the file with the profiles. It needs no key and no network.

use serde_json::json;

use super::arguments::OutputFormat;
use super::columns::View;
use super::connection::state_folder;
use super::exit::Failure;
use super::output::{Field, Printer, Record, names, write_text, write_value};
use super::profile::{self, COUNTED_BY, LIMIT_SCOPES, USER_INSTALLATIONS, word};
use super::settings::{Bank, BankSettings, CountedByKind, KeyPlace, PostgresSettings, Settings, Source, UrlPlace};
use super::words::clean;

/// Shows each setting and its source. Of a key it shows the source alone.
pub(super) fn show(settings: &Settings<'_>, typed: Option<OutputFormat>, view: View) -> Result<(), Failure> {
    let output = settings.output(typed);
    let mut printer = Printer::new(view);
    let mut add = |name, value: String, source: &Source| printer.add(Record::of(fields(name, &value, source)));
    match settings.bank()? {
        Bank::Internal => {
            let source = Source::Option("--sandbox");
            add("profile", "none".to_owned(), &source)?;
            add("environment", "sandbox".to_owned(), &source)?;
            add("base_url", "of a sandbox inside this program".to_owned(), &source)?;
            add("api_key", "of that sandbox".to_owned(), &source)?;
            add("context", "in memory".to_owned(), &source)?;
            add("custody", "in memory".to_owned(), &source)?;
            add("user_installation", "as that sandbox takes it".to_owned(), &source)?;
            add("limits_are_per", "as that sandbox counts".to_owned(), &source)?;
            add("postgres", "none".to_owned(), &source)?;
        }
        Bank::At(bank) => {
            match &bank.profile {
                Some(profile) => add("profile", profile.value.name.clone(), &profile.source)?,
                None => add("profile", "none".to_owned(), &Source::Default)?,
            }
            add("environment", bank.environment.value.to_string(), &bank.environment.source)?;
            add("base_url", bank.shown_base_url().to_owned(), &bank.base_url.source)?;
            if let Some(host) = &bank.plain_http {
                add("plain_http", format!("allowed to {host}"), &Source::Option("--plain-http"))?;
            }
            add("api_key", key_place(&bank), &bank.api_key.source)?;
            let in_database = bank.postgres.as_ref().map(|postgres| format!("{} in the database", postgres.name));
            let context = match (&bank.context.value, &in_database) {
                (Some(file), _) => file.display().to_string(),
                (None, Some(name)) => name.clone(),
                (None, None) => match state_folder() {
                    Ok(folder) => format!("a file for each key in {}", folder.display()),
                    Err(failure) => failure.message().to_owned(),
                },
            };
            add("context", context, &bank.context.source)?;
            let folder = bank.custody.value.as_ref().map(|folder| folder.display().to_string());
            add("custody", folder.or(in_database).unwrap_or_else(|| "none".to_owned()), &bank.custody.source)?;
            let installation = word(&USER_INSTALLATIONS, &bank.user_installation.value).to_owned();
            add("user_installation", installation, &bank.user_installation.source)?;
            let scope = word(&LIMIT_SCOPES, &bank.limits_are_per.value).to_owned();
            add("limits_are_per", scope, &bank.limits_are_per.source)?;
            match &bank.postgres {
                Some(postgres) => add("postgres", database(postgres), &postgres.url.source)?,
                None => add("postgres", "none".to_owned(), &Source::Default)?,
            }
        }
    }
    add("output", output.value.to_string(), &output.source)?;
    Ok(printer.finish()?)
}

/// The database, without its URL, which has a password.
fn database(postgres: &PostgresSettings) -> String {
    let url = match &postgres.url.value {
        UrlPlace::File(file) => format!("URL in the file {}", file.display()),
        UrlPlace::Variable(_) => "URL set".to_owned(),
    };
    let address = match postgres.counted_by {
        CountedByKind::Address | CountedByKind::AddressAndKey => format!(", the address is {}", postgres.address),
        CountedByKind::Key => String::new(),
    };
    format!("{url}; calls are counted by {}{address}", word(&COUNTED_BY, &postgres.counted_by))
}

fn key_place(bank: &BankSettings) -> String {
    match &bank.api_key.value {
        KeyPlace::File(file) => format!("in the file {}", file.display()),
        KeyPlace::Variable(_) => "set".to_owned(),
        // Its arguments may be secret.
        KeyPlace::Command(words) => format!("printed by {}", words.first().map_or("", String::as_str)),
        KeyPlace::Asked => "asked for at the terminal".to_owned(),
        KeyPlace::Elsewhere(other) => format!("none; the one from {other} is not sent to this bank"),
    }
}

/// The columns of [`show`].
pub(super) fn columns() -> Vec<&'static str> {
    names(&fields("", "", &Source::Default))
}

fn fields(name: &str, value: &str, source: &Source) -> Vec<Field> {
    vec![Field::new("setting", 0, name), Field::text("value", 0, value), Field::text("source", 0, source.to_string())]
}

/// Prints the path of the file with the profiles.
pub(super) fn path(format: OutputFormat) -> Result<(), Failure> {
    let path = profile::path()?;
    let shown = path.display().to_string();
    match format {
        OutputFormat::Table => write_text(&(clean(&shown) + "\n"))?,
        format => write_value(format, &json!({ "path": shown, "exists": path.exists() }))?,
    }
    Ok(())
}
