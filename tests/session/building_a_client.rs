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
    assert!(
        endless.max_response_size(usize::MAX).rate_limit(&Operation::GET_PROVISION, u32::MAX, hour).build().is_ok()
    );
}
