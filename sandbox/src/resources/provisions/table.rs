//! All provisions of the bank.

use std::collections::BTreeSet;
use std::sync::Arc;

use bunq_partner::types::{Cursor, Secret};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use crate::clock::Numbers;
use crate::resources::paging::Around;
use crate::resources::provisions::creation::{Creation, UserProfile};
use crate::resources::provisions::life_cycle::LifeCycleEvent;
use crate::resources::provisions::listing::Listing;
use crate::resources::provisions::provision::{StoredProvision, Terms};
use crate::wire::response::Refusal;

/// The provisions by their ids, which grow with time: the last is the newest. None is ever removed.
#[derive(Debug)]
pub(crate) struct ProvisionTable {
    terms: Terms,
    /// The status of the refusal of an `external_uuid` that was used before; `None`: it makes a second provision.
    duplicate: Option<u16>,
    pub(crate) by_id: Vec<StoredProvision>,
    /// Those that may have moved since somebody asked.
    touched: Vec<u64>,
    /// When those in motion take their next steps by themselves, or earlier.
    steps: BTreeSet<(Timestamp, u64)>,
}

impl ProvisionTable {
    pub(crate) fn new(terms: Terms, duplicate: Option<u16>) -> Self {
        Self { terms, duplicate, by_id: Vec::new(), touched: Vec::new(), steps: BTreeSet::new() }
    }

    /// Creates a provision and returns it.
    ///
    /// An `external_uuid` that was used before is refused, unless that is switched off. bunq says that it serves "for
    /// deduplication", not how it responds to a duplicate: this is how the sandbox reads it.
    pub(crate) fn create(
        &mut self,
        creation: Creation,
        now: Timestamp,
        numbers: &mut Numbers,
    ) -> Result<&StoredProvision, Refusal> {
        let uuid = creation.external_uuid;
        if let Some(status) = self.duplicate
            && self.by_id.iter().any(|provision| provision.external_uuid == uuid)
        {
            return Err(Refusal::new(status, format!("A provision with the external_uuid {uuid} already exists.")));
        }
        if let Some(director) = creation.director.filter(|director| self.position(*director).is_err()) {
            return Err(Creation::unknown_director(director));
        }
        let (position, id) = (self.by_id.len(), numbers.next());
        self.by_id.push(StoredProvision::new(id, uuid, Arc::new(creation.profile), now));
        self.touched.push(id);
        Ok(&self.by_id[position])
    }

    /// Creates active provisions, and returns their ids.
    pub(crate) fn populate(&mut self, count: usize, now: Timestamp, numbers: &mut Numbers) -> Vec<u64> {
        let (profile, terms) = (Arc::new(UserProfile::example()), self.terms);
        let made = std::iter::repeat_with(|| {
            let mut provision = StoredProvision::new(numbers.next(), Uuid::new_v4(), Arc::clone(&profile), now);
            while provision.on(LifeCycleEvent::Progress, terms, now, numbers) {}
            provision.take_moved();
            provision
        });
        let before = self.by_id.len();
        self.by_id.extend(made.take(count));
        self.by_id[before..].iter().map(|provision| provision.id).collect()
    }

    /// How the bank processes them.
    pub(crate) fn terms(&self) -> Terms {
        self.terms
    }

    /// Adds a provision that was made elsewhere, and returns it.
    pub(crate) fn add(&mut self, provision: StoredProvision) -> Result<&mut StoredProvision, String> {
        let uuid = provision.external_uuid;
        if self.duplicate.is_some() && self.by_id.iter().any(|other| other.external_uuid == uuid) {
            return Err(format!("the external_uuid {uuid} is there twice"));
        }
        let position = self.by_id.len();
        self.touched.push(provision.id);
        self.by_id.push(provision);
        Ok(&mut self.by_id[position])
    }

