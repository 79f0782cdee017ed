//! `onboard`: from what bunq asks for to a user that is verified, with answers of a file or of a person.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use bunq_partner::ProvisionId;
use bunq_partner_sandbox::{Profile, Sandbox};
use serde_json::{Value, json};

use crate::common::terminal::{Terminal, plain};
use crate::common::{Folder, again, program, program_with_user, ran};

const HOUR: Duration = Duration::from_secs(3600);

const ADDRESS: &str = r#"{"street": "Planted Street", "house_number": "1a", "postal_code": "1000 AA", "city": "Plantedton", "country": "NL"}"#;

/// A bank with a user in custody, and a program with sessions of both.
pub(super) struct User {
    pub(super) folder: Folder,
    pub(super) sandbox: Sandbox,
    pub(super) id: ProvisionId,
    pub(super) program: Command,
}

impl User {
    pub(super) async fn new(profile: Profile) -> Self {
        let (sandbox, folder) = (Sandbox::builder().profile(profile).start().await.unwrap(), Folder::new());
        let id = sandbox.populate(1)[0];
        let program = program_with_user(&folder, &sandbox, id).await;
        sandbox.take_call_log();
        Self { folder, sandbox, id, program }
    }

    /// Runs `onboard` with these options as JSON; returns its record, what it has said beside it, and its exit code.
    pub(super) fn onboard(&self, typed: &str) -> (Value, String, i32) {
        let id = self.id.to_string();
        let mut command = again(&self.program);
        command.args(["onboard", &id, "--custody", "users", "--output", "json"]);
        let (out, err, code) = ran(command.args(typed.split_whitespace()));
        assert!(!format!("{out}{err}").contains("Planted"), "{out}{err}");
        let record = serde_json::from_str::<Value>(&out).map(|list| list[0].clone()).unwrap_or_default();
        (record, err, code)
    }

    /// Starts `onboard` with these options at a terminal.
    pub(super) fn at_terminal(&self, more: &[&str]) -> Terminal {
        let path = |name| self.folder.path(name).display().to_string();
        let (id, users, context) = (self.id.to_string(), path("users"), path("context.json"));
        let typed = ["onboard", &id, "--custody", &users, "--context", &context, "--base-url", self.sandbox.base_url()];
        let key = self.sandbox.api_key();
        Terminal::start(200, &[&typed[..], more].concat(), &[("BUNQ_API_KEY", key.expose())])
    }

    /// The operations that change something, and were called since this was asked.
    pub(super) fn changed(&self) -> Vec<&'static str> {
        let calls = self.sandbox.take_call_log().into_iter().filter_map(|call| call.operation);
        calls.filter(|operation| operation.method != "GET").map(|operation| operation.id).collect()
    }

    /// Uploads a file; returns its id.
    fn scan(&self) -> String {
        fs::write(self.folder.path("scan.gif"), "GIF89a").unwrap();
        let id = self.id.to_string();
        let put = ["attachment", "put", &id, "scan.gif", "--custody", "users", "-o", "csv", "--no-header", "--columns"];
        let (scan, err, code) = ran(again(&self.program).args(put).arg("attachment_id"));
        assert_eq!(code, 0, "{err}");
        scan.trim().to_owned()
    }

    fn given(&self) -> Value {
        self.sandbox.given(self.id).unwrap()
    }
}

/// An answer for each member of a file; the document has this attachment.
fn answers(scan: &str) -> String {
    format!(
        r#"{{"address_main": {ADDRESS}, "address_postal": {ADDRESS}, "person": {{"date_of_birth": "1990-01-31"}},
        "tax_resident": [{{"country": "NL", "tax_number": "123456782"}}], "nationality": ["NL"],
        "identity_document": {{"document_type": "PASSPORT", "country": "NL", "front": {scan}}}}}"#
    )
}

