//! Files of a user, which are uploaded and downloaded.

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use crate::api::Api;
use crate::custody::Steps;
use crate::error::{CallMetadata, Error};
use crate::files::open_regular;
use crate::operation::{ContentType, Operation};
use crate::text::quoted;
use crate::types::{AttachmentContentType, AttachmentDescription, AttachmentId};

/// Uploads and downloads files of a user. Cheap to clone.
///
/// ```no_run
/// # async fn example(attachments: bunq_partner::Attachments) -> Result<(), bunq_partner::Error> {
/// let scan = attachments.open("passport.png").await?.description("Passport".parse()?);
/// let id = attachments.upload(scan).await?;
/// let file = attachments.download(id).await?;
/// println!("{} bytes of {:?}", file.bytes.len(), file.content_type);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Attachments {
    api: Api,
    steps: Steps,
}

/// A file to upload. Its content type is found by its first bytes. `Debug` shows the size of the file alone.
#[derive(Clone)]
pub struct NewAttachment {
    bytes: Bytes,
    said: Option<Said>,
    description: Option<AttachmentDescription>,
}

/// The content type that somebody has given, and where.
#[derive(Debug, Clone)]
struct Said {
    content_type: AttachmentContentType,
    by: &'static str,
}

/// A file that was downloaded. `Debug` shows the size and the type of the file alone.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadedAttachment {
    /// bunq's id of the attachment.
    pub id: AttachmentId,
    /// The content type that bunq shows, such as `image/png`.
    pub content_type: Option<String>,
    /// The description that the file was uploaded with.
    pub description: Option<String>,
    /// The file itself. bunq's signature over it was valid.
    pub bytes: Bytes,
}

impl NewAttachment {
    /// Makes an attachment of the bytes of a file. A `Vec<u8>` is taken over without a copy.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), said: None, description: None }
    }

    /// Says what the file is. The upload is refused before anything is sent if its first bytes say something else.
    #[must_use]
    pub fn content_type(self, content_type: AttachmentContentType) -> Self {
        Self { said: Some(Said { content_type, by: "the content type that was given" }), ..self }
    }

    /// Describes the file, in words for people.
    #[must_use]
    pub fn description(self, description: AttachmentDescription) -> Self {
        Self { description: Some(description), ..self }
    }

    /// Says what the file is called. If the extension of the name is that of a content type, the first bytes must be so too.
    #[must_use]
    pub fn file_name(self, name: impl AsRef<Path>) -> Self {
        let extension = name.as_ref().extension().map(|extension| extension.to_string_lossy());
        let said = extension.and_then(|extension| by_extension(&extension));
        let said = said.map(|content_type| Said { content_type, by: "its name" });
        Self { said: said.or(self.said), ..self }
    }

    /// Returns the content type by the first bytes, or what is wrong with the file.
    fn checked(&self, most: usize) -> Result<AttachmentContentType, String> {
        match self.bytes.len() {
            0 => return Err("the file is empty".into()),
            size if size > most => return Err(too_large(size as u64, most)),
            _ => {}
        }
        let Some(found) = content_type_of(&self.bytes) else {
            let known: Vec<_> = AttachmentContentType::KNOWN.iter().map(|known| known.as_str()).collect();
            let known = known.join(", ");
            return Err(format!("by its first bytes, the file is none of {known}: convert it to one of them"));
        };
        match &self.said {
            Some(Said { content_type, by }) if *content_type != found => Err(format!(
                "by its first bytes, the file is {found}, and {by} says {content_type}: correct the wrong one"
            )),
            _ => Ok(found),
        }
    }
}

impl Attachments {
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

    /// Reads a file to upload. If the extension of its name is that of a content type, its first bytes must be so too.
    ///
    /// The file is read on a thread that may block, and no further than
    /// [`ClientBuilder::max_upload_size`](crate::ClientBuilder::max_upload_size).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), with the path, if it is no regular file (a symbolic link is none), cannot be read, is
    /// empty or too large, or is not what its name says.
    pub async fn open(&self, path: impl AsRef<Path>) -> Result<NewAttachment, Error> {
        let (path, most) = (path.as_ref().to_owned(), self.api.max_upload_size());
        let shown = quoted(&path.to_string_lossy());
        let name = path.clone();
        let read = tokio::task::spawn_blocking(move || read(&path, most)).await.map_err(Error::internal)?;
        let refused = |problem: String| Error::invalid_input("attachment", format_args!("{shown}: {problem}"));
        let new = NewAttachment::new(read.map_err(|error| refused(error.to_string()))?).file_name(name);
        new.checked(most).map_err(refused)?;
        Ok(new)
    }

    /// Checks a file as [`upload`](Self::upload) does, and returns its content type. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), as `upload`.
    pub fn check(&self, new: &NewAttachment) -> Result<AttachmentContentType, Error> {
        new.checked(self.api.max_upload_size()).map_err(|problem| Error::invalid_input("attachment", problem))
    }

    /// Returns the id of a file that was uploaded before with this description, if the custody knows it. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), as [`upload`](Self::upload);
    /// [`Context`](crate::ErrorKind::Context) if the custody cannot be used.
    pub async fn uploaded(&self, new: &NewAttachment) -> Result<Option<AttachmentId>, Error> {
        let key = (self.check(new)?, digest(&new.bytes), new.description.clone());
        self.steps.made(&Operation::CREATE_ATTACHMENT, &key).await?.map(kept_id).transpose()
    }

