//! What became of requests whose outcome an earlier run does not tell: looked for by pages of the listing.

use std::collections::HashMap;

use futures_util::stream::TryStreamExt as _;
use uuid::Uuid;

use crate::error::Error;
use crate::provisions::{Provisions, is_over};
use crate::types::{Cursor, PageSize, Provision, ProvisionId, ProvisionStatus};

/// The statuses of the provisions with these ids, of those that there are.
///
/// A page costs what a read costs, and has up to 200 provisions. As the newest that is wanted is on the page anyway, no more
/// pages are needed than reads.
pub(super) async fn statuses(
    provisions: &Provisions,
    mut ids: Vec<ProvisionId>,
) -> Result<HashMap<ProvisionId, ProvisionStatus>, Error> {
    ids.sort_unstable();
    let mut found = HashMap::new();
    while let Some(newest) = ids.pop() {
        let oldest = ids.first().map_or(newest, |oldest| *oldest);
        let count = PageSize::new((newest.get() - oldest.get() + 1).min(PageSize::MAX.get()))?;
        let from = Cursor::OlderThan(newest.as_i64().saturating_add(1));
        let page = provisions.list().count(count).page_at(from).await?;
        // Those between the newest and the last of the page are on it, or nowhere.
        match page.items.iter().map(|seen| seen.id).min() {
            Some(reached) => ids.retain(|id| *id < reached),
            None => ids.clear(),
        }
        found.extend(page.items.into_iter().map(|seen| (seen.id, seen.status)));
    }
    Ok(found)
}

/// The provisions that were created since an operation began, by the keys of their users.
#[derive(Debug, Default)]
pub(super) struct CreatedSince(HashMap<Uuid, Vec<(ProvisionId, bool)>>);

impl CreatedSince {
    /// Lists what is newer than this provision, or everything.
    pub(super) async fn list(provisions: &Provisions, newest_before: Option<ProvisionId>) -> Result<Self, Error> {
        let mut listing = provisions.list().count(PageSize::MAX);
        if let Some(newest_before) = newest_before {
            listing = listing.start_at(Cursor::newer_than(newest_before));
        }
        let mut pages = std::pin::pin!(listing.pages());
        let mut created = Self::default();
        while let Some(page) = pages.try_next().await? {
            page.items.iter().for_each(|seen| created.add(seen));
        }
        Ok(created)
    }

    fn add(&mut self, seen: &Provision) {
        let Some(external_uuid) = seen.external_uuid else { return };
        let of_user = self.0.entry(external_uuid).or_default();
        // Pages overlap when a provision is created between them.
        if !of_user.iter().any(|(id, _)| *id == seen.id) {
            of_user.push((seen.id, is_over(seen)));
        }
    }

    /// What was created for a user.
    pub(super) fn of(&self, external_uuid: Uuid) -> Created {
        let of_user = self.0.get(&external_uuid).map(Vec::as_slice).unwrap_or_default();
        let mut left = of_user.iter().filter(|(_, is_over)| !is_over).map(|(id, _)| *id);
        match (left.next(), left.next()) {
            (Some(_), Some(_)) => Created::Several,
            (Some(id), None) => Created::One(id),
            (None, _) => of_user.iter().map(|(id, _)| *id).max().map_or(Created::None, Created::One),
        }
    }
}

/// What was created for a user since an operation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Created {
    None,
    /// This provision, or this one last.
    One(ProvisionId),
    /// More than one that is neither closing, closed nor failed.
    Several,
}
