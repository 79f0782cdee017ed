//! `webhooks listen`: bunq's calls as they come, and what bunq says to each. Nothing of a body, and no path, is in what it writes.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdout, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bunq_partner::types::InquiryEntryType;
use bunq_partner_sandbox::{Sandbox, SeedInquiry};
use futures_util::future::join_all;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cli_output::{check, schema, validator};
use crate::cli_webhooks::Bank;
use crate::common::bulk::{Signal, signal};
use crate::common::terminal::{Terminal, plain};
use crate::common::{Folder, again, hearing, program, ran, user_in_custody};

pub(crate) const SEGMENT: &str = "planted-segment-0123456789";
const PROVISION: &str = "PARTNER_USER_PROVISION";

/// A bank, and the program for it, with a file that has a URL whose path is the one of calls.
pub(crate) async fn bank() -> Bank {
    Bank::with_url(&format!("https://partner.example.com/bunq/{SEGMENT}")).await
}

impl Bank {
    pub(crate) fn listen(&self, typed: &str) -> Listening {
        let mut program = again(&self.program);
        program.args(["webhooks", "listen"]).args(typed.split_whitespace());
        let mut child = hearing(&program)
            .current_dir(&self.folder.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let (mut err, mut port) = (String::new(), 0);
        while port == 0 {
            assert!(said.read_line(&mut err).unwrap() > 0, "{err}");
            let address = err.rsplit_once("://").and_then(|(_, rest)| rest.split_once("/\u{2026}"));
            port = address.map_or(0, |(address, _)| address.rsplit(':').next().unwrap().parse().unwrap());
        }
        // What nobody reads would hold it up.
        let said = thread::spawn(move || {
            let mut rest = String::new();
            said.read_to_string(&mut rest).unwrap();
            rest
        });
        Listening { child, lines, said: Some(said), out: String::new(), err, port }
    }

    /// Runs another command, and returns what it has written.
    fn written(&self, typed: &str) -> String {
        let (out, err, code) = self.run(typed);
        assert_eq!(code, 0, "{typed}: {err}");
        out
    }

    /// Has the bank tell a category to this port.
    fn ensure(&self, scheme: &str, port: u16, typed: &str) {
        self.folder.file("target", &format!("{scheme}://localhost:{port}/bunq/{SEGMENT}"));
        self.written(&format!("webhooks ensure {typed} --url-file target"));
    }

    /// The keys in the bodies that were sent.
    fn sent_keys(&self) -> Vec<String> {
        let sent = self.sandbox.sent_notifications();
        let body = |one: &bunq_partner_sandbox::SentNotification| serde_json::from_slice::<Value>(&one.body).unwrap();
        let key = |body: Value| {
            let key = body.pointer("/NotificationUrl/object/PartnerUserProvision/credential/token_value");
            key.and_then(Value::as_str).map(str::to_owned)
        };
        sent.iter().filter_map(|one| key(body(one))).collect()
    }
}

/// The program while it listens. It is killed at the end if it was not interrupted.
pub(crate) struct Listening {
    child: Child,
    lines: BufReader<ChildStdout>,
    said: Option<JoinHandle<String>>,
    out: String,
    err: String,
    port: u16,
}

impl Listening {
    /// The next line of its results.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "it has ended: {}", self.out);
        self.out += &line;
        line
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// The outcomes of the next lines, of which each may be of one call or of several.
    fn counted(&mut self, said_by: &str, outcomes: &[&str], count: u64) {
        let mut left = count;
        while left > 0 {
            let line = self.json();
            let outcome = line["outcome"].as_str().unwrap();
            assert!(line["said_by"] == said_by && outcomes.contains(&outcome), "{line}");
            left -= line["count"].as_u64().unwrap();
        }
    }

