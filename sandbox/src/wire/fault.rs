//! Faults: what goes wrong on purpose. Each is one entry of one table.

use std::time::Duration;

use bunq_partner::RateLimit;

use crate::settings::DeadToken;
use crate::wire::drift;
use crate::wire::fault_value::FaultValue;
use crate::wire::response::{RawResponse, Refusal};

/// The largest body that [`Fault::Oversized`] makes.
const LARGEST_BODY: usize = 1 << 30;

const HTML: &str = "<html><body><h1>The sandbox plays a fault.</h1></body></html>";

/// The entry of a fault in the table.
pub(crate) struct Entry {
    /// Its name in the notation.
    pub(crate) name: &'static str,
    /// Its value as it is written, if it has one.
    pub(crate) value: Option<String>,
    pub(crate) when: When,
    pub(crate) effect: Effect,
}

/// When a fault strikes, and so whether the call is carried out, unless an injection says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Before the operation, which is not carried out.
    Before,
    /// After the operation, which has been carried out.
    After,
}

/// How the notation reads a fault.
pub(crate) struct Spelling {
    pub(crate) name: &'static str,
    /// What follows the name: `=STATUS`, or nothing.
    pub(crate) placeholder: String,
    /// The fault with this value; `None`: the value does not fit.
    pub(crate) read: fn(Option<&str>) -> Option<Fault>,
}

/// The call in which a fault strikes.
pub(crate) struct Scene<'a> {
    /// The limit of the operation.
    pub(crate) limit: RateLimit,
    pub(crate) request_id: Option<&'a str>,
    /// The refusal of a dead token.
    pub(crate) dead: Refusal,
}

type EffectOnResponse = Box<dyn FnOnce(&mut RawResponse, &Scene<'_>) + Send>;

/// What a fault changes in an exchange. The default changes nothing.
#[derive(Default)]
pub(crate) struct Effect {
    /// The call is carried out only after this long, and has no response.
    pub(crate) arrival: Option<Duration>,
    pub(crate) ends: EndedSessions,
    /// Changes the response, before it is signed.
    pub(crate) edit: Option<EffectOnResponse>,
    pub(crate) echo: Echo,
    pub(crate) signature: PlayedSignature,
    /// The status that is put on the response after it is signed.
    pub(crate) status: Option<u16>,
    pub(crate) delivery: Delivery,
}

/// The sessions that end.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndedSessions {
    #[default]
    None,
    /// That of the call.
    Own,
    All,
}

/// The request that a response names.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    /// The one that it belongs to.
    #[default]
    Own,
    None,
    /// The last response to the operation, as it was.
    LastResponse,
    /// The last response to the operation, which names no request.
    LastWithout,
}

/// The signature of a response.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlayedSignature {
    #[default]
    Regular,
    None,
    /// By the right key, over other bytes.
    Wrong,
    /// By another key.
    Foreign,
}

/// How a response goes on the wire.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    #[default]
    Whole,
    /// Not at all: the connection is closed.
    HangUp,
    Late(Duration),
    /// Half of its body, and then the connection is closed.
    Truncated,
    /// A byte at a time, with this pause.
    Drip(Duration),
}

