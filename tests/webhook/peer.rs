//! Who may call: addresses, proxies, certificates.

use std::net::IpAddr;

use bunq_partner::webhook::{HintJournalBounds, MemoryHintJournal, Peer, Receiver, ReceiverBuilder};
use bunq_partner::{Environment, ErrorKind};
use http::{HeaderValue, StatusCode};

use crate::receiver::{SEGMENT, answered, body, call, path};

fn production() -> ReceiverBuilder {
    Receiver::builder(Environment::Production, SEGMENT)
}

fn sandbox() -> ReceiverBuilder {
    Receiver::builder(Environment::Sandbox, SEGMENT)
}

fn built(builder: ReceiverBuilder) -> Receiver<MemoryHintJournal> {
    builder.build(MemoryHintJournal::new(HintJournalBounds::default()).unwrap()).unwrap()
}

fn peer(ip: &str) -> Peer {
    Peer::new(ip.parse::<IpAddr>().unwrap())
}

/// Whether a call of a peer is taken, with these lines of `X-Forwarded-For`. Its path is the right one, and another.
async fn is_taken(receiver: &Receiver<MemoryHintJournal>, peer: Option<Peer>, forwarded: &[&str]) -> bool {
    let mut statuses = Vec::new();
    for path in [path(), "/another".to_owned()] {
        let mut request = call(&path, body());
        for line in forwarded {
            request.headers_mut().append("x-forwarded-for", HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        // It is not read: a proxy may hand it on from anybody.
        request.headers_mut().append("forwarded", "for=185.40.108.1".parse().unwrap());
        if let Some(peer) = peer.clone() {
            request.extensions_mut().insert(peer);
        }
        statuses.push(answered(receiver, request).await);
    }
    assert_eq!(statuses[1], StatusCode::NOT_FOUND);
    // Whoever may not call learns no more than whoever does not know the path.
    assert!([StatusCode::OK, StatusCode::NOT_FOUND].contains(&statuses[0]), "{statuses:?}");
    statuses[0] == StatusCode::OK
}

#[tokio::test]
async fn calls_come_from_the_ranges_that_are_set() {
    test_timeout::start();
    let behind = |proxies: &[&str]| built(production().trusted_proxies(proxies.iter().copied()));
    let proxied = || behind(&["10.0.0.0/8", "2001:db8:1::/48"]);
    let of = |ranges: &[&str]| built(sandbox().from(ranges.iter().copied()));
    let cases = [
        ("production, bunq's first", built(production()), "185.40.108.0", &[][..], true),
        ("production, bunq's last", built(production()), "185.40.111.255", &[], true),
        ("production, before", built(production()), "185.40.107.255", &[], false),
        ("production, after", built(production()), "185.40.112.0", &[], false),
        ("production, IPv4 within IPv6", built(production()), "::ffff:185.40.108.7", &[], true),
        ("production, the same bits as IPv6", built(production()), "::185.40.108.7", &[], false),
        ("production, loopback", built(production()), "127.0.0.1", &[], false),
        ("no proxy is trusted", built(production()), "10.0.0.1", &["185.40.108.1"], false),
        ("bunq itself says another", built(production()), "185.40.108.1", &["192.0.2.1"], true),
        ("the sandbox, from anywhere", built(sandbox()), "192.0.2.1", &[], true),
        ("a range that is set", of(&["192.0.2.0/24"]), "192.0.2.255", &[], true),
        ("outside of it", of(&["192.0.2.0/24"]), "192.0.3.0", &[], false),
        ("another address than the one", of(&["192.0.2.7"]), "192.0.2.6", &[], false),
        ("the one", of(&["192.0.2.7", "2001:db8::1"]), "2001:db8::1", &[], true),
        ("IPv6", of(&["2001:db8::/33"]), "2001:db8:7fff::1", &[], true),
        ("IPv6 outside", of(&["2001:db8::/33"]), "2001:db8:8000::1", &[], false),
        ("all of IPv4", of(&["0.0.0.0/0"]), "::ffff:255.1.2.3", &[], true),
        ("all of IPv4 is no IPv6", of(&["0.0.0.0/0"]), "2001:db8::1", &[], false),
        ("all of IPv6 is no IPv4", of(&["::/0"]), "192.0.2.1", &[], false),
        ("a proxy", proxied(), "10.0.0.1", &["185.40.108.1"], true),
        ("a proxy with IPv4 within IPv6", proxied(), "::ffff:10.0.0.1", &["::ffff:185.40.108.1"], true),
        ("a proxy that says the port", proxied(), "10.0.0.1", &["185.40.108.1:40000"], true),
        ("a proxy without the header", proxied(), "10.0.0.1", &[], false),
        ("a proxy of a stranger", proxied(), "10.0.0.1", &["192.0.2.1"], false),
        ("a stranger who says bunq's", proxied(), "10.0.0.1", &["185.40.108.1, 192.0.2.1"], false),
        ("a stranger who says it in another line", proxied(), "10.0.0.1", &["185.40.108.1", "192.0.2.1"], false),
        ("a stranger who says a proxy's", proxied(), "10.0.0.1", &["185.40.108.1, 10.0.0.2, 192.0.2.1"], false),
        ("a stranger without a proxy", proxied(), "192.0.2.1", &["185.40.108.1"], false),
        ("two proxies", proxied(), "10.0.0.1", &["192.0.2.1 ,185.40.108.1,\t10.0.0.2"], true),
        ("two proxies, a line each", proxied(), "10.0.0.1", &["192.0.2.1, 185.40.108.1", "10.0.0.2"], true),
        ("two proxies, IPv6", proxied(), "2001:db8:1::1", &["185.40.108.1, [2001:db8:1::2]:443"], true),
        ("two proxies alone", proxied(), "10.0.0.1", &["10.0.0.2"], false),
        ("what is no address", proxied(), "10.0.0.1", &["185.40.108.1, unknown"], false),
        ("nothing after a comma", proxied(), "10.0.0.1", &["185.40.108.1,"], false),
        ("no text", proxied(), "10.0.0.1", &["185.40.108.1 \u{e9}"], false),
    ];
    for (name, receiver, ip, forwarded, expected) in cases {
        assert_eq!(is_taken(&receiver, Some(peer(ip)), forwarded).await, expected, "{name}");
        let numbers = receiver.numbers();
        let counted = (numbers.kept, numbers.wrong_path, numbers.wrong_peer);
        assert_eq!(counted, (u64::from(expected), 1, u64::from(!expected)), "{name}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_say_who_calls_is_refused() {
    test_timeout::start();
    let ranges = ["0.0.0.0/0", "::/0"];
    for builder in [production(), sandbox().from(ranges), sandbox().certificate(der(1))] {
        assert!(!is_taken(&built(builder), None, &["185.40.108.1"]).await);
    }
    assert!(is_taken(&built(sandbox()), None, &[]).await);
}

/// What has the form of a certificate.
fn der(content: u8) -> Vec<u8> {
    [&[0x30, 0x82, 1, 0][..], &[content; 256]].concat()
}

fn pem(tag: &str, content: Vec<u8>) -> String {
    pem::encode(&pem::Pem::new(tag, content))
}

#[tokio::test]
async fn the_certificate_is_one_that_is_set() {
    test_timeout::start();
    let receiver = || sandbox().certificate(der(9)).certificate(pem("CERTIFICATE", der(1)));
    let two = || receiver().other_certificate(der(8)).other_certificate(der(2));
    let from = peer("185.40.108.1");
    let longer = [der(1), vec![1]].concat();
    for (name, receiver, peer, expected) in [
        ("the one", receiver(), from.clone().certificate(der(1)), true),
        ("one that is replaced", receiver(), from.clone().certificate(der(9)), false),
        ("another", receiver(), from.clone().certificate(der(2)), false),
        ("a longer one", receiver(), from.clone().certificate(longer), false),
        ("the beginning of it", receiver(), from.clone().certificate(&der(1)[..200]), false),
        ("an empty one", receiver(), from.clone().certificate([]), false),
        ("none", receiver(), from.clone(), false),
        ("the first of two", two(), from.clone().certificate(der(1)), true),
        ("the second of two", two(), from.clone().certificate(der(2)), true),
        ("the other that is replaced", two(), from.clone().certificate(der(8)), false),
        ("both, the address does not matter", production().certificate(der(1)), from.clone().certificate(der(1)), true),
        ("the certificate alone", production().certificate(der(1)), peer("192.0.2.1").certificate(der(1)), false),
        ("the address alone", production().certificate(der(1)), from.clone(), false),
        ("no certificate is set", production(), from.clone().certificate(der(1)), true),
    ] {
        assert_eq!(is_taken(&built(receiver), Some(peer), &[]).await, expected, "{name}");
    }
}

#[tokio::test]
async fn ranges_and_certificates_that_cannot_be_are_refused() {
    test_timeout::start();
    let no_range = |text: &str| format!("from: `{text}` is no range of addresses");
    let ranges = [
        "",
        "bunq",
        "bunq.com",
        "1.2.3",
        "1.2.3.4/33",
        "1.2.3.4/",
        "1.2.3.4/-1",
        "1.2.3.0/24/24",
        "2001:db8::/129",
        " 1.2.3.4",
        "1.2.3.4:80",
        "185.40.108.1/22",
        "2001:db8::1/64",
    ];
    let mut cases: Vec<_> = ranges.into_iter().map(|text| (sandbox().from([text]), no_range(text))).collect();
    let within = "from: `::ffff:192.0.2.0/120` is an IPv4 address within IPv6: give it as IPv4";
    let certificate = || "certificate: it is not one certificate, in PEM or in DER".to_owned();
    let one = pem("CERTIFICATE", der(1));
    cases.extend([
        (sandbox().from(["::ffff:192.0.2.0/120"]), within.into()),
        (production().from([""; 0]), "from: it has no range".into()),
        (production().from(["192.0.2.0/24", "x"]), no_range("x")),
        (sandbox().trusted_proxies(["x"]), "trusted_proxies: `x` is no range of addresses".into()),
        (
            sandbox().trusted_proxies(["10.0.0.0/8", "::/0"]),
            "trusted_proxies: it trusts everybody, so that anybody could say which address a call is from: name your proxies alone".into(),
        ),
        (sandbox().certificate(""), certificate()),
        (sandbox().certificate("planted"), certificate()),
        (sandbox().certificate(pem("PRIVATE KEY", der(1))), certificate()),
        (sandbox().certificate(pem("CERTIFICATE", b"planted".to_vec())), certificate()),
        (sandbox().certificate(format!("{one}{one}")), certificate()),
        (sandbox().certificate(&der(1)[..200]), certificate()),
        (sandbox().certificate(one).other_certificate("planted"), certificate()),
    ]);
    for (builder, problem) in cases {
        let error = builder.build(MemoryHintJournal::new(HintJournalBounds::default()).unwrap()).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(error.kind() == ErrorKind::InvalidInput, "{text}");
        assert!(text.contains(&problem) && !text.contains("planted"), "{text} instead of {problem}");
    }
}
