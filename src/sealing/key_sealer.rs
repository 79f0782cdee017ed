//! What seals the data keys: the API key, or a key of the partner's.

use std::fmt;
use std::sync::Arc;

use super::cipher;
use crate::error::Error;
use crate::session::context::api_key_fingerprint;
use crate::transport::credentials::BoxFuture;
use crate::types::Secret;

/// What a data key is bound to that the API key has sealed.
const DATA_KEY: &[u8] = b"data key";

/// The beginning of the id of an [`ApiKeySealer`], before the fingerprint of the key.
const API_KEY: &str = "api-key:";

/// Seals the data keys under which a client seals what it keeps: see [`ClientBuilder::key_sealer`](crate::ClientBuilder::key_sealer).
///
/// The default is [`ApiKeySealer`]. Write one of your own over a key in a vault or a hardware module. It is asked to seal one data key
/// for each process at most, and to open each data key once; a client remembers 64. What it seals is stored beside each text. Use its key for
/// nothing else, and let nobody seal with it who may not open: a client seals on with the data key of the first text that it has opened.
///
/// Make errors with [`Error::context`], and with [`Error::unavailable`] if the vault cannot be reached now. No method may block its thread.
///
/// ```
/// use bunq_partner::{BoxFuture, Error, KeySealer, Secret};
/// # #[derive(Debug)] struct Vault;
/// # impl Vault {
/// #     async fn encrypt(&self, _: &str, text: &[u8]) -> Result<Vec<u8>, std::io::Error> { Ok(text.to_vec()) }
/// #     async fn decrypt(&self, _: &str, text: &[u8]) -> Result<Option<Vec<u8>>, std::io::Error> { Ok(Some(text.to_vec())) }
/// # }
///
/// #[derive(Debug)]
/// struct VaultSealer {
///     vault: Vault,
///     key: String,
/// }
///
/// impl KeySealer for VaultSealer {
///     fn id(&self) -> String {
///         format!("vault:{}", self.key)
///     }
///
///     fn seal<'a>(&'a self, data_key: &'a Secret) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
///         Box::pin(async {
///             let sealed = self.vault.encrypt(&self.key, data_key.expose().as_bytes()).await;
///             sealed.map_err(|error| Error::context(format_args!("the vault does not seal: {error}")))
///         })
///     }
///
///     fn open<'a>(&'a self, sealed: &'a [u8]) -> BoxFuture<'a, Result<Option<Secret>, Error>> {
///         Box::pin(async {
///             let opened = self.vault.decrypt(&self.key, sealed).await;
///             let opened = opened.map_err(|error| Error::context(format_args!("the vault does not open: {error}")))?;
///             Ok(opened.and_then(|text| String::from_utf8(text).ok()).map(Secret::new))
///         })
///     }
/// }
/// ```
pub trait KeySealer: fmt::Debug + Send + Sync + 'static {
    /// Names the key, in 1 to 1024 bytes, without a secret: it is stored beside each text, readable, and errors show it. Two keys have
    /// two names.
    fn id(&self) -> String;

    /// Seals a data key, which is a text of 44 bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if the key cannot be used now.
    fn seal<'a>(&'a self, data_key: &'a Secret) -> BoxFuture<'a, Result<Vec<u8>, Error>>;

    /// Opens a data key that this key has sealed; `None` if it was not sealed by this key, or was changed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](crate::ErrorKind::Context) if the key cannot be used now.
    fn open<'a>(&'a self, sealed: &'a [u8]) -> BoxFuture<'a, Result<Option<Secret>, Error>>;
}

impl<T: KeySealer + ?Sized> KeySealer for Arc<T> {
    fn id(&self) -> String {
        (**self).id()
    }

    fn seal<'a>(&'a self, data_key: &'a Secret) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        (**self).seal(data_key)
    }

    fn open<'a>(&'a self, sealed: &'a [u8]) -> BoxFuture<'a, Result<Option<Secret>, Error>> {
        (**self).open(sealed)
    }
}

/// Seals data keys with a key that is derived from an API key (HKDF-SHA256): the default, which needs nothing else to be kept.
///
/// Its [`id`](KeySealer::id) has the [fingerprint](crate::Client::api_key_fingerprint) of the API key. Whoever has another API key needs
/// the one before once, to [seal anew](crate::ClientBuilder::rekey) what it has sealed.
#[derive(Clone)]
pub struct ApiKeySealer {
    fingerprint: String,
    api_key: Secret,
}

impl ApiKeySealer {
    /// Seals with this API key.
    pub fn new(api_key: impl Into<Secret>) -> Self {
        let api_key = api_key.into();
        Self { fingerprint: api_key_fingerprint(&api_key), api_key }
    }
}

impl fmt::Debug for ApiKeySealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeySealer(..)")
    }
}

impl KeySealer for ApiKeySealer {
    fn id(&self) -> String {
        format!("{API_KEY}{}", self.fingerprint)
    }

    fn seal<'a>(&'a self, data_key: &'a Secret) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(async move {
            let sealed = cipher::seal(&self.api_key, DATA_KEY, data_key);
            sealed.map_err(|error| Error::internal("a data key cannot be sealed").with_source(error))
        })
    }

    fn open<'a>(&'a self, sealed: &'a [u8]) -> BoxFuture<'a, Result<Option<Secret>, Error>> {
        Box::pin(async move { Ok(cipher::open(&self.api_key, DATA_KEY, sealed).ok()) })
    }
}

/// The fingerprint of the API key that a sealer is of, if it is of one.
pub(super) fn fingerprint_in(sealer_id: &str) -> Option<&str> {
    sealer_id.strip_prefix(API_KEY)
}
