//! What an error says to a program that decides by it.

use std::fmt;

/// What kind of failure an [`Error`](crate::Error) is.
///
/// Any call can fail with [`Connect`](Self::Connect), [`Connection`](Self::Connection), [`Timeout`](Self::Timeout),
/// [`InvalidResponse`](Self::InvalidResponse), [`Signature`](Self::Signature), [`Unauthorized`](Self::Unauthorized),
/// [`Forbidden`](Self::Forbidden), [`NotFound`](Self::NotFound), [`RateLimited`](Self::RateLimited),
/// [`Maintenance`](Self::Maintenance), [`Rejected`](Self::Rejected), [`Server`](Self::Server) and
/// [`Internal`](Self::Internal), with [`Context`](Self::Context) and [`Busy`](Self::Busy) if a [`ContextStore`](crate::ContextStore) is
/// used, and with [`Permits`](Self::Permits) if a [`PermitStore`](crate::PermitStore) is used, and with [`ShutDown`](Self::ShutDown) after
/// a shutdown. The documentation of a method lists only the kinds that it adds.
///
/// For a response, the kind says what its status means. [`Error::is_from_bunq`](crate::Error::is_from_bunq) says whether bunq itself responded or
/// something else, such as a proxy.
///
/// More kinds may come: match with a wildcard arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// You gave a value that bunq does not accept. Nothing was sent.
    InvalidInput,
    /// No connection to bunq could be made. Nothing was sent.
    Connect,
    /// The connection broke after the request was on its way, or before the response was complete.
    Connection,
    /// bunq did not respond in time.
    Timeout,
    /// The response is not what the document describes: not JSON, of another shape, empty or too large.
    InvalidResponse,
    /// A success response has no signature of bunq's, or an invalid one. It was not used.
    Signature,
    /// bunq does not accept the key, the token, the address or the signature: 401, 403 with one of two texts, or 400
    /// when a session is opened.
    Unauthorized,
    /// A 403 from bunq itself: the caller may not do this. For example, a user may not do what only the partner may.
    /// The key is not the cause: bunq's text is not the one for a dead token, or it is, but the session is alive.
    Forbidden,
    /// 404: there is no such object. A 404 of the installation, the first call, is [`Rejected`](Self::Rejected): the base
    /// URL is wrong.
    NotFound,
    /// Too many calls: bunq responded with 429, or the wait for a permit would exceed the time of the call.
    RateLimited,
    /// The [`PermitStore`](crate::PermitStore) of the rate limits has failed. Nothing was sent.
    Permits,
    /// 491: bunq is under maintenance.
    Maintenance,
    /// Another 3xx or 4xx: bunq refuses the request.
    Rejected,
    /// A 5xx: bunq failed, or a proxy in front of it.
    Server,
    /// What was asked for cannot be reached: the provision has a status from which it cannot meet the awaited condition, bunq's
    /// provision with this `external_uuid` is not the one that was requested, or [`Oauth::ensure`](crate::Oauth::ensure) finds
    /// OAuth clients of which none is active, sees that the active one has changed meanwhile, or does not see what bunq has created. Also if
    /// an entry of an inquiry does not wait for an answer, or if a request of which bunq shows nothing was begun before, and nobody knows what
    /// came of it.
    Unattainable,
    /// The provision did not meet the awaited condition in time.
    WaitTimeout,
    /// A credential has expired unused, or has already been used: reset it with
    /// [`reset_token`](crate::Provisions::reset_token).
    CredentialSpent,
    /// bunq has more than one provision with the same `external_uuid`, or more than one active OAuth client. The message names them.
    Duplicate,
    /// The stored context cannot be used or written. If its store cannot be reached now, the error is
    /// [retryable](crate::Error::is_retryable).
    Context,
    /// Somebody else has held the lock of a stored context or of a user in custody for as long as a call may take. Nothing was sent.
    Busy,
    /// The [`Journal`](crate::Journal) of bulk work, a journal of hints or the [receipts](crate::ReceiptFile) cannot be read or written,
    /// or belong to something else.
    Storage,
    /// The [`Shutdown`](crate::Shutdown) of the client, or of the operation that the call is a part of, has begun. Nothing was sent.
    ShutDown,
    /// This machine failed: it could not generate a key, set up TLS or run a task.
    Internal,
}

