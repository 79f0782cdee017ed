#![doc = include_str!("../README.md")]

mod api;
mod builder;
mod call;
mod client;
mod contact;
mod context;
mod device;
mod drift;
mod environment;
mod error;
mod exchange;
#[cfg(feature = "schemars")]
mod json_schema;
mod life_cycle;
mod looks;
mod new_provision;
mod operation;
mod pages;
mod pipeline;
mod provision_id;
mod provisions;
mod rate_limit;
mod retry;
mod secret;
mod session;
mod signature;
mod timestamp;
mod wait;

#[cfg(feature = "sandbox")]
pub mod sandbox;

pub use jiff;
pub use uuid::Uuid;

pub use api::types;
pub use builder::ClientBuilder;
pub use client::Client;
pub use contact::{CountryCode, EmailAddress, PhoneNumber, PointerValue, UserName};
pub use context::{ContextLease, ContextStore, FileStore, MemoryStore};
pub use device::PermittedIps;
pub use environment::Environment;
pub use error::{Error, ErrorKind, Sent};
pub use life_cycle::WaitingFor;
pub use operation::{Auth, Operation, RateLimit};
pub use pages::{Cursor, List, Page, PageSize};
pub use provision_id::ProvisionId;
pub use provisions::Provisions;
pub use retry::RetryPolicy;
pub use secret::Secret;
pub use timestamp::Timestamp;
pub use types::{
    ActionRequired, Credential, CredentialStatus, NewProvisionByContact as NewProvision, NewProvisionByPointer,
    Product, Provision, ProvisionStatus, ProvisionSubStatus,
};
pub use wait::{Acceptance, Waiter};
