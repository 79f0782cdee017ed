//! Listing inquiries: by the page, or as a stream.

use futures_util::stream::Stream;

use crate::api::{Api, Response, items, pages};
use crate::error::Error;
use crate::types::{
    Cursor, InquiryEntryType, InquiryPurpose, InquiryStatus, InquiryType, ListUserInformationInquiriesQuery, Page,
    PageSize, UserInformationInquiry,
};

/// A listing of the inquiries about a user, newest first. The filters apply together.
///
/// ```no_run
/// # async fn example(inquiries: bunq_partner::Inquiries) -> Result<(), bunq_partner::Error> {
/// use bunq_partner::types::InquiryStatus;
/// use futures_util::TryStreamExt;
///
/// let open = inquiries.list().status([InquiryStatus::ExpectingReplyFromUser]);
/// let open: Vec<_> = open.stream().try_collect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a listing requests nothing until a page is taken"]
pub struct InquiryList {
    api: Api,
    query: ListUserInformationInquiriesQuery,
}

impl InquiryList {
    pub(super) fn new(api: Api) -> Self {
        Self { api, query: ListUserInformationInquiriesQuery::default() }
    }

    /// Lists only inquiries with one of these statuses.
    pub fn status(mut self, statuses: impl IntoIterator<Item = InquiryStatus>) -> Self {
        self.query = self.query.status(statuses);
        self
    }

    /// Lists only inquiries with one of these purposes.
    pub fn purpose(mut self, purposes: impl IntoIterator<Item = InquiryPurpose>) -> Self {
        self.query = self.query.purpose(purposes);
        self
    }

    /// Lists only inquiries about one of these kinds of objects.
    pub fn kind(mut self, kinds: impl IntoIterator<Item = InquiryType>) -> Self {
        self.query = self.query.type_(kinds);
        self
    }

    /// Lists only inquiries that ask for one of these things.
    pub fn asks_for(mut self, kinds: impl IntoIterator<Item = InquiryEntryType>) -> Self {
        self.query = self.query.fulfillment_type(kinds);
        self
    }

    /// Sets how many inquiries a page has at most.
    pub fn count(mut self, count: PageSize) -> Self {
        self.query = self.query.count(count);
        self
    }

    /// Begins at a cursor instead of the newest inquiry: at that of an earlier page of the same listing, or with
    /// [`Cursor::older_than`] after the last inquiry that was read.
    pub fn start_at(mut self, cursor: Cursor) -> Self {
        self.query = self.query.cursor(cursor);
        self
    }

    /// Reads the first page.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`](crate::ErrorKind).
    pub async fn page(&self) -> Result<Page<UserInformationInquiry>, Error> {
        self.clone().page_from(self.query.cursor).await
    }

    /// Streams the pages. The next is requested when the stream is polled.
    ///
    /// # Errors
    ///
    /// Those of [`page`](Self::page), and [`InvalidResponse`](crate::ErrorKind::InvalidResponse) if bunq leads back to a page that has been
    /// listed. An error ends the stream.
    pub fn pages(&self) -> impl Stream<Item = Result<Page<UserInformationInquiry>, Error>> + Send + 'static + use<> {
        let list = self.clone();
        pages(self.query.cursor, move |cursor| list.clone().page_from(cursor))
    }

    /// Streams the inquiries of all pages, from the newest to the oldest.
    ///
    /// # Errors
    ///
    /// Those of [`pages`](Self::pages).
    pub fn stream(&self) -> impl Stream<Item = Result<UserInformationInquiry, Error>> + Send + 'static + use<> {
        let list = self.clone();
        items(self.query.cursor, move |cursor| list.clone().page_from(cursor))
    }

    async fn page_from(self, cursor: Option<Cursor>) -> Result<Page<UserInformationInquiry>, Error> {
        let query = ListUserInformationInquiriesQuery { cursor, ..self.query };
        self.api.list_user_information_inquiries(query).await.map(Response::into_inner)
    }
}
