//! What every command that calls bunq has.

use bunq_partner::Client;
use serde_json::json;

use super::arguments::{OutputFormat, OutputOptions};
use super::columns::View;
use super::connection::BankConnection;
use super::exit::Failure;
use super::output::{Printer, note};
use super::screen;

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
}
