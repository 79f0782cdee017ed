//! What a resource has to say of itself, so that it can be waited for and followed.

use std::fmt::{Debug, Display};
use std::future::ready;
use std::hash::Hash;

use crate::api::Api;
use crate::error::Error;
use crate::operation::Operation;
#[cfg(feature = "webhook")]
use crate::types::Timestamp;
use crate::types::{Cursor, Page};

/// An object at bunq that changes by itself: a [`Provision`](crate::Provision). A [`Waiter`](crate::Waiter) waits for it, and a
/// [`Feed`](crate::Feed) tells its changes.
///
/// Only types of this crate implement it.
pub trait Resource: Readable {
    /// What an object can be waited for to be.
    type Condition: Condition<Self>;

    /// Whether nothing follows: the object does not change any more.
    fn is_terminal(&self) -> bool;

    /// How far it is, in a few words for messages: `ACTIVE with NONE`.
    fn progress(&self) -> String;
}

/// How a resource is read: by its id, or with others by pages of its listing.
pub trait Readable: Debug + Clone + PartialEq + Send + Sync + Sized + 'static {
    /// What bunq knows an object by. A listing has the highest id first.
    type Id: Debug + Display + Copy + Ord + Hash + Into<i64> + Send + Sync + 'static;
    /// What a listing can be filtered by; [`Infallible`](std::convert::Infallible) if bunq has no listing.
    type State: Debug + Clone + PartialEq + Send + Sync + 'static;

    /// What an object is called in messages: `provision`.
    const NAME: &'static str;
    /// The operation that reads a page; `None` if bunq has no listing. Then there are no states, and each object is read by its id.
    const LIST: Option<&'static Operation>;
    /// The operation that reads one object.
    const GET: &'static Operation;

    fn id(&self) -> Self::Id;

    /// When it was changed last; `None` if that is not known.
    #[cfg(feature = "webhook")]
    fn updated(&self) -> Option<Timestamp> {
        None
    }

    /// The state with which it is listed; `None` if a listing cannot be filtered by it.
    fn state(&self) -> Option<Self::State> {
        None
    }

    /// All states that a listing can be filtered by.
    fn states() -> Vec<Self::State> {
        Vec::new()
    }

    /// The states of objects that are under way, if few are at a time: most changes are of them.
    fn in_progress() -> Vec<Self::State> {
        Vec::new()
    }

    /// Reads an object.
    fn read(api: &Api, id: Self::Id) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Reads the page of those with one of these states, or of all if there are none, that begins at a position, or at the newest.
    fn read_page(
        _api: &Api,
        _states: &[Self::State],
        _cursor: Option<Cursor>,
    ) -> impl Future<Output = Result<Page<Self>, Error>> + Send {
        ready(Err(Error::internal("there is no listing")))
    }
}

/// What is waited for, as a function of the object that was read.
pub trait Condition<R: Resource>: Debug + Clone + Send + Sync + 'static {
    /// What an object is that meets it: `closed`.
    fn name(&self) -> &'static str;

    /// The states that an object has until it meets the condition.
    fn pending(&self) -> Vec<R::State>;

    /// The other states in which the wait ends.
    fn ends(&self) -> Vec<R::State>;

    fn evaluate(&self, seen: &R) -> Evaluation;

    /// Holds an object that was read against what was requested, before the condition is evaluated.
    fn confirm(&self, _api: &Api, _seen: &R) -> impl Future<Output = Result<(), Error>> + Send {
        ready(Ok(()))
    }
}

/// How far an object is from meeting a condition.
#[derive(Debug, PartialEq, Eq)]
pub enum Evaluation {
    Met,
    Pending,
    /// It cannot be met any more, for this reason.
    Unattainable(&'static str),
}
