//! Certificates, and variables that are set to nothing: what is wrong is named, and what needs none works without.

use std::process::{Command, Stdio};

use bunq_partner_sandbox::Sandbox;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::Value;
use tokio_rustls::rustls::ALL_VERSIONS;

use crate::common::variables::{OTHERS, SETTINGS};
use crate::common::{Folder, by, program, program_for, ran, skipped};
use crate::tls::{Authority, address_of, terminate_tls};

/// The program for a bank that speaks TLS.
fn over_tls(folder: &Folder, base_url: &str) -> Command {
    let mut command = program(folder);
    command.env("BUNQ_API_KEY", "sandbox_0123456789").args(["--base-url", base_url]);
    command
}

/// What `doctor` says: the names of the steps that failed, and the verdict with what to do next.
fn doctor(command: &mut Command) -> (Vec<String>, String) {
    let (out, _, code) = ran(command.args(["doctor", "--output", "json"]));
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    assert_eq!(code, 1, "{out}");
    let steps = report["steps"].as_array().unwrap().iter().filter(|step| step["state"] == "failed");
    let verdict = &report["verdict"];
    let said = format!("{} {}", verdict["summary"].as_str().unwrap(), verdict["next"].as_str().unwrap());
    (steps.map(|step| step["name"].as_str().unwrap().to_owned()).collect(), said)
}

