//! The file of a user's token, which says what the token is of: the bank, the partner's key, the provision and the credential.

use std::io;
use std::path::Path;

use bunq_partner::types::CredentialId;
use bunq_partner::wire::exposed;
use bunq_partner::{ProvisionId, Secret, files};
use serde::{Deserialize, Serialize};

/// The format that this version writes, and the only one that it reads.
const FORMAT: u64 = 1;

/// No such file is larger.
const MAX_LEN: usize = 64 * 1024;

/// What a token is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) base_url: String,
    pub(super) api_key_fingerprint: String,
    pub(super) provision_id: ProvisionId,
    /// A reset makes a credential with another one.
    pub(super) credential_id: Option<CredentialId>,
}

/// A token, and what it is of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokenFile {
    bunq_partner_token: u64,
    #[serde(flatten)]
    pub(super) origin: Origin,
    #[serde(serialize_with = "exposed")]
    pub(super) token: Secret,
}

impl Origin {
    /// What something else is of, if it is not of the same.
    pub(super) fn differs(&self, other: &Self) -> Option<String> {
        if other.base_url != self.base_url {
            Some(format!("it is of the bank at {}", other.base_url))
        } else if other.api_key_fingerprint != self.api_key_fingerprint {
            Some("it is of another API key".into())
        } else if other.provision_id != self.provision_id {
            Some(format!("it is of the provision {}", other.provision_id))
        } else if other.credential_id != self.credential_id {
            Some("it is of a credential that was replaced by another".into())
        } else {
            None
        }
    }
}

impl TokenFile {
    pub(super) fn new(origin: Origin, token: Secret) -> Self {
        Self { bunq_partner_token: FORMAT, origin, token }
    }

    /// Reads the file. `None`: there is none. Problems are texts.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, String> {
        let text = match files::open_kept(path).and_then(|file| files::read_text(file, MAX_LEN)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| error.to_string())?,
        };
        // The message of serde_json may quote the token.
        let file = serde_json::from_str::<Self>(text.expose()).ok().filter(|file| file.bunq_partner_token == FORMAT);
        file.map(Some).ok_or_else(|| "it was not written by this program".into())
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let text = Secret::new(serde_json::to_string(self)? + "\n");
        files::replace_kept(path, text.expose().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            base_url: "https://bank.example/v1".into(),
            api_key_fingerprint: "print".into(),
            provision_id: ProvisionId::try_from(7_u64).unwrap(),
            credential_id: Some(8_u64.try_into().unwrap()),
        }
    }

    #[test]
    fn the_format_is_stable() {
        test_timeout::start();
        let file = TokenFile::new(origin(), "planted".into());
        assert_eq!(
            serde_json::to_string(&file).unwrap(),
            r#"{"bunq_partner_token":1,"base_url":"https://bank.example/v1","api_key_fingerprint":"print","provision_id":7,"credential_id":8,"token":"planted"}"#
        );
        assert!(!format!("{file:?}").contains("planted"));
    }

    #[test]
    fn what_a_token_is_of_is_named() {
        test_timeout::start();
        for (other, expected) in [
            (origin(), None),
            (
                Origin { base_url: "https://other.example/v1".into(), ..origin() },
                Some("it is of the bank at https://other.example/v1"),
            ),
            (Origin { api_key_fingerprint: "other".into(), ..origin() }, Some("it is of another API key")),
            (
                Origin { provision_id: ProvisionId::try_from(9_u64).unwrap(), ..origin() },
                Some("it is of the provision 9"),
            ),
            (Origin { credential_id: None, ..origin() }, Some("it is of a credential that was replaced by another")),
        ] {
            assert_eq!(origin().differs(&other).as_deref(), expected);
        }
    }
}
