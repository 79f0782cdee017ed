//! `inquiries`: what bunq asks of a user, and the answers.

use std::io;
use std::path::Path;

use bunq_partner::types::{
    AttachmentId, InquiryAnswer, InquiryPurpose, InquiryStatus, InquiryType, UpdateUserInformationInquiryEntryRequest,
    UserInformationInquiry, UserInformationInquiryEntry,
};
use bunq_partner::{
    Acceptance, Error, ErrorKind, Inquiries, InquiryReview, Operation, ProvisionId, RowState, UserClient, WaitingFor,
    files,
};
use futures_util::StreamExt as _;
use serde::Serialize;
use serde_json::json;

use super::arguments::{AnswerOptions, Attached, InquiryListOptions};
use super::attachment::Upload;
use super::exit::{Failure, after_output};
use super::invocation::Invocation;
use super::listing;
use super::output::{DIM, Field, GREEN, HIDDEN, RED, Record, names};
use super::progress;
use super::provisions::show_requests_for_user;
use super::reading;
use super::records::{self, time, waiting_for};
use super::standard_input;

/// No text in a file is larger.
const MAX_TEXT: usize = 64 * 1024;

pub(super) async fn list(invocation: &Invocation, options: &InquiryListOptions) -> Result<(), Failure> {
    invocation.note_unknown(&options.status, InquiryStatus::KNOWN, InquiryStatus::as_str);
    invocation.note_unknown(&options.purpose, InquiryPurpose::KNOWN, InquiryPurpose::as_str);
    invocation.note_unknown(&options.kind, InquiryType::KNOWN, InquiryType::as_str);
    let limit = options.limit.unwrap_or(usize::MAX);
    let mut listing = invocation.user(options.id)?.inquiries().list();
    listing = listing.status(options.status.iter().cloned());
    listing = listing.purpose(options.purpose.iter().cloned()).kind(options.kind.iter().cloned());
    if let Some(count) = listing::page_size(limit) {
        listing = listing.count(count);
    }
    let records = |inquiry: &UserInformationInquiry| {
        let entries: Vec<_> = inquiry.entries().map(Some).collect();
        // In the thinner form it has none.
        let entries = if entries.is_empty() { vec![None] } else { entries };
        let record = |entry| Record::of(fields(Some(options.id), Some(inquiry), entry, options.personal.show_personal));
        entries.into_iter().map(record).collect()
    };
    listing::print(invocation, listing.stream().take(limit), records).await
}

pub(super) fn columns() -> Vec<&'static str> {
    names(&fields(None, None, None, false))
}

/// An entry of an inquiry, or an inquiry without entries.
fn fields(
    id: Option<ProvisionId>,
    inquiry: Option<&UserInformationInquiry>,
    entry: Option<&UserInformationInquiryEntry>,
    is_shown: bool,
) -> Vec<Field> {
    let turn = entry.map(UserInformationInquiryEntry::waiting_for);
    let turn = turn.or_else(|| inquiry.map(UserInformationInquiry::waiting_for));
    let asked = entry.and_then(|entry| entry.entry_description.as_ref());
    let submitted = entry.and_then(|entry| entry.all_data_submitted.as_ref());
    vec![
        Field::new("id", HIDDEN, id),
        Field::new("inquiry_id", 0, inquiry.map(|inquiry| inquiry.id)),
        Field::new("entry_id", 0, entry.map(|entry| entry.id)),
        Field::text("asks_for", 1, entry.and_then(|entry| entry.type_.as_ref())),
        Field::text("entry_status", 0, entry.map(|entry| &entry.status)),
        waiting_for(turn),
        review(entry),
        Field::text("purpose", 2, inquiry.and_then(|inquiry| inquiry.purpose.as_ref())),
        Field::text("kind", HIDDEN, inquiry.and_then(|inquiry| inquiry.external_model_name.as_ref())),
        Field::text("inquiry_status", HIDDEN, inquiry.and_then(|inquiry| inquiry.status.as_ref())),
        time("expires", 2, inquiry.and_then(|inquiry| inquiry.time_expiry)),
        personal("title", inquiry.and_then(|inquiry| inquiry.title.as_ref()), is_shown),
        personal("asked", asked.or_else(|| inquiry.and_then(|inquiry| inquiry.message.as_ref())), is_shown),
        personal("submitted", submitted.map(|submitted| submitted.as_json()), is_shown),
        personal("reject_reason", entry.and_then(|entry| entry.reject_reason.as_ref()), is_shown),
    ]
}

/// What is about a person, if it is to be shown.
fn personal(name: &'static str, value: Option<impl Serialize>, is_shown: bool) -> Field {
    match value {
        Some(_) if !is_shown => Field::new(name, HIDDEN, "[redacted]").shown_as("[redacted: --show-personal shows it]"),
        value => Field::text(name, if is_shown { 3 } else { HIDDEN }, value),
    }
}

