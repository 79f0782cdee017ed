//! How the client reaches bunq: proxies, certificates and addresses. A server with TLS is in front of the sandbox.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bunq_partner::reqwest::tls::Version;
use bunq_partner::reqwest::{self, Proxy};
use bunq_partner::types::Language;
use bunq_partner::{
    Client, ClientBuilder, Environment, ErrorKind, HttpConfig, MemoryCustody, RetryPolicy, Sent, TlsVersion,
};
use bunq_partner_sandbox::Sandbox;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::rustls::{self, ClientConfig, version};
use tracing_subscriber::filter::LevelFilter;

use crate::common::Log;
use crate::tls::{Authority, address_of, listener, terminate_tls};

/// A name that does not resolve: only the proxy and the tests know it.
const BANK: &str = "bank.test";
const PASSWORD: &str = "a-password-of-the-proxy";
const BASE_URL: &str = "BUNQ_TEST_BASE_URL";
const API_KEY: &str = "BUNQ_TEST_API_KEY";

/// The requests that a forward proxy got.
type Asked = Arc<Mutex<Vec<String>>>;

/// A forward proxy that lets `user` with the password through, to the one server that it knows.
async fn forward_proxy(server: SocketAddr) -> (SocketAddr, Asked) {
    forward_proxy_for(format!("user:{PASSWORD}").as_bytes(), server).await
}

async fn forward_proxy_for(login: &[u8], server: SocketAddr) -> (SocketAddr, Asked) {
    let login = format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(login));
    let (listener, address) = listener().await;
    let asked = Asked::default();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (log, login) = (Arc::clone(&log), login.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                log.lock().unwrap().push(head.clone());
                if !head.contains(&login) {
                    let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
                    return stream.write_all(refusal).await.unwrap();
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut server = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    (address, asked)
}

/// A sandbox that may be called by any name: on loopback it takes none but loopback's.
async fn bank() -> Sandbox {
    Sandbox::builder().listen(Ipv4Addr::UNSPECIFIED).start().await.unwrap()
}

/// A middlebox in front of the sandbox that closes each connection at its second request. It counts how often it has.
async fn breaking_box(sandbox: &Sandbox) -> (SocketAddr, Arc<AtomicUsize>) {
    let (listener, address) = listener().await;
    let bank = address_of(sandbox);
    let broken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&broken);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut bank = TcpStream::connect(bank).await.unwrap();
                let (mut from_client, mut to_client) = stream.split();
                let (mut from_bank, mut to_bank) = bank.split();
                let (mut sent, mut received) = ([0; 4096], [0; 4096]);
                let mut has_response = false;
                loop {
                    tokio::select! {
                        read = from_client.read(&mut sent) => match read {
                            Ok(1..) if has_response => {
                                count.fetch_add(1, Ordering::Relaxed);
                                return;
                            }
                            Ok(len @ 1..) => to_bank.write_all(&sent[..len]).await.unwrap(),
                            _ => return,
                        },
                        read = from_bank.read(&mut received) => match read {
                            Ok(len @ 1..) => {
                                has_response = true;
                                to_client.write_all(&received[..len]).await.unwrap();
                            }
                            _ => return,
                        },
                    }
                }
            });
        }
    });
    (address, broken)
}

/// A request that fails on a pooled connection is sent again on a fresh one.
#[tokio::test(start_paused = true)]
async fn a_box_that_closes_kept_connections_fails_nothing() {
    test_timeout::start();
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let (address, broken) = breaking_box(&sandbox).await;
    let client = sandbox.client().base_url(format!("http://{address}/v1")).build().unwrap();
    let provisions = client.provisions();
    for count in 1..=3 {
        let ready = provisions.create(crate::common::person()).await.unwrap().await.unwrap();
        assert_eq!(sandbox.provision_ids().len(), count);
        provisions.reset_token(ready.id).await.unwrap().await.unwrap();
        provisions.close(ready.id).await.unwrap().await.unwrap();
    }
    assert!(broken.load(Ordering::Relaxed) > 3);
}

fn client(sandbox: &Sandbox, base_url: String, http: HttpConfig) -> ClientBuilder {
    sandbox.client().base_url(base_url).http(http).retry(RetryPolicy::default().max_attempts(1))
}

