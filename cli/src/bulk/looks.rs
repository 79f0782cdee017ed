//! What bunq has for the rows of a closing that name an `external_uuid`. It is looked up before anything is closed: a row that does not
//! name one provision for certain is refused with all others like it.
//!
//! As long as fewer pages of the listing were read than there are rows, it reads the next one, newest first; only then each row that
//! the pages do not settle. So it makes at most twice the calls of the cheaper way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::pin;

use bunq_partner::text::quoted;
use bunq_partner::{ErrorKind, FileJournal, PageSize, Provision, ProvisionId, Provisions, Uuid};
use futures_util::TryStreamExt as _;

use super::super::exit::Failure;
use super::super::words::numbered;
use super::job::{FoundIds, Job};
use super::mistakes::{MAX_SAID, Mistake, Mistakes};
use super::rows::{Row, Target};

/// Looks up the rows of which the journal has nothing. A row that the journal knows is about the provision that it names.
///
/// In a run that goes on, a provision that was closed meanwhile is that of its row, if no other is left.
pub(super) async fn find(provisions: &Provisions, job: &Job, journal: &FileJournal) -> Result<FoundIds, Failure> {
    let input = &job.input;
    if input.looks == 0 {
        return Ok(FoundIds::new());
    }
    let (mut found, mut wanted, mut lines) = (FoundIds::new(), Vec::new(), HashMap::new());
    for (row, place) in input.rows()?.zip(1..) {
        let last = input.last(journal, place, &row).await?;
        let known = row.id().or(last.as_ref().and_then(|last| last.id));
        lines.extend(known.map(|id| (id, input.line(place))));
        match row {
            _ if last.is_some() => found.extend(known.map(|id| (place, id))),
            Row::Close(target) if target.external_uuid().is_some() => wanted.push((place, target)),
            Row::Close(_) | Row::Create(_) => {}
        }
    }
    let known = look(provisions, wanted.iter().map(|(_, target)| *target).collect()).await;
    let known = known.map_err(|failure| failure.or_hint(Some("nothing was closed for these rows".to_owned())))?;
    let mut mistakes = Mistakes::default();
    for (place, target) in wanted {
        let line = input.line(place);
        match known.judge(target, job.is_resumed) {
            Ok(id) if target.id().is_none() => match lines.insert(id, line) {
                None => _ = found.insert(place, id),
                Some(other) => mistakes.add(&Mistake::new(
                    line,
                    "external_uuid",
                    format!("its provision is {id}, which is in line {other} too"),
                )),
            },
            Ok(_) => {}
            Err((column, reason)) => mistakes.add(&Mistake::new(line, column, reason)),
        }
    }
    mistakes.check(job.name()).map_err(|failure| failure.with_hint(remedy(job)))?;
    Ok(found)
}

/// What to do about rows that are refused.
fn remedy(job: &Job) -> String {
    if !job.is_resumed {
        return "nothing was closed: correct these rows, or take them out".to_owned();
    }
    // The input of a run that has begun cannot be changed.
    let [from, journal] = [&job.input.path, &job.journal].map(|path| quoted(&path.to_string_lossy()));
    format!(
        "nothing more was closed: `bunq-partner report --from {from} --journal {journal} --output csv` writes all rows; give those that \
         are not done to `close --from` as a file of its own, without the ones that are refused"
    )
}

/// What bunq has of the provisions that are looked up.
#[derive(Default)]
struct Known {
    /// The keys of provisions.
    keys: HashMap<ProvisionId, Option<Uuid>>,
    /// The provisions with a key, and whether each is closing, closed or failed.
    with_key: HashMap<Uuid, BTreeMap<ProvisionId, bool>>,
}

impl Known {
    fn add(&mut self, seen: &Provision) {
        self.keys.insert(seen.id, seen.external_uuid);
        if let Some(key) = seen.external_uuid {
            self.with_key.entry(key).or_default().insert(seen.id, seen.status.is_over());
        }
    }

