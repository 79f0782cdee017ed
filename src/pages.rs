//! Listing provisions, a page at a time.
//!
//! bunq hands out the way to the next page as a relative URL. Only the cursor is taken from it, never the URL
//! itself: where requests go is not for an answer to decide.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt, TryStreamExt, iter, try_unfold};
use tokio::time::Instant;
use uuid::Uuid;

use crate::call::{Answer, call};
use crate::error::{Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::pipeline::Pipeline;
use crate::provision_id::ProvisionId;
use crate::types::{Provision, ProvisionListResponse, ProvisionStatus};

/// How many provisions a page holds at the most: from 1 to 200.
///
/// ```
/// use bunq_partner::PageSize;
///
/// assert_eq!(PageSize::new(50)?.get(), 50);
/// assert!(PageSize::new(0).is_err());
/// # Ok::<(), bunq_partner::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize(NonZeroU64);

impl PageSize {
    /// The largest page that bunq gives: 200.
    pub const MAX: Self = Self(NonZeroU64::MIN.saturating_add(199));

    /// A page of `count` provisions.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if `count` is 0 or over 200.
    pub fn new(count: u64) -> Result<Self, Error> {
        NonZeroU64::new(count)
            .map(Self)
            .filter(|size| *size <= Self::MAX)
            .ok_or_else(|| Error::invalid_input("count", format_args!("{count} is not from 1 to {}", Self::MAX.get())))
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// A place in the list of provisions, from where to go on.
///
/// Its text form may be kept, to go on in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cursor {
    /// Provisions older than this one.
    OlderThan(ProvisionId),
    /// Provisions newer than this one.
    NewerThan(ProvisionId),
}

impl Cursor {
    /// The name of the query parameter, and its value.
    fn parameter(self) -> (&'static str, ProvisionId) {
        match self {
            Self::OlderThan(id) => ("older_id", id),
            Self::NewerThan(id) => ("newer_id", id),
        }
    }

    fn from_parameter(name: &str, value: &str) -> Option<Self> {
        let cursor = match name {
            "older_id" => Self::OlderThan,
            "newer_id" => Self::NewerThan,
            _ => return None,
        };
        value.parse().ok().map(cursor)
    }

    /// The cursor called `name` in one of the URLs of bunq's `Pagination`.
    fn from_url(url: &str, name: &str) -> Option<Self> {
        let mut pairs = url.split_once('?')?.1.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(other, _)| *other == name).and_then(|(name, value)| Self::from_parameter(name, value))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, id) = self.parameter();
        write!(f, "{name}={id}")
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.split_once('=').and_then(|(name, value)| Self::from_parameter(name, value)).ok_or_else(|| {
            Error::invalid_input("cursor", format_args!("`{text}` is neither `older_id=…` nor `newer_id=…`"))
        })
    }
}

/// One page of provisions, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The provisions on it. It may be empty and yet have an older page behind it.
    pub provisions: Vec<Provision>,
    /// Where the next older page begins; `None` if there is nothing older.
    pub older: Option<Cursor>,
    /// Where the next newer page begins; `None` if there was nothing newer.
    pub newer: Option<Cursor>,
    /// Where to look later for provisions that are not there yet.
    pub future: Option<Cursor>,
}

/// A question for provisions.
///
/// ```no_run
/// # async fn example(client: bunq_partner::Client) -> Result<(), bunq_partner::Error> {
/// use bunq_partner::{PageSize, ProvisionStatus};
/// use futures_util::TryStreamExt;
///
/// let active = client.provisions().list().status([ProvisionStatus::Active]).count(PageSize::MAX);
/// let all: Vec<_> = active.stream().try_collect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a list asks nothing until a page is taken"]
pub struct List {
    pipeline: Arc<Pipeline>,
    statuses: Vec<ProvisionStatus>,
    external_uuid: Option<Uuid>,
    count: Option<PageSize>,
    start: Option<Cursor>,
}

