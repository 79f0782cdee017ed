//! How the program ends: an exit code for each kind of failure, and what to do next.

use std::io;

use bunq_partner::{Error, ErrorKind, Remedy};
use serde_json::json;

use super::screen;
use super::words::clean;

/// The codes that are not a kind of bunq's errors.
const NO: u8 = 1;
const USAGE: u8 = 2;
const INTERNAL: u8 = 19;
const DOUBT: u8 = 20;
const MISSING: u8 = 24;
pub(super) const INTERRUPTED: u8 = 130;

/// The exit code of each kind of failure, with what it means.
const KINDS: [(ErrorKind, u8, &str); 23] = [
    (ErrorKind::InvalidInput, USAGE, "invalid input; nothing was sent"),
    (ErrorKind::Connect, 3, "no connection to bunq"),
    (ErrorKind::Connection, 4, "the connection broke"),
    (ErrorKind::Timeout, 5, "bunq did not respond in time"),
    (ErrorKind::InvalidResponse, 6, "the response is not what the document describes"),
    (ErrorKind::Signature, 7, "the response has no valid signature of bunq's"),
    (ErrorKind::Unauthorized, 8, "bunq does not accept the key, the token or the address"),
    (ErrorKind::Forbidden, 22, "bunq does not allow the caller to do this"),
    (ErrorKind::NotFound, 9, "there is no such object"),
    (ErrorKind::RateLimited, 10, "too many calls"),
    (ErrorKind::Permits, 23, "the store of the rate limits' permits has failed"),
    (ErrorKind::Maintenance, 11, "bunq is under maintenance"),
    (ErrorKind::Rejected, 12, "bunq refuses the request"),
    (ErrorKind::Server, 13, "bunq, or a proxy in front of it, has failed"),
    (ErrorKind::Unattainable, 14, "what is there cannot reach that status, or is not what was asked for"),
    (ErrorKind::WaitTimeout, 15, "the provision did not get there in time"),
    (ErrorKind::CredentialSpent, 16, "the credential is used or expired"),
    (ErrorKind::Duplicate, 17, "there are several provisions or OAuth clients, where there is to be one"),
    (ErrorKind::Context, 18, "the context file or the custody cannot be used"),
    (ErrorKind::Busy, 25, "another process has held the lock of the context or a user too long"),
    (ErrorKind::Storage, 21, "the journal or the receipts cannot be used"),
    (ErrorKind::ShutDown, INTERRUPTED, "interrupted"),
    (ErrorKind::Internal, INTERNAL, "this machine or this program failed"),
];

/// The kind of failure with this name, and what it means.
pub(super) fn kind_named(name: &str) -> Option<(ErrorKind, &'static str)> {
    KINDS.iter().find(|(kind, ..)| kind.as_str() == name).map(|(kind, _, meaning)| (*kind, *meaning))
}

/// The exit codes in their order, with their meanings.
pub(super) fn meanings() -> impl Iterator<Item = (u8, &'static str)> {
    let others = [
        (0, "done"),
        (NO, "not confirmed, or a check found something wrong"),
        (DOUBT, "the outcome is unknown: bunq may have carried the request out"),
        (MISSING, "the user is not there yet: something is missing, or bunq still checks it"),
    ];
    let mut codes: Vec<_> = KINDS.iter().map(|(_, code, meaning)| (*code, *meaning)).chain(others).collect();
    codes.sort_unstable();
    codes.into_iter()
}

