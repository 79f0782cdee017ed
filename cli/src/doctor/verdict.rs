//! The verdict, as a pure function of what was seen.

use std::net::IpAddr;

use bunq_partner::{Environment, Error, ErrorKind, Operation, Remedy};
use serde::Serialize;

use super::super::examination::step::{Check, CheckState};
use super::super::exit::told;

/// What is wrong, as far as it can be known.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Diagnosis {
    pub(super) is_well: bool,
    pub(super) summary: String,
    /// The causes that are left, if there is more than one.
    pub(super) left: Vec<String>,
    /// What was ruled out, and by what.
    pub(super) ruled_out: Vec<String>,
    /// What to do, or the check that decides.
    pub(super) next: Option<String>,
}

/// What the verdict on a refused key is made from.
pub(super) struct Circumstances<'a> {
    pub(super) environment: Environment,
    /// bunq has accepted the key before, as the kept context shows.
    pub(super) was_accepted: bool,
    pub(super) had_context: bool,
    pub(super) from: Option<IpAddr>,
    pub(super) proxy: Option<&'a str>,
}

impl Diagnosis {
    fn new(summary: impl Into<String>, next: impl Into<String>) -> Self {
        Self { summary: summary.into(), next: Some(next.into()), ..Self::default() }
    }

    fn left<const N: usize>(self, left: [String; N]) -> Self {
        Self { left: left.into(), ..self }
    }

    fn ruled_out(self, what: impl Into<String>) -> Self {
        Self { ruled_out: [self.ruled_out, vec![what.into()]].concat(), ..self }
    }

    /// The verdict that a step gives.
    fn of(step: &Check, summary: String) -> Self {
        Self { summary, next: step.remedy.clone(), ..Self::default() }
    }
}

/// The verdict on all steps, and on bunq's refusal if there is one.
pub(super) fn verdict(steps: &[Check], refusal: Option<&Error>, circumstances: &Circumstances<'_>) -> Diagnosis {
    let clock = steps.iter().find(|step| step.name == "clock" && step.state == CheckState::Failed);
    let failed = steps.iter().find(|step| step.state == CheckState::Failed && step.name != "clock");
    let stranger = steps.iter().find(|step| step.name == "HTTP" && step.state == CheckState::Warning);
    let mut verdict = match (refusal, failed) {
        (Some(error), _) => match stranger.filter(|_| error.bunq_messages().is_empty()) {
            Some(stranger) => Diagnosis::of(stranger, format!("it is not bunq that answers: {}", stranger.saw)),
            None => of_refusal(error, circumstances),
        },
        (None, Some(step)) => Diagnosis::of(step, format!("{}: {}", step.name, step.saw)),
        (None, None) => Diagnosis { is_well: true, summary: well(steps), ..Diagnosis::default() },
    };
    if let Some(clock) = clock {
        if verdict.is_well {
            return Diagnosis::of(clock, clock.saw.clone());
        }
        verdict.summary = format!("{}; and {}", verdict.summary, clock.saw);
    }
    verdict
}

fn well(steps: &[Check]) -> String {
    match steps.iter().filter(|step| step.state == CheckState::Warning).count() {
        0 => "everything works".to_owned(),
        1 => "everything works, with one warning".to_owned(),
        count => format!("everything works, with {count} warnings"),
    }
}

/// What to do if bunq has forgotten the installation, or has another key.
const REINSTALL: &str = "in a network that you trust, `bunq-partner session reinstall` makes another installation";

/// What to do if somebody else answers.
const BETWEEN: &str = "look at the proxy, and at what else is between this machine and bunq";