impl List {
    pub(crate) fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, statuses: Vec::new(), external_uuid: None, count: None, start: None }
    }

    /// Only provisions with one of these main statuses; with none given, all.
    pub fn status(mut self, statuses: impl IntoIterator<Item = ProvisionStatus>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Only the provision that was created with this key.
    pub fn external_uuid(mut self, external_uuid: Uuid) -> Self {
        self.external_uuid = Some(external_uuid);
        self
    }

    /// How many provisions a page shall hold. bunq's default is 10.
    pub fn count(mut self, count: PageSize) -> Self {
        self.count = Some(count);
        self
    }

    /// Where to begin, if not with the newest: at a cursor that an earlier page of the same question has given, or
    /// behind the last provision that was seen, with [`Cursor::OlderThan`]. From a [`Cursor::NewerThan`] the way leads
    /// to the newest: so one gets what is new since the last time.
    pub fn start_at(mut self, cursor: Cursor) -> Self {
        self.start = Some(cursor);
        self
    }

    /// The first page.
    ///
    /// # Errors
    ///
    /// As any call.
    pub async fn page(&self) -> Result<Page, Error> {
        self.page_by(self.start, self.pipeline.deadline()).await
    }

    /// The page at `cursor`, which an earlier page of the same question has given.
    ///
    /// # Errors
    ///
    /// As any call.
    pub async fn page_at(&self, cursor: Cursor) -> Result<Page, Error> {
        self.page_by(Some(cursor), self.pipeline.deadline()).await
    }

    /// The pages, from the first to the oldest; from a [`Cursor::NewerThan`] on, to the newest. One is held at a time;
    /// the next is asked for when the stream is polled.
    ///
    /// To go on after a failure, or in another process, [start](Self::start_at) at the last page's
    /// [`older`](Page::older) or [`newer`](Page::newer).
    ///
    /// # Errors
    ///
    /// As any call; and [`InvalidResponse`](ErrorKind::InvalidResponse) if bunq leads back to a page that has been,
    /// which would never end. An error ends the stream.
    pub fn pages(&self) -> impl Stream<Item = Result<Page, Error>> + Send + 'static {
        let list = self.clone();
        // Where to go next: the outer `None` is the end.
        try_unfold(Some(list.start), move |cursor| {
            let list = list.clone();
            async move {
                let Some(cursor) = cursor else { return Ok(None) };
                let page = list.page_by(cursor, list.pipeline.deadline()).await?;
                let next = if is_forwards(cursor) { page.newer } else { page.older };
                let leads_back = match (cursor, next) {
                    (Some(Cursor::OlderThan(last)), Some(Cursor::OlderThan(next))) => next >= last,
                    (Some(Cursor::NewerThan(last)), Some(Cursor::NewerThan(next))) => next <= last,
                    _ => false,
                };
                if let (Some(last), Some(next), true) = (cursor, next, leads_back) {
                    let problem = format_args!("the list leads from {last} back to {next}");
                    return Err(Error::new(ErrorKind::InvalidResponse, Sent::Answered, problem));
                }
                Ok(Some((page, next.map(Some))))
            }
        })
    }

    /// The provisions, from the newest to the oldest, page by page; an empty page in the middle is passed over. From a
    /// [`Cursor::NewerThan`] on, those that are newer, from the oldest to the newest.
    ///
    /// To go on after a failure, or in another process, [start](Self::start_at) behind the last provision that was
    /// seen. A provision that is created meanwhile does not move the others.
    ///
    /// # Errors
    ///
    /// Those of [`pages`](Self::pages).
    pub fn stream(&self) -> impl Stream<Item = Result<Provision, Error>> + Send + 'static {
        let is_forwards = is_forwards(self.start);
        let in_order = move |mut page: Page| {
            if is_forwards {
                page.provisions.reverse();
            }
            iter(page.provisions).map(Ok)
        };
        self.pages().map_ok(in_order).try_flatten()
    }

    /// The page at `cursor`, or the newest, to be had by `deadline`.
    pub(crate) async fn page_by(&self, cursor: Option<Cursor>, deadline: Instant) -> Result<Page, Error> {
        let (older, newer) = match cursor {
            Some(Cursor::OlderThan(id)) => (Some(id), None),
            Some(Cursor::NewerThan(id)) => (None, Some(id)),
            None => (None, None),
        };
        let count = self.count.map(|count| count.0);
        let statuses: Vec<_> = self.statuses.iter().map(ProvisionStatus::as_str).collect();
        let statuses = (!statuses.is_empty()).then(|| statuses.join(","));
        let answer: Answer<ProvisionListResponse> =
            call(&self.pipeline, &Operation::LIST_PROVISIONS, deadline, async |api| {
                let (older, newer) = (older.as_ref(), newer.as_ref());
                api.list_provisions(count, self.external_uuid.as_ref(), newer, older, statuses.as_deref()).await
            })
            .await?;
        answer.take(page)
    }
}

fn is_forwards(cursor: Option<Cursor>) -> bool {
    matches!(cursor, Some(Cursor::NewerThan(_)))
}

fn page(answer: ProvisionListResponse) -> Result<Page, String> {
    let provisions = answer.response.into_iter().filter_map(|item| item.partner_user_provision).collect();
    let links = answer.pagination.ok_or("the answer holds no Pagination")?;
    // A link that cannot be read must not pass for the end of the list: provisions would be lost.
    let cursor = |url: Option<String>, link: &str, name: &str| match url {
        Some(url) => {
            Cursor::from_url(&url, name).map(Some).ok_or(format!("the {link} of its Pagination holds no cursor"))
        }
        None => Ok(None),
    };
    let older = cursor(links.older_url, "older_url", "older_id")?;
    let newer = cursor(links.newer_url, "newer_url", "newer_id")?;
    let future = links.future_url.as_deref().and_then(|url| Cursor::from_url(url, "newer_id"));
    Ok(Page { provisions, older, newer, future })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u64) -> ProvisionId {
        id.try_into().unwrap()
    }

    #[test]
    fn a_cursor_is_all_that_is_taken_from_a_link() {
        for (url, cursor) in [
            ("/v1/partner-user-provision?count=10&older_id=42", Some(Cursor::OlderThan(id(42)))),
            ("https://elsewhere.example.com/?newer_id=7&older_id=8", Some(Cursor::OlderThan(id(8)))),
            ("/v1/partner-user-provision?newer_id=5", None),
            ("/v1/partner-user-provision?older_id=-1", None),
            ("/v1/partner-user-provision?count=10", None),
            ("", None),
        ] {
            assert_eq!(Cursor::from_url(url, "older_id"), cursor, "{url}");
        }
    }

    #[test]
    fn a_cursor_can_be_kept_as_text() {
        for cursor in [Cursor::OlderThan(id(42)), Cursor::NewerThan(id(7))] {
            assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
        assert_eq!(
            "older_id=x".parse::<Cursor>().unwrap_err().to_string(),
            "cursor: `older_id=x` is neither `older_id=…` nor `newer_id=…`"
        );
    }

    #[test]
    fn a_page_size_is_from_1_to_200() {
        assert_eq!(PageSize::new(200).unwrap(), PageSize::MAX);
        assert_eq!(PageSize::new(1).unwrap().get(), 1);
        for count in [0, 201, u64::MAX] {
            let error = PageSize::new(count).unwrap_err();
            assert_eq!(error.to_string(), format!("count: {count} is not from 1 to 200"));
        }
    }
}
