//! Listing provisions: by the page, or as a stream.

use futures_util::stream::Stream;
use uuid::Uuid;

use crate::api::{items, pages};
use crate::error::Error;
use crate::feed::Feed;
use crate::types::{Cursor, ListProvisionsQuery, Page, PageSize, Provision, ProvisionStatus};

/// A listing of provisions, newest first.
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
#[must_use = "a listing requests nothing until a page is taken"]
pub struct List {
    feed: Feed,
    query: ListProvisionsQuery,
}

impl List {
    /// A listing whose pages the feed learns.
    pub(super) fn new(feed: Feed) -> Self {
        Self { feed, query: ListProvisionsQuery::default() }
    }

    /// Lists only provisions with one of these main statuses. Without statuses it lists all.
    pub fn status(mut self, statuses: impl IntoIterator<Item = ProvisionStatus>) -> Self {
        self.query = self.query.status(statuses);
        self
    }

    /// Lists only the provision that was created with this key.
    pub fn external_uuid(mut self, external_uuid: Uuid) -> Self {
        self.query = self.query.external_uuid(external_uuid);
        self
    }

    /// Sets how many provisions a page has at most. bunq's default is 10.
    pub fn count(mut self, count: PageSize) -> Self {
        self.query = self.query.count(count);
        self
    }

    /// Begins at a cursor instead of the newest provision: at that of an earlier page of the same listing, or with
    /// [`Cursor::older_than`] after the last provision that was read. From a [`Cursor::NewerThan`] the listing has what is
    /// newer, up to the newest.
    pub fn start_at(mut self, cursor: Cursor) -> Self {
        self.query = self.query.cursor(cursor);
        self
    }

    /// Reads the first page.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn page(&self) -> Result<Page<Provision>, Error> {
        self.clone().page_from(self.query.cursor).await
    }

    /// Reads the page at `cursor`, which comes from an earlier page of the same listing.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn page_at(&self, cursor: Cursor) -> Result<Page<Provision>, Error> {
        self.clone().page_from(Some(cursor)).await
    }

    /// Streams the pages, from the first to the oldest; from a [`Cursor::NewerThan`] on, to the newest. One page is held at a
    /// time; the next is requested when the stream is polled.
    ///
    /// To go on after a failure, or in another process, [start](Self::start_at) at the last page's
    /// [`older`](Page::older) or [`newer`](Page::newer).
    ///
    /// # Errors
    ///
    /// Those of [`page`](Self::page), and [`InvalidResponse`](crate::ErrorKind::InvalidResponse) if bunq leads back to
    /// a page that has been listed, or through more than 100 empty pages in a row, which would never end. An error ends the stream.
    pub fn pages(&self) -> impl Stream<Item = Result<Page<Provision>, Error>> + Send + 'static + use<> {
        let list = self.clone();
        pages(self.query.cursor, move |cursor| list.clone().page_from(cursor))
    }

    /// Streams the provisions, from the newest to the oldest, page by page. From a [`Cursor::NewerThan`] on, those that are
    /// newer, from the oldest to the newest.
    ///
    /// To go on after a failure, or in another process, [start](Self::start_at) after the last provision that was
    /// read. A provision that is created meanwhile does not move the others.
    ///
    /// # Errors
    ///
    /// Those of [`pages`](Self::pages).
    pub fn stream(&self) -> impl Stream<Item = Result<Provision, Error>> + Send + 'static + use<> {
        let list = self.clone();
        items(self.query.cursor, move |cursor| list.clone().page_from(cursor))
    }

    async fn page_from(self, cursor: Option<Cursor>) -> Result<Page<Provision>, Error> {
        let began = self.feed.now();
        let query = ListProvisionsQuery { cursor, ..self.query };
        let page = self.feed.api().list_provisions(query).await?.into_inner();
        self.feed.learn(&page.items, began);
        Ok(page)
    }
}
