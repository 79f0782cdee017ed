//! What became of requests whose outcome an earlier run does not tell: looked for by pages of the listing.

use std::collections::{HashMap, HashSet};

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
    let wanted: HashSet<_> = ids.iter().copied().collect();
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
        let of_these = page.items.into_iter().filter(|seen| wanted.contains(&seen.id));
        found.extend(of_these.map(|seen| (seen.id, seen.status)));
    }
    Ok(found)
}

/// What was created since an operation began.
#[derive(Debug)]
pub(super) struct CreatedSince {
    /// By the keys of the users; and whether it is closing, closed or failed.
    users: HashMap<Uuid, (Created, bool)>,
    /// It is not known when the operation began: everything is here.
    is_everything: bool,
}

impl CreatedSince {
    /// Lists what is newer than this provision, or everything.
    pub(super) async fn list(provisions: &Provisions, newest_before: Option<ProvisionId>) -> Result<Self, Error> {
        let mut listing = provisions.list().count(PageSize::MAX);
        if let Some(newest_before) = newest_before {
            listing = listing.start_at(Cursor::newer_than(newest_before));
        }
        let mut pages = std::pin::pin!(listing.pages());
        let mut created = Self { users: HashMap::new(), is_everything: newest_before.is_none() };
        while let Some(page) = pages.try_next().await? {
            page.items.iter().for_each(|seen| created.add(seen));
        }
        Ok(created)
    }

    fn add(&mut self, seen: &Provision) {
        let Some(external_uuid) = seen.external_uuid else { return };
        let (id, is_over) = (seen.id, is_over(seen));
        let known = self.users.entry(external_uuid).or_insert((Created::One(id), is_over));
        *known = match *known {
            (Created::Several, _) => return,
            // Pages overlap when a provision is created between them.
            (Created::One(other), _) if other == id => return,
            (_, false) if !is_over => (Created::Several, false),
            (_, false) => return,
            (Created::One(other), true) if is_over => (Created::One(other.max(id)), true),
            (_, true) => (Created::One(id), is_over),
        };
    }

    /// What was created for a user.
    pub(super) fn of(&self, external_uuid: Uuid) -> Option<Created> {
        self.users.get(&external_uuid).map(|(created, is_over)| match created {
            Created::One(_) if *is_over && self.is_everything => Created::PerhapsBefore,
            created => *created,
        })
    }
}

/// What was created for a user since an operation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Created {
    /// This provision: the one that is neither closing, closed nor failed, or else the newest.
    One(ProvisionId),
    /// One that is closing, closed or failed, and may be older than the operation.
    PerhapsBefore,
    /// More than one that is neither closing, closed nor failed.
    Several,
}
