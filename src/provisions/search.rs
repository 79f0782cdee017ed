//! Searching for the provisions that were created with one `external_uuid`.

use futures_util::stream::TryStreamExt as _;
use uuid::Uuid;

use crate::api::Api;
use crate::error::{Error, ErrorKind, Sent};
use crate::types::{ListProvisionsQuery, PageSize, Provision, ProvisionStatus};

/// Whether a provision is on its way out, or has failed: nobody can act for its user any more.
pub(crate) fn is_over(provision: &Provision) -> bool {
    use ProvisionStatus::{Cancelled, Closed, Failed};
    matches!(provision.status, Cancelled | Closed | Failed)
}

/// Returns the provision that was created with this key. If there are several, it is the one that is not over, or else the
/// newest.
///
/// # Errors
///
/// [`Duplicate`](ErrorKind::Duplicate) if several are not over.
pub(super) async fn find(api: &Api, external_uuid: Uuid) -> Result<Option<Provision>, Error> {
    let found = all(api, external_uuid).await?;
    let left: Vec<_> = found.iter().filter(|provision| !is_over(provision)).map(|provision| provision.id).collect();
    match left[..] {
        [] => Ok(found.into_iter().next()),
        [only] => Ok(found.into_iter().find(|provision| provision.id == only)),
        _ => {
            let ids: Vec<_> = left.iter().map(ToString::to_string).collect();
            let problem = format_args!(
                "bunq has several provisions with the external_uuid {external_uuid}: {}; close all but one",
                ids.join(", ")
            );
            Err(Error::new(ErrorKind::Duplicate, Sent::Responded, problem))
        }
    }
}

/// All of them, newest first, each once: pages overlap when a provision is created between them.
async fn all(api: &Api, external_uuid: Uuid) -> Result<Vec<Provision>, Error> {
    let query = ListProvisionsQuery::default().external_uuid(external_uuid).count(PageSize::MAX);
    let mut pages = std::pin::pin!(api.list_provisions_pages(query));
    let mut found: Vec<Provision> = Vec::new();
    while let Some(page) = pages.try_next().await? {
        let (wanted, others): (Vec<_>, Vec<_>) =
            page.items.into_iter().partition(|provision| provision.external_uuid == Some(external_uuid));
        for provision in wanted {
            if !found.iter().any(|known| known.id == provision.id) {
                found.push(provision);
            }
        }
        if !others.is_empty() && found.is_empty() {
            let problem = "the list was filtered by one external_uuid and has others";
            return Err(Error::new(ErrorKind::InvalidResponse, Sent::Responded, problem));
        }
        // The filter does not hold here: further on there are only others.
        if !others.is_empty() {
            break;
        }
    }
    Ok(found)
}