pub(super) fn help() -> String {
    let codes: String = meanings().map(|(code, meaning)| format!("  {code:3}  {meaning}\n")).collect();
    format!("Exit codes:\n{codes}")
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
    /// The failure of a call.
    error: Option<Box<Error>>,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, error: None }
    }

    /// The command was given invalid input; nothing was sent.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// A failure of this kind.
    pub(super) fn of_kind(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::new(code(kind), message)
    }

    /// A failure of the kind with this name, or of no known kind.
    pub(super) fn of_kind_named(name: Option<&str>, message: impl Into<String>) -> Self {
        Self::new(name.and_then(kind_named).map_or(NO, |(kind, _)| code(kind)), message)
    }

    /// The outcome of a request is unknown.
    pub(super) fn doubt(message: impl Into<String>) -> Self {
        Self::new(DOUBT, message)
    }

    /// The user has not the statuses that were asked for, because something is missing.
    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self::new(MISSING, message)
    }

    /// The same failure with another message.
    pub(super) fn saying(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }

    /// A question was answered with no, or a check found something wrong; without a message, what was found has been said.
    pub(super) fn negative(message: impl Into<String>) -> Self {
        Self::new(NO, message)
    }

    pub(super) fn interrupted(hint: Option<String>) -> Self {
        Self { hint, ..Self::new(INTERRUPTED, "interrupted") }
    }

    pub(super) fn is_of_kind(&self, kind: ErrorKind) -> bool {
        self.code == code(kind)
    }

    pub(super) fn is_interruption(&self) -> bool {
        self.code == INTERRUPTED
    }

    /// A file or a stream of this machine's failed.
    pub(super) fn local(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::of_kind(ErrorKind::Internal, format!("{what}: {error}"))
    }

    /// Standard output was closed by its reader, as by `| head`.
    pub(super) fn is_unread(&self) -> bool {
        self.code == 0
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with a hint, if there is one, also beside the one that it has.
    pub(super) fn or_hint(self, hint: Option<String>) -> Self {
        let Some(hint) = hint else { return self };
        let hint = match &self.hint {
            Some(first) => format!("{first}; {hint}"),
            None => hint,
        };
        self.with_hint(hint)
    }

    /// The same failure with how to go on, and with what comes first if the same command would fail in the same way again.
    pub(super) fn resumed_by(self, resumption: Option<String>) -> Self {
        let passes = match &self.error {
            Some(error) => error.is_doubtful() || (error.is_retryable() && !error.is_misconfiguration()),
            None => self.is_interruption(),
        };
        self.or_hint(resumption.map(|words| if passes { words } else { format!("once that is put right, {words}") }))
    }

    /// The failure of a call, if it is one.
    pub(super) fn error(&self) -> Option<&Error> {
        self.error.as_deref()
    }

    /// The same failure, with what has failed before its message.
    pub(super) fn of(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// The same failure without a message, because it has been reported.
    pub(super) fn reported(self) -> Self {
        Self { message: String::new(), hint: None, ..self }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn code(&self) -> u8 {
        self.code
    }

    /// The kind of failure that has this exit code.
    pub(super) fn kind(&self) -> Option<ErrorKind> {
        KINDS.iter().find(|(_, code, _)| *code == self.code).map(|(kind, ..)| *kind)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let error = self.error.as_deref();
        json!({
            "exit_code": self.code,
            "kind": error.map(Error::kind).or(self.kind()).map(ErrorKind::as_str),
            "message": self.message,
            "hint": self.hint,
            "in_doubt": self.code == DOUBT,
            "operation": error.and_then(Error::operation).map(|operation| operation.id),
            "http_status": error.and_then(Error::status),
            "request_id": error.and_then(Error::request_id),
            "response_id": error.and_then(Error::response_id),
            "from_bunq": error.is_some_and(Error::is_from_bunq),
        })
    }

    /// Says on standard error what went wrong, and what to do next; as JSON for scripts.
    pub(super) fn report(&self, is_for_scripts: bool) {
        if self.message.is_empty() {
            return;
        }
        if is_for_scripts {
            return screen::say_json(&json!({ "error": self.json() }));
        }
        let hint = self.hint.as_ref().map(|hint| format!("\x1b[1;36mhint:\x1b[0m {}\n", clean(hint)));
        let message = clean(&self.message);
        screen::say(&format!("\x1b[1;31merror:\x1b[0m {message}\n{}", hint.unwrap_or_default()));
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = if error.is_doubtful() { DOUBT } else { code(error.kind()) };
        Self { code, message: told(&error), hint: hint(&error), error: Some(Box::new(error)) }
    }
}

impl From<bunq_partner::InvalidValue> for Failure {
    fn from(error: bunq_partner::InvalidValue) -> Self {
        Error::from(error).into()
    }
}

/// A command line that clap refuses. Its text has the problem first, then tips and the usage, each with an empty line before it.
impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        let paragraphs = text.split("\n\n").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        let mut said = paragraphs.filter(|text| !text.is_empty() && !text.starts_with("For more information"));
        let problem = said.next().unwrap_or_default();
        let hints: Vec<_> = said.map(|hint| hint.trim_start_matches("tip: ").to_owned()).collect();
        let failure = Self::usage(problem.trim_start_matches("error: "));
        failure.or_hint((!hints.is_empty()).then(|| hints.join("; ")))
    }
}

/// A failure of standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(0, "");
        }
        Self::local("the output cannot be written", &error)
    }
}

fn code(kind: ErrorKind) -> u8 {
    KINDS.iter().find(|(known, ..)| *known == kind).map_or(INTERNAL, |(_, code, _)| *code)
}

/// A failure in words. What a program could do about it is left out: the hint names the command that does it.
pub(super) fn told(error: &Error) -> String {
    error.clone().without_remedy().to_string()
}

/// What to do about a failure.
fn hint(error: &Error) -> Option<String> {
    let is_variable = |field: &&str| field.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    match error.field() {
        Some(variable) if is_variable(&variable) => Some(format!("set {variable} right, or unset it")),
        _ => hint_of_kind(error).map(str::to_owned),
    }
}

/// What replaces a credential.
const RESET: &str = "`bunq-partner users reset ID` gets another, and activates it";

