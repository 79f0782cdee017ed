//! Which ids no object has, as pages of the listing have shown.
//!
//! Ids grow with time. So there is none between two that a page shows side by side, and there will be none, if the higher one was listed
//! long enough before: bunq may list an object later than one that was made after it. Of what is above the newest, nothing is known.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

/// How much later than another an object may be listed that was made before it.
const LISTED_LATE: Duration = Duration::from_secs(60);

/// For how long gaps are known: bunq may have left something out.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// How many gaps are known at most.
const MAX_GAPS: usize = 100_000;

#[derive(Debug)]
pub(super) struct Gaps<I> {
    /// The highest object below each of these ids, if any: there is none between the two.
    below: BTreeMap<I, Option<I>>,
    /// When the first of them was learned.
    since: Option<Instant>,
    /// Objects are listed up to this id; were, at a time; and were [`LISTED_LATE`] ago.
    newest: Option<I>,
    settling: Option<(I, Instant)>,
    settled: Option<I>,
}

impl<I> Default for Gaps<I> {
    fn default() -> Self {
        Self { below: BTreeMap::new(), since: None, newest: None, settling: None, settled: None }
    }
}

impl<I: Copy + Ord> Gaps<I> {
    /// Learns from a page whose read began at a time. It has all objects up to `to`, or all that are newer, and all older ones if it is the
    /// last page. Its ids have the highest first.
    pub(super) fn learn(&mut self, ids: &[I], to: Option<I>, is_last_page: bool, began: Instant) {
        if self.since.is_some_and(|since| began.saturating_duration_since(since) >= KNOWN_FOR) {
            (self.below, self.since) = (BTreeMap::new(), None);
        }
        if let Some((id, at)) = self.settling
            && began.saturating_duration_since(at) >= LISTED_LATE
        {
            (self.settled, self.settling) = (Some(id), None);
        }
        let (first, last) = (ids.first().copied(), ids.last().copied());
        let Some(top) = to.or(first) else { return };
        if let Some(first) = first {
            // If it does not have all that are newer, there are some above it.
            let newest = self.newest.map_or(top, |newest| newest.max(top));
            self.newest = Some(newest);
            self.settling.get_or_insert((newest, began));
            // What is shown now counts more than what was before.
            if let Some((_, below)) = self.below.range_mut((Bound::Excluded(top), Bound::Unbounded)).next() {
                *below = (*below).max(Some(first));
            }
        }
        let known = self.below.range(last.unwrap_or(top)..=top).map(|(id, _)| *id).collect::<Vec<_>>();
        for id in known {
            self.below.remove(&id);
        }
        let above = to.into_iter().filter(|to| Some(*to) != first).chain(ids.iter().copied());
        let below = ids.iter().copied().skip_while(|id| *id == top).map(Some).chain(is_last_page.then_some(None));
        for (above, below) in above.zip(below) {
            if self.settled.is_some_and(|settled| above <= settled) && self.below.len() < MAX_GAPS {
                self.below.insert(above, below);
                self.since.get_or_insert(began);
            }
        }
    }

    /// Whether an object with this id is newer than all that are known to be listed.
    pub(super) fn is_above(&self, id: I) -> bool {
        self.newest.is_none_or(|newest| id > newest)
    }

    /// Whether no object has this id.
    #[cfg(feature = "webhook")]
    pub(super) fn contain(&self, id: I, now: Instant) -> bool {
        let is_known = self.since.is_some_and(|since| now.saturating_duration_since(since) < KNOWN_FOR);
        let next = self.below.range((Bound::Excluded(id), Bound::Unbounded)).next().filter(|_| is_known);
        next.is_some_and(|(_, below)| below.is_none_or(|below| below < id))
    }
}

#[cfg(all(test, feature = "webhook"))]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_two_that_were_listed_before_is_none() {
        test_timeout::start();
        let (mut gaps, start) = (Gaps::default(), Instant::now());
        let none = |gaps: &Gaps<u64>, now| (0..=60).filter(|id| gaps.contain(*id, now)).collect::<Vec<_>>();
        assert!(gaps.is_above(1));
        gaps.learn(&[50, 45, 44], None, false, start);
        assert_eq!((none(&gaps, start), gaps.is_above(50), gaps.is_above(51)), (vec![], false, true));
        // One that was made before 50 is listed after it.
        let later = start + LISTED_LATE;
        gaps.learn(&[55, 50, 48, 45, 44], None, false, later);
        assert_eq!(none(&gaps, later), [46, 47, 49]);
        gaps.learn(&[44, 41], Some(44), false, later);
        assert_eq!(none(&gaps, later), [42, 43, 46, 47, 49]);
        // Nothing is below this.
        gaps.learn(&[], Some(3), true, later);
        assert_eq!(none(&gaps, later), [0, 1, 2, 42, 43, 46, 47, 49]);
        gaps.learn(&[41, 3], Some(43), true, later);
        assert_eq!(none(&gaps, later).len(), 3 + 37 + 5);
        // What a later page shows counts.
        for (shown, ids) in [(20, &[41, 20, 3][..]), (30, &[30, 20, 3]), (42, &[42, 41, 30, 20, 3])] {
            assert!(gaps.contain(shown, later));
            gaps.learn(ids, Some(ids[0]), true, later);
            assert!(!gaps.contain(shown, later) && gaps.contain(shown - 1, later) == (shown < 42));
        }
        let end = later + KNOWN_FOR;
        assert!(none(&gaps, end).is_empty());
        gaps.learn(&[55, 50], None, false, end);
        assert_eq!(none(&gaps, end), [51, 52, 53, 54]);
    }

    #[test]
    fn something_is_above_a_page_that_is_not_the_first() {
        test_timeout::start();
        let mut gaps = Gaps::default();
        gaps.learn(&[], Some(70), true, Instant::now());
        assert!(gaps.is_above(1));
        gaps.learn(&[50, 40], Some(60), false, Instant::now());
        assert_eq!((gaps.is_above(60), gaps.is_above(61)), (false, true));
        gaps.learn(&[40, 30], Some(40), false, Instant::now());
        assert_eq!((gaps.is_above(60), gaps.is_above(61)), (false, true));
    }

    #[test]
    fn what_is_known_is_bounded() {
        test_timeout::start();
        let (mut gaps, start) = (Gaps::default(), Instant::now());
        let ids: Vec<_> = (0..200_000_u64).rev().map(|number| number * 10).collect();
        gaps.learn(&ids, None, true, start);
        gaps.learn(&ids, None, true, start + LISTED_LATE);
        assert_eq!(gaps.below.len(), MAX_GAPS);
    }
}
