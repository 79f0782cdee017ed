//! A new API key: what is kept in the database is sealed anew.

use std::process::{Command, Stdio};

use bunq_partner::{ApiKeySealer, Client, ClientBuilder, Environment, ErrorKind, ProvisionId, Rekeyed, Sent};
use bunq_partner_postgres::{Database, PostgresCustody, PostgresStore};
use bunq_partner_sandbox::Sandbox;
use tokio_postgres::NoTls;

use crate::common::TestDatabase;

const OLD_KEY: &str = "sandbox_the-old-key";
const NEW_KEY: &str = "sandbox_the-new-key";

/// The environment variables that tell another process of this test which bank and database to use.
const BASE_URL: &str = "BUNQ_PARTNER_TEST_BASE_URL";
const DATABASE: &str = "BUNQ_PARTNER_TEST_DATABASE";

/// The advisory lock at which a write waits.
const GATE: i32 = 7;

/// The context, and the users.
const TEXTS: usize = 3;

async fn builder(url: &str, base_url: &str, api_key: &str) -> ClientBuilder {
    let database = Database::connect(url).await.unwrap();
    let (store, custody) = (PostgresStore::new(&database, "partner"), PostgresCustody::new(&database, "partner"));
    let builder = Client::builder(Environment::Sandbox).base_url(base_url).api_key(api_key).without_rate_limits();
    builder.context_store(store).custody(custody)
}

async fn client(test: &TestDatabase, sandbox: &Sandbox, api_key: &str) -> Client {
    builder(&test.url(), sandbox.base_url(), api_key).await.build().unwrap()
}

/// Seals anew, as a process of its own does.
async fn rekey(url: &str, base_url: &str) -> Rekeyed {
    builder(url, base_url, NEW_KEY).await.rekey(ApiKeySealer::new(OLD_KEY)).await.unwrap()
}

fn counts(rekeyed: &Rekeyed) -> (u64, u64, usize) {
    (rekeyed.resealed, rekeyed.unchanged, rekeyed.refused.len())
}

/// A bank, and what a client with the old key has kept of it.
async fn in_use(test: &TestDatabase) -> (Sandbox, Vec<ProvisionId>, Client) {
    let sandbox = Sandbox::builder().api_key(OLD_KEY.into()).start().await.unwrap();
    let ids = sandbox.populate(TEXTS - 1);
    let client = client(test, &sandbox, OLD_KEY).await;
    client.open_session().await.unwrap();
    for id in &ids {
        client.users().activate(*id).await.unwrap();
    }
    sandbox.take_call_log();
    (sandbox, ids, client)
}

/// Checks that the new key opens all, without a session for anybody, and that the old key opens nothing.
async fn has_lost_nothing(test: &TestDatabase, sandbox: &Sandbox, ids: &[ProvisionId]) {
    let old = client(test, sandbox, OLD_KEY).await;
    let mut errors = vec![old.open_session().await.unwrap_err()];
    for id in ids {
        errors.push(old.users().of(*id).open_session().await.unwrap_err());
    }
    for error in errors {
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Context, Sent::No), "{error}");
        assert!(error.to_string().contains("is sealed under another API key"), "{error}");
    }
    let new = client(test, sandbox, NEW_KEY).await;
    for id in ids {
        new.users().of(*id).api().list_credentials().await.unwrap();
    }
    assert!(sandbox.take_call_log().iter().all(|call| call.method == "GET"));
    assert_eq!(counts(&rekey(&test.url(), sandbox.base_url()).await), (0, TEXTS as u64, 0));
}

#[tokio::test]
#[ignore = "run by another test as a process of its own"]
async fn another_process() {
    test_timeout::start();
    let [url, base_url] = [DATABASE, BASE_URL].map(|name| std::env::var(name).unwrap());
    rekey(&url, &base_url).await;
}

