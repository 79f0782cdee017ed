//! Documents of a user: attachments that are given to bunq as one.

use std::time::Duration;

use crate::api::{Api, RequestPreview};
use crate::custody::Steps;
use crate::error::{Error, Remedy};
use crate::feed::Acceptance;
use crate::operation::Operation;
use crate::reconcile::Once;
use crate::types::{CreateDocumentIdentificationRequest, DocumentIdentificationId};

/// What to do when nobody knows whether a document is linked.
const ADVICE: (&str, Remedy) = ("bunq lists no documents", Remedy::LinkAgain);

/// Gives bunq documents of a user. Cheap to clone.
///
/// ```no_run
/// # async fn example(
/// #     attachments: bunq_partner::Attachments,
/// #     documents: bunq_partner::Documents,
/// # ) -> Result<(), bunq_partner::Error> {
/// use bunq_partner::types::CreateDocumentIdentificationRequest;
///
/// let scan = attachments.upload(attachments.open("questionnaire.pdf").await?).await?;
/// let (country, kind) = ("NL".parse()?, "CRYPTO_KYC_QUESTIONNAIRE".parse()?);
/// let linked = documents.link(&CreateDocumentIdentificationRequest::new(scan, country, kind)).await?;
/// println!("document {}: {:?}", linked.id, linked.acceptance);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Documents {
    api: Api,
    steps: Steps,
}

/// A document that bunq has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkedDocument {
    /// bunq's id of the document.
    pub id: DocumentIdentificationId,
    /// Whether it was linked by this call, or was there [`Already`](Acceptance::Already).
    pub acceptance: Acceptance,
}

impl Documents {
    pub(crate) fn new(api: Api, steps: Steps) -> Self {
        Self { api, steps }
    }

    /// Sets the longest time of each operation, in place of [`ClientBuilder::operation_timeout`].
    ///
    /// [`ClientBuilder::operation_timeout`]: crate::ClientBuilder::operation_timeout
    #[must_use]
    pub fn operation_timeout(self, timeout: Duration) -> Self {
        Self { api: self.api.operation_timeout(timeout), ..self }
    }

    /// Links one or two attachments of the user as a document. The same request again returns the id of the first, and sends nothing.
    ///
    /// bunq has no list of documents. The custody keeps a digest of the request before it is sent, and the id afterwards. So a document is
    /// never linked twice unnoticed, also over a crash.
    ///
    /// # Errors
    ///
    /// [`Unattainable`](crate::ErrorKind::Unattainable) if the same request was begun before, and nobody knows what came of it: such an error [is
    /// doubtful](Error::is_doubtful), and nothing was sent. If the document is linked and its id could not be kept, the error is
    /// doubtful too, and has it: `error.last_seen::<DocumentIdentificationId>()`.
    pub async fn link(&self, document: &CreateDocumentIdentificationRequest) -> Result<LinkedDocument, Error> {
        let (id, acceptance) = self.once(document).send(|api| create(api, document)).await?;
        Ok(LinkedDocument { id, acceptance })
    }

    /// Returns the request that [`link`](Self::link) sends, to be looked at. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it cannot be made.
    pub fn preview_link(&self, document: &CreateDocumentIdentificationRequest) -> Result<RequestPreview, Error> {
        self.api.preview_of(|api| create(api, document))
    }

    /// Links a document, although it was linked, or may have been.
    ///
    /// # Errors
    ///
    /// As [`link`](Self::link).
    pub async fn link_again(&self, document: &CreateDocumentIdentificationRequest) -> Result<LinkedDocument, Error> {
        let (id, acceptance) = self.once(document).send_again(|api| create(api, document)).await?;
        Ok(LinkedDocument { id, acceptance })
    }

    fn once<'a>(
        &'a self,
        request: &'a CreateDocumentIdentificationRequest,
    ) -> Once<'a, CreateDocumentIdentificationRequest> {
        let operation = &Operation::CREATE_DOCUMENT_IDENTIFICATION;
        Once { api: &self.api, steps: &self.steps, operation, request, advice: ADVICE }
    }
}

async fn create(api: Api, document: &CreateDocumentIdentificationRequest) -> Result<DocumentIdentificationId, Error> {
    Ok(api.create_document_identification(document).await?.into_inner())
}