fn review(entry: Option<&UserInformationInquiryEntry>) -> Field {
    let (review, style) = match entry.and_then(UserInformationInquiryEntry::review) {
        None => (None, DIM),
        Some(InquiryReview::Approved) => (Some("approved"), GREEN),
        Some(InquiryReview::AutoApproved) => (Some("auto_approved"), GREEN),
        Some(InquiryReview::Rejected) => (Some("rejected"), RED),
        Some(InquiryReview::AutoRejected) => (Some("auto_rejected"), RED),
        Some(InquiryReview::AskedAgain) => (Some("asked_again"), RED),
        Some(InquiryReview::Cancelled) => (Some("cancelled"), DIM),
        Some(_) => (Some("unknown"), DIM),
    };
    Field::new("review", 1, review).styled(Some(style))
}

/// What is answered: checked, and not sent yet.
struct Draft {
    text: Option<InquiryAnswer>,
    files: Vec<File>,
}

/// A file of an answer.
enum File {
    Uploaded(AttachmentId),
    New(Upload),
}

/// What came of an answer.
#[derive(Default)]
struct Answered<'a> {
    options: Option<&'a AnswerOptions>,
    attachments: Vec<AttachmentId>,
    accepted: Option<(Acceptance, Option<String>)>,
    seen: Option<UserInformationInquiry>,
}

pub(super) fn answer_columns() -> Vec<&'static str> {
    names(&Answered::default().fields())
}

pub(super) async fn answer(invocation: &Invocation, options: &AnswerOptions) -> Result<(), Failure> {
    let user = invocation.user(options.id)?;
    let draft = Draft::read(&user, options).await?;
    if options.dry_run.dry_run {
        return draft.show(invocation, &user, options);
    }
    let inquiries = user.inquiries();
    let request = draft.request(&user, &inquiries, options).await?;
    let attachments = request.all_attachment_id.clone();
    let waiter =
        inquiries.answer(options.inquiry, options.entry, &request).await.map_err(|error| goes_on(options, error))?;
    let accepted = Some((waiter.acceptance(), waiter.response_id().map(str::to_owned)));
    let mut answered = Answered { options: Some(options), attachments, accepted, seen: None };
    let outcome = if options.waiting.wait {
        let shown = |time: &str, inquiry: &UserInformationInquiry| {
            let status = inquiry.entry(options.entry).map(|entry| entry.status.to_string()).unwrap_or_default();
            format!("{time}  inquiry {}, entry {}  {status}", inquiry.id, options.entry)
        };
        match progress::wait(waiter.timeout(options.waiting.timeout), shown).await {
            Ok(seen) => answered.reviewed(seen),
            Err(error) => Err(goes_on(options, error)),
        }
    } else {
        Ok(())
    };
    let written = invocation.printer().single(Record::of(answered.fields()));
    after_output(outcome, written)
}

/// The failure of an answer, with how to go on.
fn goes_on(options: &AnswerOptions, error: Error) -> Failure {
    let list = format!("`bunq-partner inquiries list {}` shows what is asked, and how far it is", options.id);
    let is_doubtful = error.is_doubtful();
    let shows = [ErrorKind::Unattainable, ErrorKind::WaitTimeout, ErrorKind::NotFound].contains(&error.kind());
    let failure = Failure::from(error);
    match (is_doubtful, shows) {
        (true, _) => failure.with_hint("run the same command again: it looks before it sends the answer again"),
        (false, true) => failure.with_hint(list),
        (false, false) => failure,
    }
}

impl Draft {
    async fn read(user: &UserClient, options: &AnswerOptions) -> Result<Self, Failure> {
        let text = match &options.text {
            Some(text) => Some(text_of(text).await?),
            None => None,
        };
        let mut files = Vec::new();
        for attached in &options.attach {
            files.push(match attached {
                Attached::Id(id) => File::Uploaded(*id),
                Attached::File(path) => File::New(Upload::read(&user.attachments(), path, None).await?),
            });
        }
        Ok(Self { text, files })
    }

