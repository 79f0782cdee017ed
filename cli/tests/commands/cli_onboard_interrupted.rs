//! `onboard` that is interrupted: at a question, during a request, and while it waits. The same command goes on.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bunq_partner_sandbox::Profile;
use serde_json::json;

use super::cli_onboard::{User, slow};
use crate::common::bulk::{Signal, signal};
use crate::common::terminal::plain;
use crate::common::{again, hearing};

/// Longer than anything takes that comes at all.
const PATIENCE: Duration = Duration::from_secs(60);

const CTRL_C: &str = "\u{3}";

const MORE: &str = "the same command looks, and goes on";

/// Holds back the response to a call, which is carried out: says that it has come, and lets the response go when it is told, or when the
/// other end is dropped.
fn held_back(user: &User, method: &'static str, path: &'static str) -> (Receiver<()>, Sender<()>) {
    let ((come, has_come), (go, may_go)) = (channel(), channel());
    user.sandbox.before_signing(move |call, _| {
        if call.method == method && call.path.contains(path) {
            // The test may have ended.
            let _ = come.send(());
            let _ = may_go.recv();
        }
    });
    (has_come, go)
}

fn asking_for(kinds: &[&str]) -> Profile {
    let mut profile = slow();
    profile.fulfillments = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    profile
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_question_it_says_what_bunq_has() {
    test_timeout::start();
    let user = User::new(asking_for(&["DATE_OF_BIRTH", "NATIONALITY", "TAX_RESIDENT"])).await;
    let mut terminal = user.at_terminal(&[]);
    terminal.take_until("date of birth: ");
    terminal.type_keys(CTRL_C);
    let (screen, code) = terminal.end();
    assert!(code == 130 && screen.contains(&format!("bunq has taken the start of the onboarding; {MORE}")), "{screen}");
    assert!(screen.contains("^C\n"), "what it says has a line of its own: {screen:?}");
    assert_eq!(user.changed(), ["create_user_onboarding", "update_user_onboarding"]);

    let mut terminal = user.at_terminal(&[]);
    terminal.take_until("date of birth: ");
    terminal.type_keys("1990-12-31\n");
    terminal.take_until("nationalities, like NL or NL,DE: ");
    terminal.type_keys("NL\n");
    terminal.take_until("country where taxes are paid: ");
    terminal.type_keys("NL\n");
    terminal.take_until("tax number (it is not shown): ");
    while terminal.is_echoing() {
        std::thread::yield_now();
    }
    terminal.type_keys(&format!("1234{CTRL_C}"));
    terminal.expect("[end]");
    assert!(terminal.is_echoing(), "who gives up sees again what is typed");
    let (screen, code) = terminal.end();
    let said = format!("error: interrupted\nhint: bunq has taken DATE_OF_BIRTH, NATIONALITY; {MORE}\n");
    assert!(code == 130 && plain(&screen).contains(&said) && !screen.contains("1234"), "{screen}");
    assert_eq!(user.changed(), ["update_user_onboarding", "update_user_person", "create_nationality"]);

    // The end of the input is no answer.
    let mut terminal = user.at_terminal(&[]);
    terminal.take_until("country where taxes are paid: ");
    terminal.type_keys("\u{4}");
    let (screen, code) = terminal.end();
    assert!(code == 1 && screen.starts_with('\n') && screen.contains("the input has ended"), "{screen:?}");
    assert!(screen.contains(MORE), "{screen}");
    user.changed();

    // Only what is missing is asked for.
    let mut terminal = user.at_terminal(&[]);
    let before = terminal.take_until("country where taxes are paid: ");
    assert!(!before.contains("date of birth") && !before.contains("nationalities"), "{before}");
    terminal.type_keys(CTRL_C);
    let (screen, code) = terminal.end();
    assert!(code == 130 && screen.contains(&format!("bunq has taken nothing of this run; {MORE}")), "{screen}");
    assert_eq!(user.changed(), ["update_user_onboarding"]);
}

/// A run in a script, with the answers of a file.
struct Run {
    process: Child,
    err: BufReader<ChildStderr>,
}

impl Run {
    fn start(user: &User, more: &[&str]) -> Self {
        let (mut command, id) = (again(&user.program), user.id.to_string());
        command.args(["onboard", &id, "--custody", "users", "--from", "answers.json"]).args(more);
        let mut command = hearing(&command);
        let command = command.current_dir(&user.folder.0).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let err = BufReader::new(process.stderr.take().unwrap());
        Self { process, err }
    }

    /// Sends a signal, and waits until it is heard.
    fn interrupt(&mut self, how: Signal) {
        signal(&self.process, how);
        let mut line = String::new();
        self.err.read_line(&mut line).unwrap();
        assert!(line.contains("no request begins any more"), "{line}");
    }

    /// Returns the rest of what it says, and its exit code.
    fn end(mut self) -> (String, i32) {
        let mut said = String::new();
        self.err.read_to_string(&mut said).unwrap();
        (said, self.process.wait().unwrap().code().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_on_the_wire_has_its_time_and_none_follows() {
    test_timeout::start();
    for how in [Signal::INT, Signal::TERM] {
        let user = User::new(asking_for(&["DATE_OF_BIRTH", "NATIONALITY"])).await;
        user.folder.file("answers.json", r#"{"person": {"date_of_birth": "1990-01-31"}, "nationality": ["NL"]}"#);
        let (has_come, go) = held_back(&user, "PUT", "/user-person/");
        let mut run = Run::start(&user, &[]);
        has_come.recv_timeout(PATIENCE).unwrap();
        run.interrupt(how);
        go.send(()).unwrap();
        let (said, code) = run.end();
        let expected = format!("hint: bunq has taken the start of the onboarding, DATE_OF_BIRTH; {MORE}");
        assert!(code == 130 && said.contains(&expected) && !said.contains("does not ask for"), "{said}");
        assert_eq!(user.changed(), ["create_user_onboarding", "update_user_onboarding", "update_user_person"]);
        user.sandbox.clear_edits();
        let (record, err, code) = user.onboard("--from answers.json");
        assert_eq!((code, &record["answered"]), (24, &json!("NATIONALITY")), "{err}");
        assert_eq!(user.changed(), ["update_user_onboarding", "create_nationality", "update_user_onboarding"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_names_what_has_no_response() {
    test_timeout::start();
    let user = User::new(asking_for(&["DATE_OF_BIRTH", "IDENTITY_VERIFICATION"])).await;
    user.folder.file("answers.json", r#"{"person": {"date_of_birth": "1990-01-31"}}"#);
    let session = "the start of an identity verification session";
    for (method, path, doubted, options) in [
        ("POST", "/user-onboarding", "the start of the onboarding", &[][..]),
        ("PUT", "/user-person/", "DATE_OF_BIRTH", &[]),
        ("POST", "/identity-verification-session", session, &["--identity-token-file", "token"]),
    ] {
        let (has_come, go) = held_back(&user, method, path);
        let mut run = Run::start(&user, options);
        has_come.recv_timeout(PATIENCE).unwrap();
        run.interrupt(Signal::INT);
        signal(&run.process, Signal::INT);
        let (said, code) = run.end();
        let expected =
            format!("bunq has taken nothing of this run; no response has come to {doubted}, which it may have; {MORE}");
        assert!(code == 130 && said.contains(&expected), "{said}");
        drop(go);
        user.sandbox.clear_edits();
    }
    let sent = user.changed();
    let once = ["create_user_onboarding", "update_user_person", "create_identity_verification_session"];
    assert!(once.iter().all(|id| sent.iter().filter(|sent| sent == &id).count() == 1), "{sent:?}");

    // What bunq cannot be asked about is not sent again unnoticed.
    let (_, err, code) = user.onboard("--from answers.json --identity-token-file token");
    assert!(code == 20 && err.contains("--another starts a session all the same"), "{err}");
    let sent = user.changed();
    assert!(sent.iter().all(|id| *id == "update_user_onboarding"), "{sent:?}");
    let (_, err, code) = user.onboard("--from answers.json --identity-token-file token --another");
    assert!(code == 24 && user.folder.path("token").exists(), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_at_once_and_goes_on() {
    test_timeout::start();
    let user = User::new(asking_for(&["DATE_OF_BIRTH"])).await;
    let answers = user.folder.path("answers.json");
    user.folder.file("answers.json", r#"{"person": {"date_of_birth": "1990-01-31"}}"#);
    // bunq checks the answer for an hour.
    let from = ["--from", answers.to_str().unwrap()];
    let mut terminal = user.at_terminal(&from);
    terminal.expect("bunq still checks DATE_OF_BIRTH");
    assert_eq!(terminal.end().1, 24);
    user.sandbox.advance_clock(Duration::from_secs(3600));
    user.changed();
    for (taken, sent) in
        [("the request for the statuses", &["update_user_onboarding"][..]), ("nothing of this run", &[])]
    {
        let mut terminal = user.at_terminal(&[&from[..], &["--wait"]].concat());
        terminal.expect("ELECTRONIC_MONEY");
        terminal.type_keys(CTRL_C);
        let (screen, code) = terminal.end();
        assert!(code == 130 && plain(&screen).contains(&format!("hint: bunq has taken {taken}; {MORE}")), "{screen}");
        assert_eq!(user.changed(), sent);
    }
}