    /// The provision, after the steps that are due by now.
    pub(crate) fn get(&mut self, id: u64, now: Timestamp, numbers: &mut Numbers) -> Option<&mut StoredProvision> {
        let position = self.position(id).ok()?;
        let provision = self.by_id.get_mut(position)?;
        provision.catch_up(self.terms, now, numbers);
        Some(provision)
    }

    /// The provision as a client reads it, in its envelope.
    pub(crate) fn read(&mut self, id: u64, now: Timestamp, numbers: &mut Numbers) -> Option<Value> {
        let terms = self.terms;
        self.touched.push(id);
        let provision = self.get(id, now, numbers)?;
        provision.before_read(terms, now, numbers);
        Some(item(provision.read(now)))
    }

    /// A page of provisions as a client reads it, and the links around it.
    ///
    /// Without a filter it visits little more than the provisions of the page.
    pub(crate) fn list(
        &mut self,
        listing: &Listing,
        now: Timestamp,
        numbers: &mut Numbers,
    ) -> Result<(Vec<Value>, Value), Refusal> {
        let terms = self.terms;
        let mut page = Vec::new();
        let mut turn = |provision: &mut StoredProvision| {
            // Being read may move a provision on, and then out of what was asked for.
            if listing.admits(provision, terms, now, numbers) {
                provision.before_read(terms, now, numbers);
                if listing.admits(provision, terms, now, numbers) {
                    page.push((provision.id, item(provision.read(now))));
                }
            }
            page.len() == listing.count()
        };
        match listing.cursor() {
            None => self.by_id.iter_mut().rev().any(&mut turn),
            Some(Cursor::OlderThan(id)) => self.older(id.cast_unsigned()).iter_mut().rev().any(&mut turn),
            Some(Cursor::NewerThan(id)) => {
                let is_full = self.newer(id.cast_unsigned()).iter_mut().any(&mut turn);
                page.reverse();
                is_full
            }
            Some(other) => return Err(Refusal::not_implemented(format_args!("the cursor {other}"))),
        };

        let links = match (page.first(), page.last()) {
            (Some(&(newest, _)), Some(&(oldest, _))) => {
                let mut admitted = |provision: &mut StoredProvision| listing.admits(provision, terms, now, numbers);
                let has_newer = self.newer(newest).iter_mut().any(&mut admitted);
                let has_older = self.older(oldest).iter_mut().rev().any(&mut admitted);
                listing.pagination(Some(Around { newest, oldest, has_newer, has_older }))
            }
            _ => listing.pagination(None),
        };
        self.touched.extend(page.iter().map(|(id, _)| *id));
        Ok((page.into_iter().map(|(_, item)| item).collect(), links))
    }

    /// Carries out a request of the partner about a provision; `None`: there is none with this id.
    pub(crate) fn wish(
        &mut self,
        id: u64,
        event: LifeCycleEvent,
        now: Timestamp,
        numbers: &mut Numbers,
    ) -> Option<Result<(), Refusal>> {
        let terms = self.terms;
        self.touched.push(id);
        self.get(id, now, numbers).map(|provision| provision.wish(event, terms, now, numbers))
    }

    /// Applies an event to a provision for a test; returns whether it was possible.
    pub(crate) fn on(&mut self, id: u64, event: LifeCycleEvent, now: Timestamp, numbers: &mut Numbers) -> bool {
        let terms = self.terms;
        self.touched.push(id);
        self.get(id, now, numbers).is_some_and(|provision| provision.on(event, terms, now, numbers))
    }

    /// The provision with this token in its current credential.
    pub(crate) fn holder(
        &mut self,
        token: &Secret,
        now: Timestamp,
        numbers: &mut Numbers,
    ) -> Option<&mut StoredProvision> {
        let terms = self.terms;
        self.by_id.iter_mut().find_map(|provision| {
            provision.catch_up(terms, now, numbers);
            let is_holder = provision.credential_in_force().is_some_and(|credential| credential.token == *token);
            is_holder.then_some(provision)
        })
    }

