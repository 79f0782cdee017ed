//! The sandbox as a process: what it prints, what it is given, and what survives a restart.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::common::{Folder, program, ran};

/// A sandbox as a process; it is killed at the end if it was not stopped.
pub(crate) struct Process {
    child: Child,
    access: Value,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        #[cfg(unix)]
        let command = &mut crate::common::hearing(command);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { child, access: serde_json::from_str(&line).unwrap() }
    }

    pub(crate) fn base_url(&self) -> &str {
        self.access["base_url"].as_str().unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.base_url().rsplit(':').next().unwrap().trim_end_matches("/v1").parse().unwrap()
    }

    pub(crate) fn api_key(&self) -> &str {
        self.access["api_key"].as_str().unwrap()
    }

    /// Calls the sandbox with the program.
    pub(crate) fn call(&self, folder: &Folder, arguments: &[&str]) -> (String, String, i32) {
        let mut command = program(folder);
        ran(command.env("BUNQ_API_KEY", self.api_key()).args(["--base-url", self.base_url()]).args(arguments))
    }

    /// Ends it as Ctrl-C does, or as a container does; returns its log and its exit code.
    #[cfg(unix)]
    pub(crate) fn stop(self, signal: &str) -> (String, Option<i32>) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
        self.wait()
    }

    /// Waits for its end; returns its log and its exit code.
    #[cfg(unix)]
    pub(crate) fn wait(mut self) -> (String, Option<i32>) {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (log, self.child.wait().unwrap().code())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
#[test]
fn a_kept_context_survives_a_restart() {
    test_timeout::start();
    let folder = Folder::new();
    let state = folder.path("state.json");
    let start = || {
        let mut command = program(&folder);
        command.args(["sandbox", "--api-key", "sandbox_fixed", "--port"]);
        command
    };
    let first = Process::start(start().args(["0", "--provisions", "2", "--state"]).arg(&state));
    let port = first.port().to_string();
    let (out, err, code) = first.call(&folder, &["list", "--output", "jsonl"]);
    assert_eq!((out.lines().count(), err.as_str(), code), (2, "", 0));
    let id = serde_json::from_str::<Value>(out.lines().next().unwrap()).unwrap()["id"].to_string();
    assert_eq!(first.call(&folder, &["close", &id]).2, 0);
    let (log, code) = first.stop("-TERM");
    assert_eq!(code, Some(0));
    assert!(log.contains("200 POST /v1/session-server  signature valid"), "{log}");
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o600);
    }

    let second = Process::start(start().arg(&port).arg("--state").arg(&state).args(["--log", "json"]));
    assert_eq!(second.api_key(), "sandbox_fixed");
    let (out, _, code) = second.call(&folder, &["get", &id, "--output", "json"]);
    assert_eq!((serde_json::from_str::<Value>(&out).unwrap()[0]["status"].as_str(), code), (Some("CANCELLED"), 0));
    let (log, code) = second.stop("-INT");
    assert_eq!(code, Some(0));
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let path = format!("/v1/partner-user-provision/{id}");
    assert_eq!(
        lines,
        [serde_json::json!({
            "method": "GET", "path": path, "status": 200, "signature": "none", "fault": null, "carried_out": true,
        })],
        "no session is opened again"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn faults_seeds_profiles_and_limits_are_played() {
    test_timeout::start();
    let folder = Folder::new();
    let seed = folder.file("seed.json", r#"[{"status": "ACTIVE", "display_name": "First"}, {"status": "CLOSED"}]"#);
    let profile = folder.file("profile.json", r#"{"wording": {"404": "Nobody here."}}"#);
    let mut command = program(&folder);
    command.arg("sandbox").arg("--seed").arg(seed).arg("--bank-profile").arg(profile);
    let bank =
        Process::start(command.args(["--fault", "status=503,on=list_provisions,times=always", "--allow", "127.0.0.1"]));
    let (_, err, code) = bank.call(&folder, &["get", "7"]);
    assert!(err.contains("bunq says: Nobody here.") && code == 9, "{err}");
    let (_, err, code) = bank.call(&folder, &["list"]);
    assert!(err.contains("HTTP status 503") && code == 13, "{err}");
    let (out, _, code) = bank.call(&folder, &["get", "1002"]);
    assert!(out.contains("First") && code == 0, "{out}");

    let elsewhere = Process::start(program(&folder).args(["sandbox", "--allow", "192.0.2.1"]));
    assert_eq!(elsewhere.call(&folder, &["whoami"]).2, 8);
    let limited = Process::start(program(&folder).args(["sandbox", "--rate-limits"]));
    let http = bunq_partner::reqwest::Client::new();
    for _ in 0..20 {
        http.get(format!("{}/installation", limited.base_url())).send().await.unwrap();
    }
    let (log, _) = limited.stop("-TERM");
    assert!(log.contains("429 GET /v1/installation"), "{log}");
}

/// A seed says how far a user is, and what it has.
#[cfg(unix)]
#[tokio::test]
async fn the_users_of_a_seed_are_there() {
    test_timeout::start();
    use bunq_partner::{Client, Environment, FileCustody, FileStore};
    let folder = Folder::new();
    let seed = r#"[{"status": "ACTIVE", "user": {
        "attachments": [{"content_type": "image/png"}],
        "documents": [{"document_type": "CRYPTO_KYC_QUESTIONNAIRE", "country": "NL", "front": 0}],
        "identity_sessions": [{"status": "PROCESSED", "result": "APPROVED"}],
        "onboardings": [{"is_over": true, "result": "DENIED", "given": ["EMAIL", "ADDRESS_MAIN"]}],
        "inquiries": [{"entries": [{"type": "USER_PERSON_SOURCE_OF_FUND"}], "purpose": "COMPLIANCE_SCREENING"}]
    }}]"#;
    let mut command = program(&folder);
    let bank = Process::start(command.arg("sandbox").arg("--seed").arg(folder.file("seed.json", seed)));
    let (context, users) = (folder.path("context.json"), folder.own_folder("users"));
    let client = Client::builder(Environment::Sandbox).base_url(bank.base_url()).api_key(bank.api_key());
    let client = client.context_store(FileStore::new(&context)).custody(FileCustody::new(&users));
    let client = client.without_rate_limits().build().unwrap();
    let id = client.provisions().list().page().await.unwrap().items[0].id;
    client.users().activate(id).await.unwrap();
    drop(client);
    let (id, context, users) = (id.to_string(), context.to_str().unwrap(), users.to_str().unwrap());
    let of_user = |words: &[&str]| {
        let settings = ["--context", context, "--custody", users];
        let (out, err, code) = bank.call(&folder, &[words, &settings, &["--output", "json"]].concat());
        assert_eq!(code, 0, "{err}");
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let inquiries = of_user(&["inquiries", "list", &id]);
    assert_eq!((inquiries.as_array().unwrap().len(), &inquiries[0]["purpose"]), (1, &"COMPLIANCE_SCREENING".into()));
    let onboardings = of_user(&["api", "list_user_onboardings", "--user", &id]).to_string();
    assert!(onboardings.contains("DENIED") && onboardings.contains("NONE"), "{onboardings}");

    let wrong = folder.file("wrong.json", &seed.replace("\"front\": 0", "\"front\": 1"));
    let (_, err, code) = ran(program(&folder).arg("sandbox").arg("--seed").arg(wrong));
    assert!(code != 0 && err.contains("user.documents[0]: there is no attachment 1: the user has 1"), "{code} {err}");
}

#[test]
fn a_port_that_is_taken_is_told() {
    test_timeout::start();
    let folder = Folder::new();
    let first = Process::start(program(&folder).arg("sandbox"));
    let port = first.port().to_string();
    let (out, err, code) = ran(program(&folder).args(["sandbox", "--port", &port]));
    assert_eq!((out.as_str(), code), ("", 19));
    assert!(err.contains("without --port it takes one that is free"), "{err}");
}

#[test]
fn what_clients_in_other_languages_are_told_of_it_is_there() {
    test_timeout::start();
    let folder = Folder::new();
    let (help, _, code) = ran(program(&folder).args(["sandbox", "--help"]));
    assert_eq!(code, 0);
    let told = std::fs::read_to_string("../openapi/README.md").unwrap();
    let options = told.lines().filter_map(|line| line.trim().strip_prefix("bunq-partner sandbox --"));
    let options: Vec<_> = options.filter_map(|rest| rest.split_whitespace().next()).collect();
    assert!(options.len() > 3, "{options:?}");
    for option in options {
        assert!(help.contains(&format!("--{option}")), "{option}");
    }
}
