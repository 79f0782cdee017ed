//! The whole way of a user, from an `external_uuid` to a verified user that is closed again: a process that is killed at each of its
//! requests and of its writes, and another that goes on.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::wire::SigningKey;
use bunq_partner::{
    BoxFuture, Client, ContextLock, Custody, CustodyEntry, CustodyFilter, Environment, Error, FileCustody, FileStore,
    Operation, ProvisionId, Secret, UserInstallation, Uuid,
};
use bunq_partner_sandbox::{CallLogEntry, Fault, Injection, Sandbox};
use futures_util::future::join_all;
use serde_json::{Value, json};

use self::act_as_user::{UserData, serve};
use crate::common::Folder;

#[path = "../../sandbox/examples/act_as_user.rs"]
#[allow(dead_code)]
mod act_as_user;

const BASE_URL: &str = "BUNQ_TEST_BASE_URL";
const API_KEY: &str = "BUNQ_TEST_API_KEY";
const FOLDER: &str = "BUNQ_TEST_FOLDER";
const EXTERNAL_UUID: &str = "BUNQ_TEST_EXTERNAL_UUID";
const INSTALLATION: &str = "BUNQ_TEST_INSTALLATION";
const ENDS_AT_WRITE: &str = "BUNQ_TEST_ENDS_AT_WRITE";

const MILLISECOND: Duration = Duration::from_millis(1);

/// How many banks a test has at once.
const AT_ONCE: usize = 4;

/// A custody that ends the process before one of its writes.
#[derive(Debug)]
struct EndsAtWrite {
    custody: FileCustody,
    left: AtomicUsize,
}

impl EndsAtWrite {
    fn count(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
    }
}

impl Custody for EndsAtWrite {
    fn name(&self) -> String {
        self.custody.name()
    }

    fn load(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<Secret>, Error>> {
        self.custody.load(id)
    }

    fn save(&self, entry: CustodyEntry, text: Secret) -> BoxFuture<'_, Result<(), Error>> {
        self.count();
        self.custody.save(entry, text)
    }

    fn remove(&self, id: ProvisionId) -> BoxFuture<'_, Result<(), Error>> {
        self.count();
        self.custody.remove(id)
    }

    fn lock(&self, id: ProvisionId) -> BoxFuture<'_, Result<ContextLock, Error>> {
        self.custody.lock(id)
    }

    fn list(
        &self,
        filter: CustodyFilter,
        after: Option<ProvisionId>,
    ) -> BoxFuture<'_, Result<Vec<CustodyEntry>, Error>> {
        self.custody.list(filter, after)
    }

    fn entry(&self, id: ProvisionId) -> BoxFuture<'_, Result<Option<CustodyEntry>, Error>> {
        self.custody.entry(id)
    }
}

/// The process that is killed.
#[tokio::test]
#[ignore = "another test starts it"]
async fn a_process() {
    test_timeout::start();
    let variable = |name| std::env::var(name).unwrap();
    let folder = PathBuf::from(variable(FOLDER));
    let custody = FileCustody::new(folder.join("users"));
    let custody = EndsAtWrite { custody, left: AtomicUsize::new(variable(ENDS_AT_WRITE).parse().unwrap()) };
    let key = Secret::new(fs::read_to_string(folder.join("key.pem")).unwrap());
    let client = Client::builder(Environment::Sandbox).api_key(variable(API_KEY)).base_url(variable(BASE_URL));
    let client = client.signing_keys(move || SigningKey::from_pkcs8(&key)).without_rate_limits();
    let client = client.context_store(FileStore::new(folder.join("context.json"))).custody(custody);
    let installation = match variable(INSTALLATION).as_str() {
        "partner" => UserInstallation::Partner,
        _ => UserInstallation::Own,
    };
    let client =
        client.user_installation(installation).poll_interval(MILLISECOND).late_arrival(MILLISECOND).build().unwrap();
    let data = UserData::of_nobody(variable(EXTERNAL_UUID).parse().unwrap()).unwrap();
    serve(&client, &data, MILLISECOND).await.unwrap();
}

/// Where a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With this request: bunq has carried it out, and the response is lost, or it does not reach bunq.
    Request { number: u32, is_carried_out: bool },
    /// Before this write of the custody.
    Write(usize),
    /// When it is done.
    Done,
}

/// A bank with what a process keeps.
struct Bank {
    sandbox: Sandbox,
    /// Whose installation the user's session belongs to: `own` or `partner`.
    installation: &'static str,
    folder: Folder,
    external_uuid: Uuid,
    process: Arc<Mutex<Option<Child>>>,
    /// How often the last processes have said that they do not know what came of a request.
    doubts: usize,
}

