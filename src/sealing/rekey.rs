//! Seals anew, under another key, what is kept. Each text is replaced at once, so it may end at any point, and go on when it is run again.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;

use super::key_sealer::fingerprint_in;
use super::text::{Place, SealedText};
use super::{Opened, Sealing};
use crate::custody::{Custody, CustodyFilter, UserRecord};
use crate::error::Error;
use crate::session::context::{ContextStore, Identity, under};
use crate::text::duration;
use crate::transport::runtime;
use crate::types::{ProvisionId, Secret};

/// What came of [sealing anew](crate::ClientBuilder::rekey). A text is the context or the record of a user.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Rekeyed {
    /// How many texts were sealed with the new key.
    pub resealed: u64,
    /// How many were so before.
    pub unchanged: u64,
    /// Of each text that cannot be opened or read, which one it is, why, and what to do. It is left as it is.
    pub refused: Vec<Error>,
}

/// Two keys, and whose texts they seal.
pub(crate) struct Rekey {
    old: Sealing,
    new: Sealing,
    /// The client with the new key.
    identity: Identity,
    /// The client with the old one, if that is an API key.
    before: Option<Identity>,
    /// How long one text may take.
    patience: Duration,
}

/// What came of one text.
enum Outcome {
    Resealed,
    Unchanged,
    /// There is none any more.
    Gone,
    Refused(Error),
}

/// A text, by which key it was sealed.
enum SealedBy {
    New(Secret),
    Old(Secret),
    /// By none: it is of an earlier version.
    Nobody(Secret),
}

impl Rekeyed {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Resealed => self.resealed += 1,
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Gone => {}
            Outcome::Refused(error) => self.refused.push(error),
        }
    }
}

impl Rekey {
    pub(crate) fn new(old: Sealing, new: Sealing, identity: Identity, patience: Duration) -> Self {
        let before = fingerprint_in(&old.0.sealer_id).map(|fingerprint| identity.with_key(fingerprint));
        Self { old, new, identity, before, patience }
    }

    /// # Errors
    ///
    /// Those of the store, the custody and the sealers, other than of a single text that cannot be read.
    pub(crate) async fn run(
        &self,
        store: Option<&dyn ContextStore>,
        custody: Option<&dyn Custody>,
    ) -> Result<Rekeyed, Error> {
        runtime::check()?;
        let mut rekeyed = Rekeyed::default();
        if let Some(custody) = custody {
            // A custody that cannot be used is no reason to refuse each of its users.
            let nobody = ProvisionId::try_from(i64::MAX)?;
            self.in_time(custody.name(), custody.load(nobody)).await?;
        }
        if let Some(store) = store {
            rekeyed.add(self.in_time(store.name(), self.context(store)).await?);
        }
        let Some(custody) = custody else { return Ok(rekeyed) };
        let mut after = None;
        loop {
            let page = self.in_time(custody.name(), custody.list(CustodyFilter::All, after)).await?;
            let Some(last) = page.last() else { return Ok(rekeyed) };
            after = Some(last.provision_id);
            for entry in page {
                let id = entry.provision_id;
                rekeyed.add(self.in_time(custody.name_of(id), self.user(custody, id)).await?);
            }
        }
    }

    async fn context(&self, store: &dyn ContextStore) -> Result<Outcome, Error> {
        let place = Place::of_context(store);
        let lock = store.lock().await?;
        let text = match store.load().await {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Outcome::Gone),
            // It says nothing of the text.
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => return Ok(Outcome::Refused(error)),
        };
        let kept = match self.open(&place, text).await? {
            Ok(kept) => kept,
            Err(problem) => return Ok(Outcome::Refused(place.refused(problem))),
        };
        let is_new = matches!(kept, SealedBy::New(_));
        let (text, rekeyed) = match kept {
            SealedBy::New(text) | SealedBy::Old(text) => (text.clone(), under(&text, &self.identity, None)),
            SealedBy::Nobody(text) => {
                let before = self.before.as_ref().unwrap_or(&self.identity);
                (text.clone(), under(&text, &self.identity, Some(before)))
            }
        };
        let rekeyed = match rekeyed {
            Ok(rekeyed) if is_new && rekeyed == text => return Ok(Outcome::Unchanged),
            Ok(rekeyed) => rekeyed,
            Err(problem) => return Ok(Outcome::Refused(Error::context(format_args!("{}: {problem}", store.name())))),
        };
        let sealed = self.new.seal(&place, &rekeyed).await?;
        store.save(&lock, sealed).await?;
        Ok(Outcome::Resealed)
    }

    async fn user(&self, custody: &dyn Custody, id: ProvisionId) -> Result<Outcome, Error> {
        let place = Place::of_user(id, custody);
        let refused = |problem: String| Ok(Outcome::Refused(place.refused(problem)));
        let lock = custody.lock(id).await?;
        let text = match custody.load(id).await {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Outcome::Gone),
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => return Ok(Outcome::Refused(error)),
        };
        let kept = match self.open(&place, text).await? {
            Ok(kept) => kept,
            Err(problem) => return refused(problem),
        };
        let is_new = matches!(kept, SealedBy::New(_));
        let record = match kept {
            SealedBy::New(text) | SealedBy::Old(text) => UserRecord::decode(&text, &self.identity, id),
            SealedBy::Nobody(text) => {
                let ours = UserRecord::decode(&text, &self.identity, id);
                ours.or_else(|problem| match &self.before {
                    Some(before) => UserRecord::decode(&text, before, id),
                    None => Err(problem),
                })
            }
        };
        let record = match record {
            Ok(_) if is_new => return Ok(Outcome::Unchanged),
            Ok(record) => record,
            Err(problem) => return refused(problem),
        };
        let text = match record.encode(&self.identity, id) {
            Ok(text) => text,
            Err(problem) => return refused(problem),
        };
        let sealed = self.new.seal(&place, &text).await?;
        custody.save(&lock, record.entry(id), sealed).await?;
        Ok(Outcome::Resealed)
    }

    /// Opens a text with the key that has sealed it. The inner failure is what is wrong with the text.
    async fn open(&self, place: &Place, text: Secret) -> Result<Result<SealedBy, String>, Error> {
        let is_new = matches!(SealedText::read(place, &self.identity, &text), Ok(Some(sealed)) if sealed.sealer() == self.new.0.sealer_id);
        let sealing = if is_new { &self.new } else { &self.old };
        Ok(sealing.open(place, text).await?.map(|opened| match opened {
            Opened::Sealed(text) if is_new => SealedBy::New(text),
            Opened::Sealed(text) => SealedBy::Old(text),
            Opened::Readable(text) => SealedBy::Nobody(text),
        }))
    }

    /// Does what is to be done with one text, or one step of a custody.
    async fn in_time<T>(
        &self,
        name: impl fmt::Display,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let within = self.patience;
        let late = |_| {
            let problem = format_args!("{name} was not ready within {}: try again, and it goes on", duration(within));
            Err(Error::context(problem))
        };
        timeout(within, work).await.unwrap_or_else(late)
    }
}
