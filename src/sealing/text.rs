//! A sealed text: JSON, of which all but the sealed part is readable, so that what does not fit can be told.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::cipher;
use super::key_sealer::fingerprint_in;
use crate::custody::{Custody, REMEDY};
use crate::error::Error;
use crate::session::context::{ContextStore, Identity};
use crate::types::{ProvisionId, Secret, from_json};

/// The format of sealed texts, and the newest that this version reads. Texts of format 1 are readable.
const FORMAT: u64 = 2;

/// The version that writes it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where a text is kept.
pub(super) struct Place {
    pub(super) kind: Kind,
    /// How errors name it.
    pub(super) name: String,
    /// A text of an earlier version may be there.
    pub(super) may_be_readable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Context,
    User(ProvisionId),
}

/// The part that every format of a context has, sealed or not. Nothing else decides whether a text is taken for a readable one.
#[derive(Deserialize)]
struct ContextHeader {
    format: u64,
}

/// The same of a user.
#[derive(Deserialize)]
struct UserHeader {
    bunq_partner_user: u64,
}

/// Those of format 1 do not have it.
#[derive(Deserialize)]
struct Writer {
    version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealedText {
    /// The format, by the name that earlier versions know: of a context, or below of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bunq_partner_user: Option<u64>,
    version: String,
    environment: String,
    base_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provision_id: Option<ProvisionId>,
    sealer: String,
    /// As the sealer has sealed it.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    data_key: Vec<u8>,
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    sealed: Vec<u8>,
}

impl Place {
    pub(super) fn of_context(store: &dyn ContextStore) -> Self {
        Self { kind: Kind::Context, name: store.name(), may_be_readable: store.may_have_readable_texts() }
    }

    pub(super) fn of_user(id: ProvisionId, custody: &dyn Custody) -> Self {
        let may_be_readable = custody.may_have_readable_texts();
        Self { kind: Kind::User(id), name: custody.name_of(id), may_be_readable }
    }

    /// An error about the text, of which the problem ends the sentence.
    pub(super) fn refused(&self, problem: impl fmt::Display) -> Error {
        let Self { kind, name, .. } = self;
        match kind {
            Kind::Context => Error::context(format_args!("{name}: the stored context {problem}")),
            Kind::User(_) => Error::context(format_args!("{name} {problem}")),
        }
    }

    pub(super) fn damaged(&self, what: &str) -> String {
        format!("is damaged ({what}) and was left as it is: {}", self.remedy())
    }

    fn remedy(&self) -> &'static str {
        match self.kind {
            Kind::Context => "remove it, and the client makes a new one",
            Kind::User(_) => REMEDY,
        }
    }

    fn store(&self) -> &'static str {
        match self.kind {
            Kind::Context => "a store",
            Kind::User(_) => "a custody",
        }
    }

    fn provision_id(&self) -> Option<ProvisionId> {
        match self.kind {
            Kind::Context => None,
            Kind::User(id) => Some(id),
        }
    }
}

impl SealedText {
    /// One in which nothing is sealed yet.
    pub(super) fn new(place: &Place, identity: &Identity, sealer_id: &str, data_key: &[u8]) -> Self {
        let number = |is_of_kind: bool| is_of_kind.then_some(FORMAT);
        Self {
            format: number(place.kind == Kind::Context),
            bunq_partner_user: number(place.kind != Kind::Context),
            version: VERSION.to_owned(),
            environment: identity.environment().to_string(),
            base_url: identity.base_url().to_owned(),
            provision_id: place.provision_id(),
            sealer: sealer_id.to_owned(),
            data_key: data_key.to_owned(),
            sealed: Vec::new(),
        }
    }

    /// Seals `text`, and returns what to keep.
    pub(super) fn seal(mut self, data_key: &Secret, text: &Secret) -> Result<Secret, String> {
        self.sealed = cipher::seal(data_key, &self.bound_to(), text).map_err(|_| "cannot be sealed".to_owned())?;
        let text = serde_json::to_string(&self).map_err(|error| format!("cannot be made: {error}"))?;
        Ok(Secret::new(text))
    }

