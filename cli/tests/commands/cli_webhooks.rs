//! `webhooks`: filters, failed calls and certificates; a URL is shown without its path, and is no argument.

use std::process::Command;
use std::sync::Arc;

use bunq_partner::types::NotificationCategory;
use bunq_partner::{Client, Operation};
use bunq_partner_sandbox::{Fault, Injection, NotificationOutcome, Sandbox};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ALL_VERSIONS, ServerConfig};

#[cfg(unix)]
use crate::common::terminal::Terminal;
use crate::common::{Folder, again, program, program_with_session, ran, user_in_custody};
use crate::tls::{Authority, listener};

const SEGMENT: &str = "planted-segment";
const URL: &str = "https://partner.example.com/bunq/planted-segment";
const SHOWN: &str = "https://partner.example.com/\u{2026}";
const PROVISION: &str = "PARTNER_USER_PROVISION";

/// A bank, and the program for it, with a file that has the URL.
pub(crate) struct Bank {
    pub(crate) folder: Folder,
    pub(crate) sandbox: Sandbox,
    pub(crate) program: Command,
}

impl Bank {
    async fn start() -> Self {
        Self::with_url(URL).await
    }

    pub(crate) async fn with_url(url: &str) -> Self {
        let (folder, sandbox) = (Folder::new(), Sandbox::start().await.unwrap());
        let mut program = program_with_session(&folder, &sandbox).await;
        program.current_dir(&folder.0).args(["--rehearse", "1000"]);
        folder.file("url", &format!("{url}\n"));
        Self { folder, sandbox, program }
    }

    fn client(&self) -> Client {
        self.sandbox.client().build().unwrap()
    }

    /// What a command writes, what it says, and its exit code. Neither has the secret of a URL.
    pub(crate) fn run(&self, typed: &str) -> (String, String, i32) {
        let run = ran(again(&self.program).args(typed.split(' ')));
        assert!(!run.0.contains(SEGMENT) && !run.1.contains(SEGMENT), "{typed}: {run:?}");
        run
    }

    fn json(&self, typed: &str) -> (Value, String, i32) {
        let (out, err, code) = self.run(&format!("{typed} --output json"));
        (serde_json::from_str(&out).unwrap_or_default(), err, code)
    }

