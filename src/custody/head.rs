//! The beginning of a user's file: the entry, in a line of a fixed length, so that listing reads nothing that comes after it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::interface::CustodyEntry;
use crate::types::{ProvisionId, Timestamp, UserId, from_json};

/// The length of the line, with the spaces that fill it and its line break.
pub(super) const HEAD_LEN: usize = 256;

/// The format of the files that this version writes, and the newest that it reads.
const FORMAT: u64 = 1;

/// The part that every format has.
#[derive(Deserialize)]
struct Header {
    bunq_partner_custody: u64,
}

#[derive(Serialize, Deserialize)]
struct Head {
    bunq_partner_custody: u64,
    provision_id: ProvisionId,
    external_uuid: Option<Uuid>,
    expiry: Option<Timestamp>,
    is_activated: bool,
    /// Files of earlier versions have no ids of users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granted_by: Option<UserId>,
}

pub(super) fn encode(entry: &CustodyEntry) -> Result<Vec<u8>, String> {
    let &CustodyEntry { provision_id, external_uuid, user_id, granted_by, expiry, is_activated, .. } = entry;
    let head =
        Head { bunq_partner_custody: FORMAT, provision_id, external_uuid, expiry, is_activated, user_id, granted_by };
    let mut line = serde_json::to_vec(&head).map_err(|error| error.to_string())?;
    line.resize(HEAD_LEN - 1, b' ');
    line.push(b'\n');
    Ok(line)
}

/// Reads the head of the file of the user `id`.
///
/// # Errors
///
/// The problem, without what to do.
pub(super) fn decode(head: &[u8], id: ProvisionId) -> Result<CustodyEntry, String> {
    let damaged = "it is damaged, or no record of a user";
    if head.len() != HEAD_LEN {
        return Err(damaged.into());
    }
    let Header { bunq_partner_custody: format } = from_json(head).map_err(|_| damaged)?;
    if format > FORMAT {
        return Err(format!(
            "it has format {format}, but this version of bunq-partner knows formats up to {FORMAT}: use the version that wrote it"
        ));
    }
    let Head { provision_id, external_uuid, expiry, is_activated, user_id, granted_by, .. } =
        from_json(head).map_err(|_| damaged)?;
    if provision_id != id {
        return Err(format!("it is that of provision {provision_id}, in the wrong place"));
    }
    let entry = CustodyEntry::new(provision_id);
    Ok(CustodyEntry { external_uuid, user_id, granted_by, expiry, is_activated, ..entry })
}
