//! What is told of what the machines do.

use std::time::Duration;

use bunq_partner::{ContextStore as _, RateLimit, Uuid};
use bunq_partner_postgres::PostgresStore;

use crate::common::TestDatabase;

const HOUR: Duration = Duration::from_secs(3600);

/// A member asks for a permit of two an hour, with a lease of an hour. Returns the permit, if it has one.
fn take(test: &TestDatabase, member: Uuid) -> String {
    let hour = HOUR.as_micros();
    test.sql(&format!(
        "SELECT permit FROM bunq_partner.take_permit('{member}', '{{window}}', 2, {hour}, {hour}, 0, false, NULL)"
    ))
}

#[tokio::test]
async fn windows_locks_and_members_are_told() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let database = test.connect().await;
    let nothing = database.status().await.unwrap();
    assert!(nothing.windows.is_empty() && nothing.locks.is_empty() && nothing.members.is_empty(), "{nothing:?}");
    assert_eq!(nothing.schema_version.to_string(), test.sql("SELECT max(version) FROM bunq_partner.schema_version"));
    assert!(nothing.database.starts_with(&format!("the database {} at ", test.name)));
    let before = database.status().await.unwrap().time;
    assert!(nothing.time < before, "{nothing:?}");

    let [holder, waiter] = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let (settled, held) = (take(&test, holder), take(&test, holder));
    test.sql(&format!(
        "SELECT bunq_partner.settle_permit('{holder}', '{{window}}', {settled}, true, NULL, NULL, NULL, NULL, NULL, NULL)"
    ));
    assert_eq!((held.is_empty(), take(&test, waiter)), (false, String::new()));
    test.sql("INSERT INTO bunq_partner.lock SELECT 'dead', gen_random_uuid(), 1, 'dead', t, t FROM (SELECT now() - interval '1 min' AS t) AS t");
    let lock = PostgresStore::new(&database, "acme").lock().await.unwrap();
    let status = database.status().await.unwrap();
    let [window] = &status.windows[..] else { panic!("{status:?}") };
    assert_eq!((window.held, window.counting, window.waiting), (1, 1, 1));
    assert_eq!((&*window.name, window.closed_for), ("window", Duration::ZERO));
    assert_eq!(window.limits, [RateLimit::new(2, HOUR)]);
    let members: Vec<_> = status.members.iter().map(|member| (member.id, member.held, member.waiting)).collect();
    assert_eq!(members, [(holder, 1, 0), (waiter, 0, 1)]);
    let [held] = &status.locks[..] else { panic!("{status:?}") };
    assert!(held.name.contains("acme") && held.holder.contains("bunq-partner"), "{held:?}");
    assert!(held.held_for < HOUR && held.renewed_ago < HOUR, "{held:?}");
    assert!(status.members.iter().all(|member| member.seen_ago < HOUR));
    drop(lock);

    // A refusal closes the window, and names a stricter limit.
    test.sql(&format!(
        "SELECT bunq_partner.settle_permit('{holder}', '{{window}}', 99, false, {hour}, 1, {hour}, NULL, NULL, NULL)",
        hour = HOUR.as_micros()
    ));
    let window = database.status().await.unwrap().windows.remove(0);
    assert!(window.closed_for > HOUR / 2 && window.closed_for <= HOUR, "{window:?}");
    assert_eq!(window.limits, [RateLimit::new(1, HOUR), RateLimit::new(2, HOUR)]);
    // What is over is not told.
    test.sql("UPDATE bunq_partner.permit_windows SET closed_until = '-infinity'");
    test.sql("DELETE FROM bunq_partner.permits; DELETE FROM bunq_partner.permit_waiters");
    let nothing = database.status().await.unwrap();
    assert!(nothing.windows.is_empty() && nothing.members.is_empty(), "{nothing:?}");
}