/// Makes a call that fails to connect, and returns why. Nothing may have reached the bank.
async fn failure(sandbox: &Sandbox, base_url: String, http: HttpConfig) -> String {
    let error = client(sandbox, base_url, http).build().unwrap().open_session().await.unwrap_err();
    assert!(sandbox.take_call_log().is_empty(), "{error}");
    assert!(!format!("{error:?}").contains(PASSWORD), "{error:?}");
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::No), "{error}");
    error.to_string()
}

fn proxy_url(address: SocketAddr, password: &str) -> String {
    format!("http://user:{password}@{address}")
}

#[tokio::test]
async fn calls_go_through_a_proxy_with_a_password() {
    test_timeout::start();
    let (sandbox, authority) = (bank().await, Authority::new());
    let server = terminate_tls(&sandbox, authority.server(&[BANK], false, rustls::ALL_VERSIONS)).await;
    let (proxy, asked) = forward_proxy(server).await;
    let trusting = || HttpConfig::default().root_certificates(authority.pem());
    let base_url = || format!("https://{BANK}/v1");

    let http = trusting().proxy(proxy_url(proxy, PASSWORD));
    assert!(!format!("{http:?}").contains(PASSWORD), "{http:?}");
    client(&sandbox, base_url(), http.clone()).build().unwrap().open_session().await.unwrap();
    let asked_for = asked.lock().unwrap().drain(..).next().unwrap();
    assert!(asked_for.starts_with("CONNECT bank.test:443 HTTP/1.1\r\n"), "{asked_for}");
    assert!(!asked_for.contains("sandbox_"), "{asked_for}");
    assert!(!sandbox.take_call_log().is_empty());
    let own = http.reqwest_client(&base_url()).unwrap();
    own.get(format!("{}/user", base_url())).send().await.unwrap();
    assert!(asked.lock().unwrap().drain(..).any(|asked| asked.starts_with("CONNECT bank.test:443 ")));
    assert_eq!(sandbox.take_call_log()[0].path, "/v1/user");

    let problem = failure(&sandbox, base_url(), trusting().proxy(proxy_url(proxy, "another"))).await;
    assert!(problem.contains("proxy"), "{problem}");
    // The proxy cannot read TLS, and no other server can pretend to be the bank.
    let problem = failure(&sandbox, base_url(), HttpConfig::default().proxy(proxy_url(proxy, PASSWORD))).await;
    assert!(problem.contains("UnknownIssuer"), "{problem}");
}

/// One password in each spelling that a proxy setting allows.
#[tokio::test]
async fn what_reaches_the_proxy_is_what_was_meant() {
    test_timeout::start();
    let (sandbox, authority) = (bank().await, Authority::new());
    let server = terminate_tls(&sandbox, authority.server(&[BANK], false, rustls::ALL_VERSIONS)).await;
    let file = authority.file();
    for (before_host, login) in [
        ("http://user:p%40ss%2Fw%3Ard%23%3F%25@", b"user:p@ss/w:rd#?%".as_slice()),
        ("http://user%40acme:p@ss:word@", b"user@acme:p@ss:word"),
        ("user:p\u{e4}ss 100%sure|^`{}@", "user:p\u{e4}ss 100%sure|^`{}".as_bytes()),
        ("http://user:%ff%fe@", b"user:\xff\xfe"),
        ("http://user@", b"user:"),
    ] {
        let (proxy, asked) = forward_proxy_for(login, server).await;
        let setting = format!("{before_host}{proxy}");
        let http = HttpConfig::default().root_certificates(authority.pem()).proxy(setting.clone());
        client(&sandbox, format!("https://{BANK}/v1"), http).build().unwrap().open_session().await.unwrap();
        assert_eq!(asked.lock().unwrap().drain(..).len(), 1, "{setting}");
        let mut process = another_process_to(&sandbox, server, &file);
        assert!(has_succeeded(process.env("ALL_PROXY", &setting)).await, "{setting}");
        assert_eq!(asked.lock().unwrap().drain(..).len(), 1, "{setting}");
    }
    std::fs::remove_file(file).unwrap();
}