pub(super) fn slow() -> Profile {
    let mut profile = Profile::default();
    (profile.onboarding_check, profile.identity_check) = (HOUR, Duration::ZERO);
    profile
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_onboarded_in_several_runs_and_nothing_is_sent_twice() {
    test_timeout::start();
    let user = User::new(slow()).await;
    let (record, err, code) = user.onboard("");
    assert_eq!((code, &record["onboarding_state"], &record["waiting_for"]), (24, &json!("missing"), &json!("user")));
    let missing = record["fulfillments"].as_array().unwrap();
    let by_call: Vec<_> = missing.iter().filter_map(|one| one["answered_with"].as_str()).collect();
    assert_eq!(by_call, ["address_main", "address_postal", "person", "nationality", "tax_resident"]);
    assert_eq!(missing.len(), 10, "unknown kinds are listed too");
    assert!(err.contains("bunq wants to know more of the user: ADDRESS_MAIN, "), "{err}");
    assert!(err.contains("TAX_RESIDENT, IDENTITY_VERIFICATION, DOCUMENT_IDENTIFICATION\""), "EMAIL is bunq's: {err}");
    assert!(err.contains("`answered_with` names the member"), "{err}");
    assert!(err.contains("starts an identity verification session"), "{err}");
    assert_eq!(user.changed(), ["create_user_onboarding", "update_user_onboarding"]);

    user.folder.file("answers.json", &answers(&user.scan()));
    user.changed();
    let (record, err, code) = user.onboard("--from answers.json --identity-token-file token");
    let answered = "ADDRESS_MAIN ADDRESS_POSTAL DATE_OF_BIRTH NATIONALITY TAX_RESIDENT";
    assert_eq!((code, &record["answered"]), (24, &json!(answered)), "{err}");
    let changed = user.changed();
    let answers = ["create_address_main", "create_address_postal", "update_user_person", "create_nationality"];
    let last = ["create_identity_verification_session", "create_document_identification", "update_user_onboarding"];
    let expected = [&["update_user_onboarding"], &answers[..], &["create_tax_resident"], &last].concat();
    assert_eq!(changed, expected);
    assert_eq!(user.given()["ADDRESS_MAIN"]["address_main"]["city"], "Plantedton");
    let token = fs::read_to_string(user.folder.path("token")).unwrap();
    assert!(token.len() > 10 && !format!("{record}{err}").contains(&token));
    let submits = format!("--submit-identity {} tells bunq that the user is done", record["identity_session_id"]);
    assert!(err.contains(&submits), "{err}");
    assert_eq!(fs::metadata(user.folder.path("token")).unwrap().permissions().mode() & 0o777, 0o600);

    // Again: what bunq has is not sent again, and the session is adopted.
    let (again, err, code) = user.onboard("--from answers.json --identity-token-file token2");
    assert_eq!((code, &again["identity_session_id"]), (24, &record["identity_session_id"]), "{err}");
    assert_eq!(user.changed(), ["update_user_onboarding"]);

    // The sandbox rejects the first session. Another one is started then.
    let submit = format!("--wait --submit-identity {}", record["identity_session_id"]);
    let (rejected, err, code) = user.onboard(&submit);
    let outcome = (&rejected["identity_result"], &rejected["identity_reasons"]);
    assert_eq!((code, outcome), (14, (&json!("REJECTED"), &json!(["[redacted]"]))), "{err}");
    assert!(err.contains("bunq does not know who the user is: REJECTED ([redacted])"), "{err}");
    assert!(err.contains("--wait --show-personal shows why; ") && !err.contains("DOCUMENT_EXPIRED"), "{err}");
    user.changed();
    let (shown, err, code) = user.onboard(&(submit + " --show-personal"));
    assert_eq!((code, &shown["identity_reasons"]), (14, &json!(["DOCUMENT_EXPIRED"])), "{err}");
    assert!(err.contains("bunq does not know who the user is: REJECTED (DOCUMENT_EXPIRED)"), "{err}");
    assert_eq!(rejected["waiting_for"], "user", "what is missing is as the result has left it");
    assert!(!user.changed().iter().any(|call| call.contains("identity")), "it was submitted already");
    let (another, _, _) = user.onboard("--identity-token-file token3");
    assert_ne!(another["identity_session_id"], record["identity_session_id"]);
    user.changed();

    let (record, err, code) = user.onboard(&format!("--submit-identity {}", another["identity_session_id"]));
    assert_eq!((code, &record["waiting_for"]), (24, &json!("bunq")), "{record} {err}");
    assert!(err.contains("bunq still checks "), "{err}");
    user.sandbox.advance_clock(HOUR);
    let (record, err, code) = user.onboard("");
    assert_eq!(
        (code, &record["onboarding_state"], &record["waiting_for"]),
        (0, &json!("requested"), &json!("bunq")),
        "{err}"
    );
    user.changed();
    let (record, _, code) = user.onboard("");
    assert_eq!((code, &record["onboarding_state"]), (0, &json!("requested")));
    assert_eq!(user.changed(), [""; 0], "bunq checks it already");
    user.sandbox.advance_clock(HOUR);
    let (record, err, code) = user.onboard("--wait");
    assert_eq!(
        (code, &record["onboarding_state"], &record["waiting_for"]),
        (0, &json!("reached"), &json!("nobody")),
        "{err}"
    );
    assert_eq!(user.changed(), [""; 0], "it is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_while_bunq_checks_and_tells_whom_bunq_denies() {
    test_timeout::start();
    let mut profile = slow();
    profile.fulfillments = vec!["EMAIL".into()];
    let user = User::new(profile).await;
    for (typed, hint) in [("", "or with --wait"), ("--wait --timeout 1s", "or with a longer --timeout")] {
        let (_, err, code) = user.onboard(typed);
        assert!(code == 24 && err.contains("bunq still checks EMAIL") && err.contains(hint), "{err}");
    }
    let mut profile = Profile::default();
    profile.fulfillments = vec!["DATE_OF_BIRTH".into(), "EMAIL".into()];
    (profile.onboarding_check, profile.onboarding_result) = (Duration::from_secs(1), "DENIED".into());
    let user = User::new(profile).await;
    user.folder.file("answers.json", r#"{"person": {"date_of_birth": "1990-01-31"}, "nationality": ["NL"]}"#);
    let (record, err, code) = user.onboard("--from answers.json --wait --rehearse 1000");
    assert_eq!((code, &record["onboarding_state"]), (14, &json!("denied")), "{err}");
    assert_eq!((&record["onboarding_status"], &record["missing"]), (&json!("DENIED"), &json!("")));
    assert!(err.contains("bunq does not take the user: the onboarding has ended with DENIED"), "{err}");
    let changed = user.changed();
    assert_eq!(changed.iter().filter(|id| **id == "update_user_person").count(), 1, "{changed:?}");
    assert!(!changed.contains(&"create_nationality"), "bunq has not asked for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_and_each_answer_is_checked() {
    test_timeout::start();
    let mut profile = slow();
    let kinds = ["ADDRESS_MAIN", "ADDRESS_POSTAL", "DATE_OF_BIRTH", "EMAIL", "NATIONALITY", "TAX_RESIDENT"];
    profile.fulfillments = kinds.map(str::to_owned).to_vec();
    let user = User::new(profile).await;
    let mut terminal = user.at_terminal(&[]);
    for (question, typed) in [
        ("We need ADDRESS_MAIN of the user. (- leaves it out)\r\n  street: ", "Example Street\n"),
        ("house number: ", "1a\n"),
        ("postal code: ", "\n"),
        (
            "a postal code has 1 to 255 characters, and none that ends a line or changes its direction\r\n  postal code: ",
            "1000 AA\n",
        ),
        ("city: ", "Exampleton\n"),
        ("country: ", "Holland\n"),
        ("a country is two capital letters (ISO 3166-1), as in NL\r\n  country: ", "NL\n"),
        ("street: ", "-\n"),
        ("date of birth: ", "31-12-1990\n"),
        ("a date is written as in 1990-12-31\r\n  date of birth: ", "1890-12-31\n"),
        ("it is before 1900\r\n  date of birth: ", "1990-12-31\n"),
        ("nationalities, like NL or NL,DE: ", "NL, DE\n"),
        ("country where taxes are paid: ", "NL\n"),
        ("tax number (it is not shown): ", "123456782\n"),
    ] {
        terminal.take_until(question);
        while question.contains("it is not shown") && terminal.is_echoing() {
            std::thread::yield_now();
        }
        terminal.type_keys(typed);
    }
    let (screen, code) = terminal.end();
    let screen = plain(&screen);
    assert_eq!(code, 24, "{screen}");
    assert!(
        !screen.contains("123456782") && screen.contains("\nADDRESS_POSTAL  the user     address_postal"),
        "{screen}"
    );
    let given = user.given();
    let given: Vec<_> = given.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(given, ["ADDRESS_MAIN", "DATE_OF_BIRTH", "NATIONALITY", "TAX_RESIDENT"]);
    assert_eq!(user.given()["TAX_RESIDENT"]["tax_resident"][0]["tax_number"], "123456782");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bunq_does_not_know_has_a_hint() {
    test_timeout::start();
    let user = User::new(slow()).await;
    user.folder.file("answers.json", &answers("7"));
    let (_, err, code) = user.onboard("--from answers.json");
    let hint = format!("`bunq-partner attachment put {} FILE` uploads a file, and prints its id", user.id);
    assert!(code == 12 && err.contains("identity_document: ") && err.contains(&hint), "{code} {err}");
    let (_, err, code) = user.onboard("--submit-identity 7");
    assert!(code == 9 && err.contains("shows the id of the session that there is"), "{code} {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let user = User::new(slow()).await;
    user.folder.file("there", "");
    for (file, problem) in [
        (r#"{"persons": {}}"#, "--from answers.json: line 1, column 10: unknown field `persons`"),
        (r#"{"nationality": ["NL"], "nationality": ["NL"]}"#, "duplicate field `nationality`"),
        (r#"{"address_main": {"street": "Planted"}}"#, "missing field `house_number`"),
        (r#"{"person": {"date_of_birth": "1990-31-12"}}"#, "a date is written as in 1990-12-31"),
        (r#"{"person": {"date_of_birth": "Planted"}}"#, "a date is written as in 1990-12-31"),
        (r#"{"nationality": "Planted"}"#, "line 1, column 25: a sequence is expected here"),
        ("", "it is empty"),
    ] {
        user.folder.file("answers.json", file);
        for more in ["", " --dry-run"] {
            let (_, err, code) = user.onboard(&format!("--from answers.json{more}"));
            assert!(code == 2 && err.contains(problem), "{err}");
        }
    }
    let (_, err, code) = user.onboard("--identity-token-file there");
    assert!(code == 2 && err.contains("--identity-token-file there: it exists, and is not replaced"), "{err}");
    assert!(err.contains("if it has the token of the session, leave out the option"), "{err}");
    let (_, err, code) = user.onboard("--identity-token-file -");
    assert!(code == 2 && err.contains("--identity-token-file -: it is no path: give that of a new file"), "{err}");
    let (mut asked, id) = (program(&user.folder), user.id.to_string());
    asked.args(["onboard", &id, "--custody", "users", "--env", "production"]).env("BUNQ_API_KEY", "key");
    let (_, err, code) = ran(&mut asked);
    let question = format!("Onboard the user of provision {id} in production: confirm it with --yes");
    assert!(code == 2 && err.contains(&question), "{err}");

    user.folder.file("answers.json", r#"{"nationality": ["NL"]}"#);
    let (_, err, code) = user.onboard("--from answers.json --dry-run --identity-token-file there");
    assert!(code == 2 && err.contains("--identity-token-file there: it exists, and is not replaced"), "{err}");
    assert!(user.sandbox.call_log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_each_request_in_its_order() {
    test_timeout::start();
    let mut profile = slow();
    // As the file has them: bunq's own order is not known before it is asked.
    let kinds = ["ADDRESS_MAIN", "ADDRESS_POSTAL", "DATE_OF_BIRTH", "TAX_RESIDENT", "NATIONALITY", "EMAIL"];
    profile.fulfillments = kinds.map(str::to_owned).to_vec();
    let user = User::new(profile).await;
    let id = user.id.to_string();
    let scan = user.scan();
    user.folder.file("answers.json", &answers(&scan));
    user.sandbox.take_call_log();
    let dry = |typed: &str| {
        let mut shown = again(&user.program);
        shown.args(["onboard", &id, "--from", "answers.json", "--dry-run", "-o", "json"]);
        let (out, err, code) = ran(shown.args(typed.split_whitespace()));
        assert_eq!((err.as_str(), code), ("", 0));
        (serde_json::from_str::<Vec<Value>>(&out).unwrap(), out)
    };
    let (hidden, text) = dry("--identity-token-file token");
    for personal in ["Planted", "1990", "1234"] {
        assert!(!text.contains(personal), "{personal}: {text}");
    }
    assert_eq!(hidden[2]["body"], json!({ "address_main": "[redacted]" }));
    let (shown, _) = dry("--identity-token-file token --show-personal");
    assert_eq!((hidden.len(), shown.len()), (10, 10));
    assert!(user.sandbox.call_log().is_empty() && !user.folder.path("token").exists());

    let (_, err, code) = user.onboard("--from answers.json --identity-token-file token");
    assert_eq!(code, 24, "{err}");
    let requests = |shown: &[Value]| {
        let path = |url: &str| {
            let path = url.split_once("/v1/").unwrap().1;
            let is_known = |segment: &&str| !segment.starts_with('{') && segment.parse::<u64>().is_err();
            path.split('/').filter(is_known).collect::<Vec<_>>().join("/")
        };
        let request = |one: &Value| {
            (one["method"].as_str().unwrap().to_owned(), path(one["url"].as_str().unwrap()), one["body"].clone())
        };
        shown.iter().map(request).collect::<Vec<_>>()
    };
    let sent = user.sandbox.take_call_log().into_iter().filter(|call| call.method != "GET").map(|call| {
        let body: Value = serde_json::from_str(&call.body).unwrap();
        json!({ "method": call.method, "url": call.path, "body": body })
    });
    assert_eq!(requests(&shown), requests(&sent.collect::<Vec<_>>()));
    let urls: Vec<_> = shown.iter().map(|one| one["url"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
    assert_eq!((urls[0], urls[1], urls[9]), ("user-onboarding", "{user_onboarding_id}", "{user_onboarding_id}"));

    let (submitted, _) = dry("--submit-identity 8001");
    let submitted = requests(&submitted).into_iter().find(|(_, path, _)| path.ends_with("verification-session"));
    assert_eq!(
        submitted.map(|(method, _, body)| (method, body)),
        Some(("PUT".into(), json!({ "status": "SUBMITTED" })))
    );
    let mut nothing = again(&user.program);
    let (out, ..) = ran(nothing.args(["onboard", &id, "--dry-run", "-o", "json"]));
    assert_eq!(serde_json::from_str::<Vec<Value>>(&out).unwrap().len(), 2, "{out}");
}
