//! The program at a terminal: widths, colours, questions, live lines, Ctrl-C; and where there is none.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use bunq_partner_sandbox::{Injection, Pace, Sandbox};

use crate::common::terminal::{Terminal, plain};
use crate::common::{Folder, in_shell, program, program_for, ran};

/// What is left on the screen, without the live lines that are gone.
fn left(screen: &str) -> String {
    let lines = screen.lines().map(|line| line.rsplit("\u{1b}[2K").next().unwrap_or_default());
    lines.map(|line| line.to_owned() + "\n").collect()
}

#[test]
fn a_table_fits_the_terminal() {
    test_timeout::start();
    for (columns, expected, left_out) in [
        (40, &["ID", "STATUS", "WAITING FOR"][..], "sub_status, display_name, updated, external_uuid"),
        (60, &["ID", "STATUS", "WAITING FOR"], "sub_status, display_name, updated, external_uuid"),
        (80, &["ID", "STATUS", "SUB STATUS", "WAITING FOR"], "display_name, updated, external_uuid"),
        (200, &["ID", "STATUS", "SUB STATUS", "WAITING FOR", "DISPLAY NAME", "UPDATED", "EXTERNAL UUID"], ""),
    ] {
        let (screen, code) = Terminal::start(columns, &["--sandbox", "list"], &[]).end();
        let screen = plain(&left(&screen));
        let mut lines: Vec<_> = screen.lines().map(str::trim_end).collect();
        // The last line says what is missing, at any width.
        let said = if left_out.is_empty() { "" } else { lines.pop().unwrap() };
        assert!(said.is_empty() == left_out.is_empty() && said.contains(left_out), "{columns} columns: {said}");
        assert_eq!(said.contains("--columns") && said.contains("--output csv"), !left_out.is_empty(), "{said}");
        let headings: Vec<_> = lines[0].split("  ").map(str::trim).filter(|heading| !heading.is_empty()).collect();
        assert_eq!((&headings[..], lines.len(), code), (expected, 9, 0), "{columns} columns");
        assert!(lines.iter().all(|line| line.chars().count() <= columns.into()), "{columns} columns: {screen}");
    }
    // What was asked for is there, wide as it may be, and nothing is left out.
    let chosen = ["--sandbox", "list", "--status", "CLOSED", "--columns", "external_uuid,id,sub_status,status"];
    let (screen, _) = Terminal::start(40, &chosen, &[]).end();
    let uuid = "00000000-0000-4000-8000-000000000001";
    assert!(plain(&screen).ends_with(&format!("{uuid}  1002  NONE        CLOSED\n")), "{screen}");
    assert!(!screen.contains("too narrow"), "{screen}");
    // Who has sent standard error elsewhere is told nothing there.
    let folder = Folder::new();
    let said = folder.path("said");
    let list = format!("\"$0\" --sandbox list 2>{}", said.display());
    let (screen, code) = Terminal::run(60, &["sh", "-c", &list, env!("CARGO_BIN_EXE_bunq-partner")], &[]).end();
    assert_eq!((screen.lines().count(), code), (9, 0), "{screen}");
    assert_eq!(std::fs::read_to_string(said).unwrap(), "");
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    test_timeout::start();
    let list = ["--sandbox", "list", "--status", "CLOSED"];
    let screen =
        |arguments: &[&str], environment: &[(&str, &str)]| left(&Terminal::start(80, arguments, environment).end().0);
    assert!(screen(&list, &[]).contains("\u{1b}[2mCLOSED\u{1b}[0m"));
    assert!(!screen(&list, &[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!screen(&[&list[..], &["--color", "never"]].concat(), &[]).contains('\u{1b}'));
    let (out, _, _) = ran(crate::common::program(&Folder::new()).args(list));
    assert!(out.contains("CLOSED") && !out.contains('\u{1b}'), "{out}");
}

#[test]
fn a_person_confirms_that_secrets_are_shown() {
    test_timeout::start();
    let arguments = ["--sandbox", "get", "1023", "--show-secrets"];
    let mut terminal = Terminal::start(80, &arguments, &[]);
    terminal.expect("Show them? [y/N]");
    assert!(!terminal.seen.contains("token "), "{}", terminal.seen);
    terminal.type_keys("y\n");
    let (screen, code) = terminal.end();
    assert!(plain(&screen).contains("token              sandbox_") && code == 0, "{screen}");

    // All that the document calls secret, and no other value is redacted.
    let mut terminal = Terminal::start(80, &[&arguments[..], &["--output", "json"]].concat(), &[]);
    terminal.expect("Show them? [y/N]");
    terminal.type_keys("y\n");
    let (screen, _) = terminal.end();
    let json: serde_json::Value = serde_json::from_str(&screen[screen.find("[\n").unwrap()..]).unwrap();
    let [token, code, url] =
        ["/0/credential/token_value", "/0/oauth_request/authorization_code", "/0/oauth_request/redirect_url"]
            .map(|secret| json.pointer(secret).unwrap().as_str().unwrap());
    assert!(json[0]["token"] == token && token.starts_with("sandbox_"), "{screen}");
    assert!(code.len() == 32 && url.ends_with(&format!("?code={code}")), "{screen}");
    assert!(!screen.contains("[redacted]"), "{screen}");

    for answer in ["n\n", "\n", "\u{4}"] {
        let mut terminal = Terminal::start(80, &arguments, &[]);
        terminal.expect("Show them? [y/N]");
        terminal.type_keys(answer);
        let (screen, code) = terminal.end();
        assert!(screen.contains("nothing was done") && code == 1 && !screen.contains("sandbox_"), "{screen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_confirms_changes_in_production() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::builder().api_key("of-production".into()).start().await.unwrap(), Folder::new());
    let ids: Vec<_> = sandbox.populate(2).iter().map(ToString::to_string).collect();
    let state = folder.path("");
    let environment = [("BUNQ_API_KEY", "of-production"), ("XDG_STATE_HOME", state.to_str().unwrap())];
    let production = ["--env", "production", "--base-url", sandbox.base_url()];
    let parameter = format!("provision_id={}", ids[0]);
    let users = folder.own_folder("users");
    let users = users.to_str().unwrap();
    for (arguments, question) in [
        (
            &["create", "--email", "user@example.com", "--phone-number", "+31600000000"][..],
            "Create a user with the e-mail address user@example.com in production?".into(),
        ),
        (
            &["users", "reset", &ids[0], "--custody", users],
            format!("Replace the credential of {}, which stops working, in production?", ids[0]),
        ),
        (
            &["users", "activate", &ids[0], &ids[1], "--custody", users],
            "Activate the credentials of 2 users in production?".into(),
        ),
        (&["session", "end"], "End the session in production?".into()),
        (
            &["api", "update_provision", "--param", &parameter, "--body", r#"{"status": "CANCELLED"}"#],
            format!("/partner-user-provision/{} with {{\"status\":\"CANCELLED\"}} in production?", ids[0]),
        ),
    ] {
        let mut terminal = Terminal::start(300, &[arguments, &production].concat(), &environment);
        terminal.expect(&format!("{question} [y/N]"));
        assert!(sandbox.call_log().is_empty(), "nothing is sent before the answer");
        terminal.type_keys("n\n");
        let (screen, code) = terminal.end();
        assert!(screen.contains("nothing was done") && code == 1, "{screen}");
    }
    assert!(sandbox.call_log().is_empty());

    let arguments = [&["close", &ids[0], "--wait"][..], &production].concat();
    let mut terminal = Terminal::start(80, &arguments, &environment);
    terminal.expect("in production? [y/N]");
    terminal.type_keys("y\n");
    let (screen, code) = terminal.end();
    assert!(plain(&screen).contains("CLOSED") && code == 0, "{screen}");
    let arguments = [&["close", &ids[1], "--wait", "--yes"][..], &production].concat();
    let (screen, code) = Terminal::start(80, &arguments, &environment).end();
    assert!(!screen.contains("in production?") && code == 0, "{screen}");
}

/// Rows that are typed are kept for a run, and not if there is none.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_of_rows_if_the_question_is_not_answered_with_yes() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::builder().api_key("of-production".into()).start().await.unwrap(), Folder::new());
    let (state, journal, copy) = (folder.path(""), folder.path("night"), folder.path("night.input"));
    let environment = [("BUNQ_API_KEY", "of-production"), ("XDG_STATE_HOME", state.to_str().unwrap())];
    let arguments = ["close", "--from", "-", "--env", "production", "--base-url", sandbox.base_url(), "--journal"];
    for (answer, said, code) in [("n\n", "nothing was done", 1), ("\u{3}", "interrupted", 130)] {
        let arguments = [&arguments[..], &[journal.to_str().unwrap()]].concat();
        let mut terminal = Terminal::start(200, &arguments, &environment);
        terminal.expect("waiting for rows on standard input");
        terminal.type_keys("1\n2\n\u{4}");
        terminal.expect("Close the 2 provisions of standard input in production? [y/N]");
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), "1\n2\n");
        terminal.type_keys(answer);
        let (screen, ended) = terminal.end();
        assert!(screen.contains(said) && ended == code, "{screen}");
        assert!(!copy.exists());
    }
    assert!(sandbox.call_log().iter().all(|call| call.method != "PUT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_asked_for_and_not_shown() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let state = folder.path("");
    let environment = [("XDG_STATE_HOME", state.to_str().unwrap())];
    let asked = || {
        let mut terminal = Terminal::start(80, &["whoami", "--base-url", sandbox.base_url()], &environment);
        terminal.expect("(it is not shown): ");
        // Whatever is typed before is the terminal's to show.
        while terminal.is_echoing() {
            std::thread::sleep(Duration::from_millis(10));
        }
        terminal
    };
    // Who gives up sees again what is typed.
    let mut terminal = asked();
    terminal.type_keys("\u{3}");
    terminal.expect("[end]");
    assert!(terminal.is_echoing(), "{}", terminal.seen);
    let (screen, code) = terminal.end();
    assert!(screen.contains("interrupted") && code == 130, "{screen}");
    let terminal = asked();
    terminal.type_keys(&format!("{}\n", sandbox.api_key().expose()));
    let (screen, code) = terminal.end();
    assert!(screen.contains("Sandbox Partner") && code == 0, "{screen}");
    assert!(!screen.contains(sandbox.api_key().expose()), "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_seen_to_go_on() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::builder().pace(Pace::Manual).start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0];
    let (number, state, key) = (id.to_string(), folder.path(""), sandbox.api_key());
    let environment = [("XDG_STATE_HOME", state.to_str().unwrap()), ("BUNQ_API_KEY", key.expose())];
    let arguments = ["close", &number, "--wait", "-v", "--base-url", sandbox.base_url()];
    let mut terminal = Terminal::start(80, &arguments, &environment);
    terminal.expect("PENDING_PROCESS_CLOSURE");
    assert!(sandbox.advance(id));
    let (screen, code) = terminal.end();
    assert!(plain(&screen).contains("status       CLOSED") && code == 0, "{screen}");
    // The calls stand above the live line, each on a line of its own.
    let screen = plain(&left(&screen));
    let calls: Vec<_> = screen.lines().filter(|line| line.contains(" ms, request ")).collect();
    let is_whole = |line: &&str| ["POST /", "PUT /", "GET /"].iter().any(|method| line.starts_with(method));
    assert!(calls.len() > 4 && calls.iter().all(is_whole), "{screen:?}");
}

/// `list`, which would be silent for as long as a call may take.
fn list(folder: &Folder, sandbox: &Sandbox, arguments: &[&str]) -> Terminal {
    let (state, key) = (folder.path(""), sandbox.api_key());
    let environment = [("XDG_STATE_HOME", state.to_str().unwrap()), ("BUNQ_API_KEY", key.expose())];
    Terminal::start(120, &[&["list", "--base-url", sandbox.base_url()], arguments].concat(), &environment)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_waits_sees_why_and_for_how_long() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let waits = |end: &str| {
        let mut terminal = list(&folder, &sandbox, &[]);
        terminal.expect(end);
        let told = plain(&terminal.seen);
        let seconds = told.rsplit_once(end).unwrap().0.rsplit_once("waiting ").unwrap().1.parse::<u32>();
        terminal.type_keys("\u{3}");
        let (screen, code) = terminal.end();
        assert_eq!((plain(&left(&screen)).as_str(), code), ("error: interrupted\n", 130), "{screen:?}");
        seconds.unwrap()
    };
    let limited: Injection = "retry-after=40s,on=list_provisions,times=always".parse().unwrap();
    sandbox.inject(limited);
    assert!((1..=60).contains(&waits(" s for the rate limit of list_provisions")));
    sandbox.clear_injections();

    sandbox.before_signing(|call, response| {
        if call.path == "/v1/partner-user-provision" {
            response.status = 503;
            response.headers.push(("Retry-After".into(), "40".into()));
        }
    });
    assert!((1..=40).contains(&waits(" s to repeat list_provisions: bunq, or a proxy in front of it, has failed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_stands_above_the_live_line() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    sandbox.populate(1);
    let (respond, held) = channel::<()>();
    sandbox.before_signing(move |call, _| {
        if call.path == "/v1/partner-user-provision" {
            held.recv().unwrap();
        }
    });
    for arguments in [["-o", "jsonl"].as_slice(), &["-v"], &["-o", "csv", "-v"], &["-o", "jsonl", "-vv"]] {
        let mut terminal = list(&folder, &sandbox, arguments);
        terminal.expect("waiting for bunq's response to list_provisions");
        respond.send(()).unwrap();
        let (screen, code) = terminal.end();
        let screen = plain(&left(&screen));
        assert!(!screen.contains("waiting for") && code == 0, "{screen:?}");
        let beginnings = ["{\"", "GET ", "POST ", "ID ", "1", "id,"];
        let is_whole = |line: &str| beginnings.iter().any(|beginning| line.starts_with(beginning));
        // Where the live line was, nothing is left.
        let mut lines = screen.lines().filter(|line| !line.is_empty()).peekable();
        assert!(lines.peek().is_some() && lines.all(is_whole), "{screen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_wait_and_says_what_goes_on() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::builder().pace(Pace::Manual).start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0];
    let (number, state, key) = (id.to_string(), folder.path(""), sandbox.api_key());
    let environment = [("XDG_STATE_HOME", state.to_str().unwrap()), ("BUNQ_API_KEY", key.expose())];
    for arguments in [["close", &number, "--wait"], ["watch", &number, "--color=never"]] {
        let mut terminal =
            Terminal::start(80, &[&arguments[..], &["--base-url", sandbox.base_url()]].concat(), &environment);
        terminal.expect("PENDING_PROCESS_CLOSURE");
        terminal.type_keys("\u{3}");
        let (screen, code) = terminal.end();
        assert!(screen.contains("interrupted") && code == 130, "{screen}");
        let goes_on = screen.contains(&format!("goes on at bunq: `bunq-partner watch {number}`"));
        assert_eq!(goes_on, arguments[0] == "close", "{screen}");
    }
}

/// A command that gives the key leaves the signals to the program.
#[test]
fn ctrl_c_ends_a_question_after_a_command_has_given_the_key() {
    test_timeout::start();
    let folder = Folder::new();
    let profile = "[profiles.default]\nenvironment = \"production\"\napi_key_command = [\"echo\", \"1\"]\n";
    std::fs::create_dir(folder.path("bunq-partner")).unwrap();
    folder.file("bunq-partner/config.toml", profile);
    let folder = folder.path("");
    let environment = ["XDG_CONFIG_HOME", "XDG_STATE_HOME"].map(|name| (name, folder.to_str().unwrap()));
    // A closing would read its provision first.
    let mut terminal = Terminal::start(80, &["session", "end"], &environment);
    terminal.expect("in production? [y/N] ");
    terminal.type_keys("\u{3}");
    let (screen, code) = terminal.end();
    assert!(screen.contains("interrupted") && code == 130, "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_is_no_failure() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    sandbox.populate(600);
    for format in ["jsonl", "csv", "json", "table"] {
        let mut command = program_for(&folder, &sandbox);
        let mut process =
            command.args(["list", "--output", format]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        let output = process.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{format}");
        assert_eq!(output.status.code(), Some(0), "{format}");
    }
    // What became of the command comes before what became of its output.
    for format in ["jsonl", "table"] {
        let mut command = program_for(&folder, &sandbox);
        let command = command.args(["close", "1", "2", "3", "--output", format]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(process.stdout.take());
        let output = process.wait_with_output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!((errors.matches("There is no provision").count(), output.status.code()), (3, Some(9)), "{errors}");
    }
    for arguments in [&["man"][..], &["completions", "bash"], &["--help"]] {
        let mut process =
            program(&folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(process.stdout.take());
        let output = process.wait_with_output().unwrap();
        assert_eq!((output.stderr.as_slice(), output.status.code()), (&b""[..], Some(0)), "{arguments:?}");
    }
}

/// The standard library takes what is written to a closed one for done.
#[tokio::test(flavor = "multi_thread")]
async fn a_standard_output_that_loses_everything_is_an_error() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let redirected = |command: &Command, to: &str| ran(&mut in_shell(command, &format!("exec \"$0\" \"$@\" {to}")));
    for arguments in [
        &["close", "7"][..],
        &["list"],
        &["list", "-o", "json"],
        &["sandbox"],
        &["config", "show"],
        &["man"],
        &["completions", "bash"],
        &["help", "exit-codes"],
        &["--help"],
        &["list", "--help"],
        &["--version"],
    ] {
        let mut command = program_for(&folder, &sandbox);
        command.args(arguments);
        for (to, problem) in [
            (">&-", "standard output is closed"),
            ("</dev/null >&-", "standard output is closed"),
            ("<>/dev/null >&-", "standard output is closed"),
            ("1</dev/null", "standard output is open for reading alone"),
        ] {
            let (_, stderr, code) = redirected(&command, to);
            assert!(stderr.contains(problem) && code == 19, "{arguments:?} {to}: {code}: {stderr}");
        }
        assert!(sandbox.call_log().is_empty(), "{arguments:?}");
    }
    for arguments in [&["list", "--sandbox"][..], &["--help"], &["--version"], &["man"], &["completions", "bash"]] {
        let mut command = program(&folder);
        command.args(arguments);
        if cfg!(target_os = "linux") {
            let (_, stderr, code) = redirected(&command, ">/dev/full");
            assert!(stderr.contains("the output cannot be written: ") && code == 19, "{arguments:?}: {code}: {stderr}");
        }
        // As a shell opens it, as a daemon has it, as Python gives it to input and output, and with other descriptors closed.
        for to in [">/dev/null", "1<>/dev/null 2>&1", "<>/dev/null >&0", "<&- >/dev/null", ">/dev/null 2>&-"] {
            let (_, stderr, code) = redirected(&command, to);
            assert_eq!((stderr.as_str(), code), ("", 0), "{arguments:?} {to}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_there_is_nothing_but_data() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0].to_string();
    let (out, err, code) = ran(program_for(&folder, &sandbox).args(["close", &id, "--wait", "--output", "json"]));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((json[0]["provision"]["status"].as_str(), err.as_str(), code), (Some("CLOSED"), "", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_command_says_what_it_has_done() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::builder().pace(Pace::Manual).start().await.unwrap(), Folder::new());
    let ids = sandbox.populate(2);
    let (first, second) = (ids[0].to_string(), ids[1].to_string());
    let (state, key) = (folder.path(""), sandbox.api_key());
    let environment = [("XDG_STATE_HOME", state.to_str().unwrap()), ("BUNQ_API_KEY", key.expose())];
    let arguments = ["close", &first, &second, "--wait", "--output", "json", "--base-url", sandbox.base_url()];
    let mut terminal = Terminal::start(120, &arguments, &environment);
    terminal.expect(&format!("{second}  \u{1b}[33mCANCELLED"));
    terminal.expect(&format!("{first}  \u{1b}[33mCANCELLED"));
    assert!(sandbox.advance(ids[0]));
    // A round of polls takes three calls at most, and its outcome is known when the next one begins.
    let before = sandbox.call_log().len();
    while sandbox.call_log().len() < before + 5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    terminal.type_keys("\u{3}");
    let (screen, code) = terminal.end();
    assert!(screen.contains("\"status\": \"CLOSED\"") && code == 130, "{screen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_a_hostile_bank_do_not_move_the_cursor() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::builder().pace(Pace::Manual).start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0].to_string();
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}";
    sandbox.before_signing(move |_, response| {
        let text = String::from_utf8(response.body.clone()).unwrap();
        let quoted = serde_json::to_string(hostile).unwrap();
        let text = text.replace("\"ACTIVE\"", &quoted).replace("\"user\"", &quoted).replace("There is", hostile);
        response.body = text.into_bytes();
        response.headers.push(("X-Bunq-Warning".into(), "\u{9b}2J".into()));
    });
    let list = ["list", "--output"];
    let watch = ["watch", &id, "--timeout", "1s", "--color", "never", "--output"];
    for (arguments, formats) in [
        (&list[..], &["table", "json", "jsonl"][..]),
        (&["get", &id, "--output"], &["table", "json", "jsonl"]),
        (&["get", "7", "--output"], &["table", "jsonl"]),
        (&watch, &["table", "jsonl"]),
        (&["doctor", "--output"], &["table", "json"]),
        (&["probe", "--output"], &["table", "json"]),
    ] {
        for format in formats {
            let (out, err, _) = ran(program_for(&folder, &sandbox).args(arguments).arg(format));
            let text = out + &err;
            assert!(
                !text.is_empty() && !text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'),
                "{text:?}"
            );
        }
    }
}