/// What has come of the user at the end.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: Value,
    given: Value,
    /// What the custody has, without the names that are always there.
    kept: Vec<PathBuf>,
}

impl Bank {
    async fn new(key: &Secret, installation: &'static str) -> Self {
        // The hardest bank: it makes all twice that is asked for twice.
        let sandbox = Sandbox::builder().deduplicate(false).one_identity_session(false).start().await.unwrap();
        let (folder, external_uuid, process) = (Folder::new(), Uuid::new_v4(), Arc::new(Mutex::new(None)));
        folder.file("key.pem", key.expose());
        let mut users = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut users, 0o700);
        users.create(folder.path("users")).unwrap();
        let (bank, killed) = (sandbox.clone(), Arc::clone(&process));
        sandbox.before_signing(move |call: &CallLogEntry, _| {
            if call.fault.is_some() {
                let mut process = killed.lock().unwrap();
                let process: &mut Child = process.as_mut().unwrap();
                process.kill().unwrap();
                process.wait().unwrap();
            }
            // What takes time at bunq is done soon.
            bank.advance_clock(Duration::from_secs(3));
        });
        Self { sandbox, installation, folder, external_uuid, process, doubts: 0 }
    }

    /// Runs a process to its end, and returns whether it has come to one of its own.
    async fn run(&mut self, end: End) -> bool {
        if let End::Request { number, is_carried_out } = end {
            self.sandbox.inject(Injection::new(Fault::Drop).after(number).carried_out(is_carried_out));
        }
        let write = if let End::Write(number) = end { number + 1 } else { 0 };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["whole_way::a_process", "--exact", "--ignored", "--nocapture"])
            .env(BASE_URL, self.sandbox.base_url())
            .env(API_KEY, self.sandbox.api_key().expose())
            .env(FOLDER, &self.folder.0)
            .env(EXTERNAL_UUID, self.external_uuid.to_string())
            .env(INSTALLATION, self.installation)
            .env(ENDS_AT_WRITE, write.to_string())
            .stdout(Stdio::piped())
            .stderr(if end == End::Done { Stdio::inherit() } else { Stdio::null() });
        let mut output = {
            // Its first request may be that with which it is killed.
            let mut process = self.process.lock().unwrap();
            process.insert(command.spawn().unwrap()).stdout.take().unwrap()
        };
        // The end of its output is that of the process.
        let said = tokio::task::spawn_blocking(move || {
            let mut said = String::new();
            output.read_to_string(&mut said).unwrap();
            said
        });
        self.doubts += said.await.unwrap().matches("in doubt: ").count();
        let status = self.process.lock().unwrap().take().unwrap().wait().unwrap();
        self.sandbox.clear_injections();
        status.success()
    }

    /// How often each operation that changes something was carried out.
    fn carried_out(&self) -> BTreeMap<&'static str, usize> {
        let changes = self.sandbox.call_log().into_iter().filter_map(|call| {
            let is_change = call.method != "GET" && call.carried_out && call.status < 300;
            Some(call.operation?.id).filter(|_| is_change)
        });
        changes.fold(BTreeMap::new(), |mut counts, id| {
            *counts.entry(id).or_default() += 1;
            counts
        })
    }

    fn outcome(&self) -> Outcome {
        let files = |folder: &str| fs::read_dir(self.folder.path(folder)).unwrap().map(|file| file.unwrap().path());
        let kept = files("users").chain(files("users/unactivated"));
        let kept = kept.filter(|path| !path.ends_with("custody.lock") && !path.ends_with("unactivated")).collect();
        let ids = self.sandbox.provision_ids();
        let provision = self.sandbox.provision(ids[0]).unwrap();
        assert_eq!((ids.len(), &provision["external_uuid"]), (1, &json!(self.external_uuid)));
        Outcome { status: provision["status"].clone(), given: self.sandbox.given(ids[0]).unwrap(), kept }
    }

    /// Holds the end against that of a process that was not cut.
    fn check(&self, uncut: &Self, cuts: &[End]) {
        let is_doubtful = self.doubts > 0;
        assert!(self.doubts <= cuts.len(), "{cuts:?}");
        assert_eq!(self.outcome(), uncut.outcome(), "{cuts:?}");
        let (counts, expected) = (self.carried_out(), uncut.carried_out());
        assert!(counts.keys().eq(expected.keys()), "{cuts:?}: {counts:?}");
        for (id, count) in &counts {
            let (expected, most) = (expected[id], expected[id] + cuts.len());
            let is_as_expected = match Operation::by_id(id).unwrap() {
                // The document says that they may be repeated.
                operation if operation.idempotent => (expected..=most).contains(count),
                // A second one was asked for by whoever was told of the doubt. Each has another result.
                operation if *operation == Operation::CREATE_IDENTITY_VERIFICATION_SESSION && is_doubtful => {
                    (expected..=most).contains(count)
                }
                operation if *operation == Operation::UPDATE_IDENTITY_VERIFICATION_SESSION && is_doubtful => {
                    (1..=expected).contains(count)
                }
                _ => *count == expected,
            };
            assert!(is_as_expected, "{cuts:?}, {} doubts: {id} was carried out {count} times", self.doubts);
        }
    }
}

