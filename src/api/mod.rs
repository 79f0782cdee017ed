//! The typed methods of the operations, generated from the document.
//!
//! [`Api`] has one method per operation. A method has the generated client build its request, sends it through the
//! transport, and returns the part of the response that the document names as its result. Each method makes one call.
//! Code that makes several calls or waits is built on these methods.

mod body;
mod by_name;
mod calls;
mod client;
mod decode;
mod envelope;
mod json_path;
mod pages;
mod response;

use futures_util::stream::Stream;

pub use self::body::RequestBody;
use self::body::with_bytes;
pub use self::calls::Api;
use self::client::{BodyBounds, ListBounds, requests, with_header, within_bounds};
use self::envelope::{each, first, is_whole, joined, of_kind, repeats, required};
pub(crate) use self::pages::{items, pages};
pub use self::response::{RequestPreview, Response, ResponseBody, UploadPreview};
use crate::error::Error;
use crate::operation::Operation;
use crate::transport::VerifiedResponse;
use crate::transport::credentials::BoxFuture;
use crate::transport::path_user::SESSION_USER;

include!(concat!(env!("OUT_DIR"), "/methods.rs"));

#[cfg(test)]
mod tests;
