//! Listing provisions: by the page, or as a stream.

use futures_util::stream::Stream;
use uuid::Uuid;

use crate::api::{Api, Response, items, pages};
use crate::error::Error;
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
    api: Api,
    query: ListProvisionsQuery,
}

impl List {
    pub(super) fn new(api: Api) -> Self {
        Self { api, query: ListProvisionsQuery::default() }
    }

    /// Only provisions with one of these main statuses; with none given, all.
    pub fn status(mut self, statuses: impl IntoIterator<Item = ProvisionStatus>) -> Self {
        self.query = self.query.status(statuses);
        self
    }

    /// Only the provision that was created with this key.
    pub fn external_uuid(mut self, external_uuid: Uuid) -> Self {
        self.query = self.query.external_uuid(external_uuid);
        self
    }

    /// How many provisions a page has at most. bunq's default is 10.
    pub fn count(mut self, count: PageSize) -> Self {
        self.query = self.query.count(count);
        self
    }

    /// Where to begin, if not with the newest: at a cursor of an earlier page of the same listing, or behind the last
    /// provision that was seen, with [`Cursor::older_than`]. From a [`Cursor::NewerThan`] the listing leads to the
    /// newest: it has what is new since then.
    pub fn start_at(mut self, cursor: Cursor) -> Self {
        self.query = self.query.cursor(cursor);
        self
    }

    /// The first page.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn page(&self) -> Result<Page<Provision>, Error> {
        self.api.list_provisions(self.query.clone()).await.map(Response::into_inner)
    }

    /// The page at `cursor`, which an earlier page of the same listing has given.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn page_at(&self, cursor: Cursor) -> Result<Page<Provision>, Error> {
        self.api.list_provisions(self.query.clone().cursor(cursor)).await.map(Response::into_inner)
    }

    /// The pages, from the first to the oldest; from a [`Cursor::NewerThan`] on, to the newest. One page is held at a
    /// time; the next is requested when the stream is polled.
    ///
    /// To go on after a failure, or in another process, [start](Self::start_at) at the last page's
    /// [`older`](Page::older) or [`newer`](Page::newer).
    ///
    /// # Errors
    ///
    /// Those of [`page`](Self::page), and [`InvalidResponse`](crate::ErrorKind::InvalidResponse) if bunq leads back to
    /// a page that has been listed, which would never end. An error ends the stream.
    pub fn pages(&self) -> impl Stream<Item = Result<Page<Provision>, Error>> + Send + use<> {
        pages(self.query.cursor, self.fetch())
    }

    /// The provisions, from the newest to the oldest, page by page. From a [`Cursor::NewerThan`] on, those that are
    /// newer, from the oldest to the newest.
    ///
    /// To go on after a failure, or in another process, [start](Self::start_at) behind the last provision that was
    /// seen. A provision that is created meanwhile does not move the others.
    ///
    /// # Errors
    ///
    /// Those of [`pages`](Self::pages).
    pub fn stream(&self) -> impl Stream<Item = Result<Provision, Error>> + Send + use<> {
        items(self.query.cursor, self.fetch())
    }

    fn fetch(
        &self,
    ) -> impl Fn(Option<Cursor>) -> crate::transport::credentials::BoxFuture<'static, Result<Page<Provision>, Error>>
    + Send
    + use<> {
        let List { api, query } = self.clone();
        move |cursor| {
            let (api, query) = (api.clone(), ListProvisionsQuery { cursor, ..query.clone() });
            Box::pin(async move { api.list_provisions(query).await.map(Response::into_inner) })
        }
    }
}
