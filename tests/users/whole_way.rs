//! The whole way of a user, from an `external_uuid` to a verified user that is closed again: a process that is killed at each of its
//! requests and of its writes, and another that goes on.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::wire::SigningKey;
use bunq_partner::{Client, Environment, FileCustody, FileStore, Operation, Secret, UserInstallation, Uuid};
use bunq_partner_sandbox::{CallLogEntry, Fault, Injection, Profile, Sandbox};
use futures_util::future::join_all;
use serde_json::{Value, json};

pub(crate) use self::act_as_user::{UserData, serve};
use crate::common::{EndingCustody, Folder};

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

/// What the same request again sets again: an answer to what is missing, and the closing.
const SETS_THE_SAME: [&Operation; 6] = [
    &Operation::CREATE_ADDRESS_MAIN,
    &Operation::CREATE_ADDRESS_POSTAL,
    &Operation::CREATE_NATIONALITY,
    &Operation::CREATE_TAX_RESIDENT,
    &Operation::UPDATE_USER_PERSON,
    &Operation::UPDATE_PROVISION,
];

/// The process that is killed.
#[tokio::test]
#[ignore = "another test starts it"]
async fn a_process() {
    test_timeout::start();
    let variable = |name| std::env::var(name).unwrap();
    let folder = PathBuf::from(variable(FOLDER));
    let custody = FileCustody::new(folder.join("users"));
    let left = AtomicUsize::new(variable(ENDS_AT_WRITE).parse().unwrap());
    let custody = EndingCustody::new(custody, move || match left.fetch_sub(1, Ordering::Relaxed) {
        1 => std::process::abort(),
        _ => Ok(()),
    });
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

/// What has come of the user at the end, and what bunq was asked for.
#[derive(Debug)]
pub(crate) struct Seen {
    status: Value,
    given: Value,
    /// Whether the custody has anything.
    is_kept: bool,
    /// How many requests of each operation that changes something have arrived, or will, also those that bunq has refused.
    arrived: BTreeMap<&'static str, usize>,
}

/// The hardest bank: it makes all twice that is asked for twice. `struck` is told of each fault that is played.
pub(crate) async fn hardest_bank(mut struck: impl FnMut() + Send + 'static) -> Sandbox {
    let mut profile = Profile::default();
    (profile.second_submission, profile.second_statuses) = (None, None);
    let sandbox = Sandbox::builder().profile(profile).deduplicate(false).one_identity_session(false);
    let sandbox = sandbox.start().await.unwrap();
    let bank = sandbox.clone();
    sandbox.before_signing(move |call: &CallLogEntry, _| {
        if call.fault.is_some() {
            struck();
        }
        // What takes time at bunq is done soon.
        bank.advance_clock(Duration::from_secs(3));
    });
    sandbox
}

impl Seen {
    pub(crate) fn new(sandbox: &Sandbox, external_uuid: Uuid, is_kept: bool) -> Self {
        let ids = sandbox.provision_ids();
        let provision = sandbox.provision(ids[0]).unwrap();
        assert_eq!((ids.len(), &provision["external_uuid"]), (1, &json!(external_uuid)));
        let (status, given) = (provision["status"].clone(), sandbox.given(ids[0]).unwrap());
        let mut arrived = BTreeMap::new();
        for call in sandbox.call_log() {
            let Some(operation) = call.operation.filter(|operation| operation.method != "GET") else { continue };
            // What is missing is told by a refusal, and such a request is sent again.
            let is_told = *operation == Operation::UPDATE_USER_ONBOARDING && call.status == 400 && call.fault.is_none();
            if !is_told && (call.carried_out || call.fault.is_none()) {
                *arrived.entry(operation.id).or_default() += 1;
            }
        }
        Self { status, given, is_kept, arrived }
    }

    /// Whether a request of this operation has arrived.
    pub(crate) fn has(&self, operation: &Operation) -> bool {
        self.arrived.contains_key(operation.id)
    }

    /// Holds the end against that of a process that was not cut. `doubts`: how often one was told that nobody knows what came of a
    /// request, and has asked for a second one.
    pub(crate) fn check(&self, uncut: &Self, cuts: &[impl Debug], doubts: usize) {
        let is_doubtful = doubts > 0;
        assert!(doubts <= cuts.len(), "{cuts:?}");
        assert_eq!((&self.status, &self.given, self.is_kept), (&uncut.status, &uncut.given, uncut.is_kept), "{cuts:?}");
        assert!(self.arrived.keys().eq(uncut.arrived.keys()), "{cuts:?}: {:?}", self.arrived);
        for (id, count) in &self.arrived {
            let (expected, most) = (uncut.arrived[id], uncut.arrived[id] + cuts.len());
            let operation = Operation::by_id(id).unwrap();
            let is_as_expected = match *operation {
                // The document says that they may be repeated, or that the same again sets the same.
                _ if operation.idempotent || SETS_THE_SAME.contains(&operation) => (expected..=most).contains(count),
                // A second one was asked for by whoever was told of the doubt. Each session has another result.
                Operation::CREATE_IDENTITY_VERIFICATION_SESSION | Operation::CREATE_DOCUMENT_IDENTIFICATION
                    if is_doubtful =>
                {
                    (expected..=most).contains(count)
                }
                Operation::UPDATE_IDENTITY_VERIFICATION_SESSION if is_doubtful => (1..=expected).contains(count),
                _ => *count == expected,
            };
            assert!(is_as_expected, "{cuts:?}, {doubts} doubts: {id} has arrived {count} times, not {expected}");
        }
    }
}

impl Bank {
    async fn new(key: &Secret, installation: &'static str) -> Self {
        let (folder, external_uuid, process) = (Folder::new(), Uuid::new_v4(), Arc::new(Mutex::new(None)));
        folder.file("key.pem", key.expose());
        folder.own_folder("users");
        let killed = Arc::clone(&process);
        let sandbox = hardest_bank(move || {
            let mut process = killed.lock().unwrap();
            let process: &mut Child = process.as_mut().unwrap();
            process.kill().unwrap();
            process.wait().unwrap();
        })
        .await;
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

    fn seen(&self) -> Seen {
        let files = |folder: &str| fs::read_dir(self.folder.path(folder)).unwrap().map(|file| file.unwrap().path());
        let mut kept = files("users").chain(files("users/unactivated"));
        let is_kept = kept.any(|path| !path.ends_with("custody.lock") && !path.ends_with("unactivated"));
        Seen::new(&self.sandbox, self.external_uuid, is_kept)
    }

    fn check(&self, uncut: &Self, cuts: &[End]) {
        self.seen().check(&uncut.seen(), cuts, self.doubts);
    }
}

async fn uncut(key: &Secret, installation: &'static str) -> Bank {
    let mut bank = Bank::new(key, installation).await;
    assert!(bank.run(End::Done).await);
    let Seen { status, given, is_kept, arrived } = bank.seen();
    assert_eq!((status, is_kept), (json!("CLOSED"), false));
    let kinds = ["ADDRESS_MAIN", "ADDRESS_POSTAL", "DATE_OF_BIRTH", "NATIONALITY", "TAX_RESIDENT"];
    assert!(given.as_object().unwrap().keys().eq(kinds), "{given}");
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
        assert_eq!(arrived[operation.id], count, "{}", operation.id);
    }
    bank
}

fn key() -> Secret {
    SigningKey::generate().unwrap().to_pkcs8().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_is_gone_once_wherever_it_is_cut() {
    test_timeout::start();
    cut_everywhere("own").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_is_gone_once_with_the_installation_of_the_partner() {
    test_timeout::start();
    cut_everywhere("partner").await;
}

/// A process ends at each request, whether bunq has carried it out or not, and before each write of the custody.
async fn cut_everywhere(installation: &'static str) {
    let key = key();
    let uncut = uncut(&key, installation).await;
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
