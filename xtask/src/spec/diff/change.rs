//! One change, and its kinds.

use std::fmt;

use bunq_partner_codegen::direction::Direction;
use serde::Serialize;

/// The effect of a change on users of the old document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Impact {
    /// No effect: only texts for readers differ.
    Editorial,
    /// No effect on existing use, and something new can be used.
    Additive,
    /// bunq may refuse requests, responses may be unexpected, or code may no longer compile.
    Breaking,
}

use Impact::{Additive, Breaking, Editorial};

/// A change of the document.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    pub(super) place: String,
    pub(super) what: String,
    /// The impact on a client, in any language, that follows the old document.
    pub(super) wire: Impact,
    /// The impact on code that uses the crate.
    pub(super) rust: Impact,
}

impl Change {
    pub(super) fn is_breaking(&self) -> bool {
        self.wire.max(self.rust) == Breaking
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what, wire, rust } = self;
        write!(f, "wire {wire:<9}  Rust {rust:<9}  {place}: {what}")
    }
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Editorial => "editorial",
            Self::Additive => "additive",
            Self::Breaking => "breaking",
        })
    }
}

/// The impact of a schema's change on the wire, which depends on its direction.
pub(super) trait DirectionImpact {
    /// More is allowed than before: responses may be unexpected.
    fn looser(self) -> Impact;

    /// Less is allowed than before: requests may be refused.
    fn tighter(self) -> Impact;

    fn added(self) -> Impact;

    fn changed(self) -> Impact;
}

impl DirectionImpact for Direction {
    fn looser(self) -> Impact {
        if self.response { Breaking } else { self.added() }
    }

    fn tighter(self) -> Impact {
        if self.request { Breaking } else { self.added() }
    }

    fn added(self) -> Impact {
        if self.request || self.response { Additive } else { Editorial }
    }

    fn changed(self) -> Impact {
        if self.request || self.response { Breaking } else { Editorial }
    }
}
