//! Faults: what goes wrong on purpose, and when.

use std::time::Duration;

use super::drift;
use super::response::{RawResponse, Refusal};
use super::settings::DeadToken;
use crate::operation::{Operation, RateLimit};

/// The largest body that [`Fault::Oversized`] makes.
const LARGEST_BODY: usize = 1 << 30;

const HTML: &str = "<html><body><h1>The sandbox plays a fault.</h1></body></html>";

/// Something that goes wrong with one call.
///
/// Each fault documents whether the call is *carried out* before it is played. [`Injection::carried_out`] changes that.
/// Most faults change the regular response. If the call is not carried out, they change an empty success,
/// `{"Response": []}`.
///
/// "Signed" means validly signed, like every success response of the sandbox without a fault. A refusal is signed if
/// [`SandboxBuilder::signed_refusals`](super::SandboxBuilder::signed_refusals) says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// This status with bunq's error envelope. Not carried out.
    Status(u16),
    /// This status with a page of HTML, and no header of bunq's, as from a proxy. Not carried out.
    UnsignedStatus(u16),
    /// 429, naming the operation's limit in bunq's words. Not carried out.
    RateLimited {
        /// The value of `Retry-After`, in whole seconds, rounded up; `None`: the header is absent.
        retry_after: Option<Duration>,
    },
    /// All sessions end, and the token is refused as
    /// [`SandboxBuilder::dead_token`](super::SandboxBuilder::dead_token) says. Not carried out.
    SessionLost,
    /// 403 "Insufficient authorisation.", but the session lives on: the caller may not do this. Not carried out.
    Forbidden,
    /// 400, as for an `X-Bunq-Client-Request-Id` that was used before. Not carried out.
    RequestIdRefused,
    /// The regular response, signed, with this status in place of its own. A signature in the older form, which covers the
    /// status, is not valid any more. Carried out.
    Relabelled(u16),
    /// The last regular response to the same operation, signed, which names the request that it belongs to; if there is
    /// none, the regular response with a made-up id. Carried out.
    Crossed,
    /// The last regular response to the same operation, signed, without the id of a request; if there is none, the regular
    /// response without it. Carried out.
    Replayed,
    /// The connection is closed without a response. Carried out.
    Drop,
    /// The connection is closed without a response, and the call is carried out only after this long. The journal shows it
    /// as carried out at once.
    LateArrival(Duration),
    /// The regular response, but the connection is closed in the middle of its body. Carried out.
    Truncated,
    /// The regular response a byte at a time, the first at once. It never ends: after the body come spaces. Carried out.
    SlowDrip {
        /// The time before each further byte.
        pause: Duration,
    },
    /// The regular response after this long. Carried out at once.
    Late(Duration),
    /// 200, signed, without a body. Carried out.
    EmptyBody,
    /// 200, signed, with `{"Response": []}`. Carried out.
    EmptyResponse,
    /// 200, signed, with a page of HTML. Carried out.
    NotJson,
    /// The regular response, made at least this many bytes long by spaces at its end, and signed. It is built in memory,
    /// so it never gets larger than 1 GiB. Carried out.
    Oversized(usize),
    /// The regular response without a signature. Carried out.
    MissingSignature,
    /// The regular response with a signature by the right key over other bytes. Carried out.
    WrongSignature,
    /// The regular response, well signed by another key than the sandbox's. Carried out.
    ForeignSignature,
    /// Provisions have a `status` that is not documented; signed. Carried out.
    UnknownStatus,
    /// Provisions have a `sub_status` that is not documented; signed. Carried out.
    UnknownSubStatus,
    /// Every enum of a provision has a value that is not documented, or one more if it is a list; signed.
    /// Carried out.
    UnknownValues,
    /// Every object has a member that is not documented, the envelope included; signed. Carried out.
    UnknownField,
    /// Every item of a list is there twice; signed. Carried out.
    RepeatedItems,
    /// The items of the response begin with one of a kind that is not documented; signed. Carried out.
    UnknownItem,
    /// All that a client can do without is missing; signed. What stays: ids, tokens, keys, statuses, the label, the
    /// OAuth request and the credential of a provision, the description of an error, the links between pages. Carried
    /// out.
    MissingOptionalFields,
    /// What [`MissingOptionalFields`](Self::MissingOptionalFields) leaves out is there, but null; signed. Carried out.
    NullFields,
    /// A header `X-Bunq-Novelty`, which is not documented; signed. Carried out.
    UnknownHeader,
}

