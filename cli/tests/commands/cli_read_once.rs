//! What is read once, as a key, a public key, a body, a seed, a profile of a bank or receipts: a regular file or a pipe, which may
//! have no end, and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bunq_partner::{Operation, ReceiptFile};
use bunq_partner_sandbox::Sandbox;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::common::bulk::{Signal, signal};
use crate::common::{Folder, hearing, in_shell, program, ran};

/// A file with the receipt of a closing.
async fn receipts(folder: &Folder, sandbox: &Sandbox) -> PathBuf {
    let path = folder.path("receipts");
    let client = sandbox.client().observer(ReceiptFile::open(&path).await.unwrap()).build().unwrap();
    let _ = client.provisions().close(sandbox.populate(1)[0]).await.unwrap();
    path
}

/// A command that reads one file, which is given last.
struct Reader {
    what: &'static str,
    arguments: Vec<String>,
    /// What stands before the path.
    before: &'static str,
    /// The exit code if it is refused.
    refused: i32,
    /// What is right.
    content: String,
}

impl Reader {
    fn with(&self, folder: &Folder, path: &Path) -> Command {
        let mut command = program(folder);
        command.args(&self.arguments).arg(format!("{}{}", self.before, path.display()));
        command
    }
}

async fn readers(folder: &Folder, sandbox: &Sandbox) -> Vec<Reader> {
    let receipts = receipts(folder, sandbox).await;
    let receipt = fs::read_to_string(&receipts).unwrap();
    let line: serde_json::Value = serde_json::from_str(&receipt).unwrap();
    let public_key = line["public_key"].as_str().unwrap().to_owned();
    let reader = |what, arguments: &[&str], before, refused, content| {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Reader { what, arguments, before, refused, content }
    };
    let verify = ["receipts", "verify"];
    let bank = ["--base-url", sandbox.base_url()];
    let ids: Vec<_> = Operation::CREATE_ATTACHMENT.path_parameters().map(|name| format!("--param={name}=7")).collect();
    let file = ["--sandbox", "api", "create_attachment", "--dry-run"].into_iter().chain(ids.iter().map(String::as_str));
    let file: Vec<_> = file.chain(["--body"]).collect();
    vec![
        reader("key", &["whoami", bank[0], bank[1], "--api-key-file"], "", 2, sandbox.api_key().expose().to_owned()),
        reader("public key", &[verify[0], verify[1], receipts.to_str().unwrap(), "--public-key"], "", 2, public_key),
        reader("body", &["--sandbox", "api", "create_provision", "--dry-run", "--body"], "@", 2, "{}".into()),
        reader("file", &file, "@", 2, "GIF89a".into()),
        reader("seed", &["sandbox", "--seed"], "", 2, "[]".into()),
        reader("profile", &["sandbox", "--bank-profile"], "", 2, "{}".into()),
        reader("receipts", &verify, "", 21, receipt),
    ]
}

