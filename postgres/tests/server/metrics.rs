//! What is counted of permits and locks, for operators.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bunq_partner_postgres::{PostgresPermits, PostgresStore};
use bunq_partner_sandbox::Sandbox;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use crate::common::TestDatabase;

/// What is written, in memory.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// How many events have all of these words.
    fn count(&self, words: &[&str]) -> usize {
        let written = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        written.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

// One thread does all, so that the subscriber of the thread sees all.
#[tokio::test]
async fn permits_statements_locks_and_lost_leases_are_counted() {
    test_timeout::start();
    let Some(test) = TestDatabase::migrated().await else { return };
    let written = Written::default();
    let writer = written.clone();
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
    let layer = layer.with_filter(Targets::new().with_target("bunq_partner::metrics", LevelFilter::DEBUG));
    let _subscribed = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let database = test.connect().await;
    let sandbox = Sandbox::builder().rate_limits(true).start().await.unwrap();
    let permits = PostgresPermits::builder(&database).build().unwrap();
    let client = sandbox.client().permits(permits).context_store(PostgresStore::new(&database, "acme"));
    let client = client.build().unwrap();
    client.open_session().await.unwrap();
    assert_eq!(written.count(&["histogram.bunq.client.lock.wait=", "bunq.lock.of=\"context\""]), 1);

    let id = sandbox.populate(1)[0];
    let [take, settle] = ["take", "settle"].map(|statement| format!("bunq.permit.statement=\"{statement}\""));
    let count = |statement: &str| written.count(&["histogram.bunq.client.permit.store=", statement]);
    let before = (count(&take), count(&settle));
    client.provisions().get(id).await.unwrap();
    assert_eq!((count(&take), count(&settle)), (before.0 + 1, before.1 + 1));
    assert_eq!(written.count(&["histogram.bunq.client.permit.wait=", "bunq.operation=\"get_provision\""]), 1);

    let lost = || written.count(&["monotonic_counter.bunq.client.permit.leases_lost=1"]);
    assert_eq!(lost(), 0);
    // The lease ends while the call lasts.
    let (server, name) = (test.server, test.name.clone());
    sandbox.before_signing(move |_, _| {
        server.sql(&name, "UPDATE bunq_partner.permits SET lease_until = '-infinity' WHERE settled IS NULL");
    });
    client.provisions().get(id).await.unwrap();
    assert_eq!(lost(), 1);
}
