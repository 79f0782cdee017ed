//! `attachment`: the files of a user.

use std::path::Path;

use bunq_partner::types::{AttachmentContentType, AttachmentDescription, AttachmentId};
use bunq_partner::{Attachments, NewAttachment, Operation, ProvisionId, RequestBody, RequestPreview, UserClient};
use bytes::Bytes;

use super::arguments::PutOptions;
use super::download;
use super::exit::Failure;
use super::invocation::Invocation;
use super::output::{Field, Record, names};
use super::provisions::show_requests_for_user;
use super::upload;

/// A file that is ready to be sent: it was read, and its content type found.
pub(super) struct Upload {
    bytes: Bytes,
    content_type: AttachmentContentType,
    description: Option<AttachmentDescription>,
}

impl Upload {
    /// Reads a file, and checks it. Nothing is sent.
    pub(super) async fn read(
        attachments: &Attachments,
        path: &Path,
        description: Option<&AttachmentDescription>,
    ) -> Result<Self, Failure> {
        let shown = path.display();
        let file = (path != Path::new("-")).then(|| path.to_owned());
        let name = file.clone().unwrap_or_default();
        let read = upload::read(file).await;
        let bytes = read.map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
        let new = NewAttachment::new(bytes.clone()).file_name(name);
        let content_type = attachments.check(&new).map_err(|error| Failure::from(error).of(&shown.to_string()))?;
        Ok(Self { bytes, content_type, description: description.cloned() })
    }

    fn attachment(&self) -> NewAttachment {
        let new = NewAttachment::new(self.bytes.clone());
        match &self.description {
            Some(description) => new.description(description.clone()),
            None => new,
        }
    }

    /// Whether it was sent before.
    pub(super) async fn is_there(&self, attachments: &Attachments) -> Result<bool, Failure> {
        Ok(attachments.uploaded(&self.attachment()).await?.is_some())
    }

    pub(super) async fn send(&self, attachments: &Attachments) -> Result<AttachmentId, Failure> {
        Ok(attachments.upload(self.attachment()).await?)
    }

    /// The request that would be sent.
    pub(super) fn preview(&self, user: &UserClient) -> Result<RequestPreview, Failure> {
        let description = self.description.as_ref().map(|text| ("X-Bunq-Attachment-Description", text.as_str()));
        let parameters: Vec<_> = description.into_iter().collect();
        let body = RequestBody::bytes(self.content_type.as_str(), self.bytes.clone());
        Ok(user.api().preview(&Operation::CREATE_ATTACHMENT, &parameters, body)?)
    }

    fn record(&self, id: AttachmentId) -> Record {
        Record::of(fields(Some(id), Some(self.content_type), Some(self.bytes.len())))
    }
}

fn fields(id: Option<AttachmentId>, content_type: Option<AttachmentContentType>, size: Option<usize>) -> Vec<Field> {
    vec![
        Field::new("attachment_id", 0, id),
        Field::new("content_type", 0, content_type.map(|content_type| content_type.to_string())),
        Field::new("size", 1, size),
    ]
}

pub(super) fn columns() -> Vec<&'static str> {
    names(&fields(None, None, None))
}

pub(super) async fn put(invocation: &Invocation, options: &PutOptions) -> Result<(), Failure> {
    let user = invocation.user(options.id)?;
    let attachments = user.attachments();
    let upload = Upload::read(&attachments, &options.file, options.description.as_ref()).await?;
    if options.dry_run.dry_run {
        return show_requests_for_user(invocation.format(), vec![upload.preview(&user)?], options.personal);
    }
    let id = upload.send(&attachments).await?;
    Ok(invocation.printer().single(upload.record(id))?)
}

pub(super) async fn get(
    invocation: &Invocation,
    id: ProvisionId,
    attachment: AttachmentId,
    output_file: Option<&Path>,
) -> Result<(), Failure> {
    download::check(invocation, "the attachment", output_file)?;
    let file = invocation.user(id)?.attachments().download(attachment).await?;
    download::deliver(invocation, output_file, &file.bytes)
}
