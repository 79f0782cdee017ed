//! One set of windows for many processes.

use std::time::Duration;

use bunq_partner::{ErrorKind, Operation, RateLimit, Sent};
use bunq_partner_postgres::{CountedBy, PostgresPermits};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use tokio::time::{Instant, sleep};

use crate::common::proxy::Proxy;
use crate::common::server::Server;
use crate::common::{TestDatabase, or_left_out, own_database};
use crate::fleet::{Fleet, LEASE, Process, makes_calls};

const SECOND: Duration = Duration::from_secs(1);

/// A tenth of bunq's narrowest window for calls that are not of sessions.
pub(crate) const TENTH: RateLimit = RateLimit::new(2, Duration::from_millis(300));

pub(crate) async fn bank(limit: RateLimit) -> Sandbox {
    Sandbox::builder().rate_limit(&Operation::GET_PROVISION, limit.calls, limit.per).start().await.unwrap()
}

/// How many reads were accepted, and refused.
pub(crate) fn reads(sandbox: &Sandbox) -> (usize, usize) {
    let log = sandbox.call_log();
    let reads = || log.iter().filter(|call| call.operation == Some(&Operation::GET_PROVISION));
    (reads().filter(|call| call.status == 200).count(), reads().filter(|call| call.status == 429).count())
}

/// How many reads each session has made, without those of the first.
fn reads_by_session(sandbox: &Sandbox) -> Vec<usize> {
    let log = sandbox.call_log();
    let reads = log.iter().filter(|call| call.operation == Some(&Operation::GET_PROVISION));
    let mut sessions = Vec::<(&str, usize)>::new();
    for session in reads.filter_map(|call| call.header("x-bunq-client-authentication")) {
        match sessions.iter_mut().find(|(known, _)| *known == session) {
            Some((_, made)) => *made += 1,
            None => sessions.push((session, 1)),
        }
    }
    sessions.into_iter().skip(1).map(|(_, made)| made).collect()
}

/// How many reads have arrived.
pub(crate) fn arrived(sandbox: &Sandbox) -> usize {
    sandbox.call_log().iter().filter(|call| call.operation == Some(&Operation::GET_PROVISION)).count()
}

/// Waits until so many reads have arrived.
pub(crate) async fn have_arrived(sandbox: &Sandbox, count: usize) {
    while arrived(sandbox) < count {
        sleep(Duration::from_millis(5)).await;
    }
}

/// How much of a limit was used by the reads that were accepted in a time.
async fn share_used(sandbox: &Sandbox, limit: RateLimit, time: Duration) -> f64 {
    let (start, before) = (Instant::now(), reads(sandbox).0);
    sleep(time).await;
    let made = reads(sandbox).0 - before;
    made as f64 * limit.per.as_secs_f64() / f64::from(limit.calls) / start.elapsed().as_secs_f64()
}

