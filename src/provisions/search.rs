//! Searching for the provisions that were created with one `external_uuid`.

use futures_util::stream::TryStreamExt as _;
use uuid::Uuid;

use super::list::List;
use crate::error::{Error, ErrorKind, Sent};
use crate::feed::Feed;
use crate::types::{PageSize, Provision, ProvisionId};

/// Returns the provision that was created with this key. If there are several, it is the one that is not
/// [over](crate::types::ProvisionStatus::is_over), or else the newest.
///
/// # Errors
///
/// [`Duplicate`](ErrorKind::Duplicate) if several are not over.
pub(super) async fn find(feed: Feed, external_uuid: Uuid) -> Result<Option<Provision>, Error> {
    let found = all(feed, external_uuid).await?;
    let chosen = choose(external_uuid, found.iter().map(|provision| (provision.id, provision.status.is_over())))?;
    Ok(found.into_iter().find(|provision| Some(provision.id) == chosen))
}

/// Of the provisions with one key, with whether each is over, the one that is not, or else the newest.
///
/// # Errors
///
/// [`Duplicate`](ErrorKind::Duplicate) if several are not over.
pub(crate) fn choose(
    external_uuid: Uuid,
    found: impl IntoIterator<Item = (ProvisionId, bool)>,
) -> Result<Option<ProvisionId>, Error> {
    let (over, going): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, is_over)| *is_over);
    match going[..] {
        [] => Ok(over.into_iter().map(|(id, _)| id).max()),
        [(only, _)] => Ok(Some(only)),
        _ => {
            let ids: Vec<_> = going.iter().map(|(id, _)| id.to_string()).collect();
            let problem = format_args!(
                "bunq has several provisions with the external_uuid {external_uuid}: {}; close all but one",
                ids.join(", ")
            );
            Err(Error::new(ErrorKind::Duplicate, Sent::Responded, problem))
        }
    }
}

/// All of them, newest first, each once: pages overlap when a provision is created between them.
pub(super) async fn all(feed: Feed, external_uuid: Uuid) -> Result<Vec<Provision>, Error> {
    let list = List::new(feed).external_uuid(external_uuid).count(PageSize::MAX);
    let mut pages = std::pin::pin!(list.pages());
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
