//! Acting for users while something goes wrong: whatever it is, the same command goes on, nothing is done twice, and what is said can be
//! understood by who does not know this program.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::types::InquiryEntryType;
use bunq_partner::{Operation, ProvisionId};
use bunq_partner_sandbox::{CallLogEntry, Fault, Injection, Pace, Profile, Sandbox, SeedInquiry};
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use serde_json::{Value, json};

use crate::common::{Folder, again, program_with_user, ran};

const HOUR: Duration = Duration::from_secs(3600);

/// How many banks a test has at once.
const AT_ONCE: usize = 4;

const KINDS: [&str; 5] = ["ADDRESS_MAIN", "ADDRESS_POSTAL", "DATE_OF_BIRTH", "NATIONALITY", "TAX_RESIDENT"];

const ONBOARDING: [&Operation; 6] = [
    &Operation::CREATE_USER_ONBOARDING,
    &Operation::CREATE_ADDRESS_MAIN,
    &Operation::CREATE_ADDRESS_POSTAL,
    &Operation::UPDATE_USER_PERSON,
    &Operation::CREATE_NATIONALITY,
    &Operation::CREATE_TAX_RESIDENT,
];

const ANSWER: [&Operation; 2] = [&Operation::CREATE_ATTACHMENT, &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY];

/// The others do no harm when they are carried out again: an answer sets the same, and a file is another attachment.
const ONCE: [&Operation; 2] = [&Operation::CREATE_USER_ONBOARDING, &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY];

/// A command that is run until it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Onboard,
    Answer,
}

impl Work {
    /// What it calls that changes something.
    fn changes(self) -> &'static [&'static Operation] {
        match self {
            Self::Onboard => &ONBOARDING,
            Self::Answer => &ANSWER,
        }
    }
}

/// A bank with a user in custody, and the command that works for it.
struct User {
    sandbox: Sandbox,
    folder: Folder,
    id: ProvisionId,
    work: Work,
    program: Command,
    /// The words of the command.
    typed: String,
    process: Arc<Mutex<Option<Child>>>,
    /// That of the last failure.
    hint: Mutex<String>,
}

impl User {
    async fn new(work: Work) -> Self {
        let mut profile = Profile::default();
        profile.onboarding_check = HOUR;
        profile.fulfillments = KINDS.map(str::to_owned).to_vec();
        let sandbox = Sandbox::builder().profile(profile).pace(Pace::Manual).start().await.unwrap();
        let folder = Folder::new();
        let id = sandbox.populate(1)[0];
        let program = program_with_user(&folder, &sandbox, id).await;
        let typed = match work {
            Work::Onboard => {
                let address = json!({
                    "street": "Example Street", "house_number": "1a", "postal_code": "1000 AA", "city": "Exampleton",
                    "country": "NL",
                });
                let answers = json!({
                    "address_main": address, "address_postal": address, "person": { "date_of_birth": "1990-01-31" },
                    "tax_resident": [{ "country": "NL", "tax_number": "123456782" }], "nationality": ["NL"],
                });
                folder.file("answers.json", &answers.to_string());
                format!("onboard {id} --from answers.json")
            }
            Work::Answer => {
                fs::write(folder.path("payslip.gif"), "GIF89a").unwrap();
                let asked = SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund]);
                let inquiry = sandbox.inquire(id, asked).unwrap();
                // An entry has its id before its inquiry.
                let entry = inquiry.get() - 1;
                format!("inquiries answer {id} {inquiry} {entry} --text Work. --attach payslip.gif")
            }
        };
        sandbox.take_call_log();
        Self { sandbox, folder, id, work, program, typed, process: Arc::default(), hint: Mutex::default() }
    }

    /// Kills the process with its request that a fault strikes.
    fn kill_at_fault(&self) {
        let killed = Arc::clone(&self.process);
        self.sandbox.before_signing(move |call, _| {
            if call.fault.is_some()
                && let Some(process) = killed.lock().unwrap().as_mut()
            {
                process.kill().unwrap();
                process.wait().unwrap();
            }
        });
    }

    /// Runs the command; returns its exit code, if it was not killed.
    async fn run(&self, more: &[&str]) -> Option<i32> {
        let mut command = again(&self.program);
        command.args(self.typed.split_whitespace()).args(["--custody", "users", "--output", "json"]);
        command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (out, err) = {
            // Its first request may be that with which it is killed.
            let mut process = self.process.lock().unwrap();
            let process = process.insert(command.spawn().unwrap());
            (process.stdout.take().unwrap(), process.stderr.take().unwrap())
        };
        // The end of its output is that of the process.
        let read = |source| tokio::task::spawn_blocking(move || std::io::read_to_string(source).unwrap());
        let (out, err) = (read(Box::new(out) as Box<dyn std::io::Read + Send>), read(Box::new(err)));
        let (out, err) = (out.await.unwrap(), err.await.unwrap());
        let code = self.process.lock().unwrap().take().unwrap().wait().unwrap().code()?;
        *self.hint.lock().unwrap() = if code == 0 { String::new() } else { understood(code, &err) };
        assert!(!format!("{out}{err}").contains("123456782"), "{out}{err}");
        Some(code)
    }

    fn is_done(&self, code: i32) -> bool {
        match self.work {
            // bunq checks what it was given.
            Work::Onboard => {
                code == 24 && self.sandbox.given(self.id).unwrap().as_object().unwrap().len() == KINDS.len()
            }
            Work::Answer => code == 0,
        }
    }

    /// Runs the command until it is done, as its user would.
    async fn settle(&self, more: &[&str], what: &str) {
        for _ in 0..4 {
            if let Some(code) = self.run(more).await
                && self.is_done(code)
            {
                return;
            }
        }
        panic!("it is not done: {what}");
    }

    /// Each change was carried out, and what is not the same when it is carried out again, once.
    fn check(&self, what: &str) {
        let calls = self.sandbox.call_log();
        for operation in self.work.changes() {
            let is_made = |call: &&CallLogEntry| {
                call.operation == Some(operation) && call.carried_out && (call.status < 300 || call.fault.is_some())
            };
            let count = calls.iter().filter(is_made).count();
            let most = if ONCE.contains(operation) { 1 } else { 2 };
            assert!((1..=most).contains(&count), "{what}: {} was carried out {count} times", operation.id);
        }
    }
}