/// The process is killed in the middle of each of its writes, which is done nevertheless, or is not.
#[tokio::test]
async fn a_process_may_be_killed_at_each_write() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let (sandbox, ids, _) = in_use(&test).await;
    test.sql(&format!(
        "CREATE SEQUENCE public.writes;
         CREATE TABLE public.gate AS SELECT 0::bigint AS number;
         CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
             IF nextval('public.writes') = (SELECT number FROM public.gate) THEN
                 PERFORM pg_advisory_xact_lock({GATE});
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER wait BEFORE UPDATE ON bunq_partner.context FOR EACH ROW EXECUTE FUNCTION public.wait();
         CREATE TRIGGER wait BEFORE UPDATE ON bunq_partner.custody_record FOR EACH ROW EXECUTE FUNCTION public.wait();
         CREATE TABLE public.context AS TABLE bunq_partner.context;
         CREATE TABLE public.custody_record AS TABLE bunq_partner.custody_record",
    ));
    let (gate, connection) = tokio_postgres::connect(&test.owner_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let waiting = format!("FROM pg_locks WHERE locktype = 'advisory' AND objid = {GATE} AND NOT granted");
    for number in 1..=TEXTS {
        for is_written in [false, true] {
            // What the old key has kept, once more.
            test.sql(&format!(
                "UPDATE public.gate SET number = 0;
                 UPDATE bunq_partner.context SET text = kept.text FROM public.context AS kept;
                 UPDATE bunq_partner.custody_record AS record SET text = kept.text
                     FROM public.custody_record AS kept WHERE kept.provision_id = record.provision_id;
                 SELECT setval('public.writes', 1, false);
                 UPDATE public.gate SET number = {number}",
            ));
            gate.execute("SELECT pg_advisory_lock($1::integer::bigint)", &[&GATE]).await.unwrap();
            let mut process = Command::new(std::env::current_exe().unwrap());
            process.args(["rekeying::another_process", "--exact", "--ignored"]).stdout(Stdio::null());
            let mut process = process.env(DATABASE, test.url()).env(BASE_URL, sandbox.base_url()).spawn().unwrap();
            while test.sql(&format!("SELECT count(*) {waiting}")) == "0" {
                assert_eq!(process.try_wait().unwrap(), None, "it waits at write {number}");
            }
            process.kill().unwrap();
            process.wait().unwrap();
            if !is_written {
                test.sql(&format!("SELECT pg_terminate_backend(pid, 60000) {waiting}"));
            }
            gate.execute("SELECT pg_advisory_unlock($1::integer::bigint)", &[&GATE]).await.unwrap();

            let again = rekey(&test.url(), sandbox.base_url()).await;
            let done = number as u64 - u64::from(!is_written);
            assert_eq!(counts(&again), (TEXTS as u64 - done, done, 0), "write {number}, {is_written}");
            has_lost_nothing(&test, &sandbox, &ids).await;
        }
    }
}

#[tokio::test]
async fn two_at_once_seal_each_text_once() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let (sandbox, ids, _) = in_use(&test).await;
    let (url, base_url) = (test.url(), sandbox.base_url());
    let both: [Rekeyed; 2] = tokio::join!(rekey(&url, base_url), rekey(&url, base_url)).into();
    assert_eq!(both.iter().map(|one| one.resealed).sum::<u64>(), TEXTS as u64);
    assert!(both.iter().all(|one| one.resealed + one.unchanged == TEXTS as u64 && one.refused.is_empty()), "{both:?}");
    has_lost_nothing(&test, &sandbox, &ids).await;
}

/// A service that runs meanwhile goes on with the sessions that it has, and replaces nothing that was sealed anew.
#[tokio::test]
async fn a_service_with_the_old_key_replaces_nothing() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let (sandbox, ids, service) = in_use(&test).await;
    rekey(&test.url(), sandbox.base_url()).await;
    service.users().of(ids[0]).api().list_credentials().await.unwrap();
    service.provisions().get(ids[0]).await.unwrap();
    sandbox.end_sessions();
    let errors = [
        service.provisions().get(ids[0]).await.unwrap_err(),
        service.users().of(ids[0]).api().list_credentials().await.map(drop).unwrap_err(),
        service.users().reset(ids[1]).await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Context, "{error}");
        assert!(error.to_string().contains("is sealed under another API key and was left as it is"), "{error}");
    }
    assert!(sandbox.take_call_log().iter().all(|call| call.method == "GET"));
    let texts = test.sql("SELECT convert_from(text, 'UTF8') FROM bunq_partner.custody_record");
    let fingerprint = client(&test, &sandbox, NEW_KEY).await.api_key_fingerprint().to_owned();
    assert_eq!(texts.matches(&fingerprint).count(), ids.len(), "{texts}");
    assert_eq!(counts(&rekey(&test.url(), sandbox.base_url()).await), (0, TEXTS as u64, 0));
}
