//! Processes that are killed while they are called and hand on what has changed.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::webhook::{ChangedObject, FileHintJournal, HintJournalBounds, Receiver};
use bunq_partner::{Client, Environment, ProvisionId};
use bunq_partner_sandbox::{Pace, Sandbox};
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

/// How many processes are killed, and after how many calls that they have answered. All are 5,000.
const PROCESSES: usize = 50;
const CALLS: usize = 100;

/// The number of the last change of each provision, and how often each was read.
type Changed = Arc<Mutex<HashMap<u64, (i64, u64)>>>;

/// Whether the bank shows older states of a provision after newer ones.
fn lags(id: u64) -> bool {
    id.is_multiple_of(2)
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
    async fn start(sandbox: &Sandbox, folder: &Folder) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["killed_changes::a_process", "--exact", "--ignored", "--nocapture"])
            .env(PATH, folder.path("hints"))
            .env(BANK, sandbox.base_url())
            .env(KEY, sandbox.api_key().expose())
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
    async fn takes(port: u16, id: u64) -> bool {
        let body = json!({"NotificationUrl": {
            "category": "PARTNER_USER_PROVISION", "object": {"PartnerUserProvision": {"id": id}},
        }});
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
struct Told(HashMap<u64, i64>);

impl Told {
    fn take(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let ["told", id, change] = words[..] else { panic!("{line}") };
        let (id, change) = (id.parse().unwrap(), change.parse().unwrap());
        let before = self.0.insert(id, change).unwrap_or(0);
        assert!(change >= before, "{id}: {change} was handed on after {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_lose_no_change_and_hand_none_on_after_a_newer_one() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let ids: Vec<_> = sandbox.populate(20).into_iter().map(ProvisionId::get).collect();
    let (folder, changed) = (Folder::new(), Changed::default());
    let edited = Arc::clone(&changed);
    sandbox.before_signing(move |_, response| {
        let Ok(mut body) = serde_json::from_slice::<Value>(&response.body) else { return };
        for item in body["Response"].as_array_mut().into_iter().flatten() {
            let Some(provision) = item.get_mut("PartnerUserProvision") else { continue };
            let mut changed = edited.lock().unwrap();
            let id = provision["id"].as_u64().unwrap();
            let (change, reads) = changed.entry(id).or_default();
            *reads += 1;
            // Every third read of every second provision shows what was long before.
            let lags = lags(id) && reads.is_multiple_of(3);
            let shown = if lags { 0.max(*change - 10) } else { *change };
            provision["updated"] = json!(format!("2025-01-01 00:00:{:02}.{:06}", shown / 1_000_000, shown % 1_000_000));
        }
        response.body = serde_json::to_vec(&body).unwrap();
    });
    let (mut told, mut taken) = (Told::default(), HashMap::new());
    for number in 0..PROCESSES {
        let mut process = Process::start(&sandbox, &folder).await;
        let mut count = 0;
        while count < CALLS {
            let calls = (0..10).map(|place| {
                let id = ids[(number + count + 7 * place) % ids.len()];
                let change = {
                    let mut changed = changed.lock().unwrap();
                    let (change, _) = changed.entry(id).or_default();
                    *change += 1;
                    *change
                };
                async move { Process::takes(process.port, id).await.then_some((id, change)) }
            });
            for (id, change) in join_all(calls).await.into_iter().flatten() {
                count += 1;
                if lags(id) {
                    // Nobody can tell that a state that is new is not the last.
                    continue;
                }
                taken.entry(id).and_modify(|last: &mut i64| *last = change.max(*last)).or_insert(change);
            }
        }
        // What it has said meanwhile is read too.
        process.child.kill().unwrap();
        while let Some(line) = process.lines.recv().await {
            told.take(&line);
        }
    }
    let mut process = Process::start(&sandbox, &folder).await;
    while taken.iter().any(|(id, change)| told.0.get(id).is_none_or(|told| told < change)) {
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
    let client = client.without_rate_limits().retry(at_once()).build().unwrap();
    let journal = FileHintJournal::open(variable(PATH), HintJournalBounds::default()).await.unwrap();
    let receiver = Receiver::builder(Environment::Sandbox, SEGMENT).build(journal).unwrap();
    let mut changes = client.changes(&receiver).start().unwrap();
    let url = served(&receiver).await;
    let port = url.split([':', '/']).nth(4).unwrap();
    say(&format!("port {port}\n"));
    let mut count = 0_u64;
    while let Some(change) = changes.next().await {
        let ChangedObject::Provision(provision) = change.object() else { panic!("{change:?}") };
        let start = "2025-01-01 00:00:00".parse::<bunq_partner::Timestamp>().unwrap();
        let updated = provision.updated.unwrap().as_jiff().duration_since(start.as_jiff());
        say(&format!("told {} {}\n", provision.id, updated.as_micros()));
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
