//! Members that keep to a share of the limits while the database is away.

use std::sync::Arc;
use std::time::Duration;

use bunq_partner::{Client, Environment, Error, ErrorKind, Operation, ProvisionId, RateLimit, Sent, Uuid};
use bunq_partner_postgres::{CountedBy, Database, PostgresPermits};
use bunq_partner_sandbox::Sandbox;
use tokio::time::{Instant, sleep};

use crate::common::TestDatabase;
use crate::common::proxy::Proxy;
use crate::fleet::{LEASE, makes_calls};

/// So short a window that a share which is used beside the whole limit breaks it soon.
const LIMIT: RateLimit = RateLimit::new(4, Duration::from_millis(400));

/// A lease that does not end within a test, and is not renewed.
const LONG: Duration = Duration::from_secs(600);

/// A member of its own with a share, by what its calls count, over a URL.
async fn joined(
    url: String,
    lease: Duration,
    counted_by: CountedBy,
    name: &str,
    percent: u8,
) -> Result<PostgresPermits, Error> {
    let database = Database::connect(url).await.unwrap();
    let permits = PostgresPermits::builder(&database).counted_by(counted_by).lease(lease);
    permits.build_with_share(name, percent).await
}

fn nat(name: &str) -> CountedBy {
    CountedBy::Address(name.to_owned())
}

async fn client(sandbox: &Sandbox, permits: PostgresPermits) -> Client {
    let client = Client::builder(Environment::Sandbox).base_url(sandbox.base_url()).api_key(sandbox.api_key().clone());
    let client = client.without_rate_limits().permits(permits);
    let client = client.rate_limit(&Operation::GET_PROVISION, LIMIT.calls, LIMIT.per);
    let client = client.operation_timeout(Duration::from_secs(600)).build().unwrap();
    client.open_session().await.unwrap();
    client
}

/// The statuses of the reads that have arrived.
fn reads(sandbox: &Sandbox) -> Vec<u16> {
    let log = sandbox.call_log();
    log.iter().filter(|call| call.operation == Some(&Operation::GET_PROVISION)).map(|call| call.status).collect()
}

/// Reads again and again until a call has ended as it should. Returns the first call that has not.
async fn reads_until(client: &Client, id: ProvisionId, is_over: impl Fn(&Result<(), Error>) -> bool) {
    loop {
        let read = client.provisions().get(id).await.map(drop);
        if is_over(&read) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_at_most_the_limit() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let join =
        async |counted_by, name: &str, percent| joined(test.url(), LONG, counted_by, name, percent).await.map(drop);
    let mut kept = Vec::new();
    for (name, percent) in [("one", 50), ("two", 25)] {
        kept.push(joined(test.url(), LONG, nat("a"), name, percent).await.unwrap());
    }
    let error = join(nat("a"), "three", 26).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permits);
    assert!(error.to_string().starts_with("there is no share of 26 % for three in the database test_"), "{error}");
    let expected = ": one has 50 %, two has 25 %, and 25 % is left. Lower the shares, or forget a member \
                    that is gone with `bunq-partner fleet forget NAME`";
    assert!(error.to_string().ends_with(expected), "{error}");
    // What counts by something else is free.
    join(nat("b"), "three", 100).await.unwrap();
    join(CountedBy::Key, "four", 60).await.unwrap();
    let both = || CountedBy::AddressAndKey("a".to_owned());
    let error = join(both(), "five", 1).await.unwrap_err().to_string();
    assert!(error.contains("four has 60 %, one has 50 %, two has 25 %, and 0 % is left"), "{error}");
    // A process takes the place of the one before, also with another share.
    join(nat("a"), "two", 50).await.unwrap();
    join(nat("a"), "two", 51).await.unwrap_err();
    for (name, percent) in [("six", 0), ("six", 101), ("", 1), ("a\nb", 1)] {
        let error = join(nat("c"), name, percent).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Permits && !error.to_string().contains('\n'), "{error}");
    }
}

/// A process of version 3 of the schema asks for a permit of four in an hour. Returns whether it has one.
fn takes(test: &TestDatabase, window: &str) -> bool {
    let member = Uuid::new_v4();
    let hour = Duration::from_secs(3600).as_micros();
    let taken = test.sql(&format!(
        "SELECT permit FROM bunq_partner.take_permit('{member}', '{{{window}}}', 4, {hour}, 600000000, 0, false, NULL)"
    ));
    !taken.is_empty()
}

