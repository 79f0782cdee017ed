//! `users`: what is in custody of users.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use bunq_partner::jiff::{Span, Timestamp};
use bunq_partner::types::InquiryEntryType;
use bunq_partner::{Client, Custody as _, CustodyEntry, FileCustody, ProvisionId};
use bunq_partner_sandbox::{Sandbox, SeedInquiry};
use serde_json::Value;

use crate::common::bulk::{Signal, signal};
use crate::common::{Folder, again, at_once, hearing, id, program, program_with_session, ran, ready};

/// A client of the library with a custody in a folder.
fn client(sandbox: &Sandbox, users: &Path) -> Client {
    sandbox.client().retry(at_once()).custody(FileCustody::new(users)).build().unwrap()
}

async fn save(custody: &FileCustody, entry: CustodyEntry) {
    let lock = custody.lock(entry.provision_id).await.unwrap();
    custody.save(&lock, entry, "{}".into()).await.unwrap();
    drop(lock);
}

fn unactivated(number: u64, expires_in: Span) -> CustodyEntry {
    let mut entry = CustodyEntry::new(id(number));
    entry.expiry = Some(Timestamp::now().checked_add(expires_in).unwrap().into());
    entry
}

fn activated(number: u64) -> CustodyEntry {
    let mut entry = CustodyEntry::new(id(number));
    entry.is_activated = true;
    entry
}

/// It needs neither a key nor a bank, and works while another process uses the custody.
#[tokio::test(flavor = "multi_thread")]
async fn users_are_listed_without_a_call() {
    test_timeout::start();
    let folder = Folder::new();
    let users = folder.own_folder("users");
    let custody = FileCustody::new(&users);
    save(&custody, activated(1001)).await;
    save(&custody, unactivated(1002, Span::new().hours(2).minutes(1))).await;
    save(&custody, unactivated(1003, Span::new().hours(-2))).await;
    save(&custody, activated(20)).await;
    let list = |options: &[&str]| ran(program(&folder).args(["users", "list", "--custody"]).arg(&users).args(options));

    let (out, err, code) = list(&[]);
    assert_eq!((err.as_str(), code), ("", 0), "{out}");
    let lines: Vec<_> = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = ["20 activated", "1001 activated", "1002 unactivated in 2 h", "1003 expired 2 h ago"];
    assert_eq!(lines[1..], expected, "{out}");

    let (out, _, code) = list(&["--unactivated", "--output", "csv", "--columns", "id,state"]);
    assert_eq!((out.as_str(), code), ("id,state\n1002,unactivated\n1003,expired\n", 0));

    // One that cannot be used is no reason to leave out the others.
    fs::write(users.join("1002.json"), "nothing").unwrap();
    fs::set_permissions(users.join("1002.json"), fs::Permissions::from_mode(0o600)).unwrap();
    let (out, err, code) = list(&["--output", "jsonl"]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["id"].as_u64().unwrap()).collect::<Vec<_>>(), [20, 1001, 1002, 1003]);
    assert_eq!(lines[2]["state"], "unusable");
    assert!(lines[2]["problem"].as_str().unwrap().contains("1002.json"), "{out}");
    let error: Value = serde_json::from_str(&err).unwrap();
    assert_eq!((&error["error"]["kind"], code), (&"Context".into(), 18), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_users_are_listed_than_a_page_has() {
    test_timeout::start();
    let folder = Folder::new();
    let users = folder.own_folder("users");
    let custody = FileCustody::new(&users);
    for number in 1..=1_050 {
        save(&custody, activated(number)).await;
    }
    let (out, err, code) =
        ran(program(&folder).args(["users", "list", "--output", "csv", "--columns", "id", "--custody"]).arg(&users));
    assert_eq!((err.as_str(), code), ("", 0));
    let ids: Vec<_> = out.lines().skip(1).map(|line| line.parse::<u64>().unwrap()).collect();
    assert!(ids.iter().copied().eq(1..=1_050), "{} lines", ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_shown_with_what_bunq_says_and_no_secret() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.own_folder("users");
    let client = client(&sandbox, &users);
    let id = ready(&client).await;
    let token = client.provisions().get(id).await.unwrap().credential.unwrap().token_value.unwrap();
    let user = client.users().activate(id).await.unwrap();
    let user_id = user.user().await.unwrap().id.to_string();
    drop((client, user));
    let program = program_with_session(&folder, &sandbox).await;
    let show = |id: ProvisionId, format: &str| {
        ran(again(&program).args(["users", "show", &id.to_string(), "--output", format, "--custody"]).arg(&users))
    };
    sandbox.take_call_log();
    let (out, err, code) = show(id, "json");
    assert_eq!(code, 0, "{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    let shown = &shown[0];
    assert_eq!((&shown["state"], &shown["credential_status"]), (&"activated".into(), &"ACTIVE".into()), "{out}");
    assert_eq!((&shown["has_session"], shown["user_id"].to_string()), (&true.into(), user_id), "{out}");
    let (text, ..) = show(id, "table");
    assert!(![&out, &text, &err].iter().any(|text| text.contains(token.expose())), "{out}{text}");
    // The provision is read, and nothing is opened.
    let sent = sandbox.take_call_log();
    assert!(sent.iter().all(|call| call.method == "GET" && call.path.contains("/partner-user-provision/")), "{sent:?}");

    let other = sandbox.populate(1)[0];
    let (out, err, code) = show(other, "csv");
    assert!(out.contains(",not_in_custody,") && code == 0, "{out}{err}");

    // While another process uses the custody, what it has of the session cannot be read.
    let in_use = FileCustody::new(&users);
    let claim = in_use.lock(id).await.unwrap();
    let (out, err, code) = show(id, "jsonl");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&shown["has_session"], code), (&Value::Null, 18), "{out}{err}");
    assert_eq!(shown["credential_status"], "ACTIVE");
    drop((claim, in_use));

    // Of a user whose provision is closed nothing is kept, which is no problem.
    let (_, err, code) = ran(again(&program).args(["close", &id.to_string(), "--wait"]));
    assert_eq!(code, 0, "{err}");
    let (out, err, code) = show(id, "jsonl");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&shown["state"], &shown["status"], code), (&"not_in_custody".into(), &"CLOSED".into(), 0), "{err}");
    assert!(!users.join(format!("{id}.json")).exists());
}