impl Fault {
    /// Whether the call is carried out, unless an injection says otherwise.
    fn is_carried_out(self) -> bool {
        !matches!(
            self,
            Self::Status(_)
                | Self::UnsignedStatus(_)
                | Self::RateLimited { .. }
                | Self::SessionLost
                | Self::Forbidden
                | Self::RequestIdRefused
        )
    }

    /// Changes `response` before it is signed. `limit` is that of the operation, `request_id` that of the call; `dead` is the
    /// refusal of a dead token.
    pub(super) fn spoil(self, response: &mut RawResponse, limit: RateLimit, request_id: Option<&str>, dead: Refusal) {
        match self {
            Self::Status(status) => {
                *response = RawResponse::refusal(&Refusal::new(status, "The sandbox plays a fault."))
            }
            Self::UnsignedStatus(status) => *response = RawResponse::of_a_proxy(status, HTML),
            Self::RateLimited { retry_after } => {
                *response = RawResponse::refusal(&Refusal::too_many_calls(limit));
                if let Some(after) = retry_after {
                    response.retry_after(after);
                }
            }
            Self::SessionLost => *response = RawResponse::refusal(&dead),
            Self::Forbidden => {
                *response = RawResponse::refusal(&Refusal::dead(DeadToken::InsufficientAuthorisation));
            }
            Self::RepeatedItems => response.edit(drift::repeated_items),
            Self::RequestIdRefused => {
                *response = RawResponse::refusal(&Refusal::used_request_id(400, request_id.unwrap_or_default()));
            }
            Self::EmptyBody => (response.status, response.body) = (200, Vec::new()),
            Self::EmptyResponse => *response = RawResponse::items(Vec::new()),
            Self::NotJson => (response.status, response.body) = (200, HTML.into()),
            Self::Oversized(size) => {
                let length = size.min(LARGEST_BODY).max(response.body.len());
                response.body.resize(length, b' ');
            }
            Self::UnknownHeader => response.headers.push(("X-Bunq-Novelty".to_owned(), "yes".to_owned())),
            Self::UnknownStatus => response.edit(|body| drift::unknown_member(body, "status")),
            Self::UnknownSubStatus => response.edit(|body| drift::unknown_member(body, "sub_status")),
            Self::UnknownValues => response.edit(drift::unknown_values),
            Self::UnknownField => response.edit(drift::unknown_fields),
            Self::UnknownItem => response.edit(drift::unknown_item),
            Self::MissingOptionalFields => response.edit(drift::without_optional_fields),
            Self::NullFields => response.edit(drift::with_null_fields),
            // These strike later: at the signature or on the wire.
            Self::Drop
            | Self::LateArrival(_)
            | Self::Relabelled(_)
            | Self::Crossed
            | Self::Replayed
            | Self::Truncated
            | Self::SlowDrip { .. }
            | Self::Late(_)
            | Self::MissingSignature
            | Self::WrongSignature
            | Self::ForeignSignature => {}
        }
    }
}

/// A [`Fault`], and the calls that it is played at: by default the next call, of any operation.
///
/// ```
/// use bunq_partner::Operation;
/// use bunq_partner::sandbox::{Fault, Injection};
///
/// // The second and the third closing get no response; only the closing itself is done.
/// let lost = Injection::new(Fault::Drop).on(&Operation::UPDATE_PROVISION).after(1).times(2);
/// ```
#[derive(Debug, Clone)]
#[must_use = "an injection does nothing until a sandbox has it"]
pub struct Injection {
    fault: Fault,
    /// The id of the operation; `None`: any.
    operation: Option<&'static str>,
    /// How many calls still pass.
    after: u32,
    /// How many times it still plays; `None`: without end.
    times: Option<u32>,
    carried_out: bool,
}