/// A setting that cannot be read does not mean a direct connection, and an empty one does not hide another.
#[tokio::test]
async fn a_proxy_that_cannot_be_read_is_no_direct_way() {
    test_timeout::start();
    let (sandbox, authority) = (bank().await, Authority::new());
    let server = terminate_tls(&sandbox, authority.server(&[BANK], false, rustls::ALL_VERSIONS)).await;
    let (proxy, asked) = forward_proxy(server).await;
    let file = authority.file();
    for setting in [format!("http://user:pass/word@{proxy}"), "http://".into(), "socks5://127.0.0.1".into(), " ".into()]
    {
        let mut process = another_process_to(&sandbox, server, &file);
        assert!(!has_succeeded(process.env("HTTPS_PROXY", &setting)).await, "{setting}");
        assert!(sandbox.take_call_log().is_empty() && asked.lock().unwrap().is_empty(), "{setting}");
    }
    let mut process = another_process_to(&sandbox, server, &file);
    process.env("HTTPS_PROXY", "").env("https_proxy", proxy_url(proxy, PASSWORD)).env("REQUEST_METHOD", "GET");
    assert!(has_succeeded(&mut process).await);
    assert_eq!(asked.lock().unwrap().drain(..).len(), 1);
    assert!(has_succeeded(process.env("no_proxy", BANK)).await);
    assert!(asked.lock().unwrap().is_empty(), "`no_proxy` was not kept");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn loopback_is_never_reached_through_a_proxy() {
    test_timeout::start();
    let (sandbox, authority) = (Sandbox::start().await.unwrap(), Authority::new());
    let (proxy, asked) = forward_proxy(address_of(&sandbox)).await;
    let http = HttpConfig::default().root_certificates(authority.pem()).proxy(proxy_url(proxy, PASSWORD));
    client(&sandbox, sandbox.base_url().to_owned(), http.clone()).build().unwrap().open_session().await.unwrap();
    let server = terminate_tls(&sandbox, authority.server(&["localhost"], false, rustls::ALL_VERSIONS)).await;
    let base_url = format!("https://localhost:{}/v1", server.port());
    client(&sandbox, base_url, http).build().unwrap().open_session().await.unwrap();
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_host_that_plain_http_is_allowed_to_is_reached_without_a_proxy() {
    test_timeout::start();
    let sandbox = bank().await;
    let (address, log) = (address_of(&sandbox), Log::default());
    let (proxy, asked) = forward_proxy(address).await;
    let base_url = format!("http://{BANK}:{}/v1", address.port());
    let resolved = |http: HttpConfig| http.customize(move |builder| builder.resolve(BANK, address));
    let through = proxy_url(proxy, PASSWORD);
    let customized = {
        let through = through.clone();
        HttpConfig::default()
            .customize(move |builder| builder.resolve(BANK, address).proxy(Proxy::all(through.as_str()).unwrap()))
    };
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _subscribed = tracing::subscriber::set_default(subscriber);
    for http in [resolved(HttpConfig::default()), resolved(HttpConfig::default().proxy(through)), customized] {
        let client = client(&sandbox, base_url.clone(), http)
            .allow_plain_http("BANK.Test")
            .custody(MemoryCustody::new())
            .build()
            .unwrap();
        let said = log.take();
        assert!(said.contains("WARN") && said.contains("plain HTTP") && said.contains("host=\"bank.test\""), "{said}");
        client.open_session().await.unwrap();
        let ids = sandbox.populate(1);
        client.provisions().get(ids[0]).await.unwrap();
        let calls = sandbox.take_call_log();
        assert!(calls.iter().all(|call| call.header("host").is_some_and(|host| host.starts_with("bank.test:"))));
        assert_eq!(calls.last().map(|call| call.status), Some(200));
        // A user's client reaches the same host.
        client.users().activate(ids[0]).await.unwrap().api().list_credentials().await.unwrap();
        assert!(!sandbox.take_call_log().is_empty());
        log.take();
    }
    assert!(asked.lock().unwrap().is_empty(), "a proxy was used");
}

#[tokio::test]
async fn plain_http_that_is_allowed_follows_no_redirect() {
    test_timeout::start();
    let sandbox = bank().await;
    let (address, elsewhere) = (address_of(&sandbox), Sandbox::start().await.unwrap());
    let target = elsewhere.base_url().to_owned();
    sandbox.after_signing(move |_, response| {
        response.status = 307;
        response.headers.push(("Location".to_owned(), format!("{target}/installation")));
    });
    let http = HttpConfig::default().customize(move |builder| builder.resolve(BANK, address));
    let base_url = format!("http://{BANK}:{}/v1", address.port());
    let client = client(&sandbox, base_url, http).allow_plain_http(BANK).build().unwrap();
    assert!(client.open_session().await.is_err());
    assert!(elsewhere.call_log().is_empty());
}

/// A process that opens a session at the bank, whose name resolves to this server. It trusts the authority in the file.
fn another_process_to(sandbox: &Sandbox, server: SocketAddr, authority: &Path) -> Command {
    let mut another_process = Command::new(std::env::current_exe().unwrap());
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_DIR"] {
        another_process.env_remove(name);
    }
    another_process
        .args(["network::another_process", "--exact", "--ignored"])
        .env(BASE_URL, format!("https://{BANK}:{}/v1", server.port()))
        .env(API_KEY, sandbox.api_key().expose())
        .env("SSL_CERT_FILE", authority)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    another_process
}

async fn has_succeeded(process: &mut Command) -> bool {
    let mut child = process.spawn().unwrap();
    tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap().success()
}

/// The body of another process: `HTTPS_PROXY` and `SSL_CERT_FILE` apply to a whole process.
#[tokio::test]
#[ignore = "another test starts it"]
async fn another_process() {
    test_timeout::start();
    let (base_url, key) = (std::env::var(BASE_URL).unwrap(), std::env::var(API_KEY).unwrap());
    let port = base_url.rsplit(':').next().unwrap().trim_end_matches("/v1").parse().unwrap();
    let is_direct = std::env::var("BUNQ_TEST_DIRECT").is_ok();
    let http = if is_direct { HttpConfig::default().no_proxy() } else { HttpConfig::default() };
    let http = http.customize(move |builder| {
        builder.resolve(BANK, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).tls_sslkeylogfile(true)
    });
    let client = Client::builder(Environment::Sandbox).api_key(key).base_url(base_url).http(http);
    client.build().unwrap().open_session().await.unwrap();
}

#[tokio::test]
async fn the_environment_names_a_proxy_and_certificates() {
    test_timeout::start();
    let (sandbox, authority) = (bank().await, Authority::new());
    let server = terminate_tls(&sandbox, authority.server(&[BANK], false, rustls::ALL_VERSIONS)).await;
    let (proxy, asked) = forward_proxy(server).await;
    let file = authority.file();
    let mut another_process = another_process_to(&sandbox, server, &file);
    another_process.env("HTTPS_PROXY", proxy_url(proxy, PASSWORD)).env("SSLKEYLOGFILE", file.with_extension("keys"));
    assert!(has_succeeded(&mut another_process).await);
    assert_eq!(asked.lock().unwrap().drain(..).len(), 1);
    assert!(has_succeeded(another_process.env("BUNQ_TEST_DIRECT", "1")).await);
    assert!(asked.lock().unwrap().is_empty(), "`no_proxy` has used a proxy");
    assert!(!has_succeeded(another_process.env_remove("SSL_CERT_FILE")).await, "an unknown authority was trusted");
    assert!(!file.with_extension("keys").exists(), "the keys of TLS were written down");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_private_authority_and_a_client_certificate() {
    test_timeout::start();
    let (sandbox, authority) = (Sandbox::start().await.unwrap(), Authority::new());
    let server = terminate_tls(&sandbox, authority.server(&["localhost"], true, rustls::ALL_VERSIONS)).await;
    let base_url = || format!("https://localhost:{}/v1", server.port());
    let trusting = || HttpConfig::default().root_certificates(authority.pem());

    let http = trusting().client_certificate(authority.client_pem());
    client(&sandbox, base_url(), http).build().unwrap().open_session().await.unwrap();
    assert!(!sandbox.take_call_log().is_empty());

    let unknown = HttpConfig::default().client_certificate(authority.client_pem());
    let problem = failure(&sandbox, base_url(), unknown).await;
    assert!(problem.contains("UnknownIssuer"), "{problem}");

    // With TLS 1.3, the server may refuse the client's certificate after the request was sent.
    for http in [trusting(), trusting().client_certificate(Authority::new().client_pem())] {
        let error = client(&sandbox, base_url(), http).build().unwrap().open_session().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Connect | ErrorKind::Connection), "{error}");
        assert!(sandbox.take_call_log().is_empty());
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    test_timeout::start();
    let (sandbox, authority) = (bank().await, Authority::new());
    let server = terminate_tls(&sandbox, authority.server(&[BANK], false, rustls::ALL_VERSIONS)).await;
    let http = HttpConfig::default().root_certificates(authority.pem());
    let problem = failure(&sandbox, format!("https://localhost:{}/v1", server.port()), http).await;
    assert!(problem.contains("certificate"), "{problem}");
}

#[tokio::test]
async fn an_older_tls_is_refused() {
    test_timeout::start();
    let (sandbox, authority) = (Sandbox::start().await.unwrap(), Authority::new());
    let server = terminate_tls(&sandbox, authority.server(&["localhost"], false, &[&version::TLS12])).await;
    let base_url = || format!("https://localhost:{}/v1", server.port());
    let http = HttpConfig::default().root_certificates(authority.pem());
    client(&sandbox, base_url(), http.clone()).build().unwrap().open_session().await.unwrap();
    sandbox.take_call_log();
    let strict = http.clone().min_tls_version(TlsVersion::V1_3);
    failure(&sandbox, base_url(), strict.clone()).await;
    failure(&sandbox, base_url(), strict.clone().customize(|builder| builder.tls_version_min(Version::TLS_1_2))).await;
    // The function can raise the version, whether it was set or not.
    for version in [TlsVersion::V1_2, TlsVersion::default()] {
        let raised = http.clone().min_tls_version(version);
        failure(&sandbox, base_url(), raised.customize(|builder| builder.tls_version_min(Version::TLS_1_3))).await;
    }
    let neither = strict.customize(|builder| builder.tls_version_max(Version::TLS_1_2));
    let error = client(&sandbox, base_url(), neither).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("customize") && error.to_string().contains("tls versions"), "{error}");
}

