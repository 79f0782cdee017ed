//! Users in custody, for all machines.

use bunq_partner::{Client, Custody, CustodyEntry, CustodyFilter, MemoryPermits, ProvisionId};
use bunq_partner_postgres::PostgresCustody;
use bunq_partner_sandbox::Sandbox;

use crate::common::TestDatabase;

fn id(id: u64) -> ProvisionId {
    id.try_into().unwrap()
}

/// The custody as another machine has it, with connections of its own.
async fn machine(test: &TestDatabase) -> PostgresCustody {
    PostgresCustody::new(&test.connect().await, "partner")
}

/// An entry with a value in each member.
fn full(of: u64) -> CustodyEntry {
    let mut entry = CustodyEntry::new(id(of));
    entry.external_uuid = Some("5f3f2a4e-0b0e-4c39-8f5e-000000001015".parse().unwrap());
    entry.user_id = Some(i64::MAX.try_into().unwrap());
    entry.granted_by = Some(20_i64.try_into().unwrap());
    // jiff's last moment is earlier.
    entry.expiry = Some("9999-12-31 23:59:59.999999".parse().unwrap());
    entry.is_activated = true;
    entry
}

async fn save(custody: &PostgresCustody, entry: CustodyEntry, text: &str) {
    let lock = custody.lock(entry.provision_id).await.unwrap();
    custody.save(&lock, entry, text.into()).await.unwrap();
}

async fn listed(custody: &PostgresCustody, filter: CustodyFilter) -> Vec<u64> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = custody.list(filter, after).await.unwrap();
        let Some(last) = page.last() else { return ids };
        after = Some(last.provision_id);
        ids.extend(page.iter().map(|entry| entry.provision_id.get()));
    }
}

#[tokio::test]
async fn what_one_machine_saves_another_has() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let (first, second) = (machine(&test).await, machine(&test).await);
    assert_eq!((second.load(id(7)).await.unwrap(), second.entry(id(7)).await.unwrap()), (None, None));
    let text = "\u{1F980}".repeat(16 * 1024);
    save(&first, full(7), &text).await;
    assert_eq!(second.load(id(7)).await.unwrap(), Some(text.as_str().into()));
    assert_eq!(second.entry(id(7)).await.unwrap(), Some(full(7)));

    let mut entry = CustodyEntry::new(id(7));
    entry.expiry = Some("2026-11-29 20:00:00.000001".parse().unwrap());
    save(&second, entry.clone(), "another").await;
    assert_eq!(first.load(id(7)).await.unwrap(), Some("another".into()));
    assert_eq!(first.entry(id(7)).await.unwrap(), Some(entry));

    // Another custody of the database has nothing of it.
    let other = PostgresCustody::new(&test.connect().await, "other");
    assert_eq!((other.load(id(7)).await.unwrap(), listed(&other, CustodyFilter::All).await), (None, vec![]));

    let lock = first.lock(id(7)).await.unwrap();
    for _ in 0..2 {
        first.remove(&lock, id(7)).await.unwrap();
    }
    assert_eq!((second.load(id(7)).await.unwrap(), second.entry(id(7)).await.unwrap()), (None, None));
}

#[tokio::test]
async fn pages_have_all_users_and_those_that_are_not_activated() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    test.sql(
        "INSERT INTO bunq_partner.custody_record (custody, provision_id, is_activated, text)
         SELECT 'partner', id, id % 700 <> 0, '' FROM generate_series(1, 2500) AS id",
    );
    let custody = machine(&test).await;
    assert_eq!(listed(&custody, CustodyFilter::All).await, (1..=2500).collect::<Vec<_>>());
    assert_eq!(listed(&custody, CustodyFilter::Unactivated).await, [700, 1400, 2100]);
    save(&custody, full(1400), "activated").await;
    assert_eq!(listed(&custody, CustodyFilter::Unactivated).await, [700, 2100]);
    test.sql("ANALYZE bunq_partner.custody_record");
    let plan = test.sql(
        "EXPLAIN SELECT provision_id FROM bunq_partner.custody_record
         WHERE custody = 'partner' AND provision_id > 0 AND NOT is_activated ORDER BY provision_id LIMIT 1000",
    );
    assert!(plan.contains("custody_record_unactivated"), "{plan}");
}

#[tokio::test]
async fn each_user_has_a_lock_and_many_wait() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let machines = [machine(&test).await, machine(&test).await];
    let add = async |custody: PostgresCustody, user: u64| {
        let lock = custody.lock(id(user)).await.unwrap();
        let stored = custody.load(id(user)).await.unwrap().map_or(0, |text| text.expose().parse::<u32>().unwrap());
        custody.save(&lock, CustodyEntry::new(id(user)), (stored + 1).to_string().into()).await.unwrap();
    };
    let tasks: Vec<_> =
        (0..60).map(|task| tokio::spawn(add(machines[task % 2].clone(), 1 + task as u64 % 6))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    for user in 1..=6 {
        assert_eq!(machines[0].load(id(user)).await.unwrap(), Some("10".into()));
    }
    // Nothing is kept of locks that nobody holds.
    while test.sql("SELECT count(*) FROM bunq_partner.lock") != "0" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_record_is_saved_with_the_lock_of_its_user_alone() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let custody = machine(&test).await;
    let lock = custody.lock(id(7)).await.unwrap();
    let error = custody.save(&lock, full(8), "another".into()).await.unwrap_err().to_string();
    assert_eq!(error, "the lock that was given is not the lock `user 8 of partner`: take that");
    test.sql("UPDATE bunq_partner.lock SET fence = gen_random_uuid()");
    for error in [custody.save(&lock, full(7), "lost".into()).await, custody.remove(&lock, id(7)).await] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("no longer holds the lock `user 7 of partner` for this process"), "{error}");
    }
    assert_eq!(listed(&custody, CustodyFilter::All).await, [0_u64; 0]);
}

#[tokio::test]
async fn machines_act_for_a_user_with_one_session() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let sandbox = Sandbox::start().await.unwrap();
    let user = sandbox.populate(1)[0];
    let client = |custody: PostgresCustody| -> Client {
        sandbox.client().permits(MemoryPermits::new()).custody(custody).build().unwrap()
    };
    let clients = [client(machine(&test).await), client(machine(&test).await)];
    let sessions = |sandbox: &Sandbox| {
        sandbox.call_log().iter().filter(|call| call.method == "POST" && call.path.ends_with("/session-server")).count()
    };
    clients[0].users().activate(user).await.unwrap();
    let before = sessions(&sandbox);
    for client in &clients {
        client.users().of(user).api().list_credentials().await.unwrap();
    }
    // The other machine has opened none for the user; it has needed none for itself.
    assert_eq!(sessions(&sandbox), before);
    assert_eq!(test.sql("SELECT is_activated, user_id IS NOT NULL FROM bunq_partner.custody_record"), "t|t");
}
