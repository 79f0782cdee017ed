//! What the machines do now, as records.

use std::time::Duration;

use bunq_partner::{RateLimit, text};
use bunq_partner_postgres::{LockStatus, MemberStatus, Status, WindowStatus};
use serde_json::{Value, json};

use super::super::output::{Field, Record};

/// The lists of `fleet status`, with the names that they have in JSON.
pub(super) fn lists(status: Status) -> [(&'static str, Vec<Record>); 3] {
    [
        ("windows", status.windows.into_iter().map(window).collect()),
        ("locks", status.locks.into_iter().map(lock).collect()),
        ("members", status.members.into_iter().map(member).collect()),
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

/// A time in seconds.
fn time(name: &'static str, time: Duration) -> Field {
    Field::new(name, 0, time.as_secs())
}
