//! The verdict, as a pure function of what was seen.

use std::net::IpAddr;

use bunq_partner::{Environment, Error, ErrorKind, Operation};
use serde::Serialize;

use super::step::{Check, CheckState};

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
    pub(super) context: Option<&'a str>,
}

/// The verdict on all steps, and on bunq's refusal if there is one.
pub(super) fn verdict(steps: &[Check], refusal: Option<&Error>, circumstances: &Circumstances<'_>) -> Diagnosis {
    let clock = steps.iter().find(|step| step.name == "clock" && step.state == CheckState::Failed);
    let failed = steps.iter().find(|step| step.state == CheckState::Failed && step.name != "clock");
    let stranger = steps.iter().find(|step| step.name == "HTTP" && step.state == CheckState::Warning);
    let mut verdict = match (refusal, failed) {
        (Some(error), _) if stranger.is_some() && error.bunq_messages().is_empty() => Diagnosis {
            summary: format!(
                "it is not bunq that answers: {}",
                stranger.map(|step| step.saw.as_str()).unwrap_or_default()
            ),
            next: stranger.and_then(|step| step.remedy.clone()),
            ..Diagnosis::default()
        },
        (Some(error), _) => of_refusal(error, circumstances),
        (None, Some(step)) => Diagnosis {
            summary: format!("{}: {}", step.name, step.saw),
            next: step.remedy.clone(),
            ..Diagnosis::default()
        },
        (None, None) => Diagnosis { is_well: true, summary: well(steps), ..Diagnosis::default() },
    };
    if let Some(clock) = clock {
        if verdict.is_well {
            return Diagnosis { summary: clock.saw.clone(), next: clock.remedy.clone(), ..Diagnosis::default() };
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

fn of_refusal(error: &Error, circumstances: &Circumstances<'_>) -> Diagnosis {
    let is_about_key = error.bunq_messages().iter().any(|message| message.contains("Incorrect API key or IP address"));
    let takes_key = [&Operation::CREATE_DEVICE_SERVER, &Operation::CREATE_SESSION];
    let at_key = error.operation().is_some_and(|operation| takes_key.contains(&operation));
    let is_refusal = error.status().is_some_and(|status| (300..500).contains(&status));
    match error.kind() {
        // Who is no bank is no judge of the key.
        _ if is_refusal && !error.is_from_bunq() && error.bunq_messages().is_empty() => Diagnosis {
            summary: format!("it is not bunq that answers: {error}"),
            ruled_out: vec!["the API key: bunq has not refused it".into()],
            next: Some("look at the proxy, and at what else is between this machine and bunq".into()),
            ..Diagnosis::default()
        },
        _ if is_refusal && !error.is_from_bunq() => Diagnosis {
            summary: error.to_string(),
            left: vec![
                "a proxy or something else between this machine and bunq answers in its place".into(),
                "bunq signs with another key than the one that is kept".into(),
            ],
            ruled_out: vec!["the API key: bunq has not refused it".into()],
            next: Some(begin_anew(circumstances)),
            ..Diagnosis::default()
        },
        ErrorKind::Forbidden => Diagnosis {
            summary: "bunq accepts the key, but does not allow it to do this: is it a user's, and not the partner's?"
                .into(),
            ruled_out: vec!["a wrong key, another environment and the address: the key has opened a session".into()],
            next: Some("give the partner's key, or ask bunq's support, who needs the response id above".into()),
            ..Diagnosis::default()
        },
        ErrorKind::Unauthorized if at_key && is_about_key => of_key(circumstances),
        ErrorKind::Unauthorized if at_key && circumstances.had_context => forgotten(circumstances),
        ErrorKind::Unauthorized if at_key => Diagnosis {
            summary: "bunq refuses the key, or the installation that was just made for it".into(),
            next: Some("try again; if it stays, ask bunq's support, who needs the response id above".into()),
            ..Diagnosis::default()
        },
        ErrorKind::Context => Diagnosis {
            summary: error.to_string(),
            next: Some("see that the context file can be read and written, or give another --context".into()),
            ..Diagnosis::default()
        },
        ErrorKind::Signature => Diagnosis {
            summary:
                "the responses are not signed with the key of bunq's that is kept: it is damaged or out of date, or \
                      somebody changes what bunq says"
                    .into(),
            ruled_out: vec!["the API key: bunq has not refused it".into()],
            next: Some(begin_anew(circumstances)),
            ..Diagnosis::default()
        },
        _ => Diagnosis {
            summary: error.to_string(),
            next: Some("see `bunq-partner --help` for the kind of failure, and try again".into()),
            ..Diagnosis::default()
        },
    }
}

/// bunq's one answer for a wrong key and for another address.
fn of_key(circumstances: &Circumstances<'_>) -> Diagnosis {
    let Circumstances { environment, was_accepted, from, proxy, .. } = circumstances;
    let prefix = match environment {
        Environment::Sandbox => "it begins with `sandbox_`",
        _ => "it does not begin with `sandbox_`",
    };
    let mut ruled_out = vec![format!("a key of the other environment: {prefix}")];
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
    if *was_accepted {
        ruled_out.push(
            "a wrong key: bunq has accepted it before, when the device in the context file was registered".into(),
        );
        return Diagnosis {
            summary: "the address: bunq has accepted this key before, and does not accept it from here".into(),
            left: vec![address, "the key has been revoked since".into()],
            ruled_out,
            next: Some(format!("{look}; or run this where the key was used before")),
            ..Diagnosis::default()
        };
    }
    Diagnosis {
        summary: "the API key, or the address that it is used from: bunq gives one answer for both".into(),
        left: vec!["the key is wrong, or has been revoked".into(), address],
        ruled_out,
        next: Some(format!("{look}; a run from an address where the key is known to work decides too")),
        ..Diagnosis::default()
    }
}

fn forgotten(circumstances: &Circumstances<'_>) -> Diagnosis {
    Diagnosis {
        summary: "the installation: bunq has forgotten the one in the context file, as after its sandbox is emptied"
            .into(),
        ruled_out: vec!["the API key and the address: bunq names them in other words".into()],
        next: Some(begin_anew(circumstances)),
        ..Diagnosis::default()
    }
}

fn begin_anew(circumstances: &Circumstances<'_>) -> String {
    match circumstances.context {
        Some(file) => format!("remove {file}: the next call makes another installation"),
        None => "run it again: the next run makes another installation".to_owned(),
    }
}
