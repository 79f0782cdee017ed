//! Looks by itself for what no call has told: deliveries that have failed, and objects under way.
//!
//! bunq has no list of changes. So what is under way is listed, and held against what was handed on and what the last look has shown;
//! what was under way and is not any more is read.

use std::collections::HashMap;
use std::pin::pin;

use futures_util::stream::TryStreamExt as _;

use super::intake::Intake;
use super::object::{Ask, CallId, Key};
use super::reads::Reads;
use super::shared::Shared;
use super::version::Version;
use crate::error::Error;
use crate::notifications::Notifications;
use crate::sync::lock;
use crate::types::{
    NotificationCategory, NotificationFilterFailure, NotificationFilterFailureId, PageSize, Phase, ProvisionId,
    ProvisionStatus, Timestamp,
};
use crate::webhook::mark::MarkedObject;
use crate::webhook::{Hint, HintedObject};

/// How many failures, and how many provisions under way, a look takes.
const MAX_FOUND: usize = 10_000;

/// The kinds of objects that are read, and the category in which their changes are told.
const CATEGORIES: [(&str, NotificationCategory); 3] = [
    ("provision", NotificationCategory::PartnerUserProvision),
    ("onboarding", NotificationCategory::UserOnboarding),
    ("inquiry", NotificationCategory::UserInformationInquiry),
];

/// What the last look has shown.
#[derive(Default)]
pub(super) struct Look {
    newest_failure: Option<NotificationFilterFailureId>,
    /// The provisions under way. Of one that the process before has handed on, no state is known.
    under_way: HashMap<ProvisionId, Option<Version>>,
}

/// What a look needs.
pub(super) struct Looking<'a> {
    pub(super) shared: &'a Shared,
    pub(super) intake: &'a Intake,
    pub(super) reads: &'a Reads,
    pub(super) notifications: &'a Notifications,
    pub(super) last: &'a mut Look,
}

impl Looking<'_> {
    /// What the process before has handed on: it is read again if it is not done, and looked at if it was under way.
    pub(super) async fn take_over(&mut self) -> Result<(), Error> {
        let (journal, mut after) = (&self.shared.journal, None);
        loop {
            let page = journal.marks(after.as_ref()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.object.clone());
            for mark in page {
                if let (HintedObject::Provision(id), true) = (&mark.object.object, mark.is_under_way) {
                    self.last.under_way.insert(*id, None);
                }
                let key = Key::Object(mark.object);
                lock(&self.shared.objects).follow(&key, mark.is_under_way);
                if !mark.is_done {
                    let hint = key.hint();
                    self.shared.find(key, Ask { hint, ..Ask::default() });
                }
            }
        }
    }

    /// Returns the objects of users that are to be read again.
    pub(super) async fn look(&mut self) -> Vec<Key> {
        if let Err(error) = self.failures().await {
            tracing::warn!(%error, "the failed deliveries are not looked at");
        }
        if let Err(error) = self.provisions().await {
            tracing::warn!(%error, "the provisions under way are not looked at");
        }
        lock(&self.shared.objects).followed()
    }

    /// Takes in the failures that have come since the last look, the oldest first.
    async fn failures(&mut self) -> Result<(), Error> {
        let mut failures = pin!(self.notifications.failures());
        let mut new = Vec::new();
        while let Some(failure) = failures.try_next().await? {
            if self.last.newest_failure.is_some_and(|newest| failure.id <= newest) {
                break;
            }
            if new.len() == MAX_FOUND {
                tracing::warn!("there are more than {MAX_FOUND} new failed deliveries: the older ones are left out");
                lock(&self.shared.objects).numbers.left_out += 1;
                break;
            }
            new.push((failure.id, hint_of(failure, now())));
        }
        for (id, hint) in new.into_iter().rev() {
            match self.intake.asked(CallId::Failure(id), hint) {
                Some((key, ask)) => self.found(key, ask),
                None => lock(&self.shared.objects).numbers.ignored += 1,
            }
            self.last.newest_failure = Some(id);
        }
        Ok(())
    }

    async fn provisions(&mut self) -> Result<(), Error> {
        let statuses = ProvisionStatus::of(&[Phase::Setup, Phase::Reset, Phase::Closing]);
        let list = self.reads.provisions.list().status(statuses).count(PageSize::MAX);
        let (mut listed, mut shown, mut oldest) = (pin!(list.stream()), HashMap::new(), None);
        while let Some(provision) = listed.try_next().await? {
            if shown.len() == MAX_FOUND {
                tracing::warn!("there are more than {MAX_FOUND} provisions under way: the older ones are left out");
                lock(&self.shared.objects).numbers.left_out += 1;
                oldest = shown.keys().min().copied();
                break;
            }
            let (id, version) = (provision.id, self.reads.digester.provision(&provision)?);
            let before = self.last.under_way.get(&id).copied().flatten();
            if before != Some(version) && self.is_news(id, version, before).await? {
                self.found(Key::Object(object(id)), Ask::default());
            }
            shown.insert(id, Some(version));
        }
        for id in self.last.under_way.keys().copied() {
            // What was left out may be under way as before.
            let is_left_out = oldest.is_some_and(|oldest| id < oldest);
            if !shown.contains_key(&id) && !is_left_out && !self.is_over(id).await? {
                self.found(Key::Object(object(id)), Ask::default());
            }
        }
        self.last.under_way = shown;
        Ok(())
    }

    /// Whether a state that is listed may not have been handed on. One of the same time as before, with another content, is.
    async fn is_news(&self, id: ProvisionId, version: Version, before: Option<Version>) -> Result<bool, Error> {
        let Some(mark) = self.shared.journal.mark_of(&object(id)).await? else { return Ok(true) };
        let has_another_content = before.is_some_and(|before| before.updated == version.updated);
        let is_told =
            version.updated.map_or(mark.digest == version.digest, |updated| Version::of(&mark).covers(updated));
        Ok(!is_told || has_another_content)
    }

    /// Whether it was handed on that a provision is not under way any more.
    async fn is_over(&self, id: ProvisionId) -> Result<bool, Error> {
        Ok(self.shared.journal.mark_of(&object(id)).await?.is_some_and(|mark| !mark.is_under_way))
    }

    fn found(&self, key: Key, ask: Ask) {
        lock(&self.shared.objects).numbers.found += 1;
        self.shared.find(key, ask);
    }
}

fn object(id: ProvisionId) -> MarkedObject {
    MarkedObject { object: HintedObject::Provision(id), provision_id: None }
}

fn now() -> Timestamp {
    jiff::Timestamp::now().into()
}

impl Hint {
    /// What there is to say about the object of a user whose session is not open any more.
    pub(super) fn about(object: &HintedObject) -> Self {
        let category =
            CATEGORIES.into_iter().find(|(kind, _)| object.kind() == Some(kind)).map(|(_, category)| category);
        let object = Some(object.clone());
        Self { category, event_type: None, object, user_id: None, updated: None, arrived: now() }
    }
}

/// What a delivery that has failed would have told, without a claim. It does not name the kind of its object.
fn hint_of(failure: NotificationFilterFailure, now: Timestamp) -> Hint {
    let NotificationFilterFailure { category, event_type, object_id, user_id, .. } = failure;
    let kind = CATEGORIES.into_iter().find(|(_, told)| category.as_ref() == Some(told)).map(|(kind, _)| kind);
    let id = object_id.and_then(|id| u64::try_from(id).ok());
    let object = id.and_then(|id| HintedObject::of(kind, id));
    Hint { category, event_type, object, user_id, updated: None, arrived: now }.bounded()
}