    /// The message and the hint of a failure.
    fn refused(&self, typed: &str, ends: i32) -> (String, String) {
        let (_, said, code) = self.json(typed);
        assert_eq!(code, ends, "{typed}: {said}");
        let last: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let text = |name: &str| last["error"][name].as_str().unwrap_or_default().to_owned();
        (text("message"), text("hint"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_set_once_and_its_url_is_shown_without_its_path() {
    test_timeout::start();
    let bank = Bank::start().await;
    let (shown, said, code) = bank.json("webhooks list");
    assert_eq!((shown, code), (json!([]), 0), "{said}");

    let filters = |typed: &str| {
        let (shown, said, code) = bank.json(typed);
        assert_eq!(code, 0, "{typed}: {said}");
        shown
    };
    let ensure = format!("webhooks ensure {PROVISION} --url-file url");
    // The response to the first write is lost.
    bank.sandbox.inject(Injection::new(Fault::Drop).on(&Operation::REPLACE_NOTIFICATION_FILTERS));
    for outcome in ["found", "already"] {
        let expected = json!([{
            "category": PROVISION, "target": SHOWN, "verification": null, "outcome": outcome, "is_confirmable": true,
        }]);
        assert_eq!(filters(&ensure), expected);
    }
    let whole = bank.client().notifications().list().await.unwrap();
    assert_eq!(whole.iter().map(|filter| filter.notification_target.as_str()).collect::<Vec<_>>(), [URL]);
    assert_eq!(filters("webhooks list"), json!([{ "category": PROVISION, "target": SHOWN, "verification": null }]));
    let (table, said, _) = bank.run("webhooks list -vv");
    assert!(table.contains(SHOWN) && said.contains("GET /user/{user_id}/notification-filter-url"), "{table}{said}");
    // Whoever asks for it, sees it.
    let (listed, _, _) = ran(again(&bank.program).args(["webhooks", "list", "--show-urls", "--output", "csv"]));
    assert_eq!(listed, format!("category,target,verification\n{PROVISION},{URL},\n"));

    // What nobody can confirm is said so.
    let (_, said, code) = bank.run("webhooks ensure PAYMENT --url-file url");
    assert!(said.contains("this version does not know PAYMENT") && code == 0, "{said}");
    assert!(said.contains("no operation reads what calls of PAYMENT are about"), "{said}");

    let remove = "webhooks remove PAYMENT --url-file url";
    for outcome in ["accepted", "already"] {
        assert_eq!(filters(remove), json!([{ "category": "PAYMENT", "target": SHOWN, "outcome": outcome }]));
    }
    assert_eq!(filters("webhooks list").as_array().unwrap().len(), 1);
}

/// From a file, a variable or standard input; the file wins.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_url_is_no_argument() {
    test_timeout::start();
    let bank = Bank::start().await;
    let target =
        || async { bank.client().notifications().list().await.unwrap()[0].notification_target.as_str().to_owned() };
    let ensure = ["webhooks", "ensure", PROVISION];
    let mut by_variable = again(&bank.program);
    assert_eq!(ran(by_variable.args(ensure).env("BUNQ_WEBHOOK_URL", URL)).2, 0);
    assert_eq!(target().await, URL);
    assert_eq!(ran(again(&bank.program).args(["webhooks", "remove", PROVISION, "--url-file", "url"])).2, 0);
    let mut piped = crate::common::in_shell(&bank.program, "echo https://other.example.com/planted | \"$0\" \"$@\"");
    piped.current_dir(&bank.folder.0).args(ensure).args(["--url-file", "-"]).env("BUNQ_WEBHOOK_URL", URL);
    let (_, said, code) = ran(&mut piped);
    assert_eq!((target().await.as_str(), code), ("https://other.example.com/planted", 0), "{said}");

    bank.sandbox.take_call_log();
    let (message, hint) = bank.refused(&ensure.join(" "), 2);
    assert_eq!(message, "there is no URL: give --url-file, or set BUNQ_WEBHOOK_URL");
    assert!(hint.contains("it is no argument"), "{hint}");
    for typed in [
        format!("webhooks ensure {URL}"),
        format!("webhooks ensure {PROVISION} {URL}"),
        format!("webhooks remove {PROVISION} {URL}"),
        format!("webhooks retry {URL}"),
        format!("webhooks ensure {PROVISION} --url-file {URL}"),
        format!("webhooks trigger {URL} 7"),
    ] {
        let (message, _) = bank.refused(&typed, 2);
        assert!(message.contains("invalid value 'a URL'") && message.contains("BUNQ_WEBHOOK_URL"), "{message}");
        let (_, said, code) = bank.run(&typed);
        assert!(said.contains("whoever lists processes sees arguments") && code == 2, "{said}");
    }
    assert!(bank.sandbox.take_call_log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bunq_would_not_take_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let bank = Bank::start().await;
    let ensure = format!("webhooks ensure {PROVISION}");
    for (url, problem) in [
        (
            "http://partner.example.com/planted-segment",
            "--url-file wrong: the target of a filter is a URL that begins with https://",
        ),
        (
            "partner.example.com/planted-segment",
            "--url-file wrong: the target of a filter is a URL that begins with https://",
        ),
        ("https://user:planted-segment@partner.example.com/", "url: it has credentials"),
        ("https://partner.example.com/a\nplanted-segment", "--url-file wrong: the target of a filter"),
        (" \n", "--url-file wrong: it is empty"),
    ] {
        bank.folder.file("wrong", url);
        let (message, _) = bank.refused(&format!("{ensure} --url-file wrong"), 2);
        assert!(message.starts_with(problem), "{url}: {message}");
    }
    for (typed, problem, advice) in [
        ("webhooks ensure partner-user --url-file url", "it is a name of bunq's", ""),
        ("webhooks ensure 7UP --url-file url", "the name of a category has capital letters", ""),
        ("webhooks ensure USER_ONBOARDING --url-file url", "it is a user's", "give --user ID"),
        ("webhooks ensure USER_ONBOARDING --url-file url --dry-run", "it is a user's", "give --user ID"),
        (
            "webhooks ensure PARTNER_USER_PROVISION --url-file url --user 7 --dry-run",
            "it is the partner's",
            "leave out --user",
        ),
        (
            "webhooks ensure PARTNER_USER_PROVISION --url-file missing",
            "--url-file missing: it cannot be opened: No such file",
            "",
        ),
        ("webhooks list --user 7", "no custody is named", "give --custody FOLDER"),
        ("webhooks retry 9001 --url-file url", "cannot be used with", ""),
        ("webhooks retry zero", "not a positive integer", ""),
    ] {
        let (message, hint) = bank.refused(typed, 2);
        assert!(message.contains(problem) && hint.contains(advice), "{typed}: {message} {hint}");
    }
    assert!(bank.sandbox.take_call_log().iter().all(|call| !call.path.contains("notification")));

    for name in ["a", "b"] {
        bank.folder.file("other", &format!("https://{name}.example.com/planted-segment"));
        assert_eq!(bank.run(&format!("{ensure} --url-file other")).2, 0);
    }
    bank.sandbox.take_call_log();
    let (message, hint) = bank.refused(&format!("{ensure} --url-file url"), 2);
    assert!(
        message.contains("2 targets, https://a.example.com/\u{2026} and https://b.example.com/\u{2026}"),
        "{message}"
    );
    assert!(hint.contains("`bunq-partner webhooks remove PARTNER_USER_PROVISION` removes one"), "{hint}");
    assert!(bank.sandbox.take_call_log().iter().all(|call| call.method == "GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_filters_of_its_own() {
    test_timeout::start();
    let bank = Bank::start().await;
    let id = bank.sandbox.populate(1)[0];
    user_in_custody(&bank.folder, &bank.sandbox, id).await;
    let of_user = format!("--user {id} --custody users");
    let (ensured, said, code) = bank.json(&format!("webhooks ensure user_onboarding --url-file url {of_user}"));
    assert_eq!(
        (&ensured[0]["category"], &ensured[0]["outcome"], code),
        (&"USER_ONBOARDING".into(), &"accepted".into(), 0),
        "{said}"
    );
    assert_eq!(bank.json("webhooks list").0, json!([]));
    assert_eq!(bank.json(&format!("webhooks list {of_user}")).0.as_array().unwrap().len(), 1);
    let (checked, _, code) = bank.json(&format!("webhooks check {of_user}"));
    let missing = &checked["steps"][1];
    assert_eq!((&missing["state"], code), (&"failed".into(), 1), "{checked}");
    assert!(
        missing["remedy"].as_str().unwrap().contains(&format!("webhooks ensure USER_INFORMATION_INQUIRY --user {id}`"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_calls_are_listed_and_made_again_by_url_or_by_id() {
    test_timeout::start();
    let bank = Bank::start().await;
    let ids = bank.sandbox.populate(2);
    bank.folder.file("other", "https://other.example.com/planted-segment");
    for file in ["url", "other"] {
        assert_eq!(bank.run(&format!("webhooks ensure {PROVISION} --url-file {file}")).2, 0);
    }
    assert_eq!(ids.iter().map(|id| bank.sandbox.fail_notification(*id)).sum::<usize>(), 4);
    let failures = |typed: &str| {
        let (shown, said, code) = bank.json(typed);
        assert_eq!(code, 0, "{typed}: {said}");
        shown.as_array().unwrap().clone()
    };
    let all = failures("webhooks failures");
    assert_eq!((all.len(), failures("webhooks failures --limit 1").len()), (4, 1));
    assert_eq!(all[0]["exception_message"], "Connection timed out after 10000 milliseconds");
    assert_eq!(all[0]["object_id"], ids[1].get());
    let (checked, _, _) = bank.json("webhooks check");
    let last = checked["steps"].as_array().unwrap().last().unwrap();
    assert!(last["saw"].as_str().unwrap().starts_with("bunq could not deliver 4 calls"), "{last}");

    let (requests, _, _) = bank.json("webhooks retry --url-file url --dry-run");
    assert_eq!(requests.as_array().unwrap().len(), 2);
    let retried = failures("webhooks retry --url-file url");
    assert!(retried.len() == 2 && retried.iter().all(|one| one["outcome"] == "requested"), "{retried:?}");
    let left = failures("webhooks failures");
    assert!(
        left.len() == 2 && left.iter().all(|one| one["target"] == "https://other.example.com/\u{2026}"),
        "{left:?}"
    );
    let (gone, there) = (&retried[0]["failure_id"], &left[0]["failure_id"]);
    let both = failures(&format!("webhooks retry {gone} {there}"));
    let outcomes: Vec<_> = both.iter().map(|one| (&one["failure_id"], one["outcome"].as_str().unwrap())).collect();
    assert_eq!(outcomes, [(there, "requested"), (gone, "gone")]);
    assert_eq!(failures("webhooks retry --url-file url"), Vec::<Value>::new());
}

/// A server with a certificate of its own, and that certificate in PEM form.
async fn self_signed() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    (serve(TlsAcceptor::from(Arc::new(config))).await, made.cert.pem())
}

/// A server that begins TLS, and says whether anything came over it.
async fn serve(acceptor: TlsAcceptor) -> String {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    format!("https://localhost:{}/bunq/{SEGMENT}", address.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_no_longer_fits_is_found_and_told_by_doctor() {
    test_timeout::start();
    let mut bank = Bank::start().await;
    let state = |report: &Value, name: &str| {
        let steps = report["steps"].as_array().unwrap().iter();
        let found: Vec<_> = steps.filter(|step| step["name"] == name).map(|step| step["state"].clone()).collect();
        found
    };
    let (doctor, _, code) = bank.json("doctor");
    assert_eq!((state(&doctor, "webhooks"), code), (vec![json!("skipped")], 0), "{doctor}");

    // One that a public authority vouches for needs no pin.
    let authority = Authority::new();
    let trusted = serve(authority.server(&["localhost"], false, ALL_VERSIONS)).await;
    bank.program.env("SSL_CERT_FILE", authority.file()).env("NO_PROXY", "*");
    bank.folder.file("trusted", &trusted);
    assert_eq!(bank.run(&format!("webhooks ensure {PROVISION} --url-file trusted")).2, 0);
    let (checked, _, code) = bank.json("webhooks check");
    assert_eq!((state(&checked, "URL"), state(&checked, "pin"), code), (vec![json!("ok")], vec![], 0), "{checked}");
    let (doctor, _, code) = bank.json("doctor");
    assert_eq!((state(&doctor, "webhooks"), code), (vec![json!("ok")], 0), "{doctor}");

    // Once another chain is pinned, bunq does not call it any more.
    let (pinned, pem) = self_signed().await;
    bank.client().notifications().pin(&[pem.parse().unwrap()]).await.unwrap();
    let (checked, _, code) = bank.json("webhooks check");
    assert_eq!((state(&checked, "pin"), code), (vec![json!("failed")], 1), "{checked}");
    let (doctor, _, code) = bank.json("doctor");
    assert_eq!((state(&doctor, "webhooks"), code), (vec![json!("failed")], 1), "{doctor}");
    let summary = doctor["verdict"]["summary"].as_str().unwrap();
    assert!(summary.contains("bunq does not call it, and does not say so"), "{summary}");

    // The one that is pinned.
    bank.folder.file("pinned", &pinned);
    assert_eq!(bank.run(&format!("webhooks remove {PROVISION} --url-file trusted")).2, 0);
    assert_eq!(bank.run(&format!("webhooks ensure {PROVISION} --url-file pinned")).2, 0);
    let (checked, _, code) = bank.json("webhooks check");
    assert_eq!(
        (state(&checked, "URL"), state(&checked, "pin"), code),
        (vec![json!("warning")], vec![json!("ok")], 0),
        "{checked}"
    );
    let (table, _, _) = bank.run("webhooks check");
    assert!(table.contains("is pinned"), "{table}");
}

/// A server that takes bunq's certificate alone is as it should be if bunq is asked to show one.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_bunqs_certificate_alone_is_told_from_a_broken_one() {
    test_timeout::start();
    let mut bank = Bank::start().await;
    let authority = Authority::new();
    bank.program.env("SSL_CERT_FILE", authority.file()).env("NO_PROXY", "*");
    // With TLS 1.3 a client hears of the refusal only when it reads.
    let url = serve(authority.server(&["localhost"], true, &[&tokio_rustls::rustls::version::TLS12])).await;
    for (verification, state, ends) in [(Value::Null, "failed", 1), (json!(["BUNQ_CERTIFICATE"]), "ok", 0)] {
        let filter =
            json!({ "category": PROVISION, "notification_target": url, "all_verification_type": verification });
        let filters = json!({ "notification_filters": [filter] });
        bank.client().api().call(&Operation::REPLACE_NOTIFICATION_FILTERS, &[], Some(&filters)).await.unwrap();
        let (checked, _, code) = bank.json("webhooks check");
        assert_eq!((&checked["steps"][1]["state"], code), (&state.into(), ends), "{checked}");
    }
    assert_eq!(bank.json("webhooks list").0[0]["verification"], "BUNQ_CERTIFICATE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_nobody_answers_is_found() {
    test_timeout::start();
    let bank = Bank::start().await;
    let (listener, address) = listener().await;
    drop(listener);
    bank.folder.file("dead", &format!("https://{address}/{SEGMENT}"));
    assert_eq!(bank.run(&format!("webhooks ensure {PROVISION} --url-file dead")).2, 0);
    let (checked, _, code) = bank.json("webhooks check");
    let found = &checked["steps"][1];
    assert_eq!((&found["state"], code), (&"failed".into(), 1), "{checked}");
    assert!(
        found["saw"].as_str().unwrap().starts_with(&format!("https://{address}/\u{2026} cannot be reached")),
        "{found}"
    );
    // It may be bunq's alone to reach it: to doctor that is a warning.
    assert_eq!(bank.run("doctor").2, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_elsewhere_sends_a_notification() {
    test_timeout::start();
    let bank = Bank::start().await;
    let id = bank.sandbox.populate(1)[0];
    let trigger = format!("webhooks trigger {PROVISION} {id}");
    let (message, hint) = bank.refused(&trigger, 9);
    assert!(
        message.contains("there is no filter for PARTNER_USER_PROVISION") && hint.contains("webhooks list"),
        "{message}"
    );
    bank.folder.file("local", &format!("http://127.0.0.1:9/{SEGMENT}"));
    assert_eq!(bank.run(&format!("webhooks ensure {PROVISION} --url-file local")).2, 0);
    bank.sandbox.take_sent_notifications();
    assert_eq!(bank.json(&trigger).0, json!({ "targets": 1 }));
    let (_, said, code) = bank.run(&trigger);
    assert_eq!((said.as_str(), code), ("the sandbox calls 1 URL\n", 0));
    bank.sandbox.notifications_settled().await;
    let sent = bank.sandbox.take_sent_notifications();
    let is_told = |one: &bunq_partner_sandbox::SentNotification| {
        one.category == NotificationCategory::PartnerUserProvision.as_str()
            && one.object_id == id.get()
            && matches!(one.outcome, NotificationOutcome::Failed(_))
    };
    assert!(sent.len() == 2 && sent.iter().all(is_told), "{sent:?}");

    // bunq is never asked.
    let mut of_bunq = program(&bank.folder);
    of_bunq.env("BUNQ_API_KEY", "sandbox_0123456789").args(trigger.split(' '));
    let (_, said, code) = ran(&mut of_bunq);
    assert!(said.contains("bunq cannot be asked for a notification") && code == 2, "{said}");
    let mut other_key = again(&bank.program);
    other_key.env("BUNQ_API_KEY", "sandbox_another").args(trigger.split(' '));
    let (_, said, code) = ran(&mut other_key);
    assert!(said.contains("the sandbox does not accept the API key") && code == 8, "{said}");
}

/// In production a person sees the URL without its path, and is asked.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_for_the_url_and_before_the_change() {
    test_timeout::start();
    const KEY: &str = "of-production";
    let (folder, sandbox) = (Folder::new(), Sandbox::builder().api_key(KEY.into()).start().await.unwrap());
    let (state, base_url) = (folder.path(""), sandbox.base_url());
    let environment = [("BUNQ_API_KEY", KEY), ("XDG_STATE_HOME", state.to_str().unwrap())];
    let ensure = ["webhooks", "ensure", PROVISION, "--env", "production", "--base-url", base_url];
    for (answer, code, filters) in [("n\n", 1, 0), ("y\n", 0, 1)] {
        sandbox.take_call_log();
        let mut terminal = Terminal::start(200, &ensure, &environment);
        terminal.expect("URL that bunq calls (it is not shown): ");
        while terminal.is_echoing() {
            tokio::task::yield_now().await;
        }
        terminal.type_keys(&format!("{URL}\n"));
        terminal.expect(&format!("Have bunq tell {PROVISION} to {SHOWN} in production? [y/N]"));
        assert!(sandbox.take_call_log().iter().all(|call| !call.path.contains("notification")));
        terminal.type_keys(answer);
        let (screen, ended) = terminal.end();
        assert!(!screen.contains(SEGMENT) && ended == code, "{screen}");
        let client = bunq_partner::Client::builder(bunq_partner::Environment::Production);
        let client = client.base_url(base_url).api_key(KEY).build().unwrap();
        assert_eq!(client.notifications().list().await.unwrap().len(), filters);
    }
    let mut unattended = program(&folder);
    unattended.env("BUNQ_API_KEY", KEY).env("BUNQ_WEBHOOK_URL", URL).args(ensure);
    let (_, said, code) = ran(&mut unattended);
    assert!(said.contains("confirm it with --yes") && !said.contains(SEGMENT) && code == 2, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_requests_and_sends_nothing() {
    test_timeout::start();
    let bank = Bank::start().await;
    bank.sandbox.take_call_log();
    let added = json!({ "category": PROVISION, "notification_target": SHOWN });
    for (typed, expected) in [
        (
            format!("webhooks ensure {PROVISION} --url-file url"),
            json!({ "notification_filters": ["the filters that the call above shows", added] }),
        ),
        (
            format!("webhooks remove {PROVISION} --url-file url"),
            json!({ "notification_filters": [format!("the filters that the call above shows, without {PROVISION} to {SHOWN}")] }),
        ),
    ] {
        let (requests, said, code) = bank.json(&format!("{typed} --dry-run"));
        assert_eq!((&requests[1]["body"], code), (&expected, 0), "{said}");
        let methods = [&requests[0]["method"], &requests[1]["method"]];
        assert_eq!(methods, ["GET", "POST"]);
        let typed = format!("{typed} --dry-run --show-urls --output json");
        let (whole, _, _) = ran(again(&bank.program).args(typed.split(' ')));
        assert!(whole.contains(URL), "{whole}");
    }
    let (requests, _, _) = bank.json("webhooks retry 9002 9001 9002 --dry-run");
    assert_eq!(requests[0]["body"], json!({ "notification_filter_failed_ids": "9001,9002" }));
    assert!(bank.sandbox.take_call_log().is_empty());
}
