//! What a journal holds: what it belongs to, and what is known of each row.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::request::{BulkOperation, BulkRequest};
use crate::error::{Error, ErrorKind};
use crate::feed::Acceptance;
use crate::types::{Provision, ProvisionId, from_json};

/// The format that this version writes, and the only one that it reads.
const VERSION: u32 = 2;

/// What a journal belongs to. A journal is used for the same operation on the same input, at the same bank and with the same key.
///
/// Its JSON is the first line of a [`FileJournal`](crate::FileJournal). It holds no secret: of the API key it has a
/// fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JournalHeader {
    /// The version of the format.
    #[serde(rename = "bunq_partner_journal")]
    pub version: u32,
    /// The `operationId` of the [operation](BulkOperation::operation) that is called for each row.
    pub operation: String,
    /// The bank.
    pub base_url: String,
    /// The fingerprint of the API key, as in the stored context.
    pub api_key_fingerprint: String,
    /// The name of the [input](crate::Bulk::input), for example its digest.
    pub input: Option<String>,
    /// What existed before the first request, if the operation needs it: for creations, the id of the newest provision. What the
    /// operation creates is newer.
    pub watermark: Option<String>,
    /// When it was begun.
    pub begun_at: Timestamp,
}

impl JournalHeader {
    pub(super) fn new(operation: BulkOperation, base_url: &str, fingerprint: &str, input: Option<String>) -> Self {
        Self {
            version: VERSION,
            operation: operation.operation().id.to_owned(),
            base_url: base_url.to_owned(),
            api_key_fingerprint: fingerprint.to_owned(),
            input,
            watermark: None,
            begun_at: Timestamp::now(),
        }
    }

    /// Reads the JSON of a header; `None` if it is none. Of a later format nothing is expected but its version.
    pub(super) fn parse(json: &[u8]) -> Result<Option<Self>, String> {
        if let Ok(Version { version }) = from_json(json) {
            check_version(version)?;
        }
        Ok(from_json(json).ok())
    }

    /// The bulk operation.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`] if this version does not do it.
    pub fn bulk_operation(&self) -> Result<BulkOperation, Error> {
        BulkOperation::by_operation_id(&self.operation).ok_or_else(|| {
            Error::storage(format_args!(
                "the journal is of `{}`, which this version does not do in bulk: go on with the version that began it",
                self.operation
            ))
        })
    }

    /// The newest provision from before the first creation, if there was one.
    pub(super) fn newest_before(&self) -> Result<Option<ProvisionId>, Error> {
        let Some(watermark) = &self.watermark else { return Ok(None) };
        let damaged = |_| {
            Error::storage(
                "the journal is damaged: its watermark is not the id of a provision; put back a copy that is whole",
            )
        };
        watermark.parse().map(Some).map_err(damaged)
    }

    /// Refuses the journal of something else.
    pub(super) fn check(&self, own: &Self) -> Result<(), Error> {
        check_version(self.version).map_err(|problem| Error::storage(format_args!("the journal: {problem}")))?;
        self.bulk_operation()?;
        let differs = [
            ("operation", self.operation == own.operation, format!(" ({})", self.operation)),
            ("bank", self.base_url == own.base_url, format!(" ({})", self.base_url)),
            ("API key", self.api_key_fingerprint == own.api_key_fingerprint, String::new()),
            ("input", self.input == own.input, String::new()),
        ];
        match differs.iter().find(|(_, is_same, _)| !is_same) {
            None => Ok(()),
            Some((name, _, which)) => Err(Error::storage(format_args!(
                "the journal is that of another {name}{which}: give the {name} it was begun with, or another journal"
            ))),
        }
    }
}

/// What a header of any format says.
#[derive(Deserialize)]
struct Version {
    #[serde(rename = "bunq_partner_journal")]
    version: u32,
}

fn check_version(version: u32) -> Result<(), String> {
    if version == VERSION {
        return Ok(());
    }
    Err(format!(
        "it has the format {version}, but this version of bunq-partner knows the format {VERSION}: go on with the version that \
         began it"
    ))
}

/// What is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RowState {
    /// The request is about to be sent, or was sent. Its outcome is not known yet.
    Sent,
    /// bunq's response confirmed the request.
    Accepted,
    /// The response was lost. A read afterwards showed that bunq has accepted the request.
    Found,
    /// It had been carried out before. bunq has used nothing of a creation then: see [`Acceptance::Already`].
    Already,
    /// bunq refuses it, or it cannot be carried out.
    Failed,
    /// It has failed for now, its outcome is in doubt, or a [shutdown](crate::Shutdown) has stopped it. The next run with the journal
    /// takes it up again.
    Unfinished,
}

impl RowState {
    /// Whether nothing more is to be done for the row.
    pub fn is_final(self) -> bool {
        match self {
            Self::Accepted | Self::Found | Self::Already | Self::Failed => true,
            Self::Sent | Self::Unfinished => false,
        }
    }

    /// Whether bunq has carried the request out.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Accepted | Self::Found | Self::Already)
    }

    /// The name: `accepted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Found => "found",
            Self::Already => "already",
            Self::Failed => "failed",
            Self::Unfinished => "unfinished",
        }
    }
}

impl fmt::Display for RowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<Acceptance> for RowState {
    fn from(acceptance: Acceptance) -> Self {
        match acceptance {
            Acceptance::Accepted => Self::Accepted,
            Acceptance::Found => Self::Found,
            Acceptance::Already | Acceptance::NotRequested => Self::Already,
        }
    }
}