/// The function does not override a proxy setting.
#[tokio::test]
async fn the_proxy_that_was_set_cannot_be_replaced() {
    test_timeout::start();
    let (sandbox, authority) = (bank().await, Authority::new());
    let server = terminate_tls(&sandbox, authority.server(&[BANK], false, rustls::ALL_VERSIONS)).await;
    let ((proxy, asked), (other, asked_other)) = (forward_proxy(server).await, forward_proxy(server).await);
    let base_url = format!("https://{BANK}:{}/v1", server.port());
    let through = move || Proxy::all(proxy_url(other, PASSWORD)).unwrap();
    let trusting = HttpConfig::default().root_certificates(authority.pem());
    let resolved = move |builder: reqwest::ClientBuilder| {
        builder.resolve(BANK, SocketAddr::from((Ipv4Addr::LOCALHOST, server.port())))
    };
    let set = trusting.clone().proxy(proxy_url(proxy, PASSWORD));
    for (http, asks) in [
        (set.clone().customize(move |builder| resolved(builder).no_proxy()), [1, 0]),
        (set.customize(move |builder| resolved(builder).no_proxy().proxy(through())), [1, 0]),
        (trusting.clone().no_proxy().customize(move |builder| resolved(builder).proxy(through())), [0, 0]),
        // No proxy was set.
        (trusting.customize(move |builder| resolved(builder).proxy(through())), [0, 1]),
    ] {
        client(&sandbox, base_url.clone(), http).build().unwrap().open_session().await.unwrap();
        assert_eq!([&asked, &asked_other].map(|asked| asked.lock().unwrap().drain(..).len()), asks);
    }
}