/// Has processes make calls for a time, and one process with its limits in memory. Asserts what no machine's speed changes, and prints
/// the shares of the limit that were used.
async fn eight_processes_beside_one(limit: RateLimit, time: Duration) {
    const PROCESSES: usize = 8;
    const CLIENTS: usize = 4;
    let Some(test) = TestDatabase::migrated().await else { return };
    test.sql(&format!("ALTER DATABASE {} SET track_functions = 'pl'", test.name));
    let sandbox = bank(limit).await;
    let fleet = Fleet::new(&sandbox, test.url(), limit);

    let alone = sandbox.client().operation_timeout(600 * SECOND).build().unwrap();
    alone.open_session().await.unwrap();
    let mut in_memory = 0.0;
    makes_calls(&alone, fleet.provision, PROCESSES * CLIENTS, false, async {
        sleep(limit.per).await;
        in_memory = share_used(&sandbox, limit, time).await;
    })
    .await;
    // What it has sent last counts.
    sleep(limit.per).await;

    let mut processes: Vec<_> = (0..PROCESSES).map(|_| Process::start(&fleet, CLIENTS)).collect();
    processes.iter_mut().for_each(Process::is_ready);
    processes.iter_mut().for_each(Process::go);
    sleep(limit.per).await;
    let shared = share_used(&sandbox, limit, time).await;
    let by_process = reads_by_session(&sandbox);
    let made: Vec<_> = processes.into_iter().map(Process::stop).collect();
    assert_eq!(reads(&sandbox).1, 0);
    let statements = test
        .sql("SELECT funcname, calls FROM pg_stat_user_functions WHERE funcname IN ('take_permit', 'settle_permit')");
    println!(
        "in memory {in_memory:.3}, {PROCESSES} processes {shared:.3}, ratio {:.3}; by process {by_process:?}; {}",
        shared / in_memory,
        statements.replace('\n', ", ")
    );
    // Each client is within one call of the others: of those of its process, and by what the processes have made at one time.
    let difference = |made: &[usize]| made.iter().max().unwrap() - made.iter().min().unwrap();
    assert!(made.iter().all(|made| difference(made) <= 1), "{made:?}");
    assert!(by_process.len() == PROCESSES && difference(&by_process) <= CLIENTS, "{by_process:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_processes_keep_one_limit() {
    test_timeout::start();
    eight_processes_beside_one(TENTH, 8 * SECOND).await;
}

/// `cargo test -p bunq-partner-postgres --test server -- --ignored --nocapture bunqs_own`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes four minutes"]
async fn eight_processes_keep_bunqs_own_window() {
    test_timeout::start();
    eight_processes_beside_one(RateLimit::new(2, 3 * SECOND), 100 * SECOND).await;
}

/// However many calls of a process wait, one of them asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_costs_three_statements_however_many_wait() {
    test_timeout::start();
    let limit = RateLimit::new(4, SECOND);
    let Some(test) = TestDatabase::migrated().await else { return };
    test.sql(&format!("ALTER DATABASE {} SET track_functions = 'pl'", test.name));
    let sandbox = bank(limit).await;
    let fleet = Fleet::new(&sandbox, test.url(), limit);
    let mut processes = [Process::start(&fleet, 50), Process::start(&fleet, 50)];
    processes.iter_mut().for_each(Process::is_ready);
    processes.iter_mut().for_each(Process::go);
    have_arrived(&sandbox, 24).await;
    // Those that wait then have asked for calls that are not made.
    let made: usize = processes.into_iter().flat_map(Process::stop).sum();
    let statements =
        test.sql("SELECT sum(calls) FROM pg_stat_user_functions WHERE funcname IN ('take_permit', 'settle_permit')");
    let statements: usize = statements.parse().unwrap();
    println!("{statements} statements for {made} calls");
    assert!(statements <= 3 * made + 2 * 2 * 4, "{statements} statements for {made} calls");
    assert_eq!(reads(&sandbox).1, 0);
}

/// Its permits count until one window after the end of their leases, and no longer.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_held_comes_free() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let sandbox = bank(TENTH).await;
    let fleet = Fleet::new(&sandbox, test.url(), TENTH);
    let mut process = Process::start(&fleet, 4);
    process.is_ready();
    let other = fleet.client().await;
    sandbox.inject(Injection::new(Fault::Late(600 * SECOND)).on(&Operation::GET_PROVISION).times(TENTH.calls));
    let start = Instant::now();
    process.go();
    have_arrived(&sandbox, TENTH.calls as usize).await;
    process.signal("KILL");
    other.provisions().get(fleet.provision).await.unwrap();
    assert!(start.elapsed() >= LEASE + TENTH.per, "{:?}", start.elapsed());
    println!("after {:?}", start.elapsed());
    assert_eq!(reads(&sandbox).1, 0);
}

/// What it sends when it goes on breaks no limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stood_still_does_not_use_what_it_had() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let sandbox = bank(TENTH).await;
    let fleet = Fleet::new(&sandbox, test.url(), TENTH);
    let mut processes: Vec<_> = (0..4).map(|_| Process::start(&fleet, 4)).collect();
    processes.iter_mut().for_each(Process::is_ready);
    processes.iter_mut().for_each(Process::go);
    have_arrived(&sandbox, 8).await;
    for _ in 0..2 {
        processes[1..].iter().for_each(|process| process.signal("STOP"));
        // The first one goes on when the leases of the others have ended.
        sleep(LEASE + 2 * TENTH.per).await;
        let arrived = reads(&sandbox).0;
        have_arrived(&sandbox, arrived + 4).await;
        processes[1..].iter().for_each(|process| process.signal("CONT"));
        let arrived = reads(&sandbox).0;
        have_arrived(&sandbox, arrived + 8).await;
    }
    let made: Vec<usize> = processes.into_iter().map(|process| process.stop().iter().sum()).collect();
    assert!(made.iter().all(|made| *made > 1), "{made:?}");
    assert_eq!(reads(&sandbox).1, 0, "{made:?}");
}

