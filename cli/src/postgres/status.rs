//! What the machines do now, as records and as steps of `doctor`.

use std::time::Duration;

use bunq_partner::jiff::Timestamp;
use bunq_partner::{Error, RateLimit, text};
use bunq_partner_postgres::{LockStatus, MemberStatus, ShareStatus, Status, WindowStatus};
use serde_json::{Value, json};

use super::super::examination::step::Check;
use super::super::exit::told;
use super::super::output::{Field, Record};

/// A server's clock that is off by more is wrong.
const MAX_CLOCK_ERROR: Duration = Duration::from_secs(30);

/// The lists of `fleet status`, with the names that they have in JSON.
pub(super) fn lists(status: Status) -> [(&'static str, Vec<Record>); 4] {
    [
        ("windows", status.windows.into_iter().map(window).collect()),
        ("locks", status.locks.into_iter().map(lock).collect()),
        ("members", status.members.into_iter().map(member).collect()),
        ("shares", status.shares.into_iter().map(share).collect()),
    ]
}

fn window(window: WindowStatus) -> Record {
    let limit = |RateLimit { calls, per, .. }: &RateLimit| format!("{calls} in {}", text::duration(*per));
    let limits: Vec<_> = window.limits.iter().map(limit).collect();
    let limit = |limit: &RateLimit| json!({ "calls": limit.calls, "per_seconds": limit.per.as_secs_f64() });
    let in_json = Value::Array(window.limits.iter().map(limit).collect());
    Record::of(vec![
        Field::new("window", 0, window.name),
        Field::new("held", 0, window.held),
        Field::new("counting", 0, window.counting),
        Field::new("waiting", 0, window.waiting),
        time("closed_seconds", window.closed_for),
        Field::new("limits", 1, in_json).shown_as(limits.join(", ")),
    ])
}

fn lock(lock: LockStatus) -> Record {
    Record::of(vec![
        Field::new("lock", 0, lock.name),
        Field::new("holder", 0, lock.holder),
        time("held_seconds", lock.held_for),
        time("renewed_seconds", lock.renewed_ago),
    ])
}

fn member(member: MemberStatus) -> Record {
    Record::of(vec![
        Field::new("member", 0, member.id),
        Field::new("held", 0, member.held),
        Field::new("waiting", 0, member.waiting),
        time("seen_seconds", member.seen_ago),
    ])
}

fn share(share: ShareStatus) -> Record {
    Record::of(vec![
        Field::new("name", 0, share.name),
        Field::new("percent", 0, share.percent),
        Field::new("counted_by", 0, share.counted_by.join(", ")),
        Field::new("held_back", 0, share.is_held_back),
        time("renewed_seconds", share.renewed_ago),
        Field::new("member", 1, share.member),
    ])
}

/// A time in seconds.
fn time(name: &'static str, time: Duration) -> Field {
    Field::new(name, 0, time.as_secs())
}

/// The steps about the database, to which `connect` has found nothing wrong, and what has been read at `now`.
pub(super) fn checks(status: Result<Status, Error>, now: Timestamp) -> Vec<Check> {
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            return vec![Check::failed("database", told(&error), "until it is put right, calls are not sent")];
        }
    };
    let Status { database, schema_version, time, windows, locks, members, shares, .. } = status;
    let difference = Duration::from_secs(now.duration_since(time).unsigned_abs().as_secs());
    let server = if difference <= MAX_CLOCK_ERROR {
        let saw = format!(
            "{database} has version {schema_version} of the schema, and grants what is needed; its clock is right"
        );
        Check::ok("database", saw)
    } else {
        let saw = format!("the clock of {database} and that of this machine are {} apart", text::duration(difference));
        let remedy =
            "set the wrong one slowly: permits count by that of the database, and a leap forward ends them early";
        Check::warning("database", saw, remedy)
    };
    let closed: Vec<_> = windows.iter().filter(|window| !window.closed_for.is_zero()).collect();
    let seen = format!("members in the last ten minutes: {}; locks: {}", members.len(), locks.len());
    let held_back: Vec<_> = shares.iter().filter(|share| share.is_held_back).map(|share| &*share.name).collect();
    let held_back_of = match &*held_back {
        [] => String::new(),
        names => format!("; shares that are held back, because their members are not there: {}", names.join(", ")),
    };
    let machines = match (closed.first(), held_back.first()) {
        (None, None) => Check::ok("machines", seen),
        (None, Some(name)) => {
            let remedy = format!("start the member again; `bunq-partner fleet forget {name}` if it has ended for good");
            Check::warning("machines", format!("{seen}{held_back_of}"), remedy)
        }
        (Some(window), _) => {
            let saw = format!("{seen}{held_back_of}; closed windows: {}, such as {}", closed.len(), window.name);
            let remedy = "bunq has refused a call with 429, or the database was restarted: `bunq-partner fleet status` shows all";
            Check::warning("machines", saw, remedy)
        }
    };
    vec![server, machines]
}

#[cfg(test)]
mod tests {
    use super::super::super::examination::step::CheckState;
    use super::*;

    #[test]
    fn what_was_not_read_is_a_failure() {
        test_timeout::start();
        let steps = checks(Err(Error::context("the database acme is away")), Timestamp::now());
        assert_eq!(steps.len(), 1);
        assert_eq!((steps[0].state, &*steps[0].saw), (CheckState::Failed, "the database acme is away"));
    }
}