    /// Makes a call, and returns the status that it is answered with.
    pub(crate) fn call(&self, segment: &str, body: &Value) -> u16 {
        let (mut stream, body) = (TcpStream::connect(("127.0.0.1", self.port)).unwrap(), body.to_string());
        let head = format!("POST /bunq/{segment} HTTP/1.1\r\nhost: localhost\r\nconnection: close");
        let head = format!("{head}\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// A number of its memory, in KiB.
    #[cfg(target_os = "linux")]
    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Ends it as Ctrl-C does; returns all that it has written.
    pub(crate) fn interrupt(mut self) -> (String, String) {
        signal(&self.child, Signal::INT);
        self.lines.read_to_string(&mut self.out).unwrap();
        self.err += &self.said.take().unwrap().join().unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(130), "{}", self.err);
        (std::mem::take(&mut self.out), std::mem::take(&mut self.err))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_shown_with_what_bunq_says_to_it() {
    test_timeout::start();
    let bank = bank().await;
    let id = bank.sandbox.populate(1)[0];
    let mut listening = bank.listen("--url-file url --journal hints -vv --output jsonl");
    bank.ensure("http", listening.port, PROVISION);
    assert!(bank.written(&format!("webhooks trigger {PROVISION} {id}")).is_empty());
    let mut call = listening.json();
    let event_type = call["event_type"].take();
    assert!(event_type.as_str().unwrap().starts_with(PROVISION) && call["time"].take().is_string(), "{call}");
    let expected = json!({
        "time": null, "said_by": "call", "outcome": "kept", "count": 1, "category": PROVISION, "event_type": null,
        "object_kind": "provision", "object_id": id.get(), "id": id.get(), "object_status": null,
    });
    assert_eq!(call, expected);
    let mut read = listening.json();
    assert!(read["time"].take().is_string());
    let expected = json!({
        "time": null, "said_by": "bunq", "outcome": "confirmed", "count": 1, "category": null, "event_type": null,
        "object_kind": "provision", "object_id": id.get(), "id": id.get(), "object_status": "ACTIVE",
    });
    assert_eq!(read, expected);

    // Nothing has changed since.
    bank.written(&format!("webhooks trigger {PROVISION} {id}"));
    listening.counted("call", &["kept"], 1);
    listening.counted("bunq", &["known", "unchanged"], 1);

    // Others' calls.
    let about = |kind: &str, object: Value| json!({ "NotificationUrl": { "category": PROVISION, "event_type": "FORGED", "object": { kind: object } } });
    let forged =
        about("PartnerUserProvision", json!({ "id": 987_654, "credential": { "token_value": "planted-key" } }));
    assert_eq!(listening.call(SEGMENT, &forged), 200);
    listening.counted("call", &["kept"], 1);
    listening.counted("bunq", &["not_ours"], 1);
    let payment = about("Payment", json!({ "id": 7, "description": "planted-text" }));
    assert_eq!(listening.call(SEGMENT, &payment), 200);
    let line = listening.json();
    assert_eq!((&line["object_kind"], &line["object_id"], &line["id"]), (&"Payment".into(), &7.into(), &Value::Null));
    listening.counted("bunq", &["ignored"], 1);
    assert_eq!(listening.call("planted-segment-of-another", &forged), 404);
    assert_eq!(listening.call("planted-segment-of-another", &forged), 404);
    listening.counted("call", &["wrong_path"], 2);
    assert_eq!(listening.call(SEGMENT, &json!("planted-text")), 400);
    listening.counted("call", &["not_notification"], 1);

    // One process has the journal.
    let (_, said, code) = ran(again(&bank.program).args("webhooks listen --url-file url --journal hints".split(' ')));
    assert!(said.contains("/hints: another process uses it") && code == 21, "{code}: {said}");

    let (out, err) = listening.interrupt();
    let (heard, line, schema) = (validator(&schema(), "heard"), validator(&schema(), "stderr_line"), &err);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    check(&heard, &lines.into(), "listen");
    let said: Vec<Value> = schema.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    said.iter().for_each(|text| check(&line, text, "listen"));
    let [.., numbers, end] = &said[..] else { panic!("{err}") };
    assert_eq!((&end["error"]["exit_code"], &end["error"]["message"]), (&130.into(), &"interrupted".into()));
    let (calls, of_bunq) = (&numbers["numbers"]["calls"], &numbers["numbers"]["bunq"]);
    let counts = [&calls["kept"], &calls["wrong_path"], &calls["not_notification"], &calls["wrong_peer"]];
    assert_eq!(counts.map(|count| count.as_u64().unwrap()), [4, 2, 1, 0], "{numbers}");
    assert_eq!([&of_bunq["confirmed"], &of_bunq["not_ours"], &of_bunq["ignored"]], [1, 1, 1], "{numbers}");

    // Calls were shown, with headers, and none of the secrets that they had.
    assert!(err.contains("x-bunq-client-request-id"));
    let keys = bank.sent_keys();
    let (kept, shown) = (fs::read_to_string(bank.folder.path("hints")).unwrap(), out + &err);
    assert_eq!(keys.len(), 2);
    for secret in keys.iter().map(String::as_str).chain([bank.sandbox.api_key().expose(), "planted"]) {
        assert!(!shown.contains(secret) && !kept.contains(secret), "{secret}: {shown}{kept}");
    }
}

/// How many connections send nothing, half of a head, half of a body, and a body byte by byte.
const SILENT: usize = 1_000;
const HALF: usize = 100;

/// How many connect before a right call is made: the kernel drops those that the queue of a listener has no room for.
const TOGETHER: usize = 50;

/// How much memory they may take together, in KiB.
#[cfg(target_os = "linux")]
const MOST: u64 = 30_000;

/// Whoever sends nothing, or slowly, has its time, takes little memory, and holds up no call.
#[tokio::test(flavor = "multi_thread")]
async fn it_answers_calls_among_a_thousand_connections_that_send_nothing() {
    test_timeout::start();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let bank = bank().await;
    let listening = bank.listen("--url-file url --output jsonl");
    let forged = json!({ "NotificationUrl": { "category": "PAYMENT", "object": { "Payment": { "id": 7 } } } });
    assert_eq!(listening.call(SEGMENT, &forged), 200);
    #[cfg(target_os = "linux")]
    let idle = listening.memory("VmRSS:");
    let head = format!("POST /bunq/{SEGMENT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json");
    let head = format!("{head}\r\ncontent-length: 100\r\n\r\n");
    let (half_head, half_body) = (&head[..40], format!("{head}{{\"NotificationUrl\": "));
    let (mut connections, mut kept) = (Vec::new(), 1);
    for (text, count, is_slow) in
        [("", SILENT, false), (half_head, HALF, false), (&half_body, HALF, false), (&half_body, HALF, true)]
    {
        for number in 0..count {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", listening.port)).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            connections.push(tokio::spawn(last_answer(stream, is_slow)));
            if number % TOGETHER == 0 {
                assert_eq!(listening.call(SEGMENT, &forged), 200);
                kept += 1;
            }
        }
    }
    #[cfg(target_os = "linux")]
    {
        let more = listening.memory("VmHWM:") - idle;
        assert!(more <= MOST, "{more} KiB");
    }
    let answers: Vec<_> = join_all(connections).await.into_iter().map(Result::unwrap).collect();
    let (silent, slow) = answers.split_at(SILENT + HALF);
    assert!(silent.iter().all(String::is_empty), "{silent:?}");
    assert!(slow.iter().all(|answer| answer.starts_with("HTTP/1.1 408 ")), "{slow:?}");
    assert_eq!(listening.call(SEGMENT, &forged), 200);
    let (_, err) = listening.interrupt();
    let numbers: Value = serde_json::from_str(err.lines().rev().nth(1).unwrap()).unwrap();
    let calls = &numbers["numbers"]["calls"];
    assert_eq!((&calls["kept"], &calls["too_slow"]), (&(kept + 1).into(), &(2 * HALF).into()), "{numbers}");
}

/// What is answered until the connection is closed, perhaps while a body comes byte by byte.
async fn last_answer(mut stream: tokio::net::TcpStream, is_slow: bool) -> String {
    let (mut answers, mut body) = stream.split();
    let send = async {
        while is_slow && body.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut read = Vec::new();
    tokio::select! {
        // What it has not read makes the end a reset.
        _ = answers.read_to_end(&mut read) => {}
        () = send => {}
    }
    String::from_utf8(read).unwrap()
}

/// With a certificate of its own, for a person, and about a user.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_tls_about_a_user_is_read_with_the_session_in_custody() {
    test_timeout::start();
    let bank = bank().await;
    let id = bank.sandbox.populate(1)[0];
    user_in_custody(&bank.folder, &bank.sandbox, id).await;
    certificate(&bank.folder);
    let serving = "--url-file url --certificate chain.pem --key key.pem";
    let mut listening = bank.listen(&format!("{serving} --custody users"));
    assert!(listening.err.starts_with("listening https://127.0.0.1:"), "{}", listening.err);
    bank.ensure("https", listening.port, &format!("USER_INFORMATION_INQUIRY --user {id} --custody users"));
    let inquiry = bank.sandbox.inquire(id, SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund])).unwrap();
    let call = listening.line();
    assert!(call.contains("  call  kept  USER_INFORMATION_INQUIRY  ") && call.contains(&inquiry.to_string()), "{call}");
    let read = listening.line();
    let shown = format!("  bunq  confirmed  inquiry  {inquiry}  of provision {id}  ");
    assert!(plain(&read).contains(&shown), "{read}");
    let (_, err) = listening.interrupt();
    assert!(err.contains("calls: 1 kept; bunq: 1 confirmed\nerror: interrupted\n"), "{err}");

    // Without the custody it is nobody's.
    let mut listening = bank.listen(&format!("{serving} --output csv"));
    bank.ensure("https", listening.port, &format!("USER_INFORMATION_INQUIRY --user {id} --custody users"));
    bank.written(&format!("webhooks trigger USER_INFORMATION_INQUIRY {id}"));
    assert!(listening.line().starts_with("time,said_by,outcome,count,category,event_type,object_kind,object_id,id,"));
    assert!(listening.line().contains(",call,kept,1,USER_INFORMATION_INQUIRY,"));
    assert!(listening.line().contains(",bunq,foreign,1,"));
    listening.interrupt();
}

/// A certificate and its key, and the key of another one.
fn certificate(folder: &Folder) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    folder.file("chain.pem", &made.cert.pem());
    for (name, key) in [("key.pem", made.signing_key), ("other.pem", rcgen::KeyPair::generate().unwrap())] {
        folder.file(name, &key.serialize_pem());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_before_it_listens() {
    test_timeout::start();
    let bank = bank().await;
    certificate(&bank.folder);
    bank.folder.file("open.pem", &fs::read_to_string(bank.folder.path("key.pem")).unwrap());
    fs::set_permissions(bank.folder.path("open.pem"), Permissions::from_mode(0o644)).unwrap();
    bank.folder.file("short", "https://partner.example.com/bunq/planted");
    bank.sandbox.take_call_log();
    for (typed, problem) in [
        ("", "there is no URL: give --url-file, or set BUNQ_WEBHOOK_URL"),
        ("--url-file short", "the last part of the URL's path: it has not 22 to 128 letters, digits, `-` and `_`"),
        ("--url-file url --listen 0.0.0.0", "--listen 0.0.0.0: calls would come without TLS, with live keys in them"),
        ("--url-file url --listen 0.0.0.0:8443", "the port is given with --port 8443, beside --listen 0.0.0.0"),
        ("--url-file url --from 10.0.0.1/8", "--from: `10.0.0.1/8` is no range of addresses"),
        ("--url-file url --trusted-proxy proxy", "--trusted-proxy: `proxy` is no range of addresses"),
        ("--url-file url --certificate chain.pem", "--certificate does nothing without --key"),
        ("--url-file url --certificate chain.pem --key missing", "--key missing: it cannot be opened: No such file"),
        ("--url-file url --certificate chain.pem --key open.pem", "--key open.pem: its mode is 0644"),
        ("--url-file url --certificate chain.pem --key chain.pem", "--key chain.pem: "),
        (
            "--url-file url --certificate chain.pem --key other.pem",
            "--key other.pem: it is no key for that certificate",
        ),
        ("--url-file url --certificate key.pem --key key.pem", "--certificate key.pem: it has no certificate in PEM"),
    ] {
        let (out, said, code) = ran(again(&bank.program).args(["webhooks", "listen"]).args(typed.split_whitespace()));
        assert!(said.contains(problem) && code == 2 && out.is_empty(), "{typed}: {code}: {said}");
        assert!(!said.contains("planted"), "{typed}: {said}");
    }
    let mut by_argument = again(&bank.program);
    let (_, said, code) = ran(by_argument.args(["webhooks", "listen", "--url-file", "https://a.example/planted"]));
    assert!(
        said.contains("whoever lists processes sees arguments") && code == 2 && !said.contains("planted"),
        "{said}"
    );

    let mut in_production = program(&bank.folder);
    in_production.env("BUNQ_API_KEY", "of-production").current_dir(&bank.folder.0);
    in_production.args(["--env", "production", "--base-url", bank.sandbox.base_url()]);
    in_production.args("webhooks listen --url-file url".split(' '));
    let (_, said, code) = ran(&mut in_production);
    assert!(said.contains("none of them reaches loopback") && said.contains("--trusted-proxy 127.0.0.1"), "{said}");
    assert_eq!(code, 2);
    assert!(bank.sandbox.take_call_log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_shown_a_path_that_is_made_at_random_once() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (state, key) = (folder.path(""), sandbox.api_key());
    let environment = [("XDG_STATE_HOME", state.to_str().unwrap()), ("BUNQ_API_KEY", key.expose())];
    let mut terminal =
        Terminal::start(200, &["webhooks", "listen", "--base-url", sandbox.base_url(), "-v"], &environment);
    terminal.expect("and is not shown again");
    terminal.type_keys("\x03");
    let (screen, code) = terminal.end();
    let shown = plain(&screen);
    let url = shown.lines().find_map(|line| line.split_once("listening ")).unwrap().1;
    let (_, segment) = url.rsplit_once('/').unwrap();
    assert!(url.starts_with("http://127.0.0.1:") && segment.len() == 32, "{url}");
    assert_eq!((shown.matches(segment).count(), code), (1, 130), "{shown}");
    assert!(shown.contains("calls: none; bunq: none"), "{shown}");
}