/// All processes obey, also those that know nothing of shares.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_held_back_when_its_lease_has_ended() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let database = test.connect().await;
    let held_back = async || {
        let shares = database.status().await.unwrap().shares;
        shares.into_iter().map(|share| (share.name, share.percent, share.is_held_back)).collect::<Vec<_>>()
    };
    let window = |operation: &str, rest: &str| format!("http://bank.test {operation} {rest}");
    let free = |rest: &str| {
        let window = window(&Uuid::new_v4().to_string(), rest);
        (0..4).take_while(|_| takes(&test, &window)).count()
    };
    drop(joined(test.url(), LONG, CountedBy::AddressAndKey("nat 1".to_owned()), "one", 60).await.unwrap());
    assert_eq!(held_back().await, [("one".to_owned(), 60, false)]);
    let error = database.forget_member("one").await.unwrap_err().to_string();
    assert!(error.ends_with("has heard of the member one lately: stop it, and try again when its lease has ended"));
    assert_eq!(free("address nat 1"), 4);
    test.sql("UPDATE bunq_partner.permit_shares SET renewed = renewed - lease");
    assert_eq!(["address nat 1", "key of/acme", "address nat 2", "session of/acme/1"].map(free), [2, 2, 4, 4]);
    assert_eq!(held_back().await, [("one".to_owned(), 60, true)]);
    // A clock that is set back does not end it.
    test.sql("UPDATE bunq_partner.permit_shares SET renewed = clock_timestamp()");
    assert_eq!(free("key of/acme"), 2);
    // A limit that bunq has named is shared too: 2 of 3 are left.
    let window = window("op", "key of/acme");
    assert!(takes(&test, &window));
    test.sql(&format!(
        "UPDATE bunq_partner.permit_windows SET named_calls = 2, named_per = '1 hour', named_until = 'infinity' WHERE name = '{window}'"
    ));
    assert!(!takes(&test, &window));
    // All of it is held back, and who asks is told to ask an hour later.
    drop(joined(test.url(), LONG, CountedBy::Key, "two", 40).await.unwrap());
    test.sql("UPDATE bunq_partner.permit_shares SET is_lapsed = true");
    assert_eq!(free("key of/acme"), 1);
    test.sql("UPDATE bunq_partner.permit_shares SET percent = 50");
    assert_eq!(free("key of/acme"), 0);
    // What it has sent counts for a window after it is forgotten.
    for name in ["one", "two"] {
        database.forget_member(name).await.unwrap();
    }
    assert_eq!((held_back().await, free("key of/acme")), (Vec::new(), 0));
    test.sql("UPDATE bunq_partner.permit_shares SET ended = ended - interval '1 hour 11 s'");
    assert_eq!(free("key of/acme"), 4);
    let error = database.forget_member("one").await.unwrap_err().to_string();
    assert!(error.ends_with("knows no member one with a share: there is none"), "{error}");
}

/// A process that joins with the name of another replaces it, and what the other has sent on its share counts for a window.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_takes_the_place_of_the_one_before() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let rows = || test.sql("SELECT is_lapsed, ended IS NOT NULL FROM bunq_partner.permit_shares ORDER BY id");
    for _ in 0..2 {
        joined(test.url(), LONG, nat("a"), "one", 50).await.unwrap();
    }
    assert_eq!(rows(), "f|f");
    test.sql("UPDATE bunq_partner.permit_shares SET is_lapsed = true");
    joined(test.url(), LONG, nat("a"), "one", 50).await.unwrap();
    assert_eq!(rows(), "t|t\nf|f");
    // One that still runs finds that another has its name.
    let _first = joined(test.url(), LEASE, nat("a"), "two", 50).await.unwrap();
    let _second = joined(test.url(), LONG, nat("a"), "two", 50).await.unwrap();
    let second = || test.sql("SELECT id FROM bunq_partner.permit_shares WHERE name = 'two' AND ended IS NULL");
    let (before, ended) =
        (second(), "SELECT count(*) FROM bunq_partner.permit_shares WHERE name = 'two' AND ended IS NOT NULL");
    while test.sql(ended) != "1" {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(second(), before);
}

/// Another runtime renews the share of a client when that which did has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_renewed_in_another_runtime() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let limits = Sandbox::builder().rate_limit(&Operation::GET_PROVISION, LIMIT.calls, LIMIT.per);
    let sandbox = Arc::new(limits.start().await.unwrap());
    let (id, url, bank) = (sandbox.populate(1)[0], test.url(), Arc::clone(&sandbox));
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async { client(&bank, joined(url, LEASE, nat("a"), "one", 50).await.unwrap()).await })
    });
    let client = tokio::task::spawn_blocking(|| other.join().unwrap()).await.unwrap();
    let joined_at = test.sql("SELECT renewed FROM bunq_partner.permit_shares");
    client.provisions().get(id).await.unwrap();
    while test.sql(&format!("SELECT renewed > '{joined_at}' FROM bunq_partner.permit_shares")) != "t" {
        sleep(Duration::from_millis(100)).await;
    }
}

