//! The sandbox as a service: where it listens, who may call it, and a client that reaches it by plain HTTP.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::Command;

use serde_json::Value;

use crate::cli_sandbox::Process;
use crate::common::{Folder, program, ran, skipped};

/// What answers a request of these headers, which has no body.
fn raw(bank: &Process, line: &str, headers: &[&str]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", bank.port())).unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let common = "Cache-Control: no-cache\r\nUser-Agent: test\r\nContent-Length: 0\r\nConnection: close";
    stream.write_all(format!("{line} HTTP/1.1\r\n{headers}{common}\r\n\r\n").as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn a_web_page_cannot_drive_it() {
    test_timeout::start();
    let folder = Folder::new();
    for (listen, names_are_free) in [(None, false), (Some("127.0.0.1"), false), (Some("0.0.0.0"), true)] {
        let mut command = program(&folder);
        command.args(["sandbox", "--log", "json", "--fault", "status=503,on=create_installation"]);
        command.args(listen.iter().flat_map(|address| ["--listen", address]));
        let bank = Process::start(&mut command);
        let loopback = format!("Host: 127.0.0.1:{}", bank.port());
        let install = "POST /v1/installation";
        let refused = [
            (install, vec![loopback.as_str(), "Origin: https://evil.example"]),
            (install, vec![&loopback, "Origin: null"]),
            (install, vec!["Host: localhost", "origin: http://localhost"]),
            (
                "OPTIONS /v1/installation",
                vec![&loopback, "Origin: https://evil.example", "Access-Control-Request-Method: POST"],
            ),
            ("GET /v1/installation/1", vec![&loopback, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"]),
        ];
        let rebound = [
            (install, vec!["Host: evil.example"]),
            (install, vec!["Host: evil.example:8080"]),
            (install, vec!["Host: 127.0.0.1.evil.example"]),
            (install, vec![&loopback, "Host: evil.example"]),
        ];
        let refused: Vec<_> =
            refused.into_iter().chain(rebound.clone().into_iter().filter(|_| !names_are_free)).collect();
        for (line, headers) in &refused {
            let response = raw(&bank, line, headers);
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            let head = head.to_lowercase();
            assert!(
                head.starts_with("http/1.1 403 ") && head.contains("content-type: text/plain"),
                "{headers:?}: {head}"
            );
            assert!(!head.contains("x-bunq") && !head.contains("access-control"), "{headers:?}: {head}");
            assert!(body.contains("sandbox") && !body.contains('{'), "{body}");
        }
        let by_name = if names_are_free { "Host: sandbox" } else { "Host: LocalHost:1" };
        // The fault has not been used up.
        let first = raw(&bank, install, &[by_name]);
        assert!(first.starts_with("HTTP/1.1 503 "), "{first}");
        assert!(raw(&bank, install, &["Host: [::1]:80", "Sec-Fetch-Site: none"]).starts_with("HTTP/1.1 400 "));
        let (log, _) = bank.stop("-TERM");
        let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let forbidden: Vec<_> = log.iter().filter(|call| call["status"] == 403).collect();
        assert_eq!(forbidden.len(), refused.len(), "{log:?}");
        assert!(forbidden.iter().all(|call| call["carried_out"] == false && call["fault"].is_null()), "{log:?}");
    }
}

#[test]
fn it_says_who_can_reach_it() {
    test_timeout::start();
    let folder = Folder::new();
    let start = |arguments: &[&str]| Process::start(program(&folder).arg("sandbox").args(arguments));
    let warning = "other machines can reach this sandbox, without TLS, and its API key is all that they need";
    let bank = start(&["--listen", "0.0.0.0"]);
    assert_eq!(bank.base_url(), format!("http://127.0.0.1:{}/v1", bank.port()));
    assert_eq!(bank.call(&folder, &["whoami"]).2, 0);
    let (log, _) = bank.stop("-TERM");
    assert!(log.starts_with(&format!("warning: --listen 0.0.0.0: {warning}\n")), "{log}");
    let (log, _) = start(&["--listen", "0.0.0.0", "--log", "json"]).stop("-TERM");
    assert_eq!(serde_json::from_str::<Value>(&log).unwrap()["warning"], format!("--listen 0.0.0.0: {warning}"));
    // Loopback in the form of IPv6 is loopback.
    for quiet in [&[][..], &["--listen", "127.0.0.1"], &["--listen", "::ffff:127.0.0.1"]] {
        let bank = start(quiet);
        assert_eq!(bank.base_url(), format!("http://127.0.0.1:{}/v1", bank.port()));
        assert!(raw(&bank, "POST /v1/installation", &["Host: evil.example"]).starts_with("HTTP/1.1 403 "));
        assert_eq!(bank.stop("-TERM").0.lines().count(), 1);
    }
    for (address, problem, expected) in [
        ("0.0.0.0:8080", "the port is given with --port 8080, beside --listen 0.0.0.0", 2),
        ("sandbox", "an address is written as in 192.0.2.7 or 2001:db8::7", 2),
        ("192.0.2.7", "--listen takes an address of this machine", 19),
    ] {
        let (out, err, code) = ran(program(&folder).args(["sandbox", "--listen", address]));
        assert_eq!((out.as_str(), code), ("", expected), "{err}");
        assert!(err.contains(problem), "{err}");
    }
}

/// A name of this machine that is not `localhost`. Where none resolves, an address that is not loopback's and leads here.
fn name_of_this_machine(bank: &Process) -> String {
    let name = Command::new("uname").arg("-n").output().unwrap().stdout;
    let name = String::from_utf8(name).unwrap().trim().to_lowercase();
    let names = [name, "sandbox.localhost".to_owned()];
    let is_here = |name: &&String| {
        let addresses = (name.as_str(), bank.port()).to_socket_addrs().map(Vec::from_iter).unwrap_or_default();
        *name != "localhost" && TcpStream::connect(addresses.as_slice()).is_ok()
    };
    names.iter().find(is_here).cloned().unwrap_or_else(|| {
        skipped(&format!("neither of {names:?} resolves to this machine: the test uses 0.0.0.0"));
        "0.0.0.0".to_owned()
    })
}

#[test]
fn it_is_called_by_its_name_if_plain_http_is_allowed_to_it() {
    test_timeout::start();
    let folder = Folder::new();
    let bank =
        Process::start(program(&folder).args(["sandbox", "--listen", "0.0.0.0", "--provisions", "1", "--log", "json"]));
    let name = name_of_this_machine(&bank);
    let base_url = format!("http://{name}:{}/v1", bank.port());
    let run = |key: &str, arguments: &[&str]| {
        let mut command = program(&folder);
        // A proxy would be found out: there is none.
        for proxy in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env(proxy, "http://127.0.0.1:9");
        }
        ran(command.env("BUNQ_API_KEY", key).args(arguments))
    };
    let key = bank.api_key();
    let refused = |key: &str, arguments: &[&str], problem: &str| {
        let (out, err, code) = run(key, &[arguments, &["list"]].concat());
        assert_eq!((out.as_str(), code), ("", 2), "{err}");
        assert!(err.contains(problem), "{err}");
    };
    let at = ["--base-url", base_url.as_str()];
    let neither = format!("base_url: `{base_url}` is neither HTTPS nor on loopback");
    refused(key, &at, &neither);
    refused(key, &at, "--plain-http HOST allows it, for a sandbox in a network that you trust");
    refused(
        key,
        &[&at[..], &["--plain-http", "other"]].concat(),
        "plain HTTP is allowed to the host `other`, but the base URL is of",
    );
    refused(key, &["--plain-http", &name], "but the base URL is of `partner-api.sandbox.bunq.com`");
    refused(key, &["--plain-http", "bunq.com."], "is bunq's, which is reached by HTTPS alone");
    refused(
        key,
        &["--base-url", "http://API.partner.BUNQ.com./v1", "--plain-http", "api.partner.bunq.com."],
        "is bunq's",
    );
    refused(
        "key",
        &[&at[..], &["--env", "production", "--plain-http", &name]].concat(),
        "production is reached by HTTPS alone",
    );
    refused("key", &[&at[..], &["--plain-http", &name]].concat(), "it is a key of the production environment");
    refused(key, &["--sandbox", "--plain-http", &name], "--sandbox and --plain-http cannot be given together");
    let (out, _, _) = run(key, &["config", "show", "--plain-http", &name]);
    assert!(out.contains(&format!("allowed to {name}")), "{out}");

    let upper = name.to_uppercase();
    let allowed = [&at[..], &["--plain-http", &upper]].concat();
    let warning = format!(
        "warning: --plain-http {upper}: whoever is on the way can read the API key, and read and change every call\n"
    );
    let (out, err, code) = run(key, &[&allowed[..], &["list", "--output", "jsonl"]].concat());
    assert_eq!((out.lines().count(), code), (1, 0), "{err}");
    assert_eq!(
        serde_json::from_str::<Value>(&err).unwrap()["warning"],
        warning.trim_start_matches("warning: ").trim_end()
    );
    for command in [&["whoami"][..], &["list"], &["close", "1002"], &["doctor"]] {
        let (out, err, code) = run(key, &[&allowed[..], command].concat());
        assert_eq!(code, 0, "{command:?}: {out}{err}");
        assert_eq!(err.matches(&warning).count(), 1, "{command:?}: {err}");
        if command == ["doctor"] {
            assert!(out.contains("proxy         none"), "{out}");
            assert!(out.contains("plain HTTP, which --plain-http allows"), "{out}");
            assert!(out.contains("everything works"), "{out}");
        }
    }
    let (out, err, code) = run(key, &[&allowed[..], &["probe"]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("How is a dead session refused?"), "{out}");
    drop(bank.stop("-TERM"));
}