impl Effect {
    fn edit(edit: impl FnOnce(&mut RawResponse, &Scene<'_>) + Send + 'static) -> Self {
        Self { edit: Some(Box::new(edit)), ..Self::default() }
    }

    fn refuse(refusal: Refusal) -> Self {
        Self::edit(move |response, _| *response = RawResponse::refusal(&refusal))
    }

    fn drift(drift: fn(&mut serde_json::Value)) -> Self {
        Self::edit(move |response, _| response.edit(drift))
    }

    fn body(body: &'static str) -> Self {
        Self::edit(move |response, _| (response.status, response.body) = (200, body.into()))
    }

    fn echo(echo: Echo) -> Self {
        Self { echo, ..Self::default() }
    }

    fn signature(signature: PlayedSignature) -> Self {
        Self { signature, ..Self::default() }
    }

    fn delivery(delivery: Delivery) -> Self {
        Self { delivery, ..Self::default() }
    }
}

fn proxy(status: u16) -> Effect {
    let edit = Effect::edit(move |response, _| *response = RawResponse::of_a_proxy(status, HTML));
    Effect { echo: Echo::None, signature: PlayedSignature::None, ..edit }
}

fn throttle(retry_after: Option<Duration>) -> Effect {
    Effect::edit(move |response, scene| {
        *response = RawResponse::refusal(&Refusal::too_many_calls(scene.limit));
        if let Some(after) = retry_after {
            response.retry_after(after);
        }
    })
}

fn lose(ends: EndedSessions) -> Effect {
    Effect { ends, ..Effect::edit(|response, scene| *response = RawResponse::refusal(&scene.dead)) }
}

fn refuse_request_id() -> Effect {
    Effect::edit(|response, scene| {
        *response = RawResponse::refusal(&Refusal::used_request_id(400, scene.request_id.unwrap_or_default()));
    })
}

fn inflate(size: usize) -> Effect {
    Effect::edit(move |response, _| {
        let length = size.min(LARGEST_BODY).max(response.body.len());
        response.body.resize(length, b' ');
    })
}

/// Makes the fault and all that is known of it from one table: documentation, variant and value, name in the notation, when it
/// strikes, and what it does.
macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident $(($value:ident: $type:ty))?, $name:literal, $when:ident, $effect:expr;)*) => {
        /// Something that goes wrong with one call.
        ///
        /// Each fault documents whether the call is *carried out* before it is played. [`Injection::carried_out`](crate::Injection::carried_out)
        /// changes that. Most faults change the regular response. If the call is not carried out, they change an empty success,
        /// `{"Response": []}`.
        ///
        /// "Signed" means validly signed, like every success response of the sandbox without a fault. A refusal is signed if
        /// [`SandboxBuilder::signed_refusals`](crate::SandboxBuilder::signed_refusals) says so.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$doc])* $variant $(($type))?,)*
        }

        impl Fault {
            /// Returns each fault once, in the order above and with some value, for a test that plays them all.
            pub fn examples() -> Vec<Self> {
                vec![$(Self::$variant $((<$type as FaultValue>::EXAMPLE))?),*]
            }

            pub(crate) fn entry(self) -> Entry {
                match self {
                    $(Self::$variant $(($value))? => Entry {
                        name: $name,
                        value: [$(FaultValue::write($value))?].into_iter().next(),
                        when: When::$when,
                        effect: $effect,
                    },)*
                }
            }

            /// How the notation reads each fault.
            pub(crate) fn spellings() -> Vec<Spelling> {
                vec![$(spelling!($variant, $name $(, $type)?)),*]
            }
        }
    };
}

macro_rules! spelling {
    ($variant:ident, $name:literal) => {
        Spelling { name: $name, placeholder: String::new(), read: |text| text.is_none().then_some(Fault::$variant) }
    };
    ($variant:ident, $name:literal, $type:ty) => {
        Spelling {
            name: $name,
            placeholder: format!("={}", <$type as FaultValue>::PLACEHOLDER),
            read: |text| <$type as FaultValue>::read(text?).map(Fault::$variant),
        }
    };
}

