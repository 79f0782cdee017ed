//! `api` and its help, for every operation of the document.

use std::fs::File;
use std::io::Seek as _;

use bunq_partner::wire::OPERATIONS;
use bunq_partner::{Operation, PathUser, SessionOf};
use bunq_partner_sandbox::Sandbox;
use serde_json::Value;

use crate::common::{Folder, program, program_for, ran};

/// The parameters of the path, each with a value.
fn path_parameters(operation: &Operation) -> Vec<String> {
    operation.path_parameters().map(|name| format!("--param={name}=7")).collect()
}

#[test]
fn the_help_says_what_each_operation_takes() {
    test_timeout::start();
    let folder = Folder::new();
    let (list, _, code) = ran(program(&folder).args(["help", "operations"]));
    assert_eq!(code, 0);
    let (_, of_session) = list.split_once("which the program makes itself:\n").unwrap();
    let described: Value = serde_json::from_str(OPERATIONS).unwrap();
    for operation in Operation::ALL {
        let is_listed = |line: &&str| line.split(' ').nth(2) == Some(operation.id);
        assert_eq!(list.lines().filter(is_listed).count(), 1, "{list}");
        assert_eq!(of_session.contains(&format!("  {} ", operation.id)), operation.managed, "{list}");
        let (text, err, code) = ran(program(&folder).args(["help", "api", operation.id]));
        assert_eq!((err.as_str(), code), ("", 0));
        let described = &described[operation.id];
        assert!(text.starts_with(described["summary"].as_str().unwrap()), "{text}");
        assert!(text.contains(&format!("\n{} {}\n", operation.method, operation.path)), "{text}");
        assert!(text.contains(if operation.method == "GET" { "It reads;" } else { "It changes something;" }), "{text}");
        for name in operation.path_parameters() {
            let is_left_out = name == "user_id" && operation.path_user == Some(PathUser::Chosen);
            assert!(text.contains(&if is_left_out { format!("  [{name}]") } else { format!("  <{name}>") }), "{text}");
        }
        assert_eq!(text.contains("It is called as "), !operation.managed, "{text}");
        let takes_user = matches!(operation.session_of, Some(SessionOf::User | SessionOf::Either));
        assert_eq!(text.contains("with --user ID"), takes_user && !operation.managed, "{text}");
        assert_eq!(text.contains("user in its path is that"), operation.path_user == Some(PathUser::Session), "{text}");
        assert!(operation.query.iter().all(|name| text.contains(&format!("  [{name}]"))), "{text}");
        let takes_json = operation.has_body && operation.content_types.is_empty();
        assert_eq!(text.contains("Body (--body JSON)"), takes_json, "{text}");
        let of_types = operation.content_types.iter().all(|content_type| text.contains(content_type.name));
        assert_eq!(text.contains("Body (--body @FILE)") && of_types, operation.has_body && !takes_json, "{text}");
        assert_eq!(text.contains("--output-file FILE"), operation.returns_bytes, "{text}");
        let shapes = described["body"].as_array().unwrap().iter();
        for member in shapes.flat_map(|shape| shape["properties"].as_object().unwrap().keys()) {
            assert!(text.contains(&format!("<{member}>")) || text.contains(&format!("[{member}]")), "{member}: {text}");
        }
        // A path is not wrapped.
        let mut lines = text.lines().filter(|line| !line.ends_with(operation.path));
        assert!(lines.all(|line| line.chars().count() <= 100), "{text}");
        let (other, err, code) = ran(program(&folder).args(["api", operation.id, "--help"]));
        if operation.managed {
            assert!(text.contains("the program makes this call itself") && !text.contains("Example"), "{text}");
        } else {
            assert_eq!((other.as_str(), err.as_str(), code), (text.as_str(), "", 0));
        }
    }
    let (text, _, code) = ran(program(&folder).args(["api", "--help"]));
    assert!(text.starts_with("Call any operation") && code == 0, "{text}");
    let (_, err, code) = ran(program(&folder).args(["help", "api", "close"]));
    assert!(err.contains("there is no operation `close`") && err.contains("help operations") && code == 2, "{err}");
}

