//! The whole way of a user whose process ends with a request on its way: it arrives while the next process is at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bunq_partner::{Client, Custody, CustodyFilter, Error, MemoryCustody, Operation, UserInstallation, Uuid};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::common::{EndingCustody, MemoryStore};
use crate::whole_way::{Seen, UserData, hardest_bank, serve};

const LATE_ARRIVAL: Duration = Duration::from_secs(10);
const ARRIVES_AFTER: Duration = Duration::from_secs(9);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Those after which bunq has nothing to look at: whoever is told of the doubt asks for a second one.
const IN_DOUBT: [&Operation; 2] =
    [&Operation::CREATE_IDENTITY_VERIFICATION_SESSION, &Operation::CREATE_DOCUMENT_IDENTIFICATION];

/// A bank with what a process keeps.
struct Bank {
    sandbox: Sandbox,
    installation: UserInstallation,
    external_uuid: Uuid,
    store: MemoryStore,
    custody: MemoryCustody,
    struck: Arc<Notify>,
    /// Whether the process has ended, which then keeps nothing more.
    has_ended: Arc<AtomicBool>,
}

impl Bank {
    async fn new(installation: UserInstallation) -> Self {
        let (struck, has_ended) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let (strikes, ends) = (Arc::clone(&struck), Arc::clone(&has_ended));
        let sandbox = hardest_bank(move || {
            ends.store(true, Ordering::Relaxed);
            strikes.notify_one();
        })
        .await;
        let (store, custody, external_uuid) = (MemoryStore::default(), MemoryCustody::new(), Uuid::new_v4());
        Self { sandbox, installation, external_uuid, store, custody, struck, has_ended }
    }

    fn client(&self, custody: impl Custody) -> Client {
        let client = self.sandbox.client().late_arrival(LATE_ARRIVAL).user_installation(self.installation);
        client.context_store(self.store.clone()).custody(custody).build().unwrap()
    }

    fn data(&self) -> UserData {
        UserData::of_nobody(self.external_uuid).unwrap()
    }

    /// Serves the user to its end.
    async fn serves(&self) -> Seen {
        let outcome = serve(&self.client(self.custody.clone()), &self.data(), MILLISECOND).await;
        outcome.unwrap_or_else(|error| panic!("{error}"));
        // Whatever is late has arrived.
        sleep(LATE_ARRIVAL).await;
        let kept = self.custody.list(CustodyFilter::All, None).await.unwrap();
        Seen::new(&self.sandbox, self.external_uuid, !kept.is_empty())
    }

    /// Serves the user until a request is on its way that arrives late, and returns its operation.
    async fn ends(&self, number: u32) -> &'static Operation {
        self.sandbox.inject(Injection::new(Fault::LateArrival(ARRIVES_AFTER)).after(number));
        let ended = Arc::clone(&self.has_ended);
        let keeps = move || if ended.load(Ordering::Relaxed) { Err(Error::context("it has ended")) } else { Ok(()) };
        let client = self.client(EndingCustody::new(self.custody.clone(), keeps));
        let data = self.data();
        tokio::select! {
            biased;
            () = self.struck.notified() => {}
            outcome = serve(&client, &data, MILLISECOND) => panic!("it was not cut: {:?}", outcome.err().map(|error| error.to_string())),
        }
        self.sandbox.call_log().into_iter().find(|call| call.fault.is_some()).unwrap().operation.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn what_arrives_after_the_end_of_a_process_is_not_sent_again() {
    test_timeout::start();
    for installation in [UserInstallation::Own, UserInstallation::Partner] {
        let bank = Bank::new(installation).await;
        let uncut = bank.serves().await;
        let is_change = |operation: &Operation| operation.method != "GET" && !operation.idempotent;
        let requests = (0..).zip(bank.sandbox.call_log());
        let requests = requests.filter(|(_, call)| call.status < 300 && call.operation.is_some_and(is_change));
        let mut cut = Vec::new();
        for (number, _) in requests {
            let bank = Bank::new(installation).await;
            let operation = bank.ends(number).await;
            if *operation == Operation::CREATE_PROVISION {
                // A provision that is not there yet cannot be found: `create` says to wait.
                sleep(LATE_ARRIVAL).await;
            }
            let doubts = usize::from(IN_DOUBT.contains(&operation));
            bank.serves().await.check(&uncut, &[(number, operation.id)], doubts);
            cut.push(operation.id);
        }
        for operation in Operation::ALL.iter().filter(|operation| uncut.has(operation) && is_change(operation)) {
            assert!(cut.contains(&operation.id), "{} was never late: {cut:?}", operation.id);
        }
    }
}