    /// Uploads a file, and returns the id of the attachment. The same file with the same description again returns the id of the first, and
    /// sends nothing: so what is made of it is the same request as before, also after a crash.
    ///
    /// The custody keeps a digest of the file and the id, when the file is uploaded. After a crash in between, and after a response that was
    /// lost, it is uploaded again: another attachment does no harm. Of concurrent uploads of the same file, all return the id that was kept
    /// first.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput), before anything is sent, if the file is empty, larger than
    /// [`ClientBuilder::max_upload_size`](crate::ClientBuilder::max_upload_size), none of bunq's content types, or another than was said.
    /// [`Context`](crate::ErrorKind::Context) if the custody cannot be used. If the file is uploaded and its id could not be kept, the error
    /// has it: `error.last_seen::<AttachmentId>()`.
    pub async fn upload(&self, new: NewAttachment) -> Result<AttachmentId, Error> {
        if let Some(id) = self.uploaded(&new).await? {
            return Ok(id);
        }
        let (content_type, operation) = (self.check(&new)?, &Operation::CREATE_ATTACHMENT);
        let NewAttachment { bytes, description, .. } = new;
        let key = (content_type, digest(&bytes), description.clone());
        let id = self.api.create_attachment(content_type, bytes, description.as_ref()).await?.into_inner();
        let first = self.steps.first(operation, &key, id.into()).await;
        kept_id(first.map_err(|error| error.with_last_seen(Arc::new(id)))?)
    }

    /// Downloads a file, with what bunq knows of it.
    ///
    /// # Errors
    ///
    /// [`InvalidResponse`](crate::ErrorKind::InvalidResponse) if the file does not begin as the content type says that bunq shows. A
    /// content type that this version does not know is not checked.
    pub async fn download(&self, id: AttachmentId) -> Result<DownloadedAttachment, Error> {
        let api = self.api.until(self.api.budget());
        let attachment = api.get_attachment(id).await?.into_inner().attachment;
        let (content_type, description) =
            attachment.map(|shown| (shown.content_type, shown.description)).unwrap_or_default();
        let bytes = Bytes::from(Vec::from(api.get_attachment_content(id).await?.into_inner()));
        let said = known_types().find(|known| content_type.as_deref() == Some(known.name));
        if let Some(said) = said.filter(|said| !said.begins(&bytes)) {
            let found = content_type_of(&bytes).map_or("another file".to_owned(), |found| found.to_string());
            let problem = format_args!("bunq shows attachment {id} as {}, and sends {found}: ask bunq", said.name);
            return Err(Error::invalid_response(CallMetadata::new(&Operation::GET_ATTACHMENT_CONTENT, 1), problem));
        }
        Ok(DownloadedAttachment { id, content_type, description, bytes })
    }
}

fn kept_id(id: u64) -> Result<AttachmentId, Error> {
    id.try_into().map_err(|_| Error::internal("a step was kept with an id that is none"))
}

/// SHA-256, in Base64.
fn digest(bytes: &[u8]) -> String {
    BASE64.encode(aws_lc_rs::digest::digest(&SHA256, bytes))
}

fn known_types() -> impl Iterator<Item = &'static ContentType> {
    Operation::CREATE_ATTACHMENT.content_types.iter()
}

/// The content type of a file by its first bytes.
fn content_type_of(bytes: &[u8]) -> Option<AttachmentContentType> {
    let found = known_types().find(|known| known.begins(bytes))?;
    AttachmentContentType::KNOWN.iter().find(|known| known.as_str() == found.name).copied()
}

/// The content type that the extension of a name stands for, if it is one of bunq's.
fn by_extension(extension: &str) -> Option<AttachmentContentType> {
    let extension = extension.to_ascii_lowercase();
    let has = |content_type: &AttachmentContentType| extensions(*content_type).contains(&extension.as_str());
    AttachmentContentType::KNOWN.iter().copied().find(has)
}

fn extensions(content_type: AttachmentContentType) -> &'static [&'static str] {
    match content_type {
        AttachmentContentType::ImagePng => &["png"],
        AttachmentContentType::ImageJpeg => &["jpg", "jpeg", "jpe", "jfif"],
        AttachmentContentType::ImageGif => &["gif"],
        AttachmentContentType::ApplicationPdf => &["pdf"],
    }
}

fn too_large(size: u64, most: usize) -> String {
    format!("the file has {size} bytes, and at most {most} are sent: set max_upload_size to more")
}

/// Reads a regular file of at most so many bytes.
fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let too_large = |size| io::Error::new(io::ErrorKind::FileTooLarge, too_large(size, most));
    let file = open_regular(path)?;
    let (size, bound) = (file.metadata()?.len(), most as u64);
    if size > bound {
        return Err(too_large(size));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(bound.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > most { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

impl fmt::Debug for NewAttachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewAttachment({} bytes)", self.bytes.len())
    }
}

impl fmt::Debug for DownloadedAttachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, content_type, bytes, .. } = self;
        write!(f, "DownloadedAttachment({id}, {content_type:?}, {} bytes)", bytes.len())
    }
}