    /// Replaces all provisions by these, in the order of their ids.
    pub(crate) fn restore(&mut self, provisions: Vec<StoredProvision>) {
        self.touched = provisions.iter().map(|provision| provision.id).collect();
        self.by_id = provisions;
    }

    /// The provisions that have taken steps since this was called before, each once, after the steps that are due by now.
    ///
    /// It visits those that something has happened to, and no others.
    pub(crate) fn take_moved(&mut self, now: Timestamp, numbers: &mut Numbers) -> Vec<u64> {
        let mut ids: BTreeSet<_> = std::mem::take(&mut self.touched).into_iter().collect();
        while let Some((_, id)) = self.steps.first().filter(|(due, _)| *due <= now).copied() {
            self.steps.pop_first();
            ids.insert(id);
        }
        let terms = self.terms;
        ids.retain(|id| {
            let Ok(position) = self.position(*id) else { return false };
            let provision = &mut self.by_id[position];
            provision.catch_up(terms, now, numbers);
            self.steps.extend(provision.next_step(terms).map(|due| (due, *id)));
            provision.take_moved()
        });
        ids.into_iter().collect()
    }

    /// When one takes its next step by itself, or earlier.
    pub(crate) fn next_step(&self) -> Option<Timestamp> {
        self.steps.first().map(|(due, _)| *due)
    }

    /// Whether there is a user with this `UserApiKey.id`.
    pub(crate) fn has_user(&self, id: u64) -> bool {
        self.by_id.iter().any(|provision| provision.is_user(id))
    }

    /// The provision of the user with this `UserApiKey.id`.
    pub(crate) fn of_user(&mut self, id: u64) -> Option<&mut StoredProvision> {
        self.by_id.iter_mut().find(|provision| provision.is_user(id))
    }

    /// The index of the provision, or the one at which it would be inserted.
    fn position(&self, id: u64) -> Result<usize, usize> {
        self.by_id.binary_search_by_key(&id, |provision| provision.id)
    }

    fn older(&mut self, id: u64) -> &mut [StoredProvision] {
        let end = self.by_id.partition_point(|provision| provision.id < id);
        &mut self.by_id[..end]
    }

    fn newer(&mut self, id: u64) -> &mut [StoredProvision] {
        let start = self.by_id.partition_point(|provision| provision.id <= id);
        &mut self.by_id[start..]
    }
}