/// What a user of the program does where the library says what a program can do; `None` if nothing here does it.
fn hint_of_remedy(remedy: Remedy) -> Option<&'static str> {
    Some(match remedy {
        Remedy::Reinstall => {
            "`bunq-partner doctor` finds out what is wrong; `bunq-partner session reinstall` makes another installation, in a network that you trust"
        }
        Remedy::ResetToken => RESET,
        Remedy::ResetTokenOrSetInstallation => {
            "`bunq-partner users reset ID` gets another credential; if no user is taken, the member user_installation of the profile is \
             \"own\" or \"partner\": set the other one"
        }
        Remedy::RaiseAttemptTimeout => "try again over a faster connection, or with a smaller file",
        Remedy::SetCustody => "give --custody FOLDER, or set `custody` in a profile",
        Remedy::Activate => {
            "`bunq-partner users activate ID` for a new user, and `bunq-partner users reset ID` for one that was activated elsewhere"
        }
        Remedy::CallAsPartner => "leave out --user",
        Remedy::CallAsUser => {
            "give --user ID, which is that of a provision: `bunq-partner users list` shows who is in custody"
        }
        Remedy::StartAnother => "bunq cannot be asked for it: --another starts a session all the same",
        Remedy::LinkAgain => {
            "bunq cannot be asked for it: leave identity_document out, or upload the files again and give the new ids"
        }
        // Nothing sets it.
        Remedy::RaiseTimeout | Remedy::RaiseMaxRefusalDetails | _ => return None,
    })
}

fn hint_of_kind(error: &Error) -> Option<&'static str> {
    if error.is_doubtful() {
        if let Some(Remedy::StartAnother | Remedy::LinkAgain) = error.remedy() {
            return error.remedy().and_then(hint_of_remedy);
        }
        let is_about_oauth = error.operation().is_some_and(|operation| operation.path.contains("/oauth-client"));
        return Some(match is_about_provisions(error) {
            true => "look before you repeat it: `bunq-partner get ID`, or `bunq-partner find UUID` after a creation",
            false if is_about_oauth => "look before you repeat it: `bunq-partner oauth show`",
            false => "look before you repeat it: `bunq-partner help operations` lists the calls that read",
        });
    }
    if let Some(hint) = error.remedy().and_then(hint_of_remedy) {
        return Some(hint);
    }
    let status = error.status();
    if error.is_misconfiguration() && status.is_some() {
        return Some("`bunq-partner config show` says where the base URL is from");
    }
    if status.is_some_and(|status| (300..500).contains(&status)) && !error.is_from_bunq() {
        return Some("`bunq-partner doctor` finds out what has answered in bunq's place");
    }
    Some(match error.kind() {
        ErrorKind::Connect | ErrorKind::Context | ErrorKind::Unauthorized => {
            "`bunq-partner doctor` finds out what is wrong"
        }
        ErrorKind::Signature => "`bunq-partner doctor` finds out what is between this machine and bunq",
        ErrorKind::Connection | ErrorKind::Timeout | ErrorKind::Server => {
            "try again; if it fails again, `bunq-partner doctor` finds out what is wrong"
        }
        ErrorKind::Forbidden => {
            "only the partner may do some things, and a user may not; bunq's support asks for the response id"
        }
        ErrorKind::NotFound if is_about_provisions(error) => "`bunq-partner list` shows the provisions that there are",
        ErrorKind::NotFound => {
            "check the id, and whose object it is: `bunq-partner help operations` says what can be listed"
        }
        ErrorKind::RateLimited => "try again later: bunq counts the calls of all programs at this address together",
        ErrorKind::Maintenance | ErrorKind::Busy => "try again later",
        ErrorKind::InvalidResponse => "bunq has changed something, or it is not bunq: is there a newer bunq-partner?",
        ErrorKind::Rejected => "what bunq says is above; its support asks for the response id",
        ErrorKind::WaitTimeout => "`bunq-partner watch ID` goes on waiting",
        ErrorKind::CredentialSpent => RESET,
        ErrorKind::Unattainable => "`bunq-partner get ID` shows its status",
        ErrorKind::Duplicate => "close the one that you do not use",
        _ => return None,
    })
}

fn is_about_provisions(error: &Error) -> bool {
    error.operation().is_none_or(|operation| operation.path.starts_with("/partner-user-provision"))
}

/// The outcome of a command whose results were written: what became of the command comes before what became of its output.
pub(super) fn after_output<E: Into<Failure>>(
    outcome: Result<(), Failure>,
    written: Result<(), E>,
) -> Result<(), Failure> {
    outcome?;
    written.map_err(E::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own() {
        test_timeout::start();
        let mut codes: Vec<_> = KINDS.iter().map(|(_, code, _)| *code).chain([0, NO, DOUBT, MISSING]).collect();
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
        assert!(KINDS.iter().all(|(kind, ..)| KINDS.iter().filter(|(other, ..)| other == kind).count() == 1));
    }

    /// The library says what a program can do. Whoever uses this one needs a command, an option or a setting.
    #[test]
    fn each_remedy_is_told_as_what_its_user_does() {
        test_timeout::start();
        for remedy in Remedy::ALL {
            match hint_of_remedy(*remedy) {
                Some(hint) => assert!(!hint.contains("()") && !hint.contains("::"), "{remedy:?}: {hint}"),
                None => assert!(matches!(remedy, Remedy::RaiseTimeout | Remedy::RaiseMaxRefusalDetails), "{remedy:?}"),
            }
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        test_timeout::start();
        assert!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_unread());
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).is_unread());
    }
}
