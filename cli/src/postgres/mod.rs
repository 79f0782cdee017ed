//! What machines share in PostgreSQL, where the settings of a bank name a database.
//!
//! The feature `postgres` of this program has [`stores`]. Without it [`left_out`] stands in their place, and refuses such a bank.

#[cfg(not(feature = "postgres"))]
mod left_out;
#[cfg(feature = "postgres")]
mod status;
#[cfg(feature = "postgres")]
mod stores;

use bunq_partner::Secret;
use serde_json::{Value, json};

use super::arguments::OutputFormat;
use super::columns::View;
use super::exit::Failure;
use super::output::{Printer, Record, names, write_text, write_value};
use super::secret_file;
use super::settings::{Bank, DATABASE_URL, PostgresSettings, Settings, UrlPlace};

#[cfg(not(feature = "postgres"))]
use self::left_out as stores;
pub(super) use self::stores::SharedStores;

/// `postgres migrate`: makes the schema, or brings it to the version that this program needs.
pub(super) async fn migrate(settings: &Settings<'_>, view: View) -> Result<(), Failure> {
    let (url, _) = url(&named(&settings.bank()?)?.url.value).await?;
    let (from, to) = stores::migrate(url).await?;
    match view.format {
        OutputFormat::Table => write_text(&match from {
            _ if from == to => format!("the schema bunq_partner has version {to} already\n"),
            0 => format!("the schema bunq_partner is made: it has version {to}\n"),
            from => format!("the schema bunq_partner is brought from version {from} to {to}\n"),
        }),
        format => write_value(format, &json!({ "from": from, "to": to })),
    }?;
    Ok(())
}

/// `fleet forget`: ends the share of a member.
pub(super) async fn forget(settings: &Settings<'_>, name: &str, view: View) -> Result<(), Failure> {
    let (url, _) = url(&named(&settings.bank()?)?.url.value).await?;
    stores::forget(url, name).await?;
    match view.format {
        OutputFormat::Table => {
            write_text(&format!("{name} is forgotten: its share is free once what it has sent counts no more\n"))
        }
        format => write_value(format, &json!({ "member": name })),
    }?;
    Ok(())
}

/// `fleet status`: shows windows, locks, members and shares.
pub(super) async fn status(settings: &Settings<'_>, view: View) -> Result<(), Failure> {
    let (url, _) = url(&named(&settings.bank()?)?.url.value).await?;
    let lists = stores::status(url).await?;
    if view.format != OutputFormat::Table {
        let list = |(name, records): (&str, Vec<Record>)| {
            (name.to_owned(), Value::Array(records.iter().map(Record::json).collect()))
        };
        return Ok(write_value(view.format, &Value::Object(lists.into_iter().map(list).collect()))?);
    }
    for (index, (name, records)) in lists.into_iter().enumerate() {
        let space = if index > 0 { "\n" } else { "" };
        let Some(first) = records.first() else {
            write_text(&format!("{space}there are no {name}\n"))?;
            continue;
        };
        write_text(space)?;
        let mut printer = Printer::new(View { columns: names(&first.fields), ..view.clone() });
        records.into_iter().try_for_each(|record| printer.add(record))?;
        printer.finish()?;
    }
    Ok(())
}

/// The database that the settings name.
fn named(bank: &Bank) -> Result<&PostgresSettings, Failure> {
    let problem = match bank {
        Bank::Internal => "--sandbox keeps nothing in a database",
        Bank::At(bank) => match &bank.postgres {
            Some(postgres) => return Ok(postgres),
            None => "no database is named",
        },
    };
    Err(Failure::usage(problem).with_hint(format!("set {DATABASE_URL}, or `postgres` in a profile")))
}

/// The URL, which is never on the command line, and a warning about its file.
async fn url(place: &UrlPlace) -> Result<(Secret, Option<String>), Failure> {
    match place {
        UrlPlace::Variable(url) => Ok((url.clone(), None)),
        UrlPlace::File(file) => {
            let named = |problem: String| format!("url_file {}: {problem}", file.display());
            secret_file::read(file, named).await
        }
    }
}