/// A renewal is tried over a new connection while there is time for it, and at another host if the first stands still.
#[tokio::test(flavor = "multi_thread")]
async fn leases_outlive_dead_connections() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    for has_other_host in [false, true] {
        let (sandbox, proxy) = (bank(TENTH).await, Proxy::start(&test).await);
        let hosts = if has_other_host { vec![proxy.port(), test.server.port()] } else { vec![proxy.port()] };
        let fleet = Fleet::new(&sandbox, test.url_of(&hosts), TENTH);
        let client = fleet.client().await;
        sandbox.inject(Injection::new(Fault::Late(600 * SECOND)).on(&Operation::GET_PROVISION));
        let id = fleet.provision;
        let call = tokio::spawn(async move { client.provisions().get(id).await.map(drop) });
        have_arrived(&sandbox, 1).await;
        if has_other_host {
            proxy.stall_all();
        } else {
            proxy.stall();
        }
        let lease_until = test.sql("SELECT lease_until FROM bunq_partner.permits WHERE settled IS NULL");
        let renewed = format!(
            "SELECT CASE WHEN lease_until > '{lease_until}' THEN 'renewed' WHEN lease_until < clock_timestamp() THEN 'ended' END
             FROM bunq_partner.permits WHERE settled IS NULL"
        );
        while test.sql(&renewed).is_empty() {
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(test.sql(&renewed), "renewed");
        call.abort();
        test.sql("DELETE FROM bunq_partner.permit_windows");
    }
}

/// It may have lost the last permits, so the windows begin closed.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_the_server_the_windows_are_closed() {
    test_timeout::start();
    let Some(server) = or_left_out(Server::own()) else { return };
    let sandbox = bank(TENTH).await;
    let fleet = Fleet::new(&sandbox, own_database(&server).await, TENTH);
    let client = fleet.client().await;
    client.provisions().get(fleet.provision).await.unwrap();
    server.stop();
    let error = client.provisions().get(fleet.provision).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Permits, Sent::No), "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    server.start_again();
    let restarted = Instant::now();
    client.provisions().get(fleet.provision).await.unwrap();
    // A permit may have been promised a window ahead.
    assert!(restarted.elapsed() >= LEASE + 2 * TENTH.per, "{:?}", restarted.elapsed());
    let again = Instant::now();
    client.provisions().get(fleet.provision).await.unwrap();
    println!("{:?}, then {:?}", restarted.elapsed(), again.elapsed());
    assert_eq!(reads(&sandbox).1, 0);
}

/// Time goes on at its own pace, and never back.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_neither_frees_nor_holds_permits() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let sandbox = bank(TENTH).await;
    let fleet = Fleet::new(&sandbox, test.url(), TENTH);
    let client = fleet.client().await;
    let read = async || drop(client.provisions().get(fleet.provision).await.unwrap());
    read().await;
    read().await;
    // The same as a clock that is an hour behind what it was.
    test.sql(
        "UPDATE bunq_partner.permit_windows SET time = time + '1 hour';
        UPDATE bunq_partner.permits SET starts = starts + '1 hour', lease_until = lease_until + '1 hour',
            settled = settled + '1 hour';
        UPDATE bunq_partner.permit_waiters SET since = since + '1 hour', served = served + '1 hour'",
    );
    for _ in 0..6 {
        read().await;
    }
    assert_eq!(reads(&sandbox).1, 0);
    let set_back = test.sql("SELECT extract(epoch FROM set_back)::integer FROM bunq_partner.permit_windows");
    assert!(["3599", "3600"].contains(&set_back.as_str()), "{set_back}");
}

