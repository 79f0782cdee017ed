//! Unusable settings are refused before anything is sent.

use std::time::Duration;

use bunq_partner::{
    Client, ClientBuilder, Environment, ErrorKind, HttpConfig, Operation, PermittedIps, RetryPolicy, Sent,
};
use insta::assert_snapshot;

fn sandbox_key() -> ClientBuilder {
    Client::builder(Environment::Sandbox).api_key("sandbox_0123456789")
}

fn refusal(builder: ClientBuilder) -> String {
    let error = builder.build().unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::InvalidInput, Sent::No));
    assert!(!format!("{error} {error:?}").contains("0123456789"), "{error}");
    error.to_string()
}

#[test]
fn keys() {
    test_timeout::start();
    assert!(sandbox_key().build().is_ok());
    assert!(Client::builder(Environment::Production).api_key("0123456789").build().is_ok());
    let refusals = [
        Client::builder(Environment::Sandbox),
        sandbox_key().api_key(""),
        sandbox_key().api_key("sandbox_0123456789\n"),
        sandbox_key().api_key("0123456789"),
        Client::builder(Environment::Production).api_key("sandbox_0123456789"),
    ];
    assert_snapshot!("refused_keys", refusals.map(refusal).join("\n"));
}

#[test]
fn base_urls() {
    test_timeout::start();
    for good in [
        "https://bunq.example.com/v1",
        "https://bunq.example.com:8443/gateway/v1/",
        "http://127.0.0.1:8080/v1",
        "http://127.9.9.9/v1",
        "http://localhost:8080/v1",
        "http://[::1]:8080/v1",
    ] {
        assert!(sandbox_key().base_url(good).build().is_ok(), "{good}");
    }
    let refusals = [
        "",
        "bunq.example.com",
        "ftp://127.0.0.1/v1",
        "http://bunq.example.com/v1",
        "http://localhost.example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "http://0.0.0.0/v1",
        "http://10.0.0.1/v1",
        "https://user:0123456789@bunq.example.com/v1",
        "https://user:1/0123456789@bunq.example.com/v1",
        "user:0123456789@bunq.example.com/v1",
        "https://bunq.example.com/v1?key=value",
        "https://bunq.example.com/v1#top",
    ];
    assert_snapshot!("refused_base_urls", refusals.map(|url| refusal(sandbox_key().base_url(url))).join("\n"));
}

#[test]
fn plain_http_is_allowed_to_one_host_alone() {
    test_timeout::start();
    let allowing = |host: &str, base_url: &str| sandbox_key().allow_plain_http(host).base_url(base_url);
    for (host, base_url) in [
        ("sandbox", "http://sandbox:8080/v1"),
        ("SandBox", "http://sANDbOX/v1"),
        ("sandbox.", "http://sandbox./v1"),
        ("10.0.0.1", "http://10.0.0.1:8080/v1"),
        ("10.0.0.1", "http://0xa.0.0.1/v1"),
        ("2001:db8::1", "http://[2001:db8:0::1]:8080/v1"),
        ("[2001:db8::1]", "http://[2001:db8::1]/v1"),
        ("bücher.example", "http://xn--bcher-kva.example/v1"),
        ("notbunq.com", "http://notbunq.com/v1"),
        ("bunq.com.example", "http://bunq.com.example/v1"),
        // It changes nothing where it is not needed.
        ("sandbox", "https://sandbox/v1"),
        ("localhost", "http://localhost:8080/v1"),
    ] {
        let client = allowing(host, base_url).build().unwrap();
        assert!(client.base_url().ends_with("/v1"), "{host}");
    }
    for (host, base_url) in [
        ("sandbox", "http://other/v1"),
        ("sandbox", "http://below.sandbox/v1"),
        ("sandbox", "http://sandbox./v1"),
        ("sandbox", "http://127.0.0.1/v1"),
        ("sandbox", Environment::Sandbox.base_url()),
        ("10.0.0.1", "http://10.0.0.2/v1"),
    ] {
        let refused = refusal(allowing(host, base_url));
        let other = base_url.split('/').nth(2).unwrap();
        let expected = format!("plain HTTP is allowed to the host `{host}`, but the base URL is of `{other}`");
        assert_eq!(refused, format!("allow_plain_http: {expected}"));
    }
    for host in [
        "bunq.com",
        "BUNQ.com",
        "bunq.com.",
        "bunq.com..",
        "partner-api.sandbox.bunq.com",
        "partner-api.sandbox.bunq.com.",
        "\u{ff42}\u{ff55}\u{ff4e}\u{ff51}.com",
        "api\u{3002}bunq\u{ff0e}com",
        "b%75nq.com",
        "bu\u{ad}nq.com",
    ] {
        let refused = refusal(allowing(host, &format!("http://{host}/v1")));
        assert!(refused.ends_with("is bunq's, which is reached by HTTPS alone"), "{host}: {refused}");
    }
    for host in [
        "",
        " ",
        "sandbox:8080",
        "http://sandbox",
        "sandbox/v1",
        "user@sandbox",
        "*",
        "*.sandbox",
        "a b",
        "sandbox\n",
        "san\tdbox",
        "sandbox?",
        "sandbox#",
        "sandbox\\",
        "[::1",
        "[2001:db8::1]:80",
        "2001:db8::1:80:x",
        "a,b",
    ] {
        let refused = refusal(allowing(host, "http://sandbox/v1"));
        assert!(refused.contains("is not a host") || refused.contains("is of `sandbox`"), "{host:?}: {refused}");
    }
    let production = Client::builder(Environment::Production).api_key("0123456789").base_url("http://sandbox/v1");
    assert_eq!(
        refusal(production.allow_plain_http("sandbox")),
        "allow_plain_http: production is reached by HTTPS alone"
    );
    assert!(refusal(sandbox_key().base_url("http://sandbox/v1")).ends_with("is neither HTTPS nor on loopback"));
}