/// Calls of the session are refused with the command that makes them.
#[test]
fn calls_of_the_session_name_their_command() {
    test_timeout::start();
    let folder = Folder::new();
    for operation in Operation::ALL.iter().filter(|operation| operation.managed) {
        let command = match operation.id {
            "create_installation" | "create_device_server" | "create_session" => "`bunq-partner whoami`",
            "delete_session" => "`bunq-partner session end`",
            other => panic!("which command makes the call {other}?"),
        };
        let (_, err, code) = ran(program(&folder).args(["api", operation.id]));
        assert!(err.contains(command) && code == 2, "{err}");
    }
}

/// Without a key and without a session.
#[test]
fn each_request_can_be_shown() {
    test_timeout::start();
    let (folder, files) = (Folder::new(), Folder::new());
    for operation in Operation::ALL.iter().filter(|operation| !operation.managed) {
        let mut program = program(&folder);
        program.args(["api", operation.id, "--dry-run", "-o", "json"]).args(path_parameters(operation));
        program.args(operation.query.iter().map(|name| format!("--param={name}=7")));
        if operation.session_of == Some(SessionOf::User) {
            program.args(["--user", "7", "--custody"]).arg(folder.path("users"));
        }
        let file = operation.content_types.first().filter(|_| operation.has_body);
        match file {
            Some(content_type) => {
                std::fs::write(files.path("file"), content_type.first_bytes[0]).unwrap();
                program.arg(format!("--body=@{}", files.path("file").display()));
            }
            None if operation.has_body => drop(program.args(["--body", r#"{"a": 1}"#])),
            None => {}
        }
        let (out, err, code) = ran(&mut program);
        assert_eq!((err.as_str(), code), ("", 0), "{}", operation.id);
        let shown: Value = serde_json::from_str(&out).unwrap();
        let given: Vec<_> = operation.path_parameters().map(|name| format!("{{{name}}}")).collect();
        let path = operation.path.split('/').map(|part| if given.iter().any(|name| name == part) { "7" } else { part });
        let query: Vec<_> = operation.query.iter().map(|name| format!("{name}=7")).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let url = format!("https://partner-api.sandbox.bunq.com/v1{}{query}", path.collect::<Vec<_>>().join("/"));
        assert_eq!((shown[0]["method"].as_str(), shown[0]["url"].as_str()), (Some(operation.method), Some(&*url)));
        assert_eq!(shown[0]["body"]["a"] == 1, operation.has_body && file.is_none());
        assert_eq!(shown[0]["upload"]["content_type"].as_str(), file.map(|content_type| content_type.name));
    }
    assert!(std::fs::read_dir(&folder.0).unwrap().next().is_none(), "nothing is left behind");
}

/// A mistake in the parameters says which there are, before a body is taken from standard input or anything is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_says_which_parameters_there_are() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let body = folder.file("body", r#"{"status": "CANCELLED"}"#);
    for (arguments, problem) in [
        (&["api", "update_provision", "--body", "-"][..], "`provision_id` is missing (parameters: provision_id)"),
        (&["api", "update_provision", "-p", "id=7", "--body", "-"], "no parameter `id` (parameters: provision_id)"),
        (&["api", "list_provisions", "-p", "page=2"], "(parameters: status, external_uuid, count, older_id, newer_id)"),
        (&["api", "list_device_servers", "-p", "id=7"], "it has no parameter `id` (it takes none)"),
        (&["api", "create_provision", "-p", "id=7", "--body", "-"], "it has no parameter `id` (it takes none)"),
        (&["api", "get_installation", "--body", "-"], "it has no body"),
        (
            &["api", "get_provision", "-p", "provision_id=0"],
            "provision_id: `0` is not a positive integer of at most 63 bits",
        ),
        (
            &["api", "get_provision", "-p", "provision_id=550e8400-e29b-41d4-a716-446655440000"],
            "is not a positive integer",
        ),
        (&["api", "list_provisions", "-p", "older_id=-1"], "older_id: `-1` is not a positive integer"),
        (
            &["api", "update_provision", "-p", "provision_id=0", "--body", "-"],
            "provision_id: `0` is not a positive integer",
        ),
    ] {
        let mut input = File::open(&body).unwrap();
        let (_, err, code) = ran(program_for(&folder, &sandbox).args(arguments).stdin(input.try_clone().unwrap()));
        assert!(err.contains(problem) && code == 2, "{err}");
        assert!(err.contains(&format!("`bunq-partner help api {}` says what it takes", arguments[1])), "{err}");
        assert_eq!(input.stream_position().unwrap(), 0, "{arguments:?}");
    }
    assert!(sandbox.call_log().is_empty());
}
