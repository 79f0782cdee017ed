//! What became of closings whose outcome an earlier run does not tell: looked for by pages of the listing.

use std::collections::{HashMap, HashSet};

use crate::error::Error;
use crate::provisions::Provisions;
use crate::types::{Cursor, PageSize, ProvisionId, ProvisionStatus};

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