/// A window is closed once after a restart: neither again, nor for longer, when the clock is set back.
#[tokio::test]
async fn a_clock_that_is_set_back_after_a_restart_closes_a_window_once() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let closed =
        || test.sql("SELECT extract(epoch FROM closed_until - time)::integer FROM bunq_partner.permit_windows");
    assert_eq!(asks(&test, 1, 0, false, "NULL"), None);
    // It has a lease of 600 s, a length of 60 s, and a permit that begins 3 s later.
    test.sql("UPDATE bunq_partner.permit_windows SET server = server - interval '1 day'");
    test.sql("UPDATE bunq_partner.permit_servers SET first_seen = clock_timestamp() + interval '1 hour'");
    assert_ne!(asks(&test, 2, 0, false, "NULL"), None);
    assert_eq!(closed(), "663");
    // The window is open again, and then the clock is an hour behind what it was.
    test.sql(
        "UPDATE bunq_partner.permit_windows SET time = time + interval '1 hour';
        TRUNCATE bunq_partner.permits, bunq_partner.permit_waiters",
    );
    assert_eq!(asks(&test, 3, 0, false, "NULL"), None);
    test.sql("DELETE FROM bunq_partner.permit_windows");
    // One that is new begins closed too, if the server before this may have lost it.
    assert_ne!(asks(&test, 4, 0, false, "NULL"), None);
    assert_eq!(closed(), "663");
}

/// One that was made by an announcement, for no lease, is closed as long as the leases of those that take permits require.
#[tokio::test]
async fn a_window_is_closed_for_the_longest_lease_after_a_restart() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    test.sql("UPDATE bunq_partner.permit_servers SET started = started - interval '1 day'");
    test.sql("SELECT bunq_partner.announce_sessions(gen_random_uuid(), '{w}', 60000000, 1, '{}', NULL, 30000000)");
    let closed = "SELECT round(extract(epoch FROM closed_until - first_seen)) FROM bunq_partner.permit_windows
        JOIN bunq_partner.permit_servers ON started = server";
    assert_eq!(test.sql(closed), "63");
    assert_ne!(asks(&test, 1, 0, false, "NULL"), None);
    assert_eq!(test.sql(closed), "663");
}

/// A server that takes over may not have heard of any permit.
#[tokio::test]
async fn the_first_permits_of_all_may_be_lost_too() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    test.sql("UPDATE bunq_partner.permit_servers SET started = started - interval '1 day'");
    assert_ne!(asks(&test, 1, 0, false, "NULL"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_closes_the_window_for_all() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    for is_signed in [true, false] {
        let sandbox = Sandbox::builder().rate_limit(&Operation::GET_PROVISION, TENTH.calls, TENTH.per);
        let sandbox = sandbox.signed_refusals(is_signed).start().await.unwrap();
        let fleet = Fleet::new(&sandbox, test.url(), TENTH);
        let [one, other] = [fleet.client().await, fleet.client().await];
        sandbox.inject(Injection::new(Fault::RetryAfter(2 * SECOND)).on(&Operation::GET_PROVISION));
        let start = Instant::now();
        let id = fleet.provision;
        let refused = tokio::spawn(async move { one.provisions().get(id).await.map(drop) });
        have_arrived(&sandbox, 1).await;
        let is_known =
            format!("SELECT refusals FROM bunq_partner.permit_windows WHERE name LIKE '{} %'", sandbox.base_url());
        while test.sql(&is_known) != "1" {
            sleep(Duration::from_millis(5)).await;
        }
        other.provisions().get(id).await.unwrap();
        assert!(start.elapsed() >= 2 * SECOND, "{:?}", start.elapsed());
        refused.await.unwrap().unwrap();
        assert_eq!(reads(&sandbox).1, 1);
        assert_eq!(test.sql(&is_known), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_impossible_lease_is_refused() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let database = test.connect().await;
    for lease in [12 * SECOND, 601 * SECOND] {
        let error = PostgresPermits::builder(&database).lease(lease).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permits);
        let expected = "set one from 13s, of which a call takes 11s to connect and to arrive, to 600s";
        assert!(error.to_string().ends_with(expected), "{error}");
    }
}

/// What calls count by is in the names of the windows, of which all must have room.
#[tokio::test(flavor = "multi_thread")]
async fn calls_count_by_address_and_by_key() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let sandbox = bank(TENTH).await;
    let fleet = Fleet::new(&sandbox, test.url(), TENTH);
    let mut names = Vec::new();
    for counted_by in [CountedBy::Key, CountedBy::Address("nat-1".into()), CountedBy::AddressAndKey("nat-2".into())] {
        let client = fleet.counted_by(Some(counted_by)).await;
        for _ in 0..3 {
            client.provisions().get(fleet.provision).await.unwrap();
        }
        let bank = format!("{} get_provision ", sandbox.base_url());
        let windows = test.sql("SELECT name FROM bunq_partner.permit_windows ORDER BY name").replace(&bank, "");
        names.push(windows.replace(client.api_key_fingerprint(), "FINGERPRINT"));
        test.sql("DELETE FROM bunq_partner.permit_windows");
        sleep(TENTH.per).await;
    }
    assert_eq!(names, ["key FINGERPRINT", "address nat-1", "address nat-2\nkey FINGERPRINT"]);
    assert_eq!(reads(&sandbox).1, 0);
}

/// Asks for a permit of a window of one call in a minute. Returns when to ask again, in milliseconds.
fn asks(test: &TestDatabase, member: u8, waited: u32, urgent: bool, deadline: &str) -> Option<u32> {
    let wait = test.sql(&format!(
        "SELECT CASE WHEN permit IS NULL THEN wait / 1000 END FROM bunq_partner.take_permit(
            '00000000-0000-0000-0000-{member:012}', '{{w}}', 1, 60000000, 600000000, {waited} * 1000000::bigint, {urgent}, {deadline})"
    ));
    (!wait.is_empty()).then(|| wait.parse().unwrap())
}