/// A provision in its envelope.
pub(crate) fn item(provision: Value) -> Value {
    // json! would copy it.
    Value::from_iter([("PartnerUserProvision", provision)])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::clock::after;
    use crate::settings::Pace;

    struct Bench {
        provisions: ProvisionTable,
        numbers: Numbers,
        now: Timestamp,
    }

    impl Bench {
        fn new(pace: Pace) -> Self {
            let terms = Terms { pace, credential_lifetime: Duration::from_secs(3600) };
            Self { provisions: ProvisionTable::new(terms, Some(400)), numbers: Numbers::new(), now: Timestamp::now() }
        }

        fn create(&mut self) -> u64 {
            let body = json!({
                "external_uuid": uuid::Uuid::new_v4(),
                "pointer": { "type": "EMAIL", "value": "ada@example.com", "name": "Ada" },
                "products": ["USER_VERIFIED"],
            });
            let creation = Creation::from_body(body.to_string().as_bytes()).unwrap();
            self.provisions.create(creation, self.now, &mut self.numbers).unwrap().id
        }

        fn read(&mut self, id: u64) -> Value {
            self.provisions.read(id, self.now, &mut self.numbers).unwrap()["PartnerUserProvision"].clone()
        }

        fn sub_status(&mut self, id: u64) -> String {
            self.read(id)["sub_status"].as_str().unwrap().to_owned()
        }

        fn on(&mut self, id: u64, event: LifeCycleEvent) -> bool {
            self.provisions.on(id, event, self.now, &mut self.numbers)
        }

        fn list(&mut self, query: &str) -> (Vec<u64>, Value) {
            let listing = Listing::from_query(Some(query)).unwrap();
            let (items, links) = self.provisions.list(&listing, self.now, &mut self.numbers).unwrap();
            (items.iter().map(|item| item["PartnerUserProvision"]["id"].as_u64().unwrap()).collect(), links)
        }
    }

    #[test]
    fn members_appear_when_bunq_has_made_them() {
        test_timeout::start();
        let mut bench = Bench::new(Pace::EachRead);
        let id = bench.create();
        assert!(bench.read(id)["label_user"].is_null());
        let related = bench.read(id);
        assert!(related["label_user"].is_object() && related["credential"].is_null());
        bench.read(id);
        let ready = bench.read(id);
        assert_eq!(ready["credential"]["status"], "PENDING_FIRST_USE");
        assert!(ready["credential"]["token_value"].is_string() && ready["oauth_request"]["id"].is_number());
        let active = bench.read(id);
        assert_eq!(active["credential"], ready["credential"]);
        assert_eq!(active["label_user"], related["label_user"], "what bunq makes up stays the same");
        let other = bench.provisions.populate(1, bench.now, &mut bench.numbers)[0];
        assert_ne!(active["label_user"]["uuid"], bench.read(other)["label_user"]["uuid"]);
        assert!(bench.on(id, LifeCycleEvent::Close));
        let closed = (0..2).map(|_| bench.read(id)).last().unwrap();
        assert_eq!((closed["status"].as_str(), closed["sub_status"].as_str()), (Some("CLOSED"), Some("NONE")));
        let members = ["credential", "label_user", "oauth_request"];
        assert_eq!(members.map(|name| closed[name].is_object()), [false, true, true]);
    }

    #[test]
    fn a_reset_shows_the_old_credential_until_it_ends() {
        test_timeout::start();
        let mut bench = Bench::new(Pace::EachRead);
        let id = bench.create();
        assert!(!bench.on(id, LifeCycleEvent::Reset), "there is nothing to reset yet");
        let ready = (0..5).map(|_| bench.read(id)).last().unwrap();
        assert!(bench.on(id, LifeCycleEvent::Reset));
        let resetting = bench.read(id);
        assert_eq!(resetting["status"], "TOKEN_RESET_REQUESTED");
        assert_eq!(resetting["credential"], ready["credential"]);
        let reset = bench.read(id);
        assert_eq!(reset["status"], "ACTIVE");
        assert_ne!(reset["credential"]["id"], ready["credential"]["id"]);
        assert_ne!(reset["credential"]["token_value"], ready["credential"]["token_value"]);
    }

    #[test]
    fn a_credential_expires_after_an_hour() {
        test_timeout::start();
        let mut bench = Bench::new(Pace::EachRead);
        let id = bench.create();
        (0..5).for_each(|_| drop(bench.read(id)));
        bench.now = after(bench.now, Duration::from_secs(3599));
        assert_eq!(bench.read(id)["credential"]["status"], "PENDING_FIRST_USE");
        bench.now = after(bench.now, Duration::from_secs(1));
        assert_eq!(bench.read(id)["credential"]["status"], "EXPIRED");
    }

    #[test]
    fn manual_progress_waits_for_advance() {
        test_timeout::start();
        let mut bench = Bench::new(Pace::Manual);
        let id = bench.create();
        (0..3).for_each(|_| assert_eq!(bench.sub_status(id), "PENDING_PROCESS_USER"));
        assert!(bench.on(id, LifeCycleEvent::Progress));
        assert_eq!(bench.sub_status(id), "PENDING_PROCESS_RELATION_USER");
        assert!(!bench.on(id + 1, LifeCycleEvent::Progress));
    }

    #[test]
    fn time_moves_on_by_whole_steps() {
        test_timeout::start();
        let mut bench = Bench::new(Pace::Every(Duration::from_secs(10)));
        let id = bench.create();
        bench.now = after(bench.now, Duration::from_secs(9));
        assert_eq!(bench.sub_status(id), "PENDING_PROCESS_USER");
        bench.now = after(bench.now, Duration::from_secs(12));
        assert_eq!(bench.sub_status(id), "PENDING_PROCESS_OAUTH_REQUEST");
        bench.now = after(bench.now, Duration::from_secs(1000));
        assert_eq!(bench.read(id)["status"], "ACTIVE");
        let mut hasty = Bench::new(Pace::Every(Duration::ZERO));
        let id = hasty.create();
        assert_eq!(hasty.read(id)["status"], "ACTIVE");
        let mut slow = Bench::new(Pace::Every(Duration::MAX));
        let id = slow.create();
        assert_eq!(slow.read(id)["status"], "CREATED");
    }

    #[test]
    fn pages_go_both_ways_newest_first() {
        test_timeout::start();
        let mut bench = Bench::new(Pace::Manual);
        let ids: Vec<_> = (0..5).map(|_| bench.create()).collect();
        let (page, links) = bench.list("count=2");
        assert_eq!(page, [ids[4], ids[3]]);
        assert!(links["newer_url"].is_null() && links["older_url"].is_string() && links["future_url"].is_string());
        let (page, links) = bench.list(&format!("count=2&older_id={}", ids[1]));
        assert_eq!(page, [ids[0]]);
        assert!(links["newer_url"].is_string() && links["older_url"].is_null());
        let (page, links) = bench.list(&format!("count=2&newer_id={}", ids[0]));
        assert_eq!(page, [ids[2], ids[1]]);
        assert!(links["newer_url"].is_string() && links["older_url"].is_string());
        let (page, links) = bench.list(&format!("newer_id={}", ids[4]));
        assert!(page.is_empty() && links["future_url"].is_null());
    }

    #[test]
    fn a_filtered_page_matches_its_filter_even_where_reading_moves_provisions() {
        test_timeout::start();
        let mut bench = Bench::new(Pace::EachRead);
        let ids: Vec<_> = (0..2).map(|_| bench.create()).collect();
        assert!(bench.on(ids[0], LifeCycleEvent::Close));
        for _ in 0..4 {
            assert_eq!(bench.list("status=CREATED").0, [ids[1]]);
        }
        assert!(bench.list("status=CREATED").0.is_empty());
        assert_eq!(bench.list("status=CANCELLED").0, [ids[0]]);
        assert!(bench.list("status=CANCELLED").0.is_empty());
        assert_eq!(bench.list("").0, [ids[1], ids[0]]);
        assert_eq!(bench.read(ids[0])["status"], "CLOSED");
    }

    #[test]
    fn a_kept_provision_is_small() {
        test_timeout::start();
        assert!(size_of::<StoredProvision>() < 300, "{}", size_of::<StoredProvision>());
    }

    #[test]
    fn a_director_must_exist() {
        test_timeout::start();
        let mut bench = Bench::new(Pace::Manual);
        let mut body = json!({
            "external_uuid": "550e8400-e29b-41d4-a716-446655440000",
            "user_verified_type": "PARTNER_USER_COMPANY",
            "email": "office@example.com",
            "phone_number": "+31612345678",
            "products": ["COMPANY_VERIFIED"],
            "director_relation_provision_id": 7,
        });
        let create = |body: &Value, bench: &mut Bench| {
            let creation = Creation::from_body(body.to_string().as_bytes()).unwrap();
            bench.provisions.create(creation, bench.now, &mut bench.numbers).map(|made| made.id)
        };
        let refusal = create(&body, &mut bench).unwrap_err();
        assert_eq!(refusal.message, "director_relation_provision_id has the value 7: there is no such provision.");
        body["director_relation_provision_id"] = bench.create().into();
        assert!(create(&body, &mut bench).is_ok());
        assert!(create(&body, &mut bench).unwrap_err().message.ends_with("already exists."));
    }
}
