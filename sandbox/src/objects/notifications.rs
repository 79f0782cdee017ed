//! Notification filters, calls that could not be delivered, and pinned certificates.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::table::Object;

/// A filter as it was sent, with its unknown members.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Filter(pub(crate) Map<String, Value>);

impl Object for Filter {
    const NAME: &'static str = "filter";
}

/// What is shown of the filters of a user while a change is not shown yet, and until when, earliest first. It is not saved.
#[derive(Debug, Default)]
pub(crate) struct FilterViews(BTreeMap<u64, VecDeque<(Timestamp, Vec<Value>)>>);

impl FilterViews {
    /// Goes on showing this until then.
    pub(crate) fn keep(&mut self, user: u64, until: Timestamp, shown: Vec<Value>) {
        self.0.entry(user).or_default().push_back((until, shown));
    }

    /// What is still shown in place of the filters that there are.
    pub(crate) fn of(&mut self, user: u64, now: Timestamp) -> Option<Vec<Value>> {
        let views = self.0.get_mut(&user)?;
        while views.front().is_some_and(|(until, _)| *until <= now) {
            views.pop_front();
        }
        views.front().map(|(_, shown)| shown.clone())
    }
}

/// A call of a filter of the partner's that could not be delivered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// The user that it was about.
    pub(crate) user: u64,
    pub(crate) category: String,
    pub(crate) event_type: String,
    pub(crate) object_id: u64,
    pub(crate) target: String,
    /// The status that the target responded with in the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_code: Option<u16>,
    /// Why it did not respond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

impl Object for Failure {
    const NAME: &'static str = "failed delivery";
}

/// A chain of certificates, in PEM form, one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PinnedChain(pub(crate) String);

impl Object for PinnedChain {
    const NAME: &'static str = "pinned certificate";
}