/// A place that is taken is free a minute from now at the earliest, and is asked for a little before.
fn place(number: u32) -> Option<u32> {
    Some(number * 60_000 - 200)
}

#[tokio::test]
async fn urgent_calls_go_first_then_deadlines_then_who_waits_longest() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    assert_eq!(asks(&test, 1, 0, false, "NULL"), None);
    assert_eq!(asks(&test, 2, 10, false, "NULL"), place(1));
    assert_eq!(asks(&test, 3, 20, false, "NULL"), place(1));
    assert_eq!(asks(&test, 4, 0, false, "500 * 1000000"), place(1));
    assert_eq!(asks(&test, 5, 0, false, "400 * 1000000"), place(1));
    assert_eq!(asks(&test, 6, 0, true, "NULL"), place(1));
    for (member, number) in [(5, 2), (4, 3), (3, 4), (2, 5)] {
        let (urgent, deadline) = (false, ["NULL", "500 * 1000000", "400 * 1000000"][usize::from(member.max(3) - 3)]);
        assert_eq!(asks(&test, member, 30, urgent, deadline), place(number), "{member}");
    }
}

/// Whoever was served goes behind all that wait, however long ago its next call began.
#[tokio::test]
async fn members_take_turns() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    assert_eq!(asks(&test, 1, 0, false, "NULL"), None);
    assert_eq!(asks(&test, 2, 5, false, "NULL"), place(1));
    assert_eq!(asks(&test, 1, 3600, false, "NULL"), place(2));
    assert_eq!(asks(&test, 3, 0, false, "NULL"), place(3));
    // Two wait no more: one has said so, and one has not come when it was to ask, though its turn stays.
    test.sql("SELECT bunq_partner.withdraw_permits('00000000-0000-0000-0000-000000000002', '{w}', '{}')");
    assert_eq!(asks(&test, 3, 0, false, "NULL"), place(2));
    test.sql("UPDATE bunq_partner.permit_waiters SET ask_at = now() - interval '2 s' WHERE member::text LIKE '%1'");
    assert_eq!(asks(&test, 3, 0, false, "NULL"), place(1));
    assert_eq!(asks(&test, 1, 0, false, "NULL"), place(1));
    assert_eq!(asks(&test, 3, 0, false, "NULL"), place(2));
}

