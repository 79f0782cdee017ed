//! What every command that calls bunq has.

use std::io::{self, Write as _};

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

    /// Says on standard error what must not be lost, whatever becomes of the results.
    pub(super) fn tell(&self, name: &str, value: &str) {
        // If standard error is closed, the message is lost.
        let _ = screen::above(|| match self.format().is_json() {
            true => writeln!(io::stderr(), "{}", json!({ name: value })),
            false => writeln!(io::stderr(), "{name} {value}"),
        });
    }

    /// Says something to a person, beside the results. Scripts are told the same in the results.
    pub(super) fn note(&self, text: &str) {
        note(self.format(), text);
    }
}
