//! Processes that are killed while they are called and hand on what has changed.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::types::{InquiryEntryType, UserId};
use bunq_partner::webhook::{ChangedObject, FileHintJournal, HintJournalBounds, Receiver};
use bunq_partner::{Client, Environment, FileCustody, Timestamp};
use bunq_partner_sandbox::{Pace, Sandbox, SeedInquiry};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::changes::{SEGMENT, served};
use crate::common::{Folder, at_once};

const PATH: &str = "BUNQ_TEST_JOURNAL";
const BANK: &str = "BUNQ_TEST_BANK";
const KEY: &str = "BUNQ_TEST_KEY";
const CUSTODY: &str = "BUNQ_TEST_CUSTODY";

/// How many processes are killed, and after how many calls that they have answered. All are 5,000.
const PROCESSES: usize = 50;
const CALLS: usize = 100;

/// bunq's name of the kind of an object, and its id.
type Name = (&'static str, u64);

const PROVISION: &str = "PartnerUserProvision";
const ONBOARDING: &str = "UserOnboarding";
const INQUIRY: &str = "UserInformationInquiry";
const KINDS: [&str; 3] = [PROVISION, ONBOARDING, INQUIRY];

/// An object at the bank.
#[derive(Clone, Copy)]
struct Object {
    name: Name,
    /// Whose it is, if it is not a provision.
    user: Option<UserId>,
    /// Whether the bank shows older states of it after newer ones.
    lags: bool,
    /// Whether only the first process is called about it, so that the look has to find its changes.
    is_quiet: bool,
    /// The number of its last change, and how often it was read.
    change: i64,
    reads: u64,
}

impl Object {
    fn new(name: Name, user: Option<UserId>, place: usize) -> Self {
        Self { name, user, lags: place.is_multiple_of(2), is_quiet: place == 1, change: 0, reads: 0 }
    }

    /// What bunq shows of the time of its last change.
    fn updated(&mut self) -> String {
        self.reads += 1;
        // Every third read shows what was long before.
        let is_old = self.lags && self.reads.is_multiple_of(3);
        let shown = if is_old { 0.max(self.change - 10) } else { self.change };
        format!("2025-01-01 00:00:{:02}.{:06}", shown / 1_000_000, shown % 1_000_000)
    }
}

type Objects = Arc<Mutex<HashMap<Name, Object>>>;

/// A bank with provisions, of which one is closing, and with the onboarding and the inquiries of a user whose session is open, in custody.
async fn bank(custody: &Path) -> (Sandbox, Vec<Object>) {
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let client = sandbox.client().retry(at_once()).custody(FileCustody::new(custody)).build().unwrap();
    let ids = sandbox.populate(20);
    let _ = client.provisions().close(ids[1]).await.unwrap();
    let user = client.users().activate(ids[2]).await.unwrap();
    let user_id = user.user().await.unwrap().id;
    let onboarding = user.onboarding().start().await.unwrap().id;
    let inquire = || sandbox.inquire(ids[2], SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund])).unwrap();
    let inquiries: Vec<_> = (0..4).map(|_| inquire()).collect();
    let of_provisions = ids.iter().enumerate().map(|(place, id)| Object::new((PROVISION, id.get()), None, place));
    let of_inquiries = inquiries.iter().enumerate();
    let of_inquiries = of_inquiries.map(|(place, id)| Object::new((INQUIRY, id.get()), Some(user_id), place));
    let onboarding = Object::new((ONBOARDING, onboarding.get()), Some(user_id), 1);
    let objects = of_provisions.chain(of_inquiries).chain([onboarding]).collect();
    (sandbox, objects)
}

/// A process that was started, and the lines that it says.
struct Process {
    child: Child,
    port: u16,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    async fn start(sandbox: &Sandbox, folder: &Folder, custody: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["killed_changes::a_process", "--exact", "--ignored", "--nocapture"])
            .env(PATH, folder.path("hints"))
            .env(BANK, sandbox.base_url())
            .env(KEY, sandbox.api_key().expose())
            .env(CUSTODY, custody)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, mut lines) = mpsc::unbounded_channel();
        let said = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let first = lines.recv().await.unwrap();
        let port = first.strip_prefix("port ").unwrap_or_else(|| panic!("{first}")).parse().unwrap();
        Self { child, port, lines }
    }

    /// Whether the process has answered a call.
    async fn takes(port: u16, object: Object) -> bool {
        let (kind, id) = object.name;
        let category = match kind {
            PROVISION => "PARTNER_USER_PROVISION",
            ONBOARDING => "USER_ONBOARDING",
            _ => "USER_INFORMATION_INQUIRY",
        };
        let about = json!({kind: {"id": id, "user_id": object.user}});
        let body = json!({"NotificationUrl": {"category": category, "object": about}});
        let body = body.to_string();
        let head = format!(
            "POST /{SEGMENT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}",
            body.len()
        );
        let exchange = async {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        exchange.await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }
}

