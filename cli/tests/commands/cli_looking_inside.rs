//! `-v`, `-vv` and BUNQ_LOG: what is shown of the calls of a command; and what a log is told of a wait.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use bunq_partner::Operation;
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use serde_json::Value;

use crate::common::{Folder, program, program_with_session, ran};

/// The words of a line, without its numbers and ids.
fn words(line: &str) -> String {
    let is_number = |word: &&str| word.parse::<u64>().is_err() && word.matches('-').count() != 4;
    line.split([' ', ',']).filter(is_number).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_of_a_call_is_a_line() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0].to_string();
    let mut get = program_with_session(&folder, &sandbox).await;
    // A table says how long ago things were.
    get.args(["get", &id, "--output", "csv"]);
    let (out, err, code) = ran(&mut get);
    assert_eq!((err.as_str(), code), ("", 0));

    sandbox.take_call_log();
    sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::GET_PROVISION));
    let (out_of_verbose, err, code) = ran(get.arg("-v"));
    assert_eq!((&out_of_verbose, code), (&out, 0), "standard error alone");
    let calls = sandbox.take_call_log();
    let lines: Vec<_> = err.lines().collect();
    assert_eq!((lines.len(), calls.len()), (2, 2), "{err}");
    let path = "GET /partner-user-provision/{provision_id}";
    for ((line, call), (status, more)) in lines.iter().zip(&calls).zip([(500, ""), (200, ", retry 1")]) {
        assert!(line.starts_with(&format!("{path} {status} in ")) && line.ends_with(more), "{line}");
        let request_id = call.header("x-bunq-client-request-id").unwrap();
        assert!(line.contains(&format!(", request {request_id}, response ")), "{line}");
    }
    // The session comes from the context file.
    assert_eq!(words(lines[0]), format!("{path} in ms request response waited ms for the session"));
    assert_eq!(words(lines[1]), format!("{path} in ms request response waited ms for the retry retry"));

    // A call that opens a session, and one without a response.
    sandbox.end_sessions();
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::GET_PROVISION).after(1));
    let (_, err, code) = ran(&mut get);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("\nPOST /session-server 200 in "), "{err}");
    assert!(
        err.lines().any(|line| line.starts_with(&format!("{path} Connection in ")) && line.contains("waited ")),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_get_json_and_headers_come_from_a_list() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    sandbox.after_signing(|_, response| {
        let more = [("Set-Cookie", "id=1"), ("X-New", "1"), ("Retry-After", "7"), ("X-Bunq-Warning", "a: b")];
        response.headers.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
    });
    let id = sandbox.populate(1)[0].to_string();
    let mut get = program_with_session(&folder, &sandbox).await;
    get.args(["get", &id, "-vv", "--output"]);
    let (_, err, code) = ran(get.arg("jsonl"));
    assert_eq!((err.lines().count(), code), (1, 0), "{err}");
    let seen: Value = serde_json::from_str(&err).unwrap();
    let call = &seen["call"];
    assert_eq!(call["method"], "GET");
    assert_eq!(call["path"], "/partner-user-provision/{provision_id}");
    assert_eq!((&call["http_status"], &call["error_kind"], &call["retry"]), (&200.into(), &Value::Null, &0.into()));
    assert!(call["milliseconds"].is_u64() && call["waited_milliseconds"]["permit"].is_u64(), "{call}");
    let headers = |name: &str| {
        let headers = call[name].as_array().unwrap().iter();
        headers.map(|header| header[0].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let sent = ["accept", "cache-control", "user-agent", "x-bunq-client-request-id", "x-bunq-geolocation"];
    let sent = sent.into_iter().chain(["x-bunq-language", "x-bunq-region"]).map(str::to_owned).collect();
    assert_eq!(headers("request_headers"), sent);
    let received = ["content-length", "content-type", "date", "retry-after", "x-bunq-client-request-id"];
    let received = received.into_iter().chain(["x-bunq-client-response-id", "x-bunq-warning"]).map(str::to_owned);
    assert_eq!(headers("response_headers"), received.collect());
    let pairs = call["response_headers"].as_array().unwrap();
    assert!(pairs.contains(&serde_json::json!(["x-bunq-warning", "a: b"])), "{call}");

    // People get them below the line of the call.
    let (_, err, _) = ran(program_with_session(&folder, &sandbox).await.args(["get", &id, "-vv"]));
    assert!(err.contains("\n  > cache-control: no-cache\n") && err.contains("\n  < x-bunq-warning: a: b\n"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_says_how_much_unless_it_is_typed() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0].to_string();
    let lines = async |level: &str, typed: &[&str]| {
        let mut get = program_with_session(&folder, &sandbox).await;
        let (_, err, code) = ran(get.env("BUNQ_LOG", level).args(["get", &id]).args(typed));
        assert_eq!(code, 0, "{err}");
        let headers = err.lines().filter(|line| line.starts_with("  > ")).count();
        (err.lines().filter(|line| line.starts_with("GET ")).count(), headers > 0)
    };
    for (level, typed, expected) in [
        ("off", &[][..], (0, false)),
        ("", &[], (0, false)),
        ("info", &[], (1, false)),
        ("debug", &[], (1, true)),
        ("off", &["-v"], (1, false)),
        ("debug", &["-v"], (1, false)),
        ("info", &["-v", "--verbose"], (1, true)),
    ] {
        assert_eq!(lines(level, typed).await, expected, "{level} {typed:?}");
    }
    let mut get = program_with_session(&folder, &sandbox).await;
    sandbox.take_call_log();
    let (_, err, code) = ran(get.env("BUNQ_LOG", "trace").args(["get", &id]));
    assert_eq!((err.lines().next(), code), (Some("error: BUNQ_LOG is off, info or debug, and not `trace`"), 2));
    assert!(sandbox.call_log().is_empty());
}

/// The calls of every command that has any are seen, whichever client makes them.
#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_every_command_are_seen() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (_, err, _) = ran(program_with_session(&folder, &sandbox).await.args(["session", "end", "-v"]));
    assert!(err.starts_with("DELETE /session/{session_id} 200 in "), "{err}");
    for (arguments, call) in [
        (&["demo"][..], "PUT /partner-user-provision/{provision_id}"),
        (&["--sandbox", "list"], "GET /partner-user-provision "),
        (&["--sandbox", "whoami"], "POST /session-server"),
        (&["--sandbox", "api", "list_device_servers"], "GET /device-server "),
        (&["--sandbox", "doctor"], "GET /device-server "),
        (&["--sandbox", "probe"], "PATCH /partner-user-provision 405 in "),
        (&["--sandbox", "close", "1015", "--wait"], "PUT /partner-user-provision/{provision_id}"),
    ] {
        let (_, err, _) = ran(program(&folder).args(arguments).arg("-v"));
        assert!(err.contains(call), "{arguments:?}: {err}");
    }
}

/// The first line of standard error; then the program is ended.
fn first_line(command: &mut Command) -> String {
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stderr.take().unwrap()).read_line(&mut line).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_told_of_a_long_wait_when_it_begins() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    sandbox.inject("retry-after=100s,on=list_provisions,times=always".parse::<Injection>().unwrap());
    let line = first_line(program_with_session(&folder, &sandbox).await.arg("list"));
    assert!(line.starts_with("waiting ") && line.ends_with(" s for the rate limit of list_provisions\n"), "{line}");
}