/// Members that are to ask long after a place is free, or that have died, keep nobody from it.
#[tokio::test]
async fn a_window_is_not_kept_for_those_that_ask_later() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    assert_eq!(asks(&test, 1, 0, false, "NULL"), None);
    assert_eq!(asks(&test, 2, 20, false, "NULL"), place(1));
    assert_eq!(asks(&test, 3, 10, false, "NULL"), place(2));
    // What was taken was not used, so that the window is empty.
    test.sql("SELECT bunq_partner.withdraw_permits(member, '{w}', ARRAY[id]) FROM bunq_partner.permits");
    assert_eq!(asks(&test, 4, 0, false, "NULL"), None);
    assert_eq!(asks(&test, 5, 0, false, "NULL"), place(3));
    assert_eq!(asks(&test, 2, 20, false, "NULL"), place(1));
}

/// A permit that a failover has lost is held again as long as its call lasts.
#[tokio::test]
async fn a_call_in_flight_counts_after_a_failover_that_has_lost_it() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let held = "SELECT count(*) FROM bunq_partner.permits WHERE settled IS NULL AND lease_until > clock_timestamp() + interval '9 min'";
    assert_eq!(asks(&test, 1, 0, false, "NULL"), None);
    let id = test.sql("SELECT id FROM bunq_partner.permits");
    let lost = format!("{{{id}}}");
    let renew = || {
        let member = "00000000-0000-0000-0000-000000000001";
        test.sql(&format!("SELECT bunq_partner.renew_permits('{member}', ARRAY[{id}], '{{w}}', 600000000)"))
    };
    assert_eq!((renew().as_str(), test.sql(held).as_str()), ("{}", "1"));
    // Without a failover it was held for too short a time.
    test.sql("DELETE FROM bunq_partner.permits");
    assert_eq!((renew(), test.sql(held)), (lost.clone(), "0".to_owned()));
    test.sql("UPDATE bunq_partner.permit_windows SET server = server - interval '1 day'");
    test.sql("UPDATE bunq_partner.permit_servers SET first_seen = clock_timestamp()");
    assert_eq!((renew().as_str(), test.sql(held).as_str()), ("{}", "1"));
    // The window was made last, and is lost with it.
    test.sql("DELETE FROM bunq_partner.permit_windows");
    assert_eq!((renew().as_str(), test.sql(held).as_str()), ("{}", "1"));
    // One that is settled is not.
    test.sql("UPDATE bunq_partner.permits SET settled = clock_timestamp()");
    assert_eq!((renew(), test.sql(held)), (lost, "0".to_owned()));
}

/// A response that comes after the end of the lease counts from then on: the call may have arrived as late.
#[tokio::test]
async fn a_call_that_outlasts_its_lease_counts_from_its_response() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    assert_eq!(asks(&test, 1, 0, false, "NULL"), None);
    let id = test.sql("SELECT id FROM bunq_partner.permits");
    // The lease has ended, and more than a window has passed.
    test.sql("UPDATE bunq_partner.permits SET lease_until = now() - interval '70 s'");
    let member = "00000000-0000-0000-0000-000000000001";
    let over = test.sql(&format!("SELECT bunq_partner.renew_permits('{member}', ARRAY[{id}], 1000000)"));
    assert_eq!(over, format!("{{{id}}}"));
    let settle = &format!(
        "SELECT bunq_partner.settle_permit('{member}', '{{w}}', {id}, true, NULL, NULL, NULL, NULL, NULL, NULL)"
    );
    assert_eq!(test.sql(settle), "f");
    // It may be told twice, if the first answer was lost.
    let settled = test.sql("SELECT settled FROM bunq_partner.permits");
    assert_eq!(test.sql(settle), "t");
    assert_eq!(test.sql("SELECT settled FROM bunq_partner.permits"), settled);
    let wait = asks(&test, 2, 0, false, "NULL").unwrap();
    assert!(wait > 1000, "{wait}");
    // What was not used counts no more.
    test.sql("TRUNCATE bunq_partner.permits, bunq_partner.permit_waiters");
    assert_eq!(asks(&test, 3, 0, false, "NULL"), None);
    test.sql("SELECT bunq_partner.withdraw_permits(member, '{w}', ARRAY[id]) FROM bunq_partner.permits");
    assert_eq!(asks(&test, 4, 0, false, "NULL"), None);
}