/// Runs a command until it ends, or until it has written its first line; then that line is there, and the code is 0.
fn first_line(command: &mut Command) -> (String, String, i32) {
    if !command.get_args().any(|argument| argument == "--seed" || argument == "--bank-profile") {
        return ran(command);
    }
    // A sandbox runs until it is stopped.
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        signal(&child, Signal::TERM);
    }
    let output = child.wait_with_output().unwrap();
    (line, String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_and_what_is_empty_are_refused() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let readers = readers(&folder, &sandbox).await;
    let calls = sandbox.call_log().len();
    let empty = folder.file("empty", "");
    fs::set_permissions(&empty, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let kind = "it is neither a regular file nor a pipe";
    // The receipts of no call are no text of which something is missing.
    let nothing = |reader: &Reader| if reader.what == "receipts" { "the file is empty" } else { "it is empty" };
    for reader in &readers {
        for (path, problem) in [
            (Path::new("/dev/zero"), kind),
            (Path::new("/dev/null"), kind),
            (&folder.path(""), kind),
            (&empty, nothing(reader)),
        ] {
            let (_, stderr, code) = first_line(&mut reader.with(&folder, path));
            let what = format!("{} {}: {code}: {stderr}", reader.what, path.display());
            assert!(stderr.contains(problem) && code == reader.refused, "{what}");
        }
        // Standard input that is no pipe is what it leads to.
        let mut shell = in_shell(&reader.with(&folder, Path::new("/dev/stdin")), "exec \"$0\" \"$@\" </dev/null");
        let (_, stderr, code) = first_line(&mut shell);
        assert!(stderr.contains(kind) && code == reader.refused, "{}: {code}: {stderr}", reader.what);
        let mut shell = in_shell(&reader.with(&folder, Path::new("/dev/stdin")), "exec \"$0\" \"$@\" < <(:)");
        let (_, stderr, code) = first_line(&mut shell);
        assert!(stderr.contains(nothing(reader)) && code == reader.refused, "{}: {code}: {stderr}", reader.what);
    }
    assert_eq!(sandbox.call_log().len(), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_is_read_as_the_shell_gives_it() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    for reader in readers(&folder, &sandbox).await {
        let content = folder.file("content", &reader.content);
        for (path, script) in [
            ("/dev/stdin", "exec \"$0\" \"$@\" < <(cat \"$CONTENT\")"),
            // As with `<(…)` in the place of the path.
            ("/dev/fd/9", "exec \"$0\" \"$@\" 9< <(cat \"$CONTENT\")"),
        ] {
            let mut shell = in_shell(&reader.with(&folder, Path::new(path)), script);
            let (stdout, stderr, code) = first_line(shell.env("CONTENT", &content));
            assert!(!stdout.is_empty() && code == 0, "{} {path}: {code}: {stderr}", reader.what);
        }
    }
}

/// The end of a pipe for writing, when the program has opened the other one.
fn opened_for_reading(pipe: &Path, program: &mut Child) -> File {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    loop {
        match OpenOptions::new().write(true).custom_flags(nonblocking).open(pipe) {
            Ok(held) => return held,
            Err(error) => assert_eq!(error.raw_os_error(), Some(Errno::NXIO.raw_os_error())),
        }
        assert_eq!(program.try_wait().unwrap(), None, "it has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A pipe with an end that nobody closes holds up no end of the program, and no signal.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_reading_of_a_pipe() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let pipe = folder.path("pipe");
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    for reader in readers(&folder, &sandbox).await {
        for kind in [Signal::INT, Signal::TERM] {
            let mut command = hearing(&reader.with(&folder, &pipe));
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let held = opened_for_reading(&pipe, &mut child);
            signal(&child, kind);
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(stderr.contains("interrupted"), "{} {kind:?}: {stderr}", reader.what);
            assert_eq!(output.status.code(), Some(130), "{} {kind:?}", reader.what);
            drop(held);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_end_is_read_up_to_a_bound() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    for reader in readers(&folder, &sandbox).await {
        let problem = match reader.what {
            // Their bound is that of a whole bank.
            "seed" | "profile" => continue,
            "receipts" => "1000 of the first 1000 receipts are not valid",
            _ => "it is larger than ",
        };
        let mut shell = in_shell(&reader.with(&folder, Path::new("/dev/stdin")), "exec \"$0\" \"$@\" < <(yes)");
        let (_, stderr, code) = ran(&mut shell);
        let expected = if reader.what == "receipts" { 1 } else { 2 };
        assert!(stderr.contains(problem) && code == expected, "{}: {code}: {stderr}", reader.what);
    }
}

/// Some editors put one before a text.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_is_no_part_of_a_text() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let is_text = |reader: &Reader| !["receipts", "file"].contains(&reader.what);
    for reader in readers(&folder, &sandbox).await.into_iter().filter(is_text) {
        let marked = folder.file("marked", &format!("\u{feff}{}", reader.content));
        fs::set_permissions(&marked, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let (stdout, stderr, code) = first_line(&mut reader.with(&folder, &marked));
        assert!(!stdout.is_empty() && code == 0, "{}: {code}: {stderr}", reader.what);
    }
    let mut body = program(&folder);
    body.args(["--sandbox", "api", "create_provision", "--dry-run", "--body", "-"]);
    let (stdout, stderr, code) = ran(&mut in_shell(&body, "printf '\\357\\273\\277{}' | \"$0\" \"$@\""));
    assert!(stdout.ends_with("\n{}\n") && code == 0, "{code}: {stderr}");
    let mut body = program(&folder);
    body.args(["--sandbox", "api", "create_provision", "--dry-run", "--body", "\u{feff}{}"]);
    let (stdout, stderr, code) = ran(&mut body);
    assert!(stdout.ends_with("\n{}\n") && code == 0, "{code}: {stderr}");
}