#[test]
fn http_settings() {
    test_timeout::start();
    let http = HttpConfig::default;
    for good in [
        http().proxy("http://proxy.example:3128"),
        http().proxy("proxy.example:3128"),
        http().proxy("https://user:0123456789@proxy.example"),
        http().no_proxy(),
        http().user_agent_suffix("acme/2.1 (batch)"),
        http().idle_timeout(Duration::ZERO).tcp_keepalive(Duration::from_secs(3600)),
    ] {
        assert!(sandbox_key().http(good).build().is_ok());
    }
    let refusals = [
        http().proxy(""),
        http().proxy("http://user:1/0123456789@proxy.example"),
        http().proxy("socks5://user:0123456789@proxy.example"),
        http().root_certificates(""),
        http().root_certificates("0123456789"),
        http().client_certificate("-----BEGIN CERTIFICATE-----\n0123456789\n-----END CERTIFICATE-----"),
        http().root_certificates("-----BEGIN CERTIFICATE-----\nMDEyMzQ1Njc4OQ==\n-----END CERTIFICATE-----"),
        http().tcp_keepalive(Duration::from_millis(999)),
        http().tcp_keepalive(Duration::MAX),
        http().user_agent_suffix(""),
        http().user_agent_suffix("acme\r\nX-Forged: 0123456789"),
        http().user_agent_suffix("x".repeat(257)),
    ];
    assert_snapshot!("refused_http_settings", refusals.map(|http| refusal(sandbox_key().http(http))).join("\n"));
}

#[test]
fn permitted_ips() {
    test_timeout::start();
    let error = refusal(sandbox_key().permitted_ips(PermittedIps::Only(Vec::new())));
    assert_eq!(error, "permitted_ips: the list is empty, so that no address could use the key");
}

#[test]
fn device_description() {
    test_timeout::start();
    let rule =
        "the description of a device has at least one character, and none that ends a line or changes its direction";
    for description in ["", "two\nlines", "a\u{202e}b"] {
        assert_eq!(refusal(sandbox_key().device_description(description)), format!("device_description: {rule}"));
    }
}

#[test]
fn it_is_known_what_stays_on_this_machine_and_which_way_the_rest_takes() {
    test_timeout::start();
    let through = HttpConfig::default().proxy("http://user:planted@proxy.example:3128");
    for (base_url, is_loopback) in [
        (Environment::Sandbox.base_url(), false),
        (Environment::Production.base_url(), false),
        ("http://127.0.0.1:1/v1", true),
        ("http://[::1]:1/v1", true),
        ("https://localhost/v1", true),
        ("https://localhost.example/v1", false),
    ] {
        assert_eq!(Environment::is_loopback(base_url), is_loopback, "{base_url}");
        let proxy = through.proxy_for(base_url).unwrap();
        assert_eq!(proxy.is_none(), is_loopback, "{base_url}: {proxy:?}");
        if let Some(proxy) = proxy {
            assert_eq!((proxy.address(), proxy.is_https()), (("proxy.example", 3128), false));
            assert_eq!(proxy.authorization().unwrap().expose(), "Basic dXNlcjpwbGFudGVk");
            assert_eq!(format!("{proxy} {proxy:?}"), "proxy.example:3128 ForwardProxy(proxy.example:3128)");
        }
        assert_eq!(HttpConfig::default().no_proxy().proxy_for(base_url).unwrap(), None);
    }
    let unusable = "http://bunq.example/v1";
    assert!(!Environment::is_loopback(unusable));
    for http in [through, HttpConfig::default().no_proxy()] {
        assert_eq!(http.proxy_for(unusable).unwrap_err().kind(), ErrorKind::InvalidInput);
        #[cfg(feature = "reqwest-builder")]
        assert_eq!(http.reqwest_client(unusable).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn debug_of_a_client_shows_its_address_and_no_secret() {
    test_timeout::start();
    let client = sandbox_key().build().unwrap();
    assert_eq!(format!("{client:?}"), "Client { base_url: \"https://partner-api.sandbox.bunq.com/v1\", .. }");
    assert!(!format!("{:?}{:?}", sandbox_key(), client.provisions()).contains("0123456789"));
}

#[test]
fn impossible_bounds_and_limits_are_refused() {
    test_timeout::start();
    let zero = Duration::ZERO;
    let hour = Duration::from_secs(3600);
    let refusals = [
        sandbox_key().connect_timeout(zero),
        sandbox_key().attempt_timeout(zero),
        sandbox_key().operation_timeout(zero),
        sandbox_key().max_response_size(0),
        sandbox_key().max_upload_size(0),
        sandbox_key().max_download_size(0),
        sandbox_key().retry(RetryPolicy::default().max_attempts(0)),
        sandbox_key().rate_limit(&Operation::GET_PROVISION, 0, hour),
        sandbox_key().rate_limit(&Operation::GET_PROVISION, 1, zero),
        sandbox_key().rate_limit(&Operation::GET_PROVISION, 1, Duration::MAX),
        sandbox_key().nudge_share(0.0),
        sandbox_key().nudge_share(f64::NAN),
        sandbox_key().nudge_share(1.1),
    ];
    assert_snapshot!("refused_bounds", refusals.map(refusal).join("\n"));

    let endless =
        sandbox_key().connect_timeout(Duration::MAX).attempt_timeout(Duration::MAX).operation_timeout(Duration::MAX);
    let endless = endless.max_upload_size(usize::MAX).max_download_size(usize::MAX);
    assert!(
        endless.max_response_size(usize::MAX).rate_limit(&Operation::GET_PROVISION, u32::MAX, hour).build().is_ok()
    );
}
