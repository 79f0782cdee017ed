//! `create --from` where the bank cannot be reached: the program says why at once, and again.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bunq_partner_sandbox::Sandbox;
use tokio_rustls::rustls::ALL_VERSIONS;

use crate::common::bulk::{FAST, Signal, check_created, report, signal, users};
use crate::common::{Folder, hearing, program, ran};
use crate::tls::{Authority, listener, terminate_tls};

const API_KEY: &str = "sandbox_0123456789";

fn create(folder: &Folder, base_url: &str, from: &Path) -> Command {
    let mut program = program(folder);
    program
        .env("BUNQ_API_KEY", API_KEY)
        .args(["--base-url", base_url, "-o", "csv", "create", "--yes", "--from"])
        .arg(from);
    program
}

/// At a bank on this machine.
fn create_fast(folder: &Folder, base_url: &str, from: &Path) -> Command {
    let mut program = create(folder, base_url, from);
    program.args(["--rehearse", FAST]);
    program
}

fn begin(mut program: Command) -> (Child, impl Iterator<Item = String>) {
    let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    (child, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_ends_the_run() {
    test_timeout::start();
    let sandbox = Sandbox::builder().api_key(API_KEY.into()).start().await.unwrap();
    let (folder, authority, other) = (Folder::new(), Authority::new(), Authority::new());
    let server = terminate_tls(&sandbox, authority.server(&["localhost"], false, ALL_VERSIONS)).await;
    let base_url = format!("https://localhost:{}/v1", server.port());
    let [trusted, untrusted] =
        [("trusted", authority), ("other", other)].map(|(name, by)| folder.file(name, &by.pem()));
    let (from, uuids) = users(&folder, 4);

    let (_, stderr, code) = ran(create_fast(&folder, &base_url, &from).env("SSL_CERT_FILE", untrusted));
    assert_eq!(code, 3, "{stderr}");
    let first = stderr.lines().next().unwrap();
    assert!(first.contains("invalid peer certificate") && first.ends_with("it is tried again"), "{stderr}");
    let last = stderr.lines().rev().nth(1).unwrap();
    assert!(last.starts_with("error: ") && last.contains("invalid peer certificate"), "{stderr}");
    assert!(sandbox.call_log().is_empty());

    let (stdout, stderr, code) =
        ran(create_fast(&folder, &base_url, &from).arg("--resume").env("SSL_CERT_FILE", trusted));
    assert_eq!(code, 0, "{stderr}");
    check_created(&sandbox, &uuids, &report(&stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_refuses_is_waited_for() {
    test_timeout::start();
    let (listener, address) = listener().await;
    drop(listener);
    let folder = Folder::new();
    let (from, uuids) = users(&folder, 4);
    let (child, mut lines) = begin(create_fast(&folder, &format!("http://{address}/v1"), &from));
    let first = lines.next().unwrap();
    assert!(first.contains("refused") && first.ends_with("it is tried again"), "{first}");
    let sandbox = Sandbox::builder().api_key(API_KEY.into()).port(address.port()).start().await.unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{:?}", lines.collect::<Vec<_>>());
    check_created(&sandbox, &uuids, &report(&String::from_utf8(output.stdout).unwrap()));
}

#[test]
fn a_name_that_does_not_resolve_is_said_with_each_line() {
    test_timeout::start();
    let folder = Folder::new();
    let (from, _) = users(&folder, 4);
    let mut program = create(&folder, "https://bank.test/v1", &from);
    // A part of a name has 63 characters at most, so nobody is asked for it.
    program.env("HTTPS_PROXY", format!("http://{}.invalid:3128", "x".repeat(64)));
    let (mut child, mut lines) = begin(hearing(&program));
    let first = lines.next().unwrap();
    assert!(first.contains("lookup") && first.ends_with("it is tried again"), "{first}");
    // These are real seconds: a process has no other time.
    let second = lines.next().unwrap();
    assert!(second.starts_with("no row has ended for 15 s: ") && second.contains("lookup"), "{second}");
    signal(&child, Signal::INT);
    let last: Vec<_> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{last:?}");
}
