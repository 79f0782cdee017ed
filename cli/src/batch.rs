//! The results of several calls.

use bunq_partner::Error;

use super::exit::{Failure, after_output};
use super::invocation::Invocation;
use super::output::{Printer, Record};

/// Several calls: each result is written, each failure is reported, and the exit code is that of the first failure. The calls
/// continue even if results cannot be written.
pub(super) struct Batch {
    printer: Printer,
    is_json: bool,
    failure: Option<Failure>,
}

impl Batch {
    pub(super) fn new(invocation: &Invocation) -> Self {
        let is_json = invocation.format().is_json();
        Self { printer: invocation.printer(), is_json, failure: None }
    }

    pub(super) fn add(&mut self, place: usize, record: Option<Record>, error: Option<Error>) {
        if let Some(record) = record {
            self.printer.add_anyway_at(place, record);
        }
        if let Some(error) = error {
            let failure = Failure::from(error);
            failure.report(self.is_json);
            self.failure.get_or_insert(failure.reported());
        }
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        // If every call failed, no empty list is printed.
        let is_shown = self.failure.is_none() || !self.printer.is_empty();
        let written = if is_shown { self.printer.finish() } else { Ok(()) };
        after_output(self.failure.map_or(Ok(()), Err), written)
    }
}
