//! What became of closings whose outcome an earlier run does not tell: read together, by pages of the listing.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind};
use crate::provisions::Provisions;
use crate::types::{ProvisionId, ProvisionStatus};

/// The statuses of the provisions with these ids, of those that there are.
pub(super) async fn statuses(
    provisions: &Provisions,
    ids: &[ProvisionId],
) -> Result<HashMap<ProvisionId, ProvisionStatus>, Error> {
    let mut found = HashMap::new();
    for (id, read) in provisions.feed().read_all(ids).await {
        match read {
            Ok(seen) => _ = found.insert(id, seen.status.clone()),
            Err(error) if error.kind() == ErrorKind::NotFound && !error.is_retryable() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
