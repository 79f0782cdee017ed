//! All pages of any listing as a stream.

use futures_util::stream::{Stream, StreamExt as _, TryStreamExt as _, iter, try_unfold};

use crate::error::{Error, ErrorKind, Sent};
use crate::types::{Cursor, Page};

/// The longest run of empty pages that is followed.
const MAX_EMPTY: u32 = 100;

/// The pages from `start`, or from the newest: down to the oldest, or up to the newest from a [`Cursor::NewerThan`].
///
/// Polling the stream requests the next page. The stream ends after an error. It fails if bunq points back to a page
/// that has been listed, or points on from too many empty pages in a row: the listing would never end.
pub(crate) fn pages<T, F>(
    start: Option<Cursor>,
    fetch: impl Fn(Option<Cursor>) -> F + Send + 'static,
) -> impl Stream<Item = Result<Page<T>, Error>> + Send + 'static
where
    T: Send + 'static,
    F: Future<Output = Result<Page<T>, Error>> + Send + 'static,
{
    // The state: the next cursor (the outer `None` is the end), and the number of empty pages in a row.
    try_unfold((Some(start), 0), move |(cursor, empty)| {
        let page = cursor.map(&fetch);
        async move {
            let (Some(cursor), Some(page)) = (cursor, page) else { return Ok(None) };
            let page = page.await?;
            let next = if cursor.is_some_and(Cursor::is_forwards) { page.newer } else { page.older };
            if let (Some(last), Some(next)) = (cursor, next)
                && last.leads_back(next)
            {
                let problem = format_args!("the pages of the list go in a circle: from {last} back to {next}");
                return Err(Error::new(ErrorKind::InvalidResponse, Sent::Responded, problem));
            }
            let empty = if page.items.is_empty() { empty + 1 } else { 0 };
            if empty > MAX_EMPTY && next.is_some() {
                let problem =
                    format_args!("the list does not end: {empty} pages in a row are empty, and another follows");
                return Err(Error::new(ErrorKind::InvalidResponse, Sent::Responded, problem));
            }
            Ok(Some((page, (next.map(Some), empty))))
        }
    })
}

/// The items of those pages in the order of the listing: from the newest to the oldest, or from a [`Cursor::NewerThan`]
/// from the oldest to the newest.
pub(crate) fn items<T, F>(
    start: Option<Cursor>,
    fetch: impl Fn(Option<Cursor>) -> F + Send + 'static,
) -> impl Stream<Item = Result<T, Error>> + Send + 'static
where
    T: Send + 'static,
    F: Future<Output = Result<Page<T>, Error>> + Send + 'static,
{
    let is_forwards = start.is_some_and(Cursor::is_forwards);
    let in_order = move |mut page: Page<T>| {
        if is_forwards {
            page.items.reverse();
        }
        iter(page.items).map(Ok)
    };
    pages(start, fetch).map_ok(in_order).try_flatten()
}