fn of_refusal(error: &Error, circumstances: &Circumstances<'_>) -> Diagnosis {
    let is_about_key = error.bunq_messages().iter().any(|message| message.contains("Incorrect API key or IP address"));
    let takes_key = [&Operation::CREATE_DEVICE_SERVER, &Operation::CREATE_SESSION];
    let at_key = error.operation().is_some_and(|operation| takes_key.contains(&operation));
    let is_refusal = error.status().is_some_and(|status| (300..500).contains(&status));
    let key = "the API key: bunq has not refused it";
    let is_old_key = error.remedy() == Some(Remedy::Reinstall);
    let told = told(error);
    match error.kind() {
        _ if is_refusal && error.is_misconfiguration() => {
            Diagnosis::new(told, "correct the base URL: `bunq-partner config show` says where it is from").ruled_out(key)
        }
        // Who is no bank is no judge of the key.
        _ if is_refusal && !error.is_from_bunq() && error.bunq_messages().is_empty() => Diagnosis::new(
            format!("it is not bunq that answers: {told}"),
            BETWEEN,
        )
        .ruled_out(key),
        _ if is_refusal && !error.is_from_bunq() && is_old_key => Diagnosis::new(told, REINSTALL)
            .left([
                "a proxy or something else between this machine and bunq answers in its place".into(),
                "bunq signs with another key than the one that is kept".into(),
            ])
            .ruled_out(key),
        _ if is_refusal && !error.is_from_bunq() => Diagnosis::new(told, BETWEEN).ruled_out(key),
        ErrorKind::Forbidden => Diagnosis::new(
            "bunq accepts the key, but does not allow it to do this: is it a user's, and not the partner's?",
            "give the partner's key, or ask bunq's support, who needs the response id above",
        )
        .ruled_out("a wrong key, another environment and the address: the key has opened a session"),
        ErrorKind::Unauthorized if at_key && is_about_key => of_key(circumstances),
        ErrorKind::Unauthorized if at_key && circumstances.had_context => Diagnosis::new(
            "the installation: bunq has forgotten the one in the context file, as after its sandbox is emptied",
            REINSTALL,
        )
        .ruled_out("the API key and the address: bunq names them in other words"),
        ErrorKind::Unauthorized if at_key => Diagnosis::new(
            "bunq refuses the key, or the installation that was just made for it",
            "try again; if it fails again, ask bunq's support, who needs the response id above",
        ),
        ErrorKind::Context => Diagnosis::new(
            told,
            "see that the context file can be read and written, or give another --context",
        ),
        ErrorKind::Signature if is_old_key => Diagnosis::new(
            "the responses are not signed with the key of bunq's that is kept: it is damaged or out of date, or somebody \
             changes what bunq says",
            REINSTALL,
        )
        .ruled_out(key),
        ErrorKind::Signature => Diagnosis::new(told, BETWEEN).ruled_out(key),
        _ => {
            Diagnosis::new(told, "try again; `bunq-partner help exit-codes` explains the code")
        }
    }
}

/// bunq's one answer for a wrong key and for another address.
fn of_key(circumstances: &Circumstances<'_>) -> Diagnosis {
    let Circumstances { environment, was_accepted, from, proxy, .. } = circumstances;
    let prefix = match environment {
        Environment::Sandbox => "it begins with `sandbox_`",
        _ => "it does not begin with `sandbox_`",
    };
    let other_environment = format!("a key of the other environment: {prefix}");
    let seen = match (proxy, from) {
        (Some(proxy), _) => format!("bunq sees the address of the proxy {proxy}"),
        (None, Some(IpAddr::V4(from))) if from.is_private() || from.is_loopback() => {
            format!("calls leave from {from}, which is not public: bunq sees the address of your router")
        }
        (None, Some(IpAddr::V4(from))) => format!("bunq sees {from}"),
        (None, Some(from)) => format!("bunq sees {from}, and does not support IPv6"),
        (None, None) => "which address bunq sees is not known".to_owned(),
    };
    let address = format!("this machine's address is not one that the key may be used from: {seen}");
    let look = "look the key up where it was made: whether it is still there, and for which addresses";
    let diagnosis = if *was_accepted {
        Diagnosis::new(
            "the address: bunq has accepted this key before, and does not accept it from here",
            format!("{look}; or run this where the key was used before"),
        )
        .left([address, "the key has been revoked since".into()])
    } else {
        Diagnosis::new(
            "the API key, or the address that it is used from: bunq gives one answer for both",
            format!("{look}; a run from an address where the key is known to work decides too"),
        )
        .left(["the key is wrong, or has been revoked".into(), address])
    };
    let diagnosis = diagnosis.ruled_out(other_environment);
    let before = "a wrong key: bunq has accepted it before, when the device in the context file was registered";
    if *was_accepted { diagnosis.ruled_out(before) } else { diagnosis }
}
