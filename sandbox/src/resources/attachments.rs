//! Attachments: files that users upload and download.

use bunq_partner::Operation;
use bunq_partner::types::AttachmentDescription;
use serde_json::{Value, json};

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