/// The hint of a failure, which is told once, with what to do, and without what only programmers know.
fn understood(code: i32, said: &str) -> String {
    let told: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let errors: Vec<_> = told.iter().map(|line| &line["error"]).filter(|error| error.is_object()).collect();
    let [error] = errors[..] else { panic!("{code}: {said}") };
    assert_eq!(error["exit_code"], code, "{said}");
    let hint = error["hint"].as_str().unwrap_or_default();
    assert!(!hint.is_empty(), "there is nothing to do: {said}");
    assert!(![19, 101].contains(&code), "{said}");
    for foreign in ["()", "::", "panicked", "Option", "Some("] {
        assert!(!said.contains(foreign), "{foreign}: {said}");
    }
    hint.to_owned()
}

/// Plays faults, and lets the same command go on.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_is_gone_on_with_by_the_same_command() {
    test_timeout::start();
    let faults = || {
        [
            Injection::new(Fault::Drop).carried_out(false),
            Injection::new(Fault::Drop),
            Injection::new(Fault::Status(500)),
            Injection::new(Fault::Status(500)).carried_out(true),
            // Until the command gives up.
            Injection::new(Fault::Status(500)).times(4),
            Injection::new(Fault::RateLimited).times(4),
            Injection::new(Fault::Status(491)),
        ]
    };
    let cells = [Work::Onboard, Work::Answer].into_iter().flat_map(|work| {
        let operations = work.changes().iter().chain(match work {
            Work::Onboard => &[&Operation::UPDATE_USER_ONBOARDING, &Operation::LIST_USER_ONBOARDINGS][..],
            Work::Answer => &[&Operation::GET_USER_INFORMATION_INQUIRY][..],
        });
        operations.flat_map(move |operation| faults().map(move |fault| (work, *operation, fault.on(operation))))
    });
    let play = async |(work, operation, fault): (Work, &Operation, Injection)| {
        let (user, what) = (User::new(work).await, format!("{operation:?} {fault:?}"));
        user.sandbox.inject(fault);
        user.settle(&["--rehearse", "1000"], &what).await;
        user.check(&what);
    };
    iter(cells).for_each_concurrent(AT_ONCE, play).await;
}