/// What comes late does not renew a share that its member uses by then.
#[tokio::test]
async fn a_renewal_that_comes_late_is_none() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let member = Uuid::new_v4();
    let join = |heard: &str| {
        test.sql(&format!(
            "SELECT outcome FROM bunq_partner.join_share('one', '{member}', 50, '{{key}}', 600000000, {heard});
             SELECT count(*) FROM bunq_partner.permit_shares WHERE ended IS NULL AND NOT is_lapsed"
        ))
    };
    let renewed = |heard: &str| {
        test.sql(&format!("SELECT is_renewed FROM bunq_partner.renew_share('one', '{member}', {heard})")) == "t"
    };
    assert_eq!(join("NULL"), "joined\n1");
    assert!(renewed("clock_timestamp() - interval '5 min'"));
    assert!(!renewed("clock_timestamp() - interval '10 min'"));
    test.sql("UPDATE bunq_partner.permit_shares SET renewed = renewed - lease");
    assert!(!renewed("clock_timestamp()"));
    assert_eq!(join("clock_timestamp() - interval '10 min'"), "joined\n0");
    assert_eq!(join("clock_timestamp()"), "joined\n1");
    // What a failover has lost is made again.
    test.sql("DELETE FROM bunq_partner.permit_shares");
    assert!(!renewed("clock_timestamp()"));
    assert_eq!(join("clock_timestamp()"), "joined\n1");
    assert_eq!(test.sql("SELECT count(*) FROM bunq_partner.permit_shares"), "2");
}

/// One of three members is cut off while all make calls. It fails, then keeps to its share, and takes permits of the database when that is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_cut_off_keeps_to_its_share() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let limits = Sandbox::builder().rate_limit(&Operation::GET_PROVISION, LIMIT.calls, LIMIT.per);
    let (sandbox, proxy) = (limits.start().await.unwrap(), Proxy::start(&test).await);
    let id = sandbox.populate(1)[0];
    let alone = client(&sandbox, joined(proxy.url(&test), LEASE, nat("a"), "alone", 25).await.unwrap()).await;
    let others = [
        client(&sandbox, joined(test.url(), LEASE, nat("a"), "other", 50).await.unwrap()).await,
        client(&sandbox, joined(test.url(), LEASE, nat("a"), "another", 25).await.unwrap()).await,
    ];
    // A share may be used once a renewal was answered: when the second comes, the first was.
    for _ in 0..2 {
        let last = test.sql("SELECT renewed FROM bunq_partner.permit_shares WHERE name = 'alone'");
        let is_renewed = format!("SELECT renewed > '{last}' FROM bunq_partner.permit_shares WHERE name = 'alone'");
        while test.sql(&is_renewed) != "t" {
            sleep(Duration::from_millis(100)).await;
        }
    }
    let scenario = async {
        proxy.set_away(true);
        let (cut_off, is_closed) = (Instant::now(), |read: &Result<(), Error>| match read {
            Ok(()) => false,
            Err(error) => {
                assert_eq!((error.kind(), error.sent()), (ErrorKind::Permits, Sent::No), "{error}");
                let said = error.to_string();
                assert!(said.contains("cannot be reached"), "{said}");
                assert!(said.ends_with("s, the share of alone is used: 1 of 4 in 400 ms"), "{said}");
                true
            }
        });
        reads_until(&alone, id, is_closed).await;
        reads_until(&alone, id, |read| read.is_ok()).await;
        let waited = cut_off.elapsed();
        assert!(waited > 3 * LEASE, "{waited:?}");
        let before = Instant::now();
        for _ in 0..8 {
            alone.provisions().get(id).await.unwrap();
        }
        assert!(before.elapsed() >= 7 * LIMIT.per, "{:?}", before.elapsed());
        let held_back =
            "SELECT count(*) FROM bunq_partner.permit_shares WHERE name = 'alone' AND is_lapsed AND ended IS NULL";
        assert_eq!(test.sql(held_back), "1");
        proxy.set_away(false);
        // It comes back, and the others have its share again.
        reads_until(&alone, id, |read| {
            read.as_ref().unwrap();
            test.sql(held_back) == "0"
        })
        .await;
        for _ in 0..8 {
            alone.provisions().get(id).await.unwrap();
        }
        println!("the share was used after {waited:?}");
    };
    let [one, other] = &others;
    let (is_over, over) = tokio::sync::watch::channel(());
    let until = || {
        let mut over = over.clone();
        async move { drop(over.changed().await) }
    };
    let scenario = async move {
        scenario.await;
        drop(is_over);
    };
    let ((), made, of_other) =
        tokio::join!(scenario, makes_calls(one, id, 4, false, until()), makes_calls(other, id, 4, false, until()));
    println!("{made:?} {of_other:?}");
    assert_eq!(reads(&sandbox).iter().filter(|status| **status == 429).count(), 0);
}