impl ErrorKind {
    /// The name of the kind, for metrics and logs: `RateLimited`. Spans have it as `error.type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "InvalidInput",
            Self::Connect => "Connect",
            Self::Connection => "Connection",
            Self::Timeout => "Timeout",
            Self::InvalidResponse => "InvalidResponse",
            Self::Signature => "Signature",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::RateLimited => "RateLimited",
            Self::Permits => "Permits",
            Self::Maintenance => "Maintenance",
            Self::Rejected => "Rejected",
            Self::Server => "Server",
            Self::Unattainable => "Unattainable",
            Self::WaitTimeout => "WaitTimeout",
            Self::CredentialSpent => "CredentialSpent",
            Self::Duplicate => "Duplicate",
            Self::Context => "Context",
            Self::Busy => "Busy",
            Self::Storage => "Storage",
            Self::ShutDown => "ShutDown",
            Self::Internal => "Internal",
        }
    }

    /// Whether a failure of this kind passes by itself, so that the same call may succeed later.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::Connection
                | Self::Timeout
                | Self::Signature
                | Self::RateLimited
                | Self::Permits
                | Self::Maintenance
                | Self::Server
                | Self::Busy
        )
    }
}

/// Whether the request of a failed call was sent.
///
/// This is about the call itself: if the session that a call needs could not be opened, the call was not sent.
/// [`Error::is_doubtful`](crate::Error::is_doubtful) says whether bunq may have carried the call out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sent {
    /// It was not sent.
    No,
    /// It was on its way when the call failed. There was no complete response.
    Maybe,
    /// It was sent, and bunq or a proxy in front of it responded.
    Responded,
}

macro_rules! remedies {
    ($($(#[$doc:meta])* $name:ident: $words:literal,)*) => {
        /// What a program can do after a failure: see [`Error::remedy`](crate::Error::remedy). `Display` says it to somebody who writes the
        /// program. No other text of an error names what is called in Rust.
        ///
        /// More may come: match with a wildcard arm.
        ///
        /// ```
        /// use bunq_partner::{Error, Remedy};
        ///
        /// fn is_credential_spent(error: &Error) -> bool {
        ///     error.remedy() == Some(Remedy::ResetToken)
        /// }
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Remedy {
            $($(#[$doc])* $name,)*
        }

        impl Remedy {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Whether another credential may help.
            pub(crate) fn is_reset(self) -> bool {
                matches!(self, Self::ResetToken | Self::ResetTokenOrSetInstallation)
            }
        }

        impl fmt::Display for Remedy {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $words,)*
                })
            }
        }
    };
}

remedies! {
    /// Make another installation with [`Client::reinstall`](crate::Client::reinstall). TLS alone proves bunq's new key: if
    /// the kind is [`Signature`](ErrorKind::Signature), let a person decide.
    Reinstall: "make another installation with `Client::reinstall`",
    /// Get another credential with [`Users::reset`](crate::Users::reset), which stores and activates it. A program without a custody asks
    /// for one with [`reset_token`](crate::Provisions::reset_token), and keeps its token itself.
    ResetToken: "get another with `users().reset(id)`",
    /// bunq does not take the credential of a user: get another as with [`ResetToken`](Self::ResetToken), or, if it takes no user, set
    /// the other [`user_installation`](crate::ClientBuilder::user_installation).
    ResetTokenOrSetInstallation:
        "get another with `users().reset(id)`, or, if bunq takes no user, set the other `ClientBuilder::user_installation`",
    /// Give calls more time, with [`operation_timeout`](crate::ClientBuilder::operation_timeout).
    RaiseTimeout: "raise `operation_timeout` to wait",
    /// Give a file more time to be sent or received over a slow connection, with
    /// [`attempt_timeout`](crate::ClientBuilder::attempt_timeout) and [`operation_timeout`](crate::ClientBuilder::operation_timeout).
    RaiseAttemptTimeout: "raise `attempt_timeout` and `operation_timeout` if the connection is slow for a file",
    /// Keep more of what bunq adds to a refusal, with [`max_refusal_details`](crate::ClientBuilder::max_refusal_details).
    RaiseMaxRefusalDetails: "set `max_refusal_details` to more",
    /// Name a custody, with [`custody`](crate::ClientBuilder::custody).
    SetCustody: "set one with `ClientBuilder::custody`, such as a `FileCustody`, before you act for users",
    /// Take the user into custody, with [`activate`](crate::Users::activate) if it is new, and otherwise with
    /// [`reset`](crate::Users::reset).
    Activate: "call `users().activate(id)` for a new user, and `users().reset(id)` for one that was activated elsewhere",
    /// Make the call as the partner, with [`Client::api`](crate::Client::api).
    CallAsPartner: "call it with `client.api()`",
    /// Make the call as a user, with [`UserClient::api`](crate::UserClient::api).
    CallAsUser: "call it with `client.users().of(id).api()`",
    /// Decide whether a session was started: [`adopt`](crate::Identity::adopt) it, or [start another](crate::Identity::start_another).
    StartAnother: "if you know the id of one, call `adopt` with it, and otherwise `start_another`",
    /// Decide whether a document was linked: ask bunq, or [link it again](crate::Documents::link_again).
    LinkAgain: "ask bunq, or call `link_again` if a second one does no harm",
}
