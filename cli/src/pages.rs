//! Several provisions, read with as few calls as their ids allow.

use std::collections::HashMap;

use bunq_partner::{Cursor, Error, ErrorKind, PageSize, Provision, ProvisionId, Provisions};

/// Reads provisions by pages, each of which begins at the newest one that is still wanted; then, one by one, those that no page has
/// shown. Each page settles at least one, so there are no more pages than provisions.
pub(super) async fn read(
    provisions: &Provisions,
    ids: &[ProvisionId],
) -> Result<HashMap<ProvisionId, Provision>, Error> {
    let mut wanted = ids.to_vec();
    wanted.sort_unstable();
    let mut seen = HashMap::new();
    while let [oldest, .., newest] = wanted[..] {
        let span = newest.get() - oldest.get() + 1;
        let count = PageSize::new(span.min(PageSize::MAX.get()))?;
        let cursor = Cursor::OlderThan(i64::try_from(newest.get() + 1).unwrap_or(i64::MAX));
        let page = match provisions.list().count(count).page_at(cursor).await {
            // bunq does not say whether a page may begin at an id that no provision has.
            Err(error) if matches!(error.kind(), ErrorKind::Rejected | ErrorKind::NotFound) => break,
            page => page?,
        };
        let end = page.items.iter().map(|seen| seen.id).min().filter(|_| page.older.is_some());
        wanted.retain(|id| *id != newest && end.is_some_and(|end| *id < end));
        seen.extend(page.items.into_iter().map(|seen| (seen.id, seen)));
    }
    for id in ids {
        if seen.contains_key(id) {
            continue;
        }
        match provisions.get(*id).await {
            Ok(found) => _ = seen.insert(*id, found),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(seen)
}