    /// Whether a provision has this key.
    fn has(&self, id: ProvisionId, key: Option<Uuid>) -> bool {
        self.keys.get(&id).is_some_and(|seen| *seen == key)
    }

    /// The provision that a row closes, or the column that does not name one, and why.
    fn judge(&self, target: Target, is_resumed: bool) -> Result<ProvisionId, (&'static str, String)> {
        match target {
            Target::Id(id) => Ok(id),
            Target::Both(id, key) => match self.keys.get(&id) {
                Some(seen) if *seen == Some(key) => Ok(id),
                Some(_) => Err(("external_uuid", format!("at bunq provision {id} has another one, or none"))),
                None => Err(("id", format!("bunq has no provision {id}"))),
            },
            Target::ExternalUuid(key) => {
                let seen = self.with_key.get(&key).into_iter().flatten();
                let (over, going): (Vec<_>, Vec<_>) = seen.partition(|(_, is_over)| **is_over);
                match (&going[..], over.last()) {
                    ([(only, _)], _) => Ok(**only),
                    ([], Some((newest, _))) if is_resumed => Ok(**newest),
                    ([], _) => Err(("external_uuid", "bunq has no provision with it that is not closed".to_owned())),
                    (several, _) => {
                        let ids: Vec<_> = several.iter().map(|(id, _)| id.get()).collect();
                        let ids = numbered("provision", &ids);
                        Err((
                            "external_uuid",
                            format!("at bunq it is that of {ids}, which are not closed: give one id"),
                        ))
                    }
                }
            }
        }
    }
}

/// Looks for provisions: by pages of the listing, and then one by one.
async fn look(provisions: &Provisions, mut wanted: Vec<Target>) -> Result<Known, Failure> {
    let mut known = Known::default();
    let (ids, keys): (HashSet<_>, HashSet<_>) = (
        wanted.iter().filter_map(|target| target.id()).collect(),
        wanted.iter().filter(|target| target.id().is_none()).filter_map(|target| target.external_uuid()).collect(),
    );
    let mut pages = pin!(provisions.list().count(PageSize::MAX).pages());
    let (rows, mut is_whole) = (wanted.len(), false);
    for _ in 0..rows {
        let Some(page) = pages.try_next().await? else { break };
        let is_wanted =
            |seen: &&Provision| ids.contains(&seen.id) || seen.external_uuid.is_some_and(|key| keys.contains(&key));
        page.items.iter().filter(is_wanted).for_each(|seen| known.add(seen));
        is_whole = page.older.is_none();
        wanted.retain(|target| match target.id() {
            // Another provision with the same key may be on an older page.
            None => !is_whole,
            // A page that does not show it, or not its key, says nothing: a read does.
            Some(id) => !known.has(id, target.external_uuid()),
        });
        if is_whole || wanted.is_empty() {
            break;
        }
    }
    let mut refused = 0;
    for target in wanted {
        match target {
            Target::Id(id) | Target::Both(id, _) => {
                match provisions.get(id).await {
                    Ok(seen) => known.add(&seen),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error.into()),
                }
                refused += usize::from(!known.has(id, target.external_uuid()));
                // No more are named, and the pages have all others.
                if is_whole && refused == MAX_SAID {
                    break;
                }
            }
            Target::ExternalUuid(key) => {
                let mut pages = pin!(provisions.list().external_uuid(key).count(PageSize::MAX).pages());
                while let Some(page) = pages.try_next().await? {
                    if page.items.iter().any(|seen| seen.external_uuid != Some(key)) {
                        // It does not tell whether there are more of them.
                        let problem = "the list was filtered by one external_uuid and has others: give ids";
                        return Err(Failure::of_kind(ErrorKind::InvalidResponse, problem.to_owned()));
                    }
                    page.items.iter().for_each(|seen| known.add(seen));
                }
            }
        }
    }
    Ok(known)
}