#[tokio::test]
async fn the_checks_cannot_be_switched_off() {
    test_timeout::start();
    let (sandbox, authority) = (bank().await, Authority::new());
    let server = terminate_tls(&sandbox, authority.server(&[BANK], false, rustls::ALL_VERSIONS)).await;
    let base_url = || format!("https://localhost:{}/v1", server.port());
    let trusting_elsewhere = authority.roots();
    let unchecked = [
        HttpConfig::default().customize(|builder| builder.tls_danger_accept_invalid_certs(true)),
        HttpConfig::default().customize(|builder| builder.tls_danger_accept_invalid_hostnames(true)),
        HttpConfig::default().customize(move |builder| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let config = config.with_root_certificates(trusting_elsewhere.clone()).with_no_client_auth();
            builder.tls_backend_preconfigured(config)
        }),
    ];
    for http in unchecked {
        let problem = failure(&sandbox, base_url(), http).await;
        assert!(problem.contains("certificate"), "{problem}");
    }
    // Options that do not matter for security can be changed.
    let http = HttpConfig::default().root_certificates(authority.pem()).customize(move |builder| {
        builder.resolve(BANK, SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()))).http1_title_case_headers()
    });
    let base_url = format!("https://{BANK}:{}/v1", server.port());
    client(&sandbox, base_url, http.no_proxy()).build().unwrap().open_session().await.unwrap();
}