/// What is known of one row of a bulk operation at one time.
///
/// Its JSON is a line of a [`FileJournal`](crate::FileJournal). It holds nothing about a person, no secret, and none of bunq's
/// words, which may be about a person.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RowRecord {
    /// The number of the row, from 1.
    pub row: u64,
    /// When this was known, by this machine's clock.
    pub at: Timestamp,
    /// What is known.
    pub state: RowState,
    /// The key of the row.
    #[serde(flatten)]
    pub key: RowKey,
    /// The provision: the one to close, or the one that was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ProvisionId>,
    /// When bunq created the provision, if it was found and not created by the last request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// bunq's id of the response, which its support asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    /// The name of the [`ErrorKind`] of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<String>,
    /// The HTTP status of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The row is unfinished, and a request may have been carried out, or may still be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) in_doubt: bool,
    /// The failure itself; `None` if a [shutdown](crate::Shutdown) has stopped the row. A journal does not hold it.
    #[serde(skip)]
    pub error: Option<Error>,
}

/// The key of a row, in the journal and in the input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RowKey {
    /// What the key is: `id`, that of the provision to close, or `external_uuid`, your key of the user to create.
    pub kind: String,
    /// The key itself.
    pub key: String,
}

impl RowKey {
    pub(super) fn of(request: &BulkRequest) -> Self {
        let (kind, key) = match request {
            BulkRequest::Close(id) => ("id", id.to_string()),
            BulkRequest::Create(new) => ("external_uuid", new.external_uuid().to_string()),
        };
        Self { kind: kind.to_owned(), key }
    }

    /// Refuses the record of a row that is about something else.
    pub(super) fn check(&self, record: &RowRecord) -> Result<(), Error> {
        if record.key == *self {
            return Ok(());
        }
        let problem = format_args!(
            "row {} of the input is not that of the journal: give the input that the journal was begun with",
            record.row
        );
        Err(Error::storage(problem))
    }
}

impl RowRecord {
    /// The record of a row whose request is about to be sent.
    pub(super) fn sent(row: u64, request: &BulkRequest) -> Self {
        let id = match request {
            BulkRequest::Close(id) => Some(*id),
            BulkRequest::Create(_) => None,
        };
        Self {
            row,
            at: Timestamp::now(),
            state: RowState::Sent,
            key: RowKey::of(request),
            id,
            created: None,
            response_id: None,
            error_kind: None,
            status: None,
            in_doubt: false,
            error: None,
        }
    }

    /// Your key of the user, if the row is a creation.
    pub fn external_uuid(&self) -> Option<Uuid> {
        self.key.key.parse().ok().filter(|_| self.key.kind == "external_uuid")
    }

    /// Whether a request may have been carried out, or may still be, and its outcome is not known. The next run with the
    /// journal reads from bunq what became of it before it goes on with the row.
    pub fn is_in_doubt(&self) -> bool {
        self.state == RowState::Sent || self.in_doubt
    }

    /// The same row, of which this is known now.
    pub(super) fn now(self, state: RowState) -> Self {
        Self { state, at: Timestamp::now(), in_doubt: false, ..self }
    }

    /// The same row, which is done without another request.
    pub(super) fn done(self, state: RowState) -> Self {
        Self { error_kind: None, status: None, response_id: None, ..self.now(state) }
    }

    /// The same row, whose request is refused for good.
    pub(super) fn failed(self, error: Error) -> Self {
        self.ended(RowState::Failed, error)
    }

    /// The same row, which is given up for now.
    pub(super) fn given_up(self, error: Error, is_in_doubt: bool) -> Self {
        Self { in_doubt: is_in_doubt, ..self.ended(RowState::Unfinished, error) }
    }

    /// The same row, which the end of the run has stopped.
    pub(super) fn stopped(self, is_in_doubt: bool) -> Self {
        Self { in_doubt: is_in_doubt, ..self.now(RowState::Unfinished) }
    }

    fn ended(self, state: RowState, error: Error) -> Self {
        Self {
            id: self.id.or_else(|| error.last_seen::<Provision>().map(|seen| seen.id)),
            response_id: error.response_id().map(str::to_owned),
            error_kind: Some(error.kind().as_str().to_owned()),
            status: error.status(),
            error: Some(error),
            ..self.now(state)
        }
    }
}

/// What a failure is about.
#[derive(PartialEq, Eq)]
enum Subject {
    Row,
    /// The API key, which may concern every row.
    Key,
    /// The way to bunq, bunq, or this machine.
    Other,
}

fn subject(error: &Error) -> Subject {
    use ErrorKind::{
        Busy, Connect, Connection, Context, CredentialSpent, Duplicate, Forbidden, Internal, InvalidInput,
        InvalidResponse, Maintenance, NotFound, Permits, RateLimited, Rejected, Server, ShutDown, Signature, Storage,
        Timeout, Unattainable, Unauthorized, WaitTimeout,
    };
    match error.kind() {
        Unauthorized | Forbidden => Subject::Key,
        Rejected if matches!(error.status(), Some(402 | 466)) => Subject::Key,
        InvalidInput | NotFound | Rejected | Unattainable | Duplicate => Subject::Row,
        Connect | Connection | Timeout | InvalidResponse | Signature | RateLimited | Permits | Maintenance | Server
        | WaitTimeout | CredentialSpent | Context | Busy | Storage | ShutDown | Internal => Subject::Other,
    }
}

/// Whether a failure is final for a row: its request surely was not carried out, and will not be.
pub(super) fn is_refused(error: &Error) -> bool {
    // The refusal of a read says nothing of what was requested before it.
    let is_of_request = error.operation().is_none_or(|operation| operation.method != "GET");
    subject(error) == Subject::Row && is_of_request && !error.is_doubtful() && !error.is_retryable()
}

/// Whether bunq refuses the API key.
pub(super) fn is_about_the_key(error: &Error) -> bool {
    subject(error) == Subject::Key && !error.is_retryable()
}