/// What all processes have handed on.
#[derive(Default)]
struct Told(HashMap<Name, i64>);

impl Told {
    fn take(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let ["told", kind, id, change] = words[..] else { panic!("{line}") };
        let kind = KINDS.into_iter().find(|known| *known == kind).unwrap();
        let (name, change) = ((kind, id.parse().unwrap()), change.parse().unwrap());
        let before = self.0.insert(name, change).unwrap_or(0);
        assert!(change >= before, "{name:?}: {change} was handed on after {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_lose_no_change_and_hand_none_on_after_a_newer_one() {
    test_timeout::start();
    let folder = Folder::new();
    let custody = folder.own_folder("custody");
    let (sandbox, all) = bank(&custody).await;
    let names: Vec<_> = all.iter().map(|object| object.name).collect();
    let objects: Objects = Arc::new(Mutex::new(all.into_iter().map(|object| (object.name, object)).collect()));
    let edited = Arc::clone(&objects);
    sandbox.before_signing(move |_, response| {
        let Ok(mut body) = serde_json::from_slice::<Value>(&response.body) else { return };
        let mut objects = edited.lock().unwrap();
        for item in body["Response"].as_array_mut().into_iter().flatten() {
            for kind in KINDS {
                let id = item[kind]["id"].as_u64().unwrap_or_default();
                if let Some(object) = objects.get_mut(&(kind, id)) {
                    item[kind]["updated"] = object.updated().into();
                }
            }
        }
        response.body = serde_json::to_vec(&body).unwrap();
    });
    let (mut told, mut taken) = (Told::default(), HashMap::new());
    for number in 0..PROCESSES {
        let mut process = Process::start(&sandbox, &folder, &custody).await;
        let mut count = 0;
        while count < CALLS {
            let calls = (0..10).map(|place| {
                let name = names[(number + count + 7 * place) % names.len()];
                let object = {
                    let mut objects = objects.lock().unwrap();
                    let object = objects.get_mut(&name).unwrap();
                    object.change += 1;
                    *object
                };
                async move {
                    let is_left = object.is_quiet && number > 0;
                    let is_taken = is_left || Process::takes(process.port, object).await;
                    is_taken.then_some((object, !is_left))
                }
            });
            for (object, is_called) in join_all(calls).await.into_iter().flatten() {
                count += usize::from(is_called);
                if object.lags {
                    // Nobody can tell that a state that is new is not the last.
                    continue;
                }
                let last = taken.entry(object.name).or_default();
                *last = object.change.max(*last);
            }
        }
        // What it has said meanwhile is read too.
        process.child.kill().unwrap();
        while let Some(line) = process.lines.recv().await {
            told.take(&line);
        }
    }
    assert_eq!(taken.len(), 13, "{taken:?}");
    let mut process = Process::start(&sandbox, &folder, &custody).await;
    while taken.iter().any(|(name, change)| told.0.get(name).is_none_or(|told| told < change)) {
        told.take(&process.lines.recv().await.unwrap());
    }
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "another test starts it"]
async fn a_process() {
    test_timeout::start();
    let variable = |name| std::env::var(name).unwrap();
    let client = Client::builder(Environment::Sandbox).base_url(variable(BANK)).api_key(variable(KEY));
    let client = client.custody(FileCustody::new(variable(CUSTODY))).without_rate_limits().retry(at_once());
    let client = client.build().unwrap();
    let journal = FileHintJournal::open(variable(PATH), HintJournalBounds::default()).await.unwrap();
    let receiver = Receiver::builder(Environment::Sandbox, SEGMENT).build(journal).unwrap();
    let mut changes = client.changes(&receiver).look_interval(Duration::from_secs(1)).start().unwrap();
    let url = served(&receiver).await;
    let port = url.split([':', '/']).nth(4).unwrap();
    say(&format!("port {port}\n"));
    let mut count = 0_u64;
    while let Some(change) = changes.next().await {
        let (kind, id, updated) = match change.object() {
            ChangedObject::Provision(provision) => (PROVISION, provision.id.get(), provision.updated),
            ChangedObject::Onboarding { onboarding, .. } => (ONBOARDING, onboarding.id.get(), onboarding.updated),
            ChangedObject::Inquiry { inquiry, .. } => (INQUIRY, inquiry.id.get(), inquiry.updated),
            _ => panic!("{change:?}"),
        };
        let start = "2025-01-01 00:00:00".parse::<Timestamp>().unwrap();
        let updated = updated.unwrap().as_jiff().duration_since(start.as_jiff());
        say(&format!("told {kind} {id} {}\n", updated.as_micros()));
        count += 1;
        match count % 5 {
            0 => drop(change),
            1 => drop(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                change.done().await
            })),
            _ => change.done().await.unwrap(),
        }
    }
}

/// Says it in one write, so that no line is mixed with another.
fn say(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