    /// Reads what is kept at a place. `None` if it is not sealed.
    ///
    /// # Errors
    ///
    /// The problem, as the end of a sentence about the text, and what to do.
    pub(super) fn read(place: &Place, identity: &Identity, text: &Secret) -> Result<Option<Self>, String> {
        let json = text.expose().as_bytes();
        // The message may quote the text, so only the position is shown.
        let broken =
            |error: serde_json::Error| place.damaged(&format!("line {}, column {}", error.line(), error.column()));
        let format = match place.kind {
            Kind::Context => from_json(json).map(|ContextHeader { format }| format),
            Kind::User(_) => from_json(json).map(|UserHeader { bunq_partner_user }| bunq_partner_user),
        };
        match format.map_err(broken)? {
            FORMAT => {}
            1 if place.may_be_readable => return Ok(None),
            1 => {
                return Err(format!(
                    "is not sealed, as all that is kept there, and was left as it is: {}",
                    place.remedy()
                ));
            }
            format if format < FORMAT => return Err(place.damaged(&format!("format {format}"))),
            format => {
                let (by, remedy) = match from_json(json) {
                    Ok(Writer { version }) => (
                        format!(" of version {} of bunq-partner", version.escape_debug()),
                        "use that version or a later one",
                    ),
                    Err(_) => (String::new(), "use the version that wrote it"),
                };
                return Err(format!(
                    "has format {format}{by}, but this version ({VERSION}) knows formats up to {FORMAT}; it was left as it is: {remedy}"
                ));
            }
        }
        let sealed: Self = from_json(json).map_err(broken)?;
        if let Some((what, belongs)) = identity.other_bank(&sealed.environment, &sealed.base_url) {
            return Err(format!("{belongs} and was left as it is: use {} for each {what}", place.store()));
        }
        if sealed.provision_id != place.provision_id() {
            let other = sealed.provision_id.map(|id| format!("that of provision {id}, ")).unwrap_or_default();
            return Err(format!("is {other}in the wrong place, and was left as it is: {REMEDY}"));
        }
        Ok(Some(sealed))
    }

    /// Refuses a text that another key has sealed.
    pub(super) fn check_sealer(&self, place: &Place, sealer_id: &str) -> Result<(), String> {
        if self.sealer == sealer_id {
            return Ok(());
        }
        let of_api_keys = fingerprint_in(&self.sealer).and(fingerprint_in(sealer_id));
        let (sealed, remedy) = match of_api_keys {
            Some(_) => {
                ("is sealed under another API key".to_owned(), format!("use {} for each API key", place.store()))
            }
            None => {
                let named = |id: &str| match fingerprint_in(id) {
                    Some(_) => "an API key".to_owned(),
                    None => format!("`{}`", id.escape_debug()),
                };
                let (by, ours) = (named(&self.sealer), named(sealer_id));
                (format!("is sealed under {by}, and not under {ours},"), "use the key that has sealed it".to_owned())
            }
        };
        Err(format!("{sealed} and was left as it is: {remedy}, or have it sealed anew, as `bunq-partner rekey` does"))
    }

    pub(super) fn data_key(&self) -> Vec<u8> {
        self.data_key.clone()
    }

    pub(super) fn sealer(&self) -> &str {
        &self.sealer
    }

    /// Opens it. `None` if anything in it was changed.
    pub(super) fn open(&self, data_key: &Secret) -> Option<Secret> {
        cipher::open(data_key, &self.bound_to(), &self.sealed).ok()
    }

    /// All that is readable.
    fn bound_to(&self) -> Vec<u8> {
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let (context, user) = (number(self.format), number(self.bunq_partner_user));
        let id = number(self.provision_id.map(ProvisionId::get));
        let texts = [&context, &user, &self.version, &self.environment, &self.base_url, &id, &self.sealer];
        let mut parts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        parts.push(&self.data_key);
        cipher::joined(&parts)
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
}
