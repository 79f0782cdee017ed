//! What is kept is sealed: a context store and a custody get texts that say nothing without the key.
//!
//! Each text is sealed with AES-256-GCM under a data key, and has beside it that data key, which a [`KeySealer`] has sealed. So one
//! text needs nothing else to be opened, and a key in a vault is asked once for each data key, not for each user. A text is bound to
//! its kind, its bank and its user: one that was put in another place is refused, and so is one that was changed.
//!
//! [`SealedStore`] and [`SealedCustody`] stand between the client and what it was given. Texts of earlier versions, which are
//! readable, are read as they are, and sealed at the next save. What is sealed under another key is refused until it is
//! [sealed anew](Rekey).

mod cipher;
mod custody;
mod data_keys;
mod key_sealer;
mod rekey;
mod store;
mod text;

use std::fmt;
use std::sync::Arc;

pub(crate) use self::custody::SealedCustody;
use self::data_keys::DataKeys;
pub use self::key_sealer::{ApiKeySealer, KeySealer};
pub(crate) use self::rekey::Rekey;
pub use self::rekey::Rekeyed;
pub(crate) use self::store::SealedStore;
use self::text::{Place, SealedText};
use crate::error::Error;
use crate::session::context::Identity;
use crate::types::Secret;

/// No name of a key is longer, in bytes.
const MAX_ID_LEN: usize = 1024;

/// Seals and opens the texts of a client. Clones share it.
#[derive(Clone)]
pub(crate) struct Sealing(Arc<Shared>);

struct Shared {
    sealer_id: String,
    /// Whose texts they are.
    identity: Identity,
    keys: DataKeys,
}

/// What a text says, and how it was kept.
enum Opened {
    Sealed(Secret),
    /// It is of an earlier version.
    Readable(Secret),
}

impl Opened {
    fn text(self) -> Secret {
        match self {
            Self::Sealed(text) | Self::Readable(text) => text,
        }
    }
}

impl Sealing {
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the key has no name, or a long one.
    pub(crate) fn new(sealer: Arc<dyn KeySealer>, identity: Identity) -> Result<Self, Error> {
        let sealer_id = sealer.id();
        if sealer_id.is_empty() || sealer_id.len() > MAX_ID_LEN {
            let (len, rule) = (sealer_id.len(), "give it one of 1 to 1024 bytes");
            return Err(Error::invalid_input("key_sealer", format_args!("its id has {len} bytes: {rule}")));
        }
        Ok(Self(Arc::new(Shared { sealer_id, identity, keys: DataKeys::new(sealer) })))
    }

    async fn seal(&self, place: &Place, text: &Secret) -> Result<Secret, Error> {
        let data_key = self.0.keys.current().await?;
        let sealed = SealedText::new(place, &self.0.identity, &self.0.sealer_id, data_key.sealed());
        sealed.seal(data_key.secret(), text).map_err(|problem| place.refused(problem))
    }

    /// Opens the text of a place. The inner failure is what is wrong with the text, as the end of a sentence about it; the outer one is
    /// that of a key that cannot be asked.
    async fn open(&self, place: &Place, text: Secret) -> Result<Result<Opened, String>, Error> {
        let sealed = match SealedText::read(place, &self.0.identity, &text) {
            Ok(Some(sealed)) => sealed,
            Ok(None) => return Ok(Ok(Opened::Readable(text))),
            Err(problem) => return Ok(Err(problem)),
        };
        if let Err(problem) = sealed.check_sealer(place, &self.0.sealer_id) {
            return Ok(Err(problem));
        }
        let Some(data_key) = self.0.keys.open(sealed.data_key()).await? else {
            return Ok(Err(place.damaged("the data key")));
        };
        let opened = sealed.open(data_key.secret());
        if opened.is_some() {
            self.0.keys.adopt(data_key);
        }
        Ok(opened.map(Opened::Sealed).ok_or_else(|| place.damaged("the seal")))
    }

    /// Opens a text that is to be used.
    async fn opened(&self, place: &Place, text: Secret) -> Result<Secret, Error> {
        let opened = self.open(place, text).await?;
        opened.map(Opened::text).map_err(|problem| place.refused(problem))
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing(..)")
    }
}

#[cfg(test)]
mod tests;
