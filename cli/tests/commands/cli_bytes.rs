//! `api` with a body, and with a response, that is a file.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use bunq_partner::Operation;
use bunq_partner_sandbox::Sandbox;
use serde_json::{Value, json};

use crate::common::terminal::Terminal;
use crate::common::{Folder, by, in_shell, program, program_for, program_with_session, ran};

const GIF: &[u8] = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;\r\n\xff\x00\x1b[31m";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nrest";

/// `api` with the parameters of the path.
fn api(operation: &Operation, id: &str) -> Vec<String> {
    let parameters = operation.path_parameters().map(|name| format!("--param={name}={id}"));
    ["api".to_owned(), operation.id.to_owned()].into_iter().chain(parameters).collect()
}

fn upload() -> Vec<String> {
    api(&Operation::CREATE_ATTACHMENT, "7")
}

fn body(path: &Path) -> String {
    format!("--body=@{}", path.display())
}

#[test]
fn a_dry_run_shows_size_and_type_in_place_of_a_file() {
    test_timeout::start();
    let folder = Folder::new();
    let file = folder.path("scan");
    fs::write(&file, GIF).unwrap();
    let description = ["--param", "X-Bunq-Attachment-Description=Passport"];
    let mut shown = program(&folder);
    shown.args(upload()).args([&body(&file), "--dry-run"]).args(description);
    let (out, err, code) = ran(&mut shown);
    let (line, rest) = out.split_once('\n').unwrap();
    assert!(line.starts_with("POST https://partner-api.sandbox.bunq.com/v1/user/") && err.is_empty(), "{out}{err}");
    assert_eq!((rest, code), ("X-Bunq-Attachment-Description: Passport\n23 bytes of image/gif\n", 0));

    // From a file, from standard input, and from a pipe; with the type that is said, and with that of the first bytes.
    for (script, more) in [
        ("\"$0\" \"$@\" --body \"@$FILE\"", &[][..]),
        ("\"$0\" \"$@\" --body - <\"$FILE\"", &["--content-type=image/gif"]),
        ("cat \"$FILE\" | \"$0\" \"$@\" --body -", &[]),
        ("\"$0\" \"$@\" --body @<(cat \"$FILE\")", &["--content-type", "image/gif"]),
    ] {
        let mut shown = program(&folder);
        shown.args(upload()).args(["--dry-run", "--output=json"]).args(description).args(more);
        let (out, err, code) = ran(in_shell(&shown, script).env("FILE", &file));
        assert_eq!((err.as_str(), code), ("", 0), "{script}");
        let shown = &serde_json::from_str::<Value>(&out).unwrap()[0];
        assert_eq!(shown["upload"], json!({ "content_type": "image/gif", "size": GIF.len() }), "{script}");
        assert_eq!(shown["headers"], json!({ "X-Bunq-Attachment-Description": "Passport" }), "{script}");
        assert!(shown["body"].is_null(), "{script}");
    }
}

#[test]
fn the_question_in_production_names_size_and_type() {
    test_timeout::start();
    let folder = Folder::new();
    fs::write(folder.path("scan"), GIF).unwrap();
    let mut asked = program(&folder);
    asked.args(upload()).args([&body(&folder.path("scan")), "--param=X-Bunq-Attachment-Description=Passport"]);
    let (_, err, code) = ran(asked.args(["--env", "production"]).env("BUNQ_API_KEY", "key"));
    let question = "/attachment with 23 bytes of image/gif and X-Bunq-Attachment-Description Passport in production";
    assert!(err.contains("error: Send POST https://api.partner.bunq.com/v1/user/") && err.contains(question), "{err}");
    assert_eq!(code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_taken_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let file = |name: &str, content: &[u8]| {
        fs::write(folder.path(name), content).unwrap();
        body(&folder.path(name))
    };
    let (gif, empty, text) = (file("gif", GIF), file("empty", b""), file("text", b"%!PS"));
    // It has no blocks, so it takes no place.
    File::create(folder.path("large")).unwrap().set_len(16 * 1024 * 1024 + 1).unwrap();
    let large = body(&folder.path("large"));
    let described = |text: &str| format!("--param=X-Bunq-Attachment-Description={text}");
    let long = described(&"a".repeat(1001));
    let rule = "a description is 1 to 1,000 printable ASCII characters";
    for (arguments, problem) in [
        (&["--body=@/dev/zero"][..], "--body @/dev/zero: it is neither a regular file nor a pipe"),
        (&["--body=@/dev/null"], "it is neither a regular file nor a pipe"),
        (&["--body=@/nonexistent"], "--body @/nonexistent: it cannot be opened"),
        (&[&empty], "empty: it is empty"),
        (&["--body=-"], "--body -: it is empty"),
        (&[&large], "large: it is larger than 16777216 bytes"),
        (&[&text], "text: by its first bytes it is none of image/png, image/jpeg, image/gif, application/pdf"),
        (&[&text], "hint: convert it to one of them, such as a scan in HEIC or TIFF to JPEG"),
        (&[&gif, "--content-type=image/png"], "by its first bytes, the file is not image/png: it is image/gif"),
        (&[&gif, "--content-type=image/webp"], "[possible values: application/pdf, image/gif, image/jpeg, image/png]"),
        (&["--content-type=image/png"], "--content-type does nothing without --body"),
        (&["--body={}"], "the body of create_attachment is a file: --body @FILE, or - for standard input"),
        (&[], "it has a body, which is missing"),
        (&[&gif, &described("two\nlines")], rule),
        (&[&gif, &described("Reisepaß")], rule),
        (&[&gif, &described("Personalausweis Müller")], "write `ue` for `ü`"),
        (&[&gif, &long], rule),
        (
            &[&gif, "--output-file=new"],
            "--output-file is for a response that is a file: that of create_attachment is JSON",
        ),
    ] {
        let (out, err, code) = ran(program_for(&folder, &sandbox).args(upload()).args(arguments));
        assert!(err.contains(problem) && code == 2 && out.is_empty(), "{arguments:?}: {code}: {err}");
    }
    let json = ["api", "update_provision", "--param=provision_id=7", "--body={}", "--content-type=image/png"];
    let (_, err, code) = ran(program_for(&folder, &sandbox).args(json));
    assert!(err.contains("--content-type is for a body that is a file, and update_provision takes none"), "{err}");
    assert_eq!(code, 2);
    assert!(!folder.path("new").exists() && sandbox.call_log().is_empty());
}

/// What is sent for ever is not read for ever.
#[test]
fn a_pipe_without_an_end_is_read_up_to_the_bound() {
    test_timeout::start();
    let folder = Folder::new();
    let mut endless = program(&folder);
    endless.args(upload()).args(["--dry-run", "--body=-"]);
    let (_, err, code) = ran(&mut in_shell(&endless, "yes GIF89a | \"$0\" \"$@\""));
    assert!(err.contains("--body -: it is larger than 16777216 bytes") && code == 2, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_comes_back_as_it_was_sent() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let session = program_with_session(&folder, &sandbox).await;
    let session = || by(Command::new("env"), &session);
    fs::write(folder.path("sent"), GIF).unwrap();
    let described = "--param=X-Bunq-Attachment-Description=Passport";
    let (out, err, code) = ran(session().args(upload()).args([&body(&folder.path("sent")), described]));
    assert_eq!(code, 0, "{err}");
    let id = serde_json::from_str::<Value>(&out).unwrap()["Response"][0]["Id"]["id"].to_string();
    let (out, err, code) = ran(session().args(api(&Operation::GET_ATTACHMENT, &id)));
    assert_eq!(code, 0, "{err}");
    let kept = &serde_json::from_str::<Value>(&out).unwrap()["Response"][0]["AttachmentUser"]["attachment"];
    assert_eq!((kept["description"].as_str(), kept["content_type"].as_str()), (Some("Passport"), Some("image/gif")));
    let download = api(&Operation::GET_ATTACHMENT_CONTENT, &id);

    // Standard output that is no terminal gets the bytes and nothing else.
    let output = session().args(&download).output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.status.code()), (GIF, Some(0)));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("response id "));

    let kept = folder.path("kept");
    let to_file = format!("--output-file={}", kept.display());
    let (out, _, code) = ran(session().args(&download).args([&to_file, "--output=json"]));
    assert_eq!((fs::read(&kept).unwrap().as_slice(), code), (GIF, 0));
    assert_eq!(
        serde_json::from_str::<Value>(&out).unwrap(),
        json!({ "file": kept.to_str().unwrap(), "size": GIF.len() })
    );
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    // No name can be longer.
    let longest = folder.path(&"a".repeat(255));
    let (_, err, code) = ran(session().args(&download).arg(format!("--output-file={}", longest.display())));
    assert_eq!((fs::read(&longest).unwrap().as_slice(), code), (GIF, 0), "{err}");

    // What is there is not replaced, whatever it is, and nothing is sent for what could not be kept.
    fs::write(&kept, PNG).unwrap();
    symlink("nowhere", folder.path("link")).unwrap();
    let calls = sandbox.call_log().len();
    for (path, problem) in [
        (kept.clone(), "kept: it exists, and is not replaced: give another path"),
        (folder.path("link"), "it exists, and is not replaced"),
        (folder.path(""), "it exists, and is not replaced"),
        ("/dev/stdout".into(), "it exists, and is not replaced"),
        ("-".into(), "-: it is no path: standard output gets the response without --output-file"),
        (folder.path("none/file"), "it cannot be made"),
        (folder.path("none/"), "it is the path of a folder: give that of a file"),
        (folder.path("none/."), "it is the path of a folder: give that of a file"),
    ] {
        let to_file = format!("--output-file={}", path.display());
        let (out, err, code) = ran(session().args(&download).arg(&to_file));
        assert!(err.contains(problem) && code == 2 && out.is_empty(), "{}: {code}: {err}", path.display());
    }
    let (_, err, code) = ran(session().args(&download).arg("--output=json"));
    assert!(err.contains("the response of get_attachment_content is a file, not JSON") && code == 2, "{err}");
    assert!(err.contains("--output-file FILE"), "{err}");
    let (_, err, code) = ran(session().args(&download).args([&to_file, "--dry-run"]));
    assert!(err.contains("cannot be used with") && code == 2, "{err}");
    assert_eq!((fs::read(&kept).unwrap().as_slice(), sandbox.call_log().len()), (PNG, calls));

    // After a refusal there is no file.
    let none = api(&Operation::GET_ATTACHMENT_CONTENT, "987654321");
    let to_file = format!("--output-file={}", folder.path("refused").display());
    let (_, err, code) = ran(session().args(none).arg(&to_file));
    assert_eq!(code, 9, "{err}");
    assert!(!folder.path("refused").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_written_to_a_terminal() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (state, key) = (folder.path(""), sandbox.api_key());
    let environment = [
        ("BUNQ_API_KEY", key.expose()),
        ("XDG_STATE_HOME", state.to_str().unwrap()),
        ("BUNQ_BASE_URL", sandbox.base_url()),
    ];
    let download = api(&Operation::GET_ATTACHMENT_CONTENT, "7");
    let words: Vec<_> = download.iter().map(String::as_str).collect();
    let (screen, code) = Terminal::start(100, &words, &environment).end();
    assert!(screen.contains("is a file, which is not written to a terminal") && code == 2, "{screen}");
    assert!(screen.contains("--output-file FILE") && sandbox.call_log().is_empty(), "{screen}");
}
