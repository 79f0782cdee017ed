//! What goes over the wire between a client and bunq: keys, signatures, requests that open a session, secrets in plain
//! text, and the schemas of the document. It is for servers that stand in for bunq, and for tests of any client. A
//! [`Client`](crate::Client) does all of it by itself.
//!
//! ```
//! use bunq_partner::wire::{SessionServerRequest, SignatureForm, SigningKey, VerifyingKey};
//! use bunq_partner::Secret;
//!
//! // A client signs the body of its request, which contains the API key.
//! let key = SigningKey::generate()?;
//! let request = SessionServerRequest::new(Secret::new("sandbox_1").into());
//! let body = serde_json::to_vec(&request)?;
//! assert_eq!(body, br#"{"secret":"sandbox_1"}"#);
//! let signature = key.sign(&body)?;
//!
//! // bunq knows its public key from the installation.
//! let known = VerifyingKey::from_pem(&key.public_key_pem()?)?;
//! assert!(known.verifies(&body, signature.as_bytes()));
//!
//! // bunq signs a response in one of two forms.
//! let headers = [("X-Bunq-Client-Request-Id", "7".as_bytes())];
//! let message = SignatureForm::WithHeaders.message(200, headers.into_iter(), b"{}");
//! assert_eq!(&*message, b"200\nX-Bunq-Client-Request-Id: 7\n\n{}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use crate::transport::signature::{SignatureError, SignatureForm, SigningKey, VerifyingKey};
pub use crate::types::{
    DeviceServerRequest, InstallationRequest, PermittedIp, RequestSecret, SessionServerRequest, exposed,
};

include!(concat!(env!("OUT_DIR"), "/schemas.rs"));
