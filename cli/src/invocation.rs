//! What every command that calls bunq has.

use bunq_partner::{Client, ProvisionId, UserClient};
use serde_json::json;

use super::arguments::{OutputFormat, OutputOptions};
use super::columns::View;
use super::connection::BankConnection;
use super::exit::Failure;
use super::output::{Printer, note};
use super::screen;
use super::upload::with_time_for_files;

pub(super) struct Invocation {
    pub(super) connection: BankConnection,
    pub(super) output: OutputOptions,
    pub(super) view: View,
    /// Whether a person is asked before a change: in production, unless `--yes` was given.
    pub(super) asks: bool,
}

impl Invocation {
    /// A client for the bank, with the context of earlier runs.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        self.connection.client()
    }

    /// A client that acts for the user of a provision, with the custody of the command. Its calls have the time that files take.
    pub(super) fn user(&self, id: ProvisionId) -> Result<UserClient, Failure> {
        Ok(self.connection.client_with(with_time_for_files)?.users().of(id))
    }

    pub(super) fn printer(&self) -> Printer {
        Printer::new(self.view.clone())
    }

    pub(super) fn format(&self) -> OutputFormat {
        self.view.format
    }

    pub(super) fn shows_secrets(&self) -> bool {
        self.output.show_secrets
    }

    /// Writes to standard error what must not be lost if the results cannot be written.
    pub(super) fn tell(&self, name: &str, value: &str) {
        match self.format().is_json() {
            true => screen::say_json(&json!({ name: value })),
            false => screen::say(&format!("{name} {value}\n")),
        }
    }

    /// Tells a person something on standard error. Scripts find the same in the results.
    pub(super) fn note(&self, text: &str) {
        note(self.format(), text);
    }

    /// Tells of words that may be typed wrong: bunq may know others than this version.
    pub(super) fn note_unknown<T: PartialEq>(&self, typed: &[T], known: &[T], word: fn(&T) -> &str) {
        for unknown in typed.iter().filter(|typed| !known.contains(typed)) {
            let all: Vec<_> = known.iter().map(word).collect();
            let unknown = word(unknown);
            self.note(&format!(
                "this version does not know {unknown}, which bunq is asked for: it knows {}",
                all.join(", ")
            ));
        }
    }
}
