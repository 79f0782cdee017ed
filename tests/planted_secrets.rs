//! bunq's documented bodies with planted secrets, and everything that a user may see of them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "common/planted.rs"]
mod planted;

use std::fmt::Debug;
use std::time::Duration;

use bunq_partner::types::{self, NotificationUrlCall};
use bunq_partner::{
    Auth, Client, ClientBuilder, Error, ProvisionId, ReceiptFile, RequestBody, Response, Secret, SessionOf,
};
use bunq_partner_sandbox::Sandbox;
use common::{Folder, Log, once, person};
use planted::{Documented, PLANTED, SHAPES, called_back, documented, id_in, respond, secret_members};
use serde::Serialize;
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

include!(concat!(env!("OUT_DIR"), "/calls.rs"));

async fn shown<T: Debug>(call: impl Future<Output = Result<Response<T>, Error>>) -> Result<String, Error> {
    call.await.map(|response| format!("{response:?}"))
}

/// What a user might print of the outcome of a call.
fn outcome<T: Debug>(result: &Result<T, Error>, as_json: impl Fn(&T) -> String) -> String {
    match result {
        Ok(value) => format!("{value:?}\n{value:#?}\n{}\n", as_json(value)),
        Err(error) => format!("{error}\n{error:?}\n{error:#?}\n{:?}\n", error.bunq_messages()),
    }
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

/// Calls an operation in every way that there is.
async fn call(client: &Client, documented: &Documented) -> String {
    let (api, provisions) = (client.api(), client.provisions());
    let number = id_in(&documented.body);
    let id: ProvisionId = number.try_into().unwrap();
    let parameter = number.to_string();
    let by_name = async |parameters: &[(&str, &str)], body: RequestBody<'_>| {
        let result = api.call(documented.operation, parameters, body).await;
        outcome(&result, |response| response.redacted().map(|body| body.to_string()).unwrap_or_default())
    };
    match documented.operation.id {
        "get_provision" => {
            outcome(&provisions.get(id).await, to_json) + &by_name(&[("provision_id", &parameter)], None.into()).await
        }
        "list_provisions" => {
            let page = provisions.list().page().await;
            outcome(&page, |page| to_json(&page.items)) + &by_name(&[], None.into()).await
        }
        "create_provision" => {
            let new = person();
            let body = serde_json::to_value(&new).unwrap();
            let created = provisions.create(new).await;
            outcome(&created, |_| String::new()) + &by_name(&[], (&body).into()).await
        }
        "update_provision" => {
            let closing = provisions.close(id).await;
            let reset = provisions.reset_token(id).await;
            let body = json!({ "status": "CANCELLED" });
            outcome(&closing, |_| String::new())
                + &outcome(&reset, |_| String::new())
                + &by_name(&[("provision_id", &parameter)], (&body).into()).await
        }
        "delete_session" => {
            client.open_session().await.unwrap();
            outcome(&client.end_session().await, |()| String::new())
        }
        "create_installation" | "create_device_server" | "create_session" => {
            let opened = outcome(&client.open_session().await, |()| String::new());
            opened + &outcome(&client.user().await, to_json)
        }
        _ => {
            let given = |name: &str| (name != "body").then(|| parameter.clone());
            let typed = call_with_examples(&api, documented.operation, given).await.unwrap();
            let parameters: Vec<_> = documented.operation.path_parameters().map(|name| (name, &*parameter)).collect();
            let json = json!({});
            let body = match documented.operation.content_types.first() {
                Some(file) => RequestBody::bytes(file.name, file.first_bytes[0]),
                None => documented.operation.has_body.then_some(&json).into(),
            };
            outcome(&typed, Clone::clone) + &by_name(&parameters, body).await
        }
    }
}

/// What bunq sends by itself has live keys.
#[test]
fn no_secret_of_what_bunq_sends_by_itself_is_shown() {
    test_timeout::start();
    let (mut count, secret) = (0, secret_members());
    for (index, shape) in SHAPES.into_iter().enumerate() {
        for body in called_back(&secret, shape) {
            let call = serde_json::from_str::<NotificationUrlCall>(&body.to_string());
            // A secret of another shape than the documented one may cost the whole.
            assert!(call.is_ok() || index > 0, "{call:?}: {body}");
            let text = format!("{call:?}\n{call:#?}\n{}", call.as_ref().map(to_json).unwrap_or_default());
            assert!(!text.contains(PLANTED), "{text}");
            count += usize::from(text.contains("[redacted]"));
        }
    }
    assert!(count > 1, "{count} with secrets");
}

#[tokio::test(start_paused = true)]
async fn no_secret_of_bunqs_documented_bodies_is_shown() {
    test_timeout::start();
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .init();
    let (secret, folder) = (secret_members(), Folder::new());
    let receipts = ReceiptFile::open(folder.path("receipts")).await.unwrap();
    let sandbox = Sandbox::start().await.unwrap();
    let built = |builder: ClientBuilder| {
        let builder = builder.retry(once()).operation_timeout(Duration::from_secs(5));
        builder.late_arrival(Duration::ZERO).observer(receipts.clone()).build().unwrap()
    };
    let new_client = || built(sandbox.client());
    let (client, key) = (new_client(), sandbox.api_key());
    let token = {
        let provision = sandbox.provision(sandbox.populate(1)[0]).unwrap();
        Secret::from(provision["credential"]["token_value"].as_str().unwrap())
    };
    let user = built(client.for_user_token(token.clone()));
    let (mut count, mut successes) = (0, 0);
    for documented in documented() {
        // The secrets in a refusal come from the call.
        for shape in SHAPES.into_iter().take(if documented.status == 200 { SHAPES.len() } else { 1 }) {
            respond(&sandbox, &documented, &secret, shape);
            let is_of_a_session =
                documented.operation.auth == Auth::Session && documented.operation.id != "delete_session";
            let client = match documented.operation.session_of {
                Some(SessionOf::User) => user.clone(),
                _ if is_of_a_session => client.clone(),
                _ => new_client(),
            };
            sandbox.take_call_log();
            let shown = call(&client, &documented).await;
            let journal = sandbox.take_call_log();
            assert!(
                journal.iter().any(|call| call.operation == Some(documented.operation)),
                "{documented:?}: nothing was called"
            );
            sandbox.clear_edits();
            let tokens = journal.iter().filter_map(|call| call.header("x-bunq-client-authentication"));
            let own: Vec<_> = tokens.chain([key.expose(), token.expose(), PLANTED]).collect();
            for (text, what) in [(shown, "shown"), (log.take(), "logged")] {
                let found = own.iter().find(|secret| text.contains(**secret));
                assert_eq!(found, None, "it is {what}: {documented:?}\n{text}");
                successes += usize::from(text.contains("Provision {"));
            }
            count += 1;
        }
    }
    assert!(count > 500 && successes > 100, "{count} bodies, {successes} with provisions");
    let kept = std::fs::read_to_string(folder.path("receipts")).unwrap();
    assert!(!kept.is_empty() && !kept.contains(PLANTED), "{kept}");
}
