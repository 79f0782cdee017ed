//! The state of a sandbox as text, from which another one goes on: the whole, and after it what has changed since then.

use bunq_partner::types::Secret;
use bunq_partner::wire::SigningKey;
use bunq_partner::wire::exposed;
use serde::{Deserialize, Serialize};

use crate::access_control::AccessControl;
use crate::bank::Bank;
use crate::clock::{Numbers, SavedClock};
use crate::objects::{SavedTables, Tables};
use crate::resources::provisions::provision::StoredProvision;

/// The format that this version writes, and the only one that it reads.
const FORMAT: u64 = 2;

/// The state that survives a restart; borrowed when it is written.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedState<N = Numbers, A = AccessControl, P = Vec<StoredProvision>, O = Tables> {
    format: u64,
    #[serde(serialize_with = "exposed")]
    pub(crate) api_key: Secret,
    #[serde(serialize_with = "exposed")]
    signing_key: Secret,
    partner: u64,
    clock: SavedClock,
    numbers: N,
    access: A,
    provisions: P,
    objects: O,
}

/// What has changed: objects are whole, and take the place of those before.
#[derive(Serialize, Deserialize)]
struct Changes<N = Numbers, A = AccessControl, P = Vec<StoredProvision>> {
    clock: SavedClock,
    numbers: N,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<A>,
    provisions: P,
    #[serde(default, skip_serializing_if = "SavedTables::is_empty")]
    objects: SavedTables,
}

/// What has changed since this was called before; `None`: nothing. The key of the bank is not in it.
pub(crate) fn take_changes(bank: &mut Bank) -> Result<Option<Secret>, String> {
    let (is_access_changed, is_clock_changed) = (bank.access.take_changed(), bank.clock.take_changed());
    let changed =
        bank.provisions.by_id.iter_mut().filter_map(|provision| provision.take_changed().then_some(&*provision));
    let provisions: Vec<_> = changed.collect();
    let objects = bank.objects.take_changes();
    if provisions.is_empty() && objects.is_empty() && !is_access_changed && !is_clock_changed {
        return Ok(None);
    }
    let access = is_access_changed.then_some(&bank.access);
    let changes = Changes { clock: bank.clock.save(), numbers: &bank.numbers, access, provisions, objects };
    text(&changes).map(Some)
}

/// State as text, on one line.
fn text(state: &impl Serialize) -> Result<Secret, String> {
    serde_json::to_string(state).map(Secret::new).map_err(|error| error.to_string())
}

impl SavedState {
    pub(crate) fn encode(bank: &Bank, signing_key: &SigningKey) -> Result<Secret, String> {
        let state = SavedState {
            format: FORMAT,
            api_key: bank.settings.api_key.clone(),
            signing_key: signing_key.to_pkcs8().map_err(|error| error.to_string())?,
            partner: bank.partner,
            clock: bank.clock.save(),
            numbers: &bank.numbers,
            access: &bank.access,
            provisions: &bank.provisions.by_id,
            objects: bank.objects.whole(),
        };
        text(&state)
    }

    pub(crate) fn decode(text: &Secret) -> Result<Self, String> {
        // The message of serde_json may quote a secret, so only the position is shown.
        let damaged = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            format!("the saved state is damaged (line {line}, column {column}): remove it to begin anew")
        };
        let mut values = serde_json::Deserializer::from_str(text.expose());
        let mut state = Self::deserialize(&mut values).map_err(damaged)?;
        if state.format != FORMAT {
            let format = state.format;
            return Err(format!(
                "the saved state has format {format}, but this version reads {FORMAT}: remove it to begin anew"
            ));
        }
        while values.end().is_err() {
            state.apply(Changes::deserialize(&mut values).map_err(damaged)?);
        }
        Ok(state)
    }

    fn apply(&mut self, changes: Changes) {
        (self.clock, self.numbers) = (changes.clock, changes.numbers);
        if let Some(access) = changes.access {
            self.access = access;
        }
        for provision in changes.provisions {
            match self.provisions.binary_search_by_key(&provision.id, |other| other.id) {
                Ok(position) => self.provisions[position] = provision,
                Err(position) => self.provisions.insert(position, provision),
            }
        }
        self.objects.apply(changes.objects);
    }

    pub(crate) fn signing_key(&self) -> Result<SigningKey, String> {
        SigningKey::from_pkcs8(&self.signing_key)
            .map_err(|error| format!("the saved state is damaged ({error}): remove it to begin anew"))
    }

    /// Replaces the state of the bank.
    pub(crate) fn restore(self, bank: &mut Bank) {
        bank.partner = self.partner;
        bank.clock.restore(&self.clock);
        bank.numbers = self.numbers;
        bank.access.restore(self.access);
        bank.provisions.restore(self.provisions);
        bank.objects = self.objects;
    }
}