impl Injection {
    /// Plays `fault` once, at the next call.
    pub fn new(fault: Fault) -> Self {
        Self { fault, operation: None, after: 0, times: Some(1), carried_out: fault.is_carried_out() }
    }

    /// Selects calls of this operation alone. Without it every call is selected, even one of no known operation.
    pub fn on(mut self, operation: &Operation) -> Self {
        self.operation = Some(operation.id);
        self
    }

    /// Skips the first `calls` calls that are selected. A call counts even if another injection is played at it, but not if
    /// a rate limit refuses it.
    pub fn after(mut self, calls: u32) -> Self {
        self.after = calls;
        self
    }

    /// Plays the fault at `calls` calls.
    pub fn times(mut self, calls: u32) -> Self {
        self.times = Some(calls);
        self
    }

    /// Plays the fault at every call that is selected.
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// Sets whether the call is carried out before the fault is played. The default is documented at each [`Fault`].
    ///
    /// A call that is not carried out changes nothing at all: not even its `X-Bunq-Client-Request-Id` is used up.
    pub fn carried_out(mut self, carried_out: bool) -> Self {
        self.carried_out = carried_out;
        self
    }

    fn concerns(&self, operation: Option<&Operation>) -> bool {
        self.operation.is_none_or(|id| operation.is_some_and(|operation| operation.id == id))
    }
}

impl From<Fault> for Injection {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Struck {
    pub(super) fault: Fault,
    pub(super) carried_out: bool,
}

/// The injections that are not used up, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Injections(Vec<Injection>);

impl Injections {
    pub(super) fn push(&mut self, injection: Injection) {
        self.0.push(injection);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a call in all injections, and returns the fault to play at it.
    pub(super) fn strike(&mut self, operation: Option<&Operation>) -> Option<Struck> {
        self.0.retain(|injection| injection.times != Some(0));
        let mut struck = None;
        for injection in self.0.iter_mut().filter(|injection| injection.concerns(operation)) {
            if injection.after > 0 {
                injection.after -= 1;
            } else if struck.is_none() {
                injection.times = injection.times.map(|times| times - 1);
                struck = Some(Struck { fault: injection.fault, carried_out: injection.carried_out });
            }
        }
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statuses that are played on calls of these operations.
    fn played<const N: usize>(injections: Vec<Injection>, calls: [Option<&Operation>; N]) -> [Option<u16>; N] {
        let mut injections = Injections(injections);
        calls.map(|operation| match injections.strike(operation)?.fault {
            Fault::Status(status) => Some(status),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn the_first_due_injection_is_played() {
        test_timeout::start();
        let (get, put) = (Some(&Operation::GET_PROVISION), Some(&Operation::UPDATE_PROVISION));
        let status = |status| Injection::new(Fault::Status(status));
        assert_eq!(played(vec![status(1), status(2)], [get, put, get]), [Some(1), Some(2), None]);
        assert_eq!(
            played(vec![status(1).on(&Operation::UPDATE_PROVISION).times(2)], [get, put, None, put, put]),
            [None, Some(1), None, Some(1), None]
        );
        assert_eq!(played(vec![status(1).always(), status(2)], [get, None]), [Some(1), Some(1)]);
        assert_eq!(played(vec![status(1).times(0), status(2)], [get, get]), [Some(2), None]);
    }

    #[test]
    fn passed_calls_are_counted() {
        test_timeout::start();
        let status = |status| Injection::new(Fault::Status(status));
        let injections = vec![status(1).on(&Operation::GET_PROVISION), status(2).after(1), status(3).after(1)];
        let get = Some(&Operation::GET_PROVISION);
        assert_eq!(played(injections, [get; 4]), [Some(1), Some(2), Some(3), None]);
    }
}
