//! The sessions that calls ask for, if that is set. Whoever knows the path of the receiver can name users, so they are few.

use std::collections::{HashSet, VecDeque};

use crate::types::ProvisionId;

/// How many are opened at a time, and how many others wait.
const MAX_OPENING: usize = 8;
const MAX_WANTED: usize = 1000;

#[derive(Default)]
pub(super) struct Sessions {
    wanted: VecDeque<ProvisionId>,
    opening: HashSet<ProvisionId>,
}

impl Sessions {
    /// A call asks for a session of a user. Returns whether one is going to be opened.
    pub(super) fn want(&mut self, id: ProvisionId) -> bool {
        if self.opening.contains(&id) || self.wanted.contains(&id) {
            return true;
        }
        let has_room = self.wanted.len() < MAX_WANTED;
        if has_room {
            self.wanted.push_back(id);
        }
        has_room
    }

    /// The next that may be opened.
    pub(super) fn next(&mut self) -> Option<ProvisionId> {
        let id = (self.opening.len() < MAX_OPENING).then(|| self.wanted.pop_front())??;
        self.opening.insert(id);
        Some(id)
    }

    /// It is open, or cannot be opened.
    pub(super) fn tried(&mut self, id: ProvisionId) {
        self.opening.remove(&id);
    }

    /// Whoever has opened them is gone.
    pub(super) fn begin_again(&mut self) {
        self.wanted.extend(self.opening.drain());
    }
}
