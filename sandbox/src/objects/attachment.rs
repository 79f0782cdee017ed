//! Files of users.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::table::Object;

/// A file that a user has uploaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) content_type: String,
    pub(crate) description: Option<String>,
    #[serde(serialize_with = "encoded", deserialize_with = "decoded")]
    pub(crate) file: Bytes,
}

impl Object for Attachment {
    const NAME: &'static str = "attachment";
}

fn encoded<S: Serializer>(file: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(file))
}

fn decoded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64.decode(text).map(Bytes::from).map_err(|_| de::Error::custom("a file is not base64"))
}
