//! What has happened since the last look.

use std::collections::BTreeMap;

use bunq_partner::types::InquiryStatus;
use jiff::Timestamp;

use super::message::Event;
use crate::bank::Bank;
use crate::resources::{inquiries, onboarding};

/// What was seen of the objects of a user, by their ids.
#[derive(Debug, Default)]
struct Seen {
    onboardings: BTreeMap<u64, &'static str>,
    inquiries: BTreeMap<u64, InquiryStatus>,
}

/// What was seen in the last look: of provisions nothing, because their table knows what has moved, and of the users that have filters
/// of their own the states of their objects.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    users: BTreeMap<u64, Seen>,
    /// When something changes next without a call.
    pub(crate) next: Option<Timestamp>,
}

impl Watch {
    /// Looks at everything that somebody has asked to hear of. What was so when it was asked for is no news.
    pub(crate) fn look(&mut self, bank: &mut Bank) -> Vec<Event> {
        let now = bank.clock.now();
        let mut owners = bank.objects.notification_filters.owners();
        let moved = bank.provisions.take_moved(now, &mut bank.numbers);
        let (mut events, mut next) = (Vec::new(), None);
        if owners.remove(&bank.partner) {
            for id in moved {
                let Some(provision) = bank.provisions.get(id, now, &mut bank.numbers) else { continue };
                events.push(Event::of_provision(provision.user(now, &mut bank.numbers).api_key, id));
            }
            next = bank.provisions.next_step();
        }
        self.users.retain(|user, _| owners.contains(user));
        for user in owners {
            inquiries::catch_up_by_time(bank, user, now);
            let (seen, changes) = Seen::now(bank, user, now);
            if let Some(before) = self.users.get(&user) {
                events.extend(seen.events_since(before, user));
            }
            next = next.into_iter().chain(changes).min();
            self.users.insert(user, seen);
        }
        self.next = next;
        events
    }
}

impl Seen {
    /// What is so now, and when it changes next by itself.
    fn now(bank: &Bank, user: u64, now: Timestamp) -> (Self, Option<Timestamp>) {
        let (mut seen, mut changes) = (Self::default(), Vec::new());
        for stored in bank.objects.onboardings.of(user) {
            seen.onboardings.insert(stored.id, onboarding::action_required(bank, &stored.content));
            changes.extend(onboarding::end_of_check(bank, &stored.content));
        }
        for stored in bank.objects.inquiries.of(user) {
            if stored.content.opens <= now {
                seen.inquiries.insert(stored.id, stored.content.status());
            }
            changes.extend(stored.content.changes(bank.settings.pace));
        }
        (seen, changes.into_iter().filter(|change| *change > now).min())
    }

    fn events_since(&self, before: &Self, user: u64) -> Vec<Event> {
        // A new onboarding is told to whoever has made it.
        let has_flipped = |(id, action): &(&u64, &&str)| before.onboardings.get(*id).is_some_and(|old| old != *action);
        let onboardings = self.onboardings.iter().filter(has_flipped).map(|(id, _)| Event::of_onboarding(user, *id));
        let is_news = |(id, status): &(&u64, &InquiryStatus)| before.inquiries.get(*id) != Some(*status);
        let inquiries = self.inquiries.iter().filter(is_news);
        onboardings.chain(inquiries.map(|(id, status)| Event::of_inquiry(user, *id, status))).collect()
    }
}