/// As in a container without the package ca-certificates.
#[cfg(target_os = "linux")]
#[test]
fn a_machine_without_certificates_is_told_so() {
    test_timeout::start();
    let folder = Folder::new();
    let bare = |plain: &Command| {
        let script = "for folder in /etc/ssl /etc/pki /usr/lib/ssl /usr/share/ssl; do
             [ ! -d $folder ] || mount -t tmpfs tmpfs $folder || exit 99
         done; exec \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]);
        by(command, plain)
    };
    if !bare(&Command::new("true")).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return skipped("the folders of the system's certificates cannot be covered");
    }
    let (_, stderr, code) = ran(&mut bare(over_tls(&folder, "https://127.0.0.1:9/v1").arg("list")));
    let said = "this machine has no certificates to check a server's with: install them";
    assert!(stderr.matches(said).count() == 1 && code == 19, "{code}: {stderr}");
    let (steps, verdict) = doctor(&mut bare(&over_tls(&folder, "https://127.0.0.1:9/v1")));
    assert!(steps == ["certificates"] && verdict.contains(said), "{steps:?} {verdict}");
    let (_, stderr, code) = ran(&mut bare(program(&folder).args(["--sandbox", "list"])));
    assert_eq!((stderr.as_str(), code), ("", 0));
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_wrong_with_the_certificates_is_named_once() {
    test_timeout::start();
    let folder = Folder::new();
    let pem = Authority::new().pem();
    let (der, empty) = (folder.path("certificate.der"), folder.path("empty"));
    std::fs::write(&der, pem::parse(&pem).unwrap().into_contents()).unwrap();
    std::fs::create_dir(&empty).unwrap();
    let pipe = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let indented: String = pem.lines().map(|line| format!("    {line}\n")).collect();
    let damaged = pem.replacen("MII", "\u{fffd}", 1);
    for (variable, path, problem) in [
        ("SSL_CERT_FILE", folder.path("missing.pem"), "it does not exist"),
        ("SSL_CERT_FILE", der, "it is DER and not PEM: `openssl x509 -inform DER -in "),
        ("SSL_CERT_FILE", folder.file("indented.pem", &indented), "its lines are indented"),
        ("SSL_CERT_FILE", folder.file("marked.pem", &format!("\u{feff}{pem}")), "a byte order mark"),
        ("SSL_CERT_FILE", folder.file("damaged.pem", &damaged), "its certificate is damaged"),
        ("SSL_CERT_FILE", folder.file("empty.pem", ""), "it is empty"),
        ("SSL_CERT_FILE", folder.file("note.txt", "nothing"), "it is not PEM"),
        ("SSL_CERT_FILE", folder.file("key.pem", &KeyPair::generate().unwrap().serialize_pem()), "something else"),
        ("SSL_CERT_FILE", folder.0.clone(), "name it with SSL_CERT_DIR"),
        ("SSL_CERT_FILE", "/dev/zero".into(), "it is not a regular file"),
        ("SSL_CERT_FILE", pipe, "it is not a regular file"),
        ("SSL_CERT_DIR", folder.path("missing"), "it does not exist"),
        ("SSL_CERT_DIR", folder.path("empty.pem"), "name it with SSL_CERT_FILE"),
        ("SSL_CERT_DIR", empty, "no file in it has a certificate in PEM"),
    ] {
        let named = format!("{variable}: {}: ", path.display());
        let (_, err, code) = ran(over_tls(&folder, "https://localhost:1/v1").env(variable, &path).arg("list"));
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(problem) && err.matches(&named).count() == 1, "{err}");
        assert!(err.contains(&format!("set {variable} right, or unset it")), "{err}");
        let (failed, said) = doctor(over_tls(&folder, "https://localhost:1/v1").env(variable, &path));
        assert_eq!(failed, ["certificates"], "{said}");
        assert!(said.contains(&named) && said.contains(&format!("set {variable} right")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_loopback_needs_no_certificates() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let missing = folder.path("missing.pem");
    let (_, err, code) = ran(program_for(&folder, &sandbox).env("SSL_CERT_FILE", &missing).arg("list"));
    assert_eq!(code, 0, "{err}");
    let (_, err, code) = ran(program(&folder).env("SSL_CERT_FILE", &missing).args(["--sandbox", "list"]));
    assert_eq!(code, 0, "{err}");
}

/// Whoever cannot unset a variable leaves it empty.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_variable_is_not_set() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let key = folder.file("key.txt", sandbox.api_key().expose());
    #[cfg(unix)]
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let authority = Authority::new();
    let server = terminate_tls(&sandbox, authority.server(&["localhost"], false, ALL_VERSIONS)).await;
    let at = |base_url: &str| {
        let mut command = program(&folder);
        for name in SETTINGS.into_iter().chain(OTHERS) {
            command.env(name, "");
        }
        command.args(["list", "--base-url", base_url, "--api-key-file"]).arg(&key);
        command
    };
    let (_, err, code) = ran(&mut at(sandbox.base_url()));
    assert_eq!(code, 0, "{err}");
    let (_, err, _) = ran(&mut at(&format!("https://localhost:{}/v1", server.port())));
    // This machine may have no certificates at all.
    assert!(err.contains("UnknownIssuer") || err.contains("this machine has no certificates"), "{err}");
    // An empty folder beside the file is none.
    let trusted = folder.file("authority.pem", &authority.pem());
    let trusting = at(&format!("https://localhost:{}/v1", server.port())).env("SSL_CERT_FILE", trusted).output();
    assert!(trusting.unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_its_own_authority_says_how_to_make_another() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(vec!["localhost".into()]).unwrap();
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = own.self_signed(&key).unwrap();
    let config = tokio_rustls::rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let server = terminate_tls(&sandbox, std::sync::Arc::new(config).into()).await;
    let base_url = format!("https://localhost:{}/v1", server.port());
    let file = folder.file("own.pem", &own.pem());
    let (_, err, code) = ran(over_tls(&folder, &base_url).env("SSL_CERT_FILE", &file).arg("list"));
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("`openssl req -x509 ") && err.contains("basicConstraints=critical,CA:FALSE"), "{err}");
    let (failed, said) = doctor(over_tls(&folder, &base_url).env("SSL_CERT_FILE", &file));
    assert!(failed == ["TLS"] && said.contains("`openssl req -x509 "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_for_plain_http_is_named() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let base_url = format!("https://localhost:{}/v1", address_of(&sandbox).port());
    let trusted = folder.file("authority.pem", &Authority::new().pem());
    let (_, err, code) = ran(over_tls(&folder, &base_url).env("SSL_CERT_FILE", &trusted).arg("list"));
    assert!(code == 3 && err.contains("does not speak TLS: is it the port for plain HTTP"), "{err}");
    let (failed, said) = doctor(over_tls(&folder, &base_url).env("SSL_CERT_FILE", &trusted));
    assert!(failed == ["TLS"] && said.contains("does not speak TLS"), "{said}");
}