    /// Uploads the files, and returns the request. Nothing is uploaded for an entry that takes no answer.
    async fn request(
        &self,
        user: &UserClient,
        inquiries: &Inquiries,
        options: &AnswerOptions,
    ) -> Result<UpdateUserInformationInquiryEntryRequest, Failure> {
        let mut is_all_there = true;
        for file in &self.files {
            if let File::New(upload) = file {
                is_all_there &= upload.is_there(&user.attachments()).await?;
            }
        }
        if !is_all_there {
            let seen = inquiries.get(options.inquiry).await.map_err(|error| goes_on(options, error))?;
            let entry = seen.entry(options.entry);
            if entry.is_none_or(|entry| entry.waiting_for() != WaitingFor::User) {
                let status = entry.map_or("not there".to_owned(), |entry| entry.status.to_string());
                let problem = format!("the entry {} of the inquiry {} is {status}", options.entry, options.inquiry);
                let hint = format!("nothing was sent: `bunq-partner inquiries list {}` shows what waits", options.id);
                return Err(Failure::of_kind(ErrorKind::Unattainable, problem).with_hint(hint));
            }
        }
        let mut request = UpdateUserInformationInquiryEntryRequest::new();
        request.answer.clone_from(&self.text);
        for file in &self.files {
            request.all_attachment_id.push(match file {
                File::Uploaded(id) => *id,
                File::New(upload) => upload.send(&user.attachments()).await?,
            });
        }
        Ok(request)
    }

    /// Shows the requests. The ids of files that are not uploaded yet are not known.
    fn show(&self, invocation: &Invocation, user: &UserClient, options: &AnswerOptions) -> Result<(), Failure> {
        let uploads = self.files.iter().filter_map(|file| match file {
            File::Uploaded(_) => None,
            File::New(upload) => Some(upload.preview(user)),
        });
        let mut previews = uploads.collect::<Result<Vec<_>, _>>()?;
        let ids = self.files.iter().map(|file| match file {
            File::Uploaded(id) => json!(id),
            File::New(_) => json!("the id of a file above"),
        });
        let mut body = serde_json::Map::new();
        if !self.files.is_empty() {
            body.insert("all_attachment_id".to_owned(), ids.collect());
        }
        if let Some(text) = &self.text {
            body.insert("answer".to_owned(), text.as_str().into());
        }
        let (inquiry, entry) = (options.inquiry.to_string(), options.entry.to_string());
        let parameters =
            [("user_information_inquiry_id", inquiry.as_str()), ("user_information_inquiry_entry_id", entry.as_str())];
        let operation = &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY;
        previews.push(user.api().preview(operation, &parameters, &body.into())?);
        show_requests_for_user(invocation.format(), previews, options.personal)
    }
}

/// The text of an answer: as it was typed, of a file, or of standard input.
async fn text_of(typed: &str) -> Result<InquiryAnswer, Failure> {
    let unread = |error: io::Error| Failure::usage(format!("--text {typed}: {error}"));
    let read = match typed.strip_prefix('@').map(|file| Path::new(file).to_owned()) {
        _ if typed == "-" => {
            standard_input::announce("the answer");
            reading::text(MAX_TEXT, || Ok(io::stdin())).await.map_err(unread)?
        }
        Some(file) => reading::text(MAX_TEXT, move || files::open_plain(file)).await.map_err(unread)?,
        None => typed.into(),
    };
    let text = read.expose().trim_end_matches(['\r', '\n']);
    text.parse::<InquiryAnswer>().map_err(|error| Failure::usage(format!("--text: {}", error.rule())))
}

impl Answered<'_> {
    /// Tells what bunq's review of the answer has come to.
    fn reviewed(&mut self, seen: UserInformationInquiry) -> Result<(), Failure> {
        let entry = self.options.and_then(|options| seen.entry(options.entry));
        let review = entry.and_then(UserInformationInquiryEntry::review);
        self.seen = Some(seen);
        let (Some(InquiryReview::Rejected | InquiryReview::AutoRejected | InquiryReview::AskedAgain), Some(options)) =
            (review, self.options)
        else {
            return Ok(());
        };
        let hint = format!("`bunq-partner inquiries list {} --show-personal` shows why", options.id);
        Err(Failure::of_kind(ErrorKind::Unattainable, "bunq has rejected the answer").with_hint(hint))
    }

    fn fields(&self) -> Vec<Field> {
        let entry = self.options.zip(self.seen.as_ref()).and_then(|(options, seen)| seen.entry(options.entry));
        let (acceptance, response_id) = self.accepted.clone().unzip();
        let attachments: Vec<_> = self.attachments.iter().map(ToString::to_string).collect();
        vec![
            Field::new("id", HIDDEN, self.options.map(|options| options.id)),
            records::outcome(acceptance.map(RowState::from), false),
            Field::new("inquiry_id", 0, self.options.map(|options| options.inquiry)),
            Field::new("entry_id", 0, self.options.map(|options| options.entry)),
            Field::text("entry_status", 0, entry.map(|entry| &entry.status)),
            review(entry),
            Field::new("attachments", 1, attachments.join(" ")),
            Field::text("response_id", 1, response_id.flatten()),
        ]
    }
}
