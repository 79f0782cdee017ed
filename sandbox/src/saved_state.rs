//! The state of a sandbox as text, from which another one goes on.

use bunq_partner::types::Secret;
use bunq_partner::wire::SigningKey;
use bunq_partner::wire::exposed;
use serde::{Deserialize, Serialize};

use crate::access_control::AccessControl;
use crate::bank::Bank;
use crate::clock::Numbers;
use crate::resources::provisions::provision::StoredProvision;

/// The format that this version writes, and the only one that it reads.
const FORMAT: u64 = 1;

/// The state that survives a restart; borrowed when it is written.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedState<N = Numbers, A = AccessControl, P = Vec<StoredProvision>> {
    format: u64,
    #[serde(serialize_with = "exposed")]
    pub(crate) api_key: Secret,
    #[serde(serialize_with = "exposed")]
    signing_key: Secret,
    partner: u64,
    numbers: N,
    access: A,
    provisions: P,
}

impl SavedState {
    pub(crate) fn encode(bank: &Bank, signing_key: &SigningKey) -> Result<Secret, String> {
        let state = SavedState {
            format: FORMAT,
            api_key: bank.settings.api_key.clone(),
            signing_key: signing_key.to_pkcs8().map_err(|error| error.to_string())?,
            partner: bank.partner,
            numbers: &bank.numbers,
            access: &bank.access,
            provisions: &bank.provisions.by_id,
        };
        serde_json::to_string(&state).map(Secret::new).map_err(|error| error.to_string())
    }

    pub(crate) fn decode(text: &Secret) -> Result<Self, String> {
        // The message of serde_json may quote a secret, so only the position is shown.
        let state: Self = serde_json::from_str(text.expose()).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("the saved state is damaged (line {line}, column {column}): remove it to begin anew")
        })?;
        if state.format != FORMAT {
            let format = state.format;
            return Err(format!(
                "the saved state has format {format}, but this version reads {FORMAT}: remove it to begin anew"
            ));
        }
        Ok(state)
    }

    pub(crate) fn signing_key(&self) -> Result<SigningKey, String> {
        SigningKey::from_pkcs8(&self.signing_key)
            .map_err(|error| format!("the saved state is damaged ({error}): remove it to begin anew"))
    }

    /// Replaces the state of the bank.
    pub(crate) fn restore(self, bank: &mut Bank) {
        bank.partner = self.partner;
        bank.numbers = self.numbers;
        bank.access.restore(self.access);
        bank.provisions.by_id = self.provisions;
    }
}