/// The log is that of a process, and has what reqwest writes with `log` too.
#[test]
fn verbose_connections_log_no_secret() {
    test_timeout::start();
    let mut process = Command::new(std::env::current_exe().unwrap());
    let ended = process.args(["network::verbose_connections", "--exact", "--ignored"]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by another test as a process of its own"]
async fn verbose_connections() {
    test_timeout::start();
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(move || writer.clone()).init();
    let (sandbox, authority) = (bank().await, Authority::new());
    let server = terminate_tls(&sandbox, authority.server(&["localhost"], false, rustls::ALL_VERSIONS)).await;
    let http = HttpConfig::default().root_certificates(authority.pem());
    let http = http.customize(|builder| builder.connection_verbose(true));
    let base_url = format!("https://localhost:{}/v1", server.port());
    client(&sandbox, base_url, http).build().unwrap().open_session().await.unwrap();
    let server = terminate_tls(&sandbox, authority.server(&[BANK], false, rustls::ALL_VERSIONS)).await;
    let (proxy, _) = forward_proxy(server).await;
    let http = HttpConfig::default().root_certificates(authority.pem()).proxy(proxy_url(proxy, PASSWORD));
    let http = http.customize(|builder| builder.connection_verbose(true));
    client(&sandbox, format!("https://{BANK}/v1"), http).build().unwrap().open_session().await.unwrap();
    let logged = log.take();
    assert!(logged.contains("create_session") && logged.contains(&proxy.to_string()), "nothing was logged");
    assert!(!logged.contains(sandbox.api_key().expose()), "the API key was logged");
    let login = BASE64.encode(format!("user:{PASSWORD}"));
    assert!(!logged.contains(PASSWORD) && !logged.contains(&login), "the proxy's password was logged");
}

#[tokio::test]
async fn calls_come_from_the_address_that_was_chosen() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let bank = address_of(&sandbox);
    let (listener, address) = listener().await;
    let callers = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&callers);
    tokio::spawn(async move {
        while let Ok((mut stream, caller)) = listener.accept().await {
            log.lock().unwrap().push(caller.ip());
            let mut bank = TcpStream::connect(bank).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut bank).await });
        }
    });
    let from = |address: Ipv4Addr| HttpConfig::default().local_address(address);
    let base_url = || format!("http://{address}/v1");
    client(&sandbox, base_url(), from(Ipv4Addr::new(127, 0, 0, 2))).build().unwrap().open_session().await.unwrap();
    assert_eq!(callers.lock().unwrap().drain(..).next(), Some(IpAddr::from([127, 0, 0, 2])));
    sandbox.take_call_log();
    // An address reserved for documentation, which no machine has.
    failure(&sandbox, base_url(), from(Ipv4Addr::new(192, 0, 2, 1))).await;
}

#[tokio::test]
async fn a_program_names_itself_and_its_language() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let http = HttpConfig::default().user_agent_suffix("acme/2.1 (batch)").language(Language::NlNl);
    let partner = client(&sandbox, sandbox.base_url().to_owned(), http).custody(MemoryCustody::new()).build().unwrap();
    partner.open_session().await.unwrap();
    // A user's client has the settings of its partner's client.
    partner.users().activate(sandbox.populate(1)[0]).await.unwrap().api().list_credentials().await.unwrap();
    let journal = sandbox.take_call_log();
    assert!(journal.len() > 4);
    for call in journal {
        let agent = concat!("bunq-partner/", env!("CARGO_PKG_VERSION"), " acme/2.1 (batch)");
        assert_eq!(call.header("user-agent"), Some(agent));
        assert_eq!(call.header("x-bunq-language"), Some("nl_NL"));
    }
}