async fn uncut(key: &Secret, installation: &'static str) -> Bank {
    let mut bank = Bank::new(key, installation).await;
    assert!(bank.run(End::Done).await);
    let Outcome { status, given, kept } = bank.outcome();
    assert_eq!((status, kept), (json!("CLOSED"), Vec::new()));
    let kinds = ["ADDRESS_MAIN", "ADDRESS_POSTAL", "DATE_OF_BIRTH", "NATIONALITY", "TAX_RESIDENT"];
    assert!(given.as_object().unwrap().keys().eq(kinds), "{given}");
    let counts = bank.carried_out();
    for (operation, count) in [
        (&Operation::CREATE_INSTALLATION, if installation == "own" { 2 } else { 1 }),
        (&Operation::CREATE_PROVISION, 1),
        (&Operation::CREATE_SESSION, 2),
        (&Operation::CREATE_USER_ONBOARDING, 1),
        (&Operation::UPDATE_USER_ONBOARDING, 1),
        // The first is rejected.
        (&Operation::CREATE_IDENTITY_VERIFICATION_SESSION, 2),
        (&Operation::CREATE_ATTACHMENT, 2),
        (&Operation::CREATE_DOCUMENT_IDENTIFICATION, 1),
        (&Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY, 1),
        (&Operation::UPDATE_PROVISION, 1),
    ] {
        assert_eq!(counts[operation.id], count, "{}", operation.id);
    }
    bank
}

fn key() -> Secret {
    SigningKey::generate().unwrap().to_pkcs8().unwrap()
}

/// A process ends at each request, whether bunq has carried it out or not, and before each write of the custody.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_is_gone_once_wherever_it_is_cut() {
    test_timeout::start();
    let key = key();
    let uncut = uncut(&key, "own").await;
    let requests = (0..).zip(uncut.sandbox.call_log()).flat_map(|(number, call)| {
        let ends = [false, true].map(|is_carried_out| End::Request { number, is_carried_out });
        // It does not matter whether bunq has carried out a read.
        ends.into_iter().filter(move |end| call.method != "GET" || *end == ends[0])
    });
    let requests: Vec<_> = requests.collect();
    for ends in requests.chunks(AT_ONCE) {
        let cut = join_all(ends.iter().map(|end| cut(&key, &uncut, *end))).await;
        assert!(cut.into_iter().all(|is_cut| is_cut), "{ends:?}");
    }
    let mut writes = 0;
    while join_all((writes..writes + AT_ONCE).map(|number| cut(&key, &uncut, End::Write(number)))).await.contains(&true)
    {
        writes += AT_ONCE;
    }
    assert!(writes > 12, "{writes}");
}

/// Returns whether the first process was cut.
async fn cut(key: &Secret, uncut: &Bank, end: End) -> bool {
    let mut bank = Bank::new(key, uncut.installation).await;
    let is_cut = !bank.run(end).await;
    if is_cut {
        assert!(bank.run(End::Done).await, "{end:?}");
    }
    bank.check(uncut, &[end]);
    is_cut
}

/// Each process gets a little further than the one before.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_is_gone_once_by_many_processes() {
    test_timeout::start();
    let key = key();
    for installation in ["own", "partner"] {
        let (uncut, mut bank) = (uncut(&key, installation).await, Bank::new(&key, installation).await);
        let mut cuts = Vec::new();
        for number in (4..).step_by(2) {
            let end = End::Request { number, is_carried_out: number % 4 == 0 };
            if bank.run(end).await {
                break;
            }
            cuts.push(end);
        }
        assert!(cuts.len() > 3, "{cuts:?}");
        bank.check(&uncut, &cuts);
    }
}