#[test]
fn a_custody_is_named_by_an_option_or_a_profile() {
    test_timeout::start();
    let folder = Folder::new();
    folder.own_folder("users");
    let (out, err, code) = ran(program(&folder).args(["users", "list"]));
    assert!(out.is_empty() && code == 2, "{err}");
    assert!(err.contains("--custody FOLDER") && err.contains("`custody` in a profile"), "{err}");

    fs::create_dir(folder.path("bunq-partner")).unwrap();
    folder.file("bunq-partner/config.toml", "[profiles.default]\ncustody = \"../users\"\n");
    let (out, err, code) = ran(program(&folder).args(["users", "list", "--output", "json"]));
    assert_eq!((out.as_str(), err.as_str(), code), ("[]\n", "", 0));
    let (out, ..) = ran(program(&folder).args(["config", "show", "--output", "jsonl"]));
    let line = out.lines().find(|line| line.contains("custody")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert!(line["value"].as_str().unwrap().ends_with("/users"), "{line}");
    assert!(line["source"].as_str().unwrap().starts_with("profile default in "), "{line}");

    // What was typed wins, also over the profile's.
    let none = folder.path("none");
    let (_, err, code) = ran(program(&folder).args(["users", "list", "--custody"]).arg(&none));
    assert!(err.contains("/none: it does not exist") && err.contains("mkdir -m 700") && code == 18, "{err}");
    fs::create_dir(&none).unwrap();
    fs::set_permissions(&none, fs::Permissions::from_mode(0o755)).unwrap();
    let (_, err, code) = ran(program(&folder).args(["users", "list", "--custody"]).arg(&none));
    assert!(err.contains("chmod") && code == 18, "{err}");
    let (_, err, code) = ran(program(&folder).args(["--sandbox", "users", "list", "--custody", "users"]));
    assert!(err.contains("--sandbox and --custody FOLDER cannot be given together") && code == 2, "{err}");
    let (out, err, code) = ran(program(&folder).args(["--sandbox", "users", "list"]));
    assert!(out.contains("1015") && out.contains("activated") && code == 0, "{out}{err}");
}

/// New users whose credentials are there, the partner's program with its custody, and the ids, in the order of creation.
async fn with_ready_users(folder: &Folder, sandbox: &Sandbox, count: usize) -> (Command, Vec<String>) {
    let client = sandbox.client().retry(at_once()).build().unwrap();
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(ready(&client).await.to_string());
    }
    let mut program = program_with_session(folder, sandbox).await;
    program.arg("--rehearse=1000");
    (program, ids)
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_activated_once_and_their_tokens_kept() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.own_folder("users");
    let (program, ids) = with_ready_users(&folder, &sandbox, 3).await;
    let run = |command: &str, rest: &[&str], input: &str| {
        let mut process = again(&program);
        let process = process.args(["users", command, "--output", "jsonl", "--custody"]).arg(&users).args(rest);
        let process = process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = process.spawn().unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (lines(&text(output.stdout)), text(output.stderr), output.status.code().unwrap())
    };
    // Whoever is listed is activated: here two, and one that no bank has.
    let (out, err, code) = run("activate", &["-"], &format!("id\n{}\n7\n{}\n", ids[0], ids[1]));
    assert_eq!((out.len(), code), (3, 9), "{err}");
    let of = |id: &str| out.iter().find(|line| line["id"] == id.parse::<u64>().unwrap()).unwrap();
    assert_eq!((&of("7")["outcome"], &of("7")["error_kind"]), (&"failed".into(), &"NotFound".into()));
    for id in &ids[..2] {
        assert_eq!(of(id)["outcome"], "activated");
        let seen = sandbox.provision(id.parse().unwrap()).unwrap();
        assert_eq!(seen["credential"]["status"], "ACTIVE");
        assert!(of(id)["user_id"].as_u64().is_some() && users.join(format!("{id}.json")).exists());
    }
    // Again, nothing is opened for them.
    sandbox.take_call_log();
    let (out, err, code) = run("activate", &[&ids[0], &ids[1], &ids[2]], "");
    assert_eq!((out.len(), code), (3, 0), "{err}");
    let opened = sandbox.take_call_log().into_iter().filter(|call| call.path.ends_with("/session-server")).count();
    assert_eq!(opened, 1);

    // Another custody has none of the tokens.
    let other = folder.own_folder("other");
    let mut elsewhere = again(&program);
    let (_, err, code) = ran(elsewhere.args(["users", "activate", &ids[0], "--custody"]).arg(other));
    assert!(err.contains("its token is not in custody") && err.contains("`bunq-partner users reset ID`"), "{err}");
    assert_eq!(code, 16);
    let (out, err, code) = run("reset", &[&ids[0]], "");
    assert_eq!((&out[0]["outcome"], code), (&"activated".into(), 0), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_activation_tells_of_each_user_and_goes_on() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.own_folder("users");
    let (program, ids) = with_ready_users(&folder, &sandbox, 2).await;
    // At bunq's own limits the second session waits for 30 s.
    let mut slow = hearing(&program_with_session(&folder, &sandbox).await);
    let slow = slow.args(["users", "activate", "--output", "jsonl", "--custody"]).arg(&users).args(&ids);
    let mut process = slow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(process.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert_eq!(lines(&first)[0]["outcome"], "activated", "{first}");
    signal(&process, Signal::INT);
    let (mut second, mut err) = (String::new(), String::new());
    out.read_to_string(&mut second).unwrap();
    process.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((&lines(&second)[0]["outcome"], process.wait().unwrap().code()), (&"unfinished".into(), Some(130)));
    assert!(err.contains("1 users are not activated: the same command goes on with them"), "{err}");
    assert!(err.contains("interrupted"), "{err}");

    let mut quick = again(&program);
    let (out, err, code) =
        ran(quick.args(["users", "activate", "--output", "jsonl", "--custody"]).arg(&users).args(&ids));
    assert_eq!((out.matches("\"activated\"").count(), code), (2, 0), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_called_as_the_user_that_is_named() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.own_folder("users");
    let (program, ids) = with_ready_users(&folder, &sandbox, 1).await;
    let id = &ids[0];
    let api = |words: &[&str]| ran(again(&program).arg("api").args(words));
    let as_user =
        |words: &[&str]| ran(again(&program).arg("api").args(words).args(["--user", id, "--custody"]).arg(&users));
    sandbox.take_call_log();
    for (refused, said) in [
        (api(&["list_user_onboardings"]), "list_user_onboardings is a user's: give --user ID"),
        (as_user(&["list_provisions"]), "list_provisions is the partner's: leave out --user"),
        (api(&["list_user_onboardings", "--user", id]), "--custody FOLDER"),
        (api(&["list_provisions", "--custody", "users"]), "--custody does nothing without --user"),
    ] {
        let (out, err, code) = refused;
        assert!(out.is_empty() && err.contains(said) && code == 2, "{code} {out}{err}");
    }
    let (_, err, code) = as_user(&["list_user_onboardings"]);
    assert!(err.contains(&format!("there is no token of provision {id} in custody")) && code == 18, "{err}");
    assert!(sandbox.take_call_log().is_empty());

    let (out, err, code) =
        ran(again(&program).args(["users", "activate", id, "--output", "json", "--custody"]).arg(&users));
    assert_eq!(code, 0, "{err}");
    let user_id = serde_json::from_str::<Value>(&out).unwrap()[0]["user_id"].to_string();
    sandbox.take_call_log();
    let (out, err, code) = as_user(&["list_user_onboardings"]);
    assert!(out.contains("\"Response\"") && code == 0, "{out}{err}");
    // An operation of both is about whoever calls it.
    let (_, err, code) = as_user(&["list_credentials"]);
    assert_eq!(code, 0, "{err}");
    let paths: Vec<_> = sandbox.take_call_log().into_iter().map(|call| call.path).collect();
    let of_user = format!("/user/{user_id}/");
    assert!(paths.len() == 2 && paths.iter().all(|path| path.contains(&of_user)), "{paths:?}");

    // What a command for users hides, the answer to a call has in full, as that to a call of the partner's has.
    let inquiry = SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund]);
    sandbox.inquire(id.parse().unwrap(), inquiry).unwrap();
    let (out, err, code) = as_user(&["list_user_information_inquiries"]);
    let listed: Value = serde_json::from_str(&out).unwrap();
    let title = listed["Response"][0]["UserInformationInquiry"]["title"].as_str().unwrap_or_default();
    assert!(title.len() > 3 && !out.contains("[redacted]") && code == 0, "{out}{err}");
    let (hidden, _, code) =
        ran(again(&program).args(["inquiries", "list", id, "--output", "json", "--custody"]).arg(&users));
    assert!(hidden.contains("[redacted]") && !hidden.contains(title) && code == 0, "{hidden}");
    let (out, _, code) = api(&["get_provision", "--param", &format!("provision_id={id}")]);
    assert!(out.contains("\"display_name\": \"") && code == 0, "{out}");
    sandbox.take_call_log();

    let body = r#"{"all_nationality": ["NL"]}"#;
    let (out, err, code) = as_user(&["create_nationality", "--body", body, "--dry-run"]);
    assert!(out.starts_with("POST ") && out.contains("/user/{user_id}/nationality") && code == 0, "{out}{err}");
    assert!(sandbox.take_call_log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_users_are_completed_from_the_custody() {
    test_timeout::start();
    let folder = Folder::new();
    let users = folder.own_folder("users");
    let custody = FileCustody::new(&users);
    save(&custody, activated(1015)).await;
    save(&custody, unactivated(1019, Span::new().hours(1))).await;
    save(&custody, activated(2000)).await;
    let complete = |words: &[&str]| ran(program(&folder).args(["completions", "bash", "--"]).args(words)).0;
    let typed = users.to_str().unwrap();
    let expected = "values \n1015\tactivated\n1019\tnot activated\n";
    assert_eq!(complete(&["users", "show", "--custody", typed, "10"]), expected);
    assert_eq!(complete(&["users", "activate", "--custody", typed, "2000", "10"]), expected);
    assert_eq!(complete(&["users", "reset", "10"]), "values \n");
    fs::create_dir(folder.path("bunq-partner")).unwrap();
    folder.file("bunq-partner/config.toml", "[profiles.test]\ncustody = \"../users\"\n");
    assert_eq!(complete(&["api", "list_credentials", "--profile", "test", "--user", "10"]), expected);
    let of_user = complete(&["api", "create_nat"]);
    assert_eq!(of_user, "values \ncreate_nationality\tas a user in custody, with --user ID\n");
}
