//! `doctor` against each thing that can be wrong: the verdict names it, or what was ruled out.

use std::net::IpAddr;
#[cfg(unix)]
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bunq_partner::jiff::{SignedDuration, Timestamp};
use bunq_partner::{Custody as _, CustodyEntry, FileCustody, Operation};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::common::{Folder, calls, program, program_for, ran};

struct Report(Value);

impl Report {
    /// Runs doctor, which must end with the code for "found something" or for "all is well".
    fn of(command: &mut Command) -> Self {
        Self::with(command, &[])
    }

    fn with(command: &mut Command, options: &[&str]) -> Self {
        let (out, err, code) = ran(command.args(["doctor", "--output", "json"]).args(options));
        assert_eq!(err, "");
        let report = Self(serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}")));
        assert_eq!(code, i32::from(report.0["verdict"]["is_well"] == false), "{out}");
        report
    }

    fn summary(&self) -> &str {
        self.0["verdict"]["summary"].as_str().unwrap()
    }

    fn next(&self) -> &str {
        self.0["verdict"]["next"].as_str().unwrap()
    }

    fn list(&self, name: &str) -> Vec<&str> {
        self.0["verdict"][name].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
    }

    /// What a step saw, and its state.
    fn step(&self, name: &str) -> (&str, &str) {
        let step = self.0["steps"].as_array().unwrap().iter().find(|step| step["name"] == name);
        let step = step.unwrap_or_else(|| panic!("no step {name}: {}", self.0));
        (step["state"].as_str().unwrap(), step["saw"].as_str().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let report = Report::of(&mut program_for(&folder, &sandbox));
    assert_eq!(report.summary(), "everything works");
    for name in [
        "key",
        "proxy",
        "DNS",
        "TCP",
        "HTTP",
        "clock",
        "context",
        "session",
        "list call",
        "device",
        "OAuth client",
        "signatures",
    ] {
        assert_eq!(report.step(name).0, "ok", "{name}");
    }
    assert!(report.step("device").1.ends_with("registered from 127.0.0.1, ACTIVE"));
    // A second run opens no other session.
    let report = Report::of(&mut program_for(&folder, &sandbox));
    assert!(report.step("context").1.contains("a registered device, a session until "), "{}", report.step("context").1);
    assert_eq!(calls(&sandbox, "POST", "/session-server").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_it_too() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (out, err, code) = ran(program_for(&folder, &sandbox).env("BUNQ_API_KEY", "sandbox_wrong").arg("doctor"));
    assert_eq!((err.as_str(), code), ("", 1));
    assert!(out.contains("FAIL  device "), "{out}");
    assert!(out.contains("\nVerdict: the API key, or the address that it is used from"), "{out}");
    assert!(!out.contains("sandbox_wrong"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_as_far_as_it_can_be() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let report = Report::of(program_for(&folder, &sandbox).env("BUNQ_API_KEY", "sandbox_wrong"));
    assert_eq!(report.summary(), "the API key, or the address that it is used from: bunq gives one answer for both");
    let left = report.list("left");
    assert_eq!(left[0], "the key is wrong, or has been revoked");
    assert!(left[1].contains("calls leave from 127.0.0.1, which is not public"), "{left:?}");
    assert_eq!(report.list("ruled_out"), ["a key of the other environment: it begins with `sandbox_`"]);
    assert!(report.next().starts_with("look the key up where it was made"));
    assert!(calls(&sandbox, "POST", "/session-server").is_empty(), "no session is asked for in vain");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_address_is_told_by_an_earlier_success() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    assert_eq!(Report::of(&mut program_for(&folder, &sandbox)).summary(), "everything works");
    sandbox.allow_addresses([IpAddr::from([192, 0, 2, 1])]);
    sandbox.end_sessions();
    let report = Report::of(&mut program_for(&folder, &sandbox));
    assert!(report.summary().starts_with("the address: bunq has accepted this key before"), "{}", report.summary());
    assert!(report.list("ruled_out")[1].starts_with("a wrong key: bunq has accepted it before"));
    assert_eq!(report.list("left")[1], "the key has been revoked since");
    // The first session, and the one that was to replace it.
    assert_eq!(calls(&sandbox, "POST", "/session-server").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_other_environment_is_not_sent() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let report = Report::of(program_for(&folder, &sandbox).env("BUNQ_API_KEY", "of-production"));
    assert!(report.summary().contains("it is a key of the production environment"), "{}", report.summary());
    assert!(sandbox.call_log().is_empty());
}

/// What people copy along with a key is named, also by a command that would send it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_dressed_up_is_not_sent() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let key = sandbox.api_key().expose().to_owned();
    for (dressed, problem) in [
        (format!("{key} {key}"), "white space inside"),
        (format!("'{key}'"), "quotes"),
        (format!("BUNQ_API_KEY={key}"), "a name and `=`"),
        (format!("{key}\n{key}"), "several lines"),
        (format!("\u{200b}{key}"), "its character 1 "),
    ] {
        for environment in ["sandbox", "production"] {
            let told =
                Report::of(program_for(&folder, &sandbox).env("BUNQ_API_KEY", &dressed).args(["--env", environment]));
            assert!(told.summary().contains(problem) && !told.summary().contains(&key), "{}", told.summary());
            let mut list = program_for(&folder, &sandbox);
            let (_, stderr, code) = ran(list.env("BUNQ_API_KEY", &dressed).args(["--env", environment, "list"]));
            assert!(code == 2 && stderr.contains(problem) && !stderr.contains(&key), "{stderr}");
        }
    }
    assert!(sandbox.call_log().is_empty());
    // A line end is none of the key, as in a file.
    assert_eq!(ran(program_for(&folder, &sandbox).env("BUNQ_API_KEY", format!("{key}\r\n")).arg("list")).2, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_known_is_named_and_no_key_is_sent() {
    test_timeout::start();
    let (port, authority, asked) = tls_server().await;
    let folder = Folder::new();
    let url = format!("https://localhost:{port}/v1");
    let doctor = || {
        let mut command = program(&folder);
        command.args(["--base-url", &url]).env("BUNQ_API_KEY", "sandbox_1");
        command
    };
    let report = Report::of(&mut doctor());
    assert!(
        report.summary().contains("TLS: localhost: invalid peer certificate: UnknownIssuer"),
        "{}",
        report.summary()
    );
    assert!(report.next().contains("SSL_CERT_FILE"));
    assert_eq!(report.step("session").0, "skipped");

    // With the authority the handshake succeeds, and says which one it was.
    let file = folder.file("authority.pem", &authority);
    let report = Report::of(doctor().env("SSL_CERT_FILE", file));
    assert!(asked.lock().unwrap().contains("GET /v1 HTTP/1.1"), "the server was reached");
    assert!(!asked.lock().unwrap().contains("sandbox_1"), "no key comes to a server that is not bunq's");
    let (state, saw) = report.step("TLS");
    assert_eq!((state, saw), ("ok", "TLS 1.3; the certificate is valid and was issued by CN=the test's authority"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_named() {
    test_timeout::start();
    for (answer, problem, remedy) in [
        ("HTTP/1.1 407 Proxy Authentication Required", "407 Proxy Authentication Required", "user and password"),
        ("HTTP/1.1 403 Forbidden", "403 Forbidden", "ask whoever runs the proxy"),
        ("HTTP/1.1 403 planted is wrong", "403 Forbidden", "ask whoever runs the proxy"),
        ("planted", "its response is not HTTP", "ask whoever runs the proxy"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 1024];
                let count = stream.read(&mut asked).await.unwrap();
                assert!(asked[..count].starts_with(b"CONNECT partner-api.sandbox.bunq.com:443 HTTP/1.1\r\n"));
                stream.write_all(format!("{answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
            }
        });
        let folder = Folder::new();
        let mut command = program(&folder);
        let proxy = format!("http://user:planted@127.0.0.1:{port}");
        let report = Report::of(command.env("BUNQ_API_KEY", "sandbox_1").env("HTTPS_PROXY", proxy));
        assert!(report.summary().contains("the proxy does not lead to partner-api.sandbox.bunq.com:443"));
        assert!(report.summary().contains(problem) && report.next().contains(remedy), "{}", report.0);
        assert!(!report.0.to_string().contains("planted"), "{}", report.0);
    }
}

/// A password with each character that could end it, before a proxy that is not there.
#[test]
fn nothing_before_the_host_of_a_proxy_is_shown() {
    test_timeout::start();
    let folder = Folder::new();
    let proxy = "127.0.0.1:1";
    let before_hosts = [
        "http://qzx:vwk@",
        "qzx:vwk@",
        "http://qzx:4711@vwk@",
        "http://qzx:4711/vwk@",
        "http://qzx/4711:vwk@",
        "http://qzx:4711?vwk@",
        "http://qzx:4711#vwk@",
        "http://qzx:4711\\vwk@",
        "http://qzx:vwk%2F4711@",
        "http://qzx:4711%@",
        "http://qzx:4711 vwk@",
        "http://qzx@vwk:4711/@",
        "https://qzx:4711/vwk@",
        "socks5://qzx:vwk@",
        "qzx://4711:vwk@",
        "qzx:vwk://4711@",
        "http:/qzx:4711/vwk@",
        "//qzx:vwk@",
    ];
    let check = |before_host: &str| {
        for arguments in [&["doctor"][..], &["doctor", "--output", "json"], &["list"]] {
            let mut command = program(&folder);
            command.env("BUNQ_API_KEY", "sandbox_1").env("HTTPS_PROXY", format!("{before_host}{proxy}"));
            let (out, err, code) = ran(command.args(arguments));
            let shown = out + &err;
            assert!(code != 0 && (shown.to_lowercase().contains("proxy") || arguments == ["list"]), "{shown}");
            let piece = ["qzx", "vwk", "4711"].into_iter().find(|piece| shown.contains(piece));
            assert_eq!(piece, None, "{before_host} {arguments:?}: {shown}");
        }
    };
    // All at once: `list` attempts its call several times.
    std::thread::scope(|scope| {
        for before_host in before_hosts {
            scope.spawn(move || check(before_host));
        }
    });
    let mut unreadable = program(&folder);
    let unreadable = unreadable.env("BUNQ_API_KEY", "sandbox_1").env("https_proxy", "http://user:a/b@proxy.example");
    let report = Report::of(unreadable);
    assert_eq!(report.step("proxy").0, "failed");
    assert!(report.summary().contains("https_proxy: it is not the URL of a proxy"), "{}", report.0);
    assert!(report.next().contains("set HTTPS_PROXY right"), "{}", report.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_two_days_off_is_named() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let two_days = std::time::Duration::from_secs(2 * 86_400 + 60);
    let date = bunq_partner::jiff::Timestamp::now() + two_days;
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    sandbox.after_signing(move |_, response| response.headers.push(("Date".into(), date.clone())));
    let report = Report::of(&mut program_for(&folder, &sandbox));
    assert_eq!(report.summary(), "the clock of this machine is 2 days behind the server's");
    assert!(report.next().starts_with("set it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_cannot_be_used_is_named() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let file = folder.file("context.json", "{\"format\": 1");
    let doctor = || {
        let mut command = program_for(&folder, &sandbox);
        command.arg("--context").arg(&file);
        command
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let report = Report::of(&mut doctor());
        assert!(report.summary().contains("its mode is 0644"), "{}", report.summary());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let report = Report::of(&mut doctor());
    assert!(report.summary().contains("the stored context is damaged (line 1, column 12)"), "{}", report.summary());
    assert_eq!(report.step("context").0, "failed");

    std::fs::remove_file(&file).unwrap();
    assert_eq!(Report::of(&mut doctor()).summary(), "everything works");
    let report = Report::of(doctor().env("BUNQ_API_KEY", "sandbox_other"));
    assert!(report.summary().contains("is sealed under another API key"), "{}", report.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_cannot_be_saved_is_named() {
    test_timeout::start();
    for is_known in [true, false] {
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        let file = folder.path("context.json");
        let doctor = || {
            let mut command = program_for(&folder, &sandbox);
            command.arg("--context").arg(&file);
            command
        };
        if is_known {
            assert_eq!(Report::of(&mut doctor()).summary(), "everything works");
        }
        // What is to replace the file cannot be written.
        std::fs::create_dir(folder.path("context.json.bunq-partner-tmp")).unwrap();
        let report = Report::of(&mut doctor());
        let steps = report.0["steps"].as_array().unwrap();
        assert!(steps.iter().any(|step| step["name"] == "context" && step["state"] == "failed"), "{}", report.0);
        assert!(report.summary().contains("it cannot be written"), "{}", report.summary());
        assert!(report.next().contains("can be"), "{}", report.next());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_installation_is_named() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    Report::of(&mut program_for(&folder, &sandbox));
    sandbox.forget_installations();
    let report = Report::of(&mut program_for(&folder, &sandbox));
    assert!(report.summary().starts_with("the installation: bunq has forgotten the one in the context file"));
    assert!(report.next().contains("`bunq-partner session reinstall`"), "{}", report.next());
    assert!(report.list("ruled_out")[0].starts_with("the API key and the address"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_the_way_is_examined() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let report = Report::of(program_for(&folder, &sandbox).env_remove("BUNQ_API_KEY"));
    assert_eq!(report.summary(), "key: there is no API key: set BUNQ_API_KEY");
    assert_eq!(report.step("HTTP"), ("ok", "a response of bunq's"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_bunqs_is_named() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    sandbox.inject(Injection::new(Fault::UnsignedStatus(404)).always());
    let report = Report::of(&mut program_for(&folder, &sandbox));
    assert!(report.summary().starts_with("it is not bunq that answers: a response with status 404"), "{}", report.0);
    assert!(report.next().starts_with("check the base URL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_answers_in_bunqs_place_is_named() {
    test_timeout::start();
    for operation in [&Operation::LIST_PROVISIONS, &Operation::CREATE_DEVICE_SERVER] {
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        sandbox.inject(Injection::new(Fault::UnsignedStatus(401)).on(operation).always());
        let report = Report::of(&mut program_for(&folder, &sandbox));
        assert!(report.summary().starts_with("it is not bunq that answers: "), "{}", report.0);
        assert_eq!(report.list("ruled_out"), ["the API key: bunq has not refused it"]);
        assert!(report.next().starts_with("look at the proxy"), "{}", report.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_not_do_it_is_told_from_a_wrong_one() {
    test_timeout::start();
    for fault in [Fault::Status(403), Fault::Forbidden] {
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        sandbox.inject(Injection::new(fault).on(&Operation::LIST_PROVISIONS).always());
        // A second session is opened, for which a bank without limits asks no wait.
        let report = Report::of(program_for(&folder, &sandbox).args(["--rehearse", "1000"]));
        assert!(report.summary().starts_with("bunq accepts the key, but does not allow it"), "{}", report.0);
        assert!(report.list("ruled_out")[0].starts_with("a wrong key"), "{}", report.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_url_without_its_version_is_named() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let base_url = sandbox.base_url().trim_end_matches("/v1");
    let at_it = || {
        let mut command = program(&folder);
        command.env("BUNQ_API_KEY", sandbox.api_key().expose()).args(["--base-url", base_url]);
        command
    };
    let report = Report::of(&mut at_it());
    assert!(report.summary().contains("the base URL does not lead to bunq's API: it ends with `/v1`"), "{}", report.0);
    assert!(report.next().contains("`bunq-partner config show`"), "{}", report.0);
    let (_, err, code) = ran(at_it().arg("list"));
    assert!(err.contains("it ends with `/v1`") && code == 12, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_repeats_secrets_does_not_get_them_shown() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    Report::of(&mut program_for(&folder, &sandbox));
    let session = calls(&sandbox, "GET", "/partner-user-provision").last().unwrap().clone();
    let token = session.header("x-bunq-client-authentication").unwrap().to_owned();
    let planted = format!("{} and {token}", sandbox.api_key().expose());
    let id = sandbox.populate(1)[0].to_string();
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::UPDATE_PROVISION).always());
    let is_closing = Arc::new(AtomicBool::new(false));
    let (repeated, spares_looks) = (planted, Arc::clone(&is_closing));
    sandbox.before_signing(move |call, response| {
        // A look that fails would be made again, as long as there is time.
        if call.method == "GET" && spares_looks.load(Ordering::Relaxed) {
            return;
        }
        response.status = 400;
        response.body = serde_json::json!({ "Error": [{ "error_description": repeated }] }).to_string().into();
        response.headers.push(("X-Bunq-Warning".into(), repeated.clone()));
    });
    for arguments in
        [&["doctor"][..], &["list"], &["list", "--output", "json"], &["close", &id], &["api", "get_installation"]]
    {
        is_closing.store(arguments[0] == "close", Ordering::Relaxed);
        let (out, err, code) = ran(program_for(&folder, &sandbox).args(arguments));
        let shown = out + &err;
        assert!(code != 0 && shown.contains("[redacted] and [redacted]"), "{arguments:?}: {shown}");
        assert!(!shown.contains(sandbox.api_key().expose()) && !shown.contains(&token), "{arguments:?}: {shown}");
    }
}

#[test]
fn a_dead_network_is_named() {
    test_timeout::start();
    let folder = Folder::new();
    let mut command = program(&folder);
    let report = Report::of(command.args(["--base-url", "https://127.0.0.1:1/v1"]).env("BUNQ_API_KEY", "sandbox_1"));
    assert!(report.summary().contains("TCP: 127.0.0.1:1: Connection refused"), "{}", report.summary());
    assert_eq!(report.step("session").0, "skipped");
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_that_are_not_bunqs_are_named() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    // The key of bunq's is that of an earlier run.
    Report::of(&mut program_for(&folder, &sandbox));
    let wrong = Injection::new(Fault::ForeignSignature).on(&Operation::LIST_PROVISIONS).always();
    sandbox.inject(wrong);
    let report = Report::of(&mut program_for(&folder, &sandbox));
    assert!(report.summary().starts_with("the responses are not signed with the key of bunq's that is kept"));
    assert!(report.next().contains("`bunq-partner session reinstall`"), "{}", report.next());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_of_bunqs_is_shown() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    sandbox.before_signing(|_, response| response.headers.push(("X-Bunq-Warning".into(), "It ends in May.".into())));
    let report = Report::of(&mut program_for(&folder, &sandbox));
    assert_eq!(report.summary(), "everything works, with one warning");
    assert_eq!(report.step("warnings"), ("warning", "It ends in May."));
}

/// A server with a certificate for localhost, of an authority that nobody knows; its port, the authority in PEM, and what
/// it is asked.
async fn tls_server() -> (u16, String, Arc<Mutex<String>>) {
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "the test's authority");
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::from_params(&authority, &authority_key);
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = tokio_rustls::rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let asked = Arc::new(Mutex::new(String::new()));
    let log = Arc::clone(&asked);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut bytes = [0; 4096];
                let count = stream.read(&mut bytes).await.unwrap_or_default();
                log.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
                let _ = stream
                    .write_all(
                        b"HTTP/1.1 404 Not Found
Content-Length: 0

",
                    )
                    .await;
            });
        }
    });
    (port, root.pem(), asked)
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_custody_is_examined_if_there_is_one() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.own_folder("users");
    let look = || Report::with(&mut program_for(&folder, &sandbox), &["--custody", users.to_str().unwrap()]);
    let report = Report::of(&mut program_for(&folder, &sandbox));
    assert!(!report.0["steps"].to_string().contains("custody"), "{}", report.0);
    let (state, saw) = (look().step("custody").0.to_owned(), look().step("custody").1.to_owned());
    assert!(state == "ok" && saw.contains("no user waits to be activated"), "{saw}");

    let custody = FileCustody::new(&users);
    for (id, seconds) in [(1_u64, 7230), (2, 9000), (3, -60)] {
        let mut user = CustodyEntry::new(id.try_into().unwrap());
        user.expiry = Some(Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).unwrap().into());
        let lock = custody.lock(user.provision_id).await.unwrap();
        custody.save(&lock, user, "{}".into()).await.unwrap();
        drop(lock);
    }
    let report = look();
    let (state, saw) = report.step("custody");
    assert!(state == "warning" && saw.contains("another process uses it"), "{saw}");
    drop(custody);
    let report = look();
    let (state, saw) = report.step("custody");
    let expected =
        "3 users are not activated, and the next credential expires in 2 h; 1 credentials have expired unused";
    assert!(state == "warning" && saw.ends_with(expected), "{saw}");
    assert_eq!(report.summary(), "everything works, with one warning");

    std::fs::set_permissions(&users, std::fs::Permissions::from_mode(0o755)).unwrap();
    let report = look();
    assert_eq!(report.step("custody").0, "failed");
    assert!(report.summary().starts_with("custody: ") && report.summary().contains("chmod"), "{}", report.summary());
}