/// The connection is lost, and bunq carries the request out later: an answer to an inquiry is sent once, and one onboarding started.
#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_late_is_not_sent_twice() {
    test_timeout::start();
    let late = Fault::LateArrival(Duration::from_millis(100));
    let cells = [(Work::Onboard, &Operation::CREATE_USER_ONBOARDING), (Work::Answer, ANSWER[1])];
    let play = async |(work, operation): (Work, &Operation)| {
        let (user, what) = (User::new(work).await, format!("{operation:?}"));
        user.sandbox.inject(Injection::new(late).on(operation));
        // At its own speed, it waits much longer than that before it sends anything again.
        user.settle(&[], &what).await;
        user.check(&what);
    };
    iter(cells).for_each_concurrent(AT_ONCE, play).await;
}

/// A process is killed with each of its requests, whether bunq has carried it out or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_killed_is_gone_on_with_by_another() {
    test_timeout::start();
    for work in [Work::Onboard, Work::Answer] {
        let uncut = User::new(work).await;
        uncut.settle(&["--rehearse", "1000"], "uncut").await;
        uncut.check("uncut");
        let requests: Vec<_> = uncut.sandbox.call_log().into_iter().map(|call| call.operation.unwrap()).collect();
        assert!(work.changes().iter().all(|change| requests.contains(change)), "{requests:?}");
        let cuts = (0..).zip(&requests).flat_map(|(number, operation)| {
            // It does not matter whether bunq has carried out a read.
            let ends = if operation.method == "GET" { &[false][..] } else { &[false, true] };
            ends.iter().map(move |carried_out| (number, *operation, *carried_out))
        });
        let cut = async |(number, operation, carried_out): (u32, &Operation, bool)| {
            let (user, what) = (User::new(work).await, format!("{number}: {operation:?} {carried_out}"));
            user.kill_at_fault();
            user.sandbox.inject(Injection::new(Fault::Drop).after(number).carried_out(carried_out));
            assert_eq!(user.run(&["--rehearse", "1000"]).await, None, "it was not killed: {what}");
            user.sandbox.clear_injections();
            user.settle(&["--rehearse", "1000"], &what).await;
            user.check(&what);
        };
        iter(cuts).for_each_concurrent(AT_ONCE, cut).await;
    }
}

/// bunq lists neither the sessions of the identity nor the documents. What may be there is not sent again, and the hint says how it is.
#[tokio::test(flavor = "multi_thread")]
async fn what_bunq_does_not_list_is_sent_again_on_request_alone() {
    test_timeout::start();
    let (identity, document) =
        (&Operation::CREATE_IDENTITY_VERIFICATION_SESSION, &Operation::CREATE_DOCUMENT_IDENTIFICATION);
    for (operation, carried_out) in [(identity, false), (identity, true), (document, false), (document, true)] {
        let user = User::new(Work::Onboard).await;
        let sent = || user.sandbox.call_log().iter().filter(|call| call.operation == Some(operation)).count();
        fs::write(user.folder.path("scan.gif"), "GIF89a").unwrap();
        let put = async |description: &str| {
            let mut put = again(&user.program);
            put.args(["attachment", "put", &user.id.to_string(), "scan.gif", "--description", description]);
            let (out, err, code) = ran(put.args(["--custody", "users", "--output", "json"]));
            assert_eq!(code, 0, "{err}");
            serde_json::from_str::<Value>(&out).unwrap()[0]["attachment_id"].clone()
        };
        let with_document = |front: Value| {
            let document = json!({ "document_type": "PASSPORT", "country": "NL", "front": front });
            user.folder.file("answers.json", &json!({ "identity_document": document }).to_string());
        };
        if operation == document {
            with_document(put("scan").await);
        }
        let more = if operation == identity { &["--identity-token-file", "token"][..] } else { &[] };
        user.kill_at_fault();
        user.sandbox.inject(Injection::new(Fault::Drop).on(operation).carried_out(carried_out));
        assert_eq!(user.run(more).await, None);
        for _ in 0..2 {
            assert_eq!(user.run(more).await, Some(20), "{operation:?}");
            assert_eq!(sent(), 1);
        }
        let hint = user.hint.lock().unwrap().clone();
        if operation == identity {
            assert!(hint.contains("--another"), "{hint}");
            assert_eq!(user.run(&[more, &["--another"]].concat()).await, Some(24));
        } else {
            assert!(hint.contains("leave identity_document out") && hint.contains("another --description"), "{hint}");
            user.folder.file("answers.json", r#"{"nationality": ["NL"]}"#);
            assert_eq!(user.run(&[]).await, Some(24));
            assert_eq!(sent(), 1);
            with_document(put("another").await);
            assert_eq!(user.run(&[]).await, Some(24));
        }
        assert_eq!(sent(), 2, "{operation:?}");
    }
}