faults! {
    /// This status with bunq's error envelope. Not carried out.
    Status(status: u16), "status", Before, Effect::refuse(Refusal::new(status, "The sandbox plays a fault."));
    /// This status with a page of HTML, and no header of bunq's, as from a proxy. Not carried out.
    UnsignedStatus(status: u16), "unsigned-status", Before, proxy(status);
    /// 429 without a `Retry-After`, naming the operation's limit in bunq's words. Not carried out.
    RateLimited, "rate-limited", Before, throttle(None);
    /// 429 with this `Retry-After`, in whole seconds, rounded up, naming the operation's limit in bunq's words. Not carried out.
    RetryAfter(after: Duration), "retry-after", Before, throttle(Some(after));
    /// All sessions end, and the token is refused as
    /// [`SandboxBuilder::dead_token`](crate::SandboxBuilder::dead_token) says. Not carried out.
    SessionLost, "session-lost", Before, lose(EndedSessions::All);
    /// The session of the call ends, and those of other users go on. Its token is refused as
    /// [`SandboxBuilder::dead_token`](crate::SandboxBuilder::dead_token) says. Not carried out.
    OwnSessionLost, "own-session-lost", Before, lose(EndedSessions::Own);
    /// 403 "Insufficient authorisation.", but the session lives on: the caller may not do this. Not carried out.
    Forbidden, "forbidden", Before, Effect::refuse(Refusal::dead(DeadToken::InsufficientAuthorisation));
    /// 400, as for an `X-Bunq-Client-Request-Id` that was used before. Not carried out.
    RequestIdRefused, "request-id-refused", Before, refuse_request_id();
    /// The regular response, signed, with this status in place of its own. A signature in the older form, which covers the
    /// status, is not valid any more. Carried out.
    Relabelled(status: u16), "relabelled", After, Effect { status: Some(status), ..Effect::default() };
    /// The last regular response to the same operation, signed, which names the request that it belongs to; if there is
    /// none, the regular response with a made-up id. Carried out.
    Crossed, "crossed", After, Effect::echo(Echo::LastResponse);
    /// The last regular response to the same operation, signed, without the id of a request; if there is none, the regular
    /// response without it. Carried out.
    Replayed, "replayed", After, Effect::echo(Echo::LastWithout);
    /// The connection is closed without a response. Carried out.
    Drop, "drop", After, Effect::delivery(Delivery::HangUp);
    /// The connection is closed without a response, and the call is carried out only after this long. The log of calls shows it
    /// as carried out at once.
    LateArrival(delay: Duration), "late-arrival", After,
        Effect { arrival: Some(delay), ..Effect::delivery(Delivery::HangUp) };
    /// The regular response, but the connection is closed in the middle of its body. Carried out.
    Truncated, "truncated", After, Effect::delivery(Delivery::Truncated);
    /// The regular response a byte at a time, the first at once, each further one after this pause. It never ends: after the body
    /// come spaces. Carried out.
    SlowDrip(pause: Duration), "slow-drip", After, Effect::delivery(Delivery::Drip(pause));
    /// The regular response after this long. Carried out at once.
    Late(delay: Duration), "late", After, Effect::delivery(Delivery::Late(delay));
    /// 200, signed, without a body. Carried out.
    EmptyBody, "empty-body", After, Effect::body("");
    /// 200, signed, with `{"Response": []}`. Carried out.
    EmptyResponse, "empty-response", After,
        Effect::edit(|response, _| *response = RawResponse::items(Vec::new()));
    /// 200, signed, with a page of HTML. Carried out.
    NotJson, "not-json", After, Effect::body(HTML);
    /// The regular response, made at least this many bytes long by spaces at its end, and signed. It is built in memory,
    /// so it never gets larger than 1 GiB. Carried out.
    Oversized(size: usize), "oversized", After, inflate(size);
    /// The regular response without a signature. Carried out.
    MissingSignature, "missing-signature", After, Effect::signature(PlayedSignature::None);
    /// The regular response with a signature by the right key over other bytes. Carried out.
    WrongSignature, "wrong-signature", After, Effect::signature(PlayedSignature::Wrong);
    /// The regular response, well signed by another key than the sandbox's. Carried out.
    ForeignSignature, "foreign-signature", After, Effect::signature(PlayedSignature::Foreign);
    /// Objects have a `status` that is not documented; signed. Carried out.
    UnknownStatus, "unknown-status", After, Effect::drift(|body| drift::unknown_member(body, "status"));
    /// Objects have a `sub_status` that is not documented; signed. Carried out.
    UnknownSubStatus, "unknown-sub-status", After, Effect::drift(|body| drift::unknown_member(body, "sub_status"));
    /// Every enum has a value that is not documented, or one more if it is a list; signed. Carried out.
    UnknownValues, "unknown-values", After, Effect::drift(drift::unknown_values);
    /// Every object has a member that is not documented, the envelope included; signed. Carried out.
    UnknownField, "unknown-field", After, Effect::drift(drift::unknown_fields);
    /// Every item of a list is there twice; signed. Carried out.
    RepeatedItems, "repeated-items", After, Effect::drift(drift::repeated_items);
    /// The items of the response begin with one of a kind that is not documented; signed. Carried out.
    UnknownItem, "unknown-item", After, Effect::drift(drift::unknown_item);
    /// Every member is missing that the document does not require; signed. Carried out.
    MissingOptionalFields, "missing-optional-fields", After, Effect::drift(drift::without_optional_fields);
    /// What [`MissingOptionalFields`](Self::MissingOptionalFields) leaves out is there, but null; signed. Carried out.
    NullFields, "null-fields", After, Effect::drift(drift::with_null_fields);
    /// A header `X-Bunq-Novelty`, which is not documented; signed. Carried out.
    UnknownHeader, "unknown-header", After,
        Effect::edit(|response, _| response.headers.push(("X-Bunq-Novelty".to_owned(), "yes".to_owned())));
}
