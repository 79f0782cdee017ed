//! What is kept of an object that was handed on: enough to know an older state, and the same one again.

use serde::{Deserialize, Serialize};

use super::hint::{HintedObject, microsecond};
use crate::types::{ProvisionId, Timestamp};

/// An object as somebody has called about it. An id alone does not say whose it is: whoever knows the path of a receiver can name any
/// user with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MarkedObject {
    /// The object.
    pub object: HintedObject,
    /// The provision of the user whose object it is. `None` for what the partner reads itself, as a provision.
    pub provision_id: Option<ProvisionId>,
}

/// The state of an object that was handed on last. It has nothing of the state itself, and its JSON has at most
/// [`MAX_LEN`](Self::MAX_LEN) bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Encoded", try_from = "Encoded")]
#[non_exhaustive]
pub struct Mark {
    /// Whose state it is.
    pub object: MarkedObject,
    /// When the object was last changed, as bunq has shown it, exact to the microsecond.
    pub updated: Option<Timestamp>,
    /// A digest of all that bunq has shown, with a key that the journal does not have.
    pub digest: u64,
    /// Whether the state is done. Otherwise it is handed on again after a crash.
    pub is_done: bool,
    /// Whether the object was under way, so that its next state is looked for.
    pub is_under_way: bool,
}

impl Mark {
    /// The greatest length of a mark as JSON, in bytes.
    pub const MAX_LEN: usize = 172;
}

/// A mark as JSON: a list of kind, id, provision, microseconds of `updated`, digest, whether it is done, and whether it is under way.
type Encoded = (Option<String>, u64, Option<ProvisionId>, Option<i64>, u64, bool, bool);

impl From<Mark> for Encoded {
    fn from(mark: Mark) -> Self {
        let Mark { object: MarkedObject { object, provision_id }, updated, digest, is_done, is_under_way } = mark;
        let updated = updated.map(|updated| updated.as_jiff().as_microsecond());
        (object.kind().map(str::to_owned), object.id(), provision_id, updated, digest, is_done, is_under_way)
    }
}

impl TryFrom<Encoded> for Mark {
    type Error = &'static str;

    fn try_from(encoded: Encoded) -> Result<Self, &'static str> {
        let (kind, id, provision_id, updated, digest, is_done, is_under_way) = encoded;
        let object = HintedObject::of(kind.as_deref(), id).ok_or("a mark has no such object")?;
        let updated = updated.map(|count| microsecond(count).ok_or("a mark has no such `updated`")).transpose()?;
        Ok(Self { object: MarkedObject { object, provision_id }, updated, digest, is_done, is_under_way })
    }
}
