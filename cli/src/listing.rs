//! Results of a listing, printed as they come.

use std::pin::pin;

use bunq_partner::{Error, PageSize};
use futures_util::TryStreamExt as _;
use futures_util::stream::Stream;

use super::exit::{Failure, after_output};
use super::invocation::Invocation;
use super::output::Record;

/// Prints the records of each item.
pub(super) async fn print<T>(
    invocation: &Invocation,
    items: impl Stream<Item = Result<T, Error>>,
    records: impl Fn(&T) -> Vec<Record>,
) -> Result<(), Failure> {
    let (mut items, mut printer) = (pin!(items), invocation.printer());
    let mut count = 0;
    let outcome = loop {
        match items.try_next().await {
            Ok(Some(item)) => records(&item).into_iter().try_for_each(|record| printer.add(record))?,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        count += 1;
    };
    if count == 0 && outcome.is_ok() {
        invocation.note("there are none");
    }
    // What was listed before a failure is not lost; without any result, a failure must not print an empty list.
    let written = if outcome.is_err() && printer.is_empty() { Ok(()) } else { printer.finish() };
    after_output(outcome.map_err(Failure::from), written)
}

/// No more than are wanted, and no more than a page can have.
pub(super) fn page_size(limit: usize) -> Option<PageSize> {
    u64::try_from(limit.clamp(1, 200)).ok()?.try_into().ok()
}
