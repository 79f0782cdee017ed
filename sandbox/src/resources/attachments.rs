//! Attachments: files that users upload and download.

use bunq_partner::Operation;
use bunq_partner::types::{AttachmentDescription, AttachmentId};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::plant::Plant;
use super::{Answer, Handler, RoutedCall};
use crate::bank::Bank;
use crate::objects::attachment::Attachment;
use crate::wire::call_log;
use crate::wire::response::{RawResponse, Refusal};

pub(crate) const ANSWERS: &[Answer] = &[
    Answer { operation: &Operation::CREATE_ATTACHMENT, handler: Handler::SessionUser(create) },
    Answer { operation: &Operation::GET_ATTACHMENT, handler: Handler::SessionUser(get) },
    Answer { operation: &Operation::GET_ATTACHMENT_CONTENT, handler: Handler::SessionUser(get_content) },
];

fn create(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let call = request.call;
    let given = call.header("Content-Type").unwrap_or_default();
    let known = Operation::CREATE_ATTACHMENT.content_types.iter().find(|known| known.name == given);
    let known =
        known.ok_or_else(|| Refusal::bad_request("The header Content-Type is none of a file that bunq takes."))?;
    if !known.begins(&call.body) {
        return Err(Refusal::bad_request(format!("The body is no file of the type {}.", known.name)));
    }
    let description = call_log::header(&call.headers, "X-Bunq-Attachment-Description").map(str::to_owned);
    if let Some(Err(error)) = description.clone().map(AttachmentDescription::try_from) {
        return Err(Refusal::bad_request(format!(
            "The header X-Bunq-Attachment-Description is wrong: {}.",
            error.rule()
        )));
    }
    let attachment = Attachment { content_type: known.name.to_owned(), description, file: call.body.clone() };
    Ok(RawResponse::id(bank.objects.attachments.add(user, attachment, request.now, &mut bank.numbers)))
}

fn get(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    let attachment = bank.objects.attachments.get(user, id)?;
    let Attachment { content_type, description, .. } = &attachment.content;
    let shown = json!({ "description": description, "content_type": content_type, "urls": Value::Array(Vec::new()) });
    Ok(RawResponse::items(vec![attachment.item("AttachmentUser", [("attachment", shown)])]))
}

fn get_content(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    let Attachment { content_type, file, .. } = &bank.objects.attachments.get(user, id)?.content;
    Ok(RawResponse::file(content_type, file))
}

/// Checks an attachment that a user names in another call: it must be the user's own.
///
/// That of another user is refused as one that does not exist, so that nobody learns whether it does.
pub(crate) fn check_named(bank: &Bank, user: u64, id: AttachmentId) -> Result<(), Refusal> {
    let found = bank.objects.attachments.get(user, id.get());
    found.map(drop).map_err(|missing| Refusal::bad_request(missing.message))
}

/// A file that a user of a seed has uploaded. It is the shortest file of its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SeedAttachment {
    /// Its type, such as `image/png`.
    pub content_type: String,
    /// What its user has said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Plant for SeedAttachment {
    fn plant(&self, bank: &mut Bank, user: u64, now: Timestamp) -> Result<(), String> {
        let Self { content_type, description } = self;
        let known = Operation::CREATE_ATTACHMENT.content_types.iter().find(|known| known.name == content_type);
        let first = known.and_then(|known| known.first_bytes.first());
        let file = first.ok_or_else(|| format!("there is no file of the type {content_type}"))?;
        let (content_type, description) = (content_type.clone(), description.clone());
        let attachment = Attachment { content_type, description, file: Bytes::from_static(file) };
        bank.objects.attachments.add(user, attachment, now, &mut bank.numbers);
        Ok(())
    }
}
