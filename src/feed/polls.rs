//! A round of polls.
//!
//! One object is read by its id. Several are searched in pages of the listing, newest first. If all of them fit on one page, it is
//! read with all states that they may have. Otherwise they are searched among those with the states that they are expected to have, then
//! among those with the states that they may have got since. Only what is not found there is read by its id. A page begins at the newest
//! object that is sought, so no page costs more than the read of that one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tracing::Span;

use super::reader::{Reader, Shown, distance, is_about_the_listing};
use super::resource::Resource;
use super::round::{Lane, Round};
use crate::api::Api;
use crate::error::Error;
use crate::transport::runtime::spawn;

/// What rounds of polls know from those before.
#[derive(Debug)]
pub(super) struct Polls {
    /// How far the ids on one page are from each other; not known at first.
    span: AtomicI64,
}

impl Default for Polls {
    fn default() -> Self {
        Self { span: AtomicI64::new(i64::MAX) }
    }
}

impl Polls {
    /// Reads all objects of a round. The next one does not wait for those that are read by their ids.
    pub(super) async fn serve<R: Resource>(&self, reader: &Arc<Reader<R>>, mut round: Round<R>) {
        let api = reader.api.telling(&round.trouble);
        let by_id = match self.search(reader, &mut round, &api).await {
            Ok(by_id) => by_id,
            Err(error) => return round.fail(error),
        };
        drop(spawn(Span::current(), Box::pin(read_each(Arc::clone(reader), round, api, by_id))));
    }

    /// Searches the objects in the listing, and returns those that are to be read by their ids.
    async fn search<R: Resource>(
        &self,
        reader: &Reader<R>,
        round: &mut Round<R>,
        api: &Api,
    ) -> Result<Vec<R::Id>, Error> {
        let expected = std::mem::take(&mut round.expected);
        let mut others = std::mem::take(&mut round.others);
        others.retain(|state| !expected.contains(state));
        let mut sought: Vec<_> = round.sought().keys().copied().collect();
        let mut by_id = Vec::new();
        if let [oldest, .., newest] = sought[..]
            && !others.is_empty()
            && distance(newest, oldest) <= self.span.load(Ordering::Relaxed)
        {
            let all = [&expected[..], &others[..]].concat();
            match reader.page(round, Lane::Polls, api, &all, Some(newest), &sought).await {
                Some(Ok(shown)) => {
                    if let Some(span) = shown.span {
                        self.span.store(span, Ordering::Relaxed);
                    }
                    (by_id, sought) = absent_and_left(round, &shown, sought);
                }
                Some(Err(error)) if !is_about_the_listing::<R>(&error) => return Err(error),
                // If only the listing is refused, the objects are read by their ids.
                Some(Err(_)) | None => return Ok(sought),
            }
        }
        for states in [expected, others] {
            if states.is_empty() {
                continue;
            }
            sought = match search_among(reader, round, api, &states, sought.clone()).await {
                Ok(missing) => missing,
                Err(error) if is_about_the_listing::<R>(&error) => break,
                Err(error) => return Err(error),
            };
        }
        by_id.extend(sought);
        Ok(by_id)
    }
}

/// Searches the listing of those with one of `states`; returns what is not found, or is the only one left. Both are in order.
async fn search_among<R: Resource>(
    reader: &Reader<R>,
    round: &mut Round<R>,
    api: &Api,
    states: &[R::State],
    mut sought: Vec<R::Id>,
) -> Result<Vec<R::Id>, Error> {
    let mut missing = Vec::new();
    while sought.len() > 1 {
        sought.retain(|id| round.is_wanted(*id));
        let Some(&newest) = sought.last() else { break };
        let page = reader.page(round, Lane::Polls, api, states, Some(newest), &sought).await;
        let Some(shown) = page.transpose()? else { break };
        let (absent, left) = absent_and_left(round, &shown, sought);
        missing.extend(absent);
        sought = left;
        if !shown.covers(newest) {
            break;
        }
    }
    missing.extend(sought);
    missing.sort_unstable();
    Ok(missing)
}

/// Of those that a page has not answered, those that it would have shown, and those that it does not reach.
fn absent_and_left<R: Resource>(round: &Round<R>, shown: &Shown<R>, sought: Vec<R::Id>) -> (Vec<R::Id>, Vec<R::Id>) {
    sought.into_iter().filter(|id| round.seeks(*id)).partition(|id| shown.covers(*id))
}

async fn read_each<R: Resource>(reader: Arc<Reader<R>>, mut round: Round<R>, api: Api, ids: Vec<R::Id>) {
    for id in ids {
        if round.is_wanted(id) {
            reader.one(&mut round, Lane::Polls, &api, id).await;
        }
    }
}
