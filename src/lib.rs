//! [bulk]: guide::bulk
//! [guarantees]: guide::guarantees
//! [machines]: guide::machines
//! [networks]: guide::networks
//! [observability]: guide::observability
//! [profiles]: guide::profiles
//! [program]: guide::program
//! [testing]: guide::testing
//! [users]: guide::users
#![cfg_attr(feature = "webhook", doc = "[webhooks]: guide::webhooks")]
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod api;
mod api_key;
mod builder;
mod bulk;
mod client;
mod custody;
mod environment;
mod error;
mod feed;
pub mod files;
#[cfg(any(doc, doctest))]
pub mod guide;
mod identity;
mod notifications;
mod oauth;
mod onboarding;
mod operation;
mod papers;
mod provisions;
mod receipts;
mod reconcile;
mod retry;
mod sealing;
mod session;
mod sync;
pub mod text;
mod transport;
pub mod types;
mod users;
mod variables;
pub mod webhook;
pub mod wire;

pub use jiff;
#[cfg(feature = "reqwest-builder")]
pub use reqwest;
pub use uuid::Uuid;

pub use api::{Api, RequestBody, RequestPreview, Response, ResponseBody, UploadPreview};
pub use builder::ClientBuilder;
pub use bulk::{
    Bulk, BulkOperation, BulkRequest, FileJournal, Journal, JournalHeader, JournalStart, MemoryJournal, RowKey,
    RowRecord, RowState,
};
pub use client::Client;
pub use custody::{Custody, CustodyEntry, CustodyFilter, FileCustody, MemoryCustody};
pub use environment::Environment;
pub use error::{Error, ErrorKind, Remedy, Sent};
pub use feed::{Acceptance, Feed, FeedItem, Resource, Waiter};
pub use identity::{Identity, IdentityOutcome, StartedIdentity};
pub use notifications::{EnsuredFilter, Notifications, PinnedChain, RetriedFailures, Rotation};
pub use oauth::{Oauth, OauthSetup};
pub use onboarding::{FulfillmentAnswer, Onboarding, OnboardingOutcome, OnboardingStart, RequestedStatuses};
pub use operation::{Auth, ContentType, Operation, PathUser, RateLimit, SessionOf};
pub use papers::{
    Attachments, Documents, DownloadedAttachment, Inquiries, InquiryList, InquiryReview, LinkedDocument, NewAttachment,
};
pub use provisions::{List, Provisions, WaitingFor};
pub use receipts::{InvalidReceipt, Receipt, ReceiptFile, ReceiptReader};
pub use retry::RetryPolicy;
pub use sealing::{ApiKeySealer, KeySealer, Rekeyed};
pub use session::context::{ContextLock, ContextStore, FileStore};
pub use session::{ContextSummary, SessionUser, UserInstallation, UserKind};
pub use transport::credentials::BoxFuture;
pub use transport::http_config::{HttpConfig, TlsVersion};
pub use transport::observer::{Exchange, ExchangeObserver};
pub use transport::proxy::ForwardProxy;
pub use transport::rate_limit::LimitScope;
pub use transport::rate_limit::memory::MemoryPermits;
pub use transport::rate_limit::store::{
    Claim, Grant, OtherSessions, PermitStore, PermitWindow, Priority, Refusal, Settlement, Taken, WaitingSessions,
};
pub use transport::shutdown::Shutdown;
pub use transport::signature::SignatureForm;
pub use types::{
    ActionRequired, CallbackUrl, CountryCode, Credential, CredentialStatus, Cursor, EmailAddress, InvalidValue,
    NewProvision, NewProvisionByPointer, Page, PageSize, PermittedIps, PhoneNumber, PointerValue, Product, Provision,
    ProvisionId, ProvisionStatus, ProvisionSubStatus, Secret, Timestamp, UserId, UserName,
};
pub use users::{Places, Unactivated, UserClient, UserEvent, Users};
pub use variables::environment_variable;
