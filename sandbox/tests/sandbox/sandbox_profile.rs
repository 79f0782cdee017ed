//! The start options of a sandbox: a profile, a seed, a saved state, addresses.

use std::net::IpAddr;
use std::time::Duration;

use bunq_partner::{Client, Environment, ErrorKind, FileStore, NewProvision, Operation, ProvisionStatus, Uuid};
use bunq_partner_sandbox::{DeadToken, Fault, Pace, Profile, Sandbox, SeedProvision};
use futures_util::TryStreamExt;

use crate::common::{use_elsewhere, user_of};

fn seed(json: serde_json::Value) -> SeedProvision {
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn a_seed_is_there_from_the_start() {
    test_timeout::start();
    let uuid = Uuid::new_v4();
    let sandbox = Sandbox::builder()
        .seed([
            seed(serde_json::json!({"status": "CREATED", "sub_status": "PENDING_PROCESS_USER_ONBOARDING"})),
            seed(serde_json::json!({"status": "ACTIVE", "credential": "ACTIVE", "external_uuid": uuid, "display_name": "Ada"})),
            seed(serde_json::json!({"status": "CLOSED"})),
        ])
        .start()
        .await
        .unwrap();
    let client = sandbox.client().build().unwrap();
    let listed: Vec<_> = client.provisions().list().stream().try_collect().await.unwrap();
    let statuses: Vec<_> = listed.iter().map(|seen| seen.status.as_str()).collect();
    assert_eq!(statuses, ["CLOSED", "ACTIVE", "CREATED"]);
    assert_eq!(listed[1].external_uuid, Some(uuid));
    assert_eq!(listed[1].label_user.as_ref().unwrap().display_name.as_deref(), Some("Ada"));
    assert!(listed[1].fresh_credential().is_none() && listed[2].fresh_credential().is_some());
}

#[tokio::test]
async fn a_seed_says_what_users_have() {
    test_timeout::start();
    let attachments = serde_json::json!([{"content_type": "image/png", "description": "Passport"}]);
    let with_file = serde_json::json!({"status": "ACTIVE", "user": {"attachments": attachments}});
    let without = serde_json::json!({"status": "ACTIVE"});
    let seeds = [seed(with_file.clone()), seed(without)];
    assert_eq!(serde_json::to_value(&seeds[0]).unwrap(), with_file);
    let sandbox = Sandbox::builder().seed(seeds).start().await.unwrap();
    let state: serde_json::Value = serde_json::from_str(sandbox.saved_state().unwrap().expose()).unwrap();
    let id = state["objects"]["attachments"]["kept"][0]["id"].as_u64().unwrap().try_into().unwrap();
    let mut read = Vec::new();
    for provision in sandbox.provision_ids() {
        let user = user_of(&sandbox, provision).await;
        let content = user.api().get_attachment_content(id).await;
        read.push(content.map(|content| content.len()).map_err(|error| error.kind()));
    }
    assert_eq!(read, [Ok(8), Err(ErrorKind::NotFound)]);
}

#[tokio::test]
async fn a_seed_that_cannot_be_is_refused() {
    test_timeout::start();
    let uuid = Uuid::new_v4();
    for (provision, problem) in [
        (serde_json::json!({"status": "GONE"}), "provision 2 of the seed: there is no status GONE"),
        (
            serde_json::json!({"status": "CLOSED", "sub_status": "PENDING_PROCESS_USER"}),
            "provision 2 of the seed: there is no status CLOSED with PENDING_PROCESS_USER",
        ),
        (
            serde_json::json!({"status": "CLOSED", "credential": "ACTIVE"}),
            "provision 2 of the seed: it has no credential",
        ),
        (serde_json::json!({"status": "ACTIVE", "external_uuid": uuid}), "is there twice"),
        (
            serde_json::json!({"status": "CREATED", "user": {"attachments": [{"content_type": "image/png"}]}}),
            "provision 2 of the seed: it has no user yet",
        ),
        (
            serde_json::json!({"status": "ACTIVE", "user": {"attachments": [{"content_type": "image/bmp"}]}}),
            "provision 2 of the seed: user.attachments[0]: there is no file of the type image/bmp",
        ),
    ] {
        let first = seed(serde_json::json!({"status": "ACTIVE", "external_uuid": uuid}));
        let error = Sandbox::builder().seed([first, seed(provision)]).start().await.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn a_profile_that_cannot_be_is_refused() {
    test_timeout::start();
    let mut profile = Profile::default();
    profile.wrong_key = 200;
    let error = Sandbox::builder().profile(profile).start().await.unwrap_err().to_string();
    assert_eq!(error, "the profile cannot be used: 200 is not the status of a refusal: those are 300 to 599");
}

#[tokio::test]
async fn a_kept_context_survives_a_restart_from_a_saved_state() {
    test_timeout::start();
    let folder = crate::common::Folder::new();
    let store = FileStore::new(folder.path("context.json"));
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let id = sandbox.populate(1)[0];
    let (client, key) = (sandbox.client().context_store(store.clone()).build().unwrap(), sandbox.api_key());
    drop(client.provisions().close(id).await.unwrap());
    let (saved, url) = (sandbox.saved_state().unwrap(), sandbox.base_url().to_owned());
    assert!(!format!("{saved:?}").contains("sandbox_"));
    drop((client, sandbox));

    let port = url.rsplit(':').next().unwrap().trim_end_matches("/v1").parse().unwrap();
    // The first sandbox's listener may take a moment to close.
    let restarted = loop {
        match Sandbox::builder().pace(Pace::Manual).port(port).saved_state(saved.clone()).start().await {
            Ok(restarted) => break restarted,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!((restarted.base_url(), restarted.api_key()), (url.as_str(), key));
    let client = restarted.client().context_store(store).build().unwrap();
    assert_eq!(client.provisions().get(id).await.unwrap().status, ProvisionStatus::Cancelled);
    let operations: Vec<_> = restarted.call_log().iter().map(|call| call.path.clone()).collect();
    assert_eq!(operations, [format!("/v1/partner-user-provision/{id}")], "no session was opened");
}

#[tokio::test]
async fn a_saved_state_that_cannot_be_used_is_refused() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let saved = sandbox.saved_state().unwrap();
    let start = |text: String| async move {
        Sandbox::builder().saved_state(text.into()).start().await.map(drop).unwrap_err().to_string()
    };
    let newer = saved.expose().replacen("\"format\":2", "\"format\":3", 1);
    assert_eq!(start(newer).await, "the saved state has format 3, but this version reads 2: remove it to begin anew");
    let cut = saved.expose()[..40].to_owned();
    assert!(start(cut).await.starts_with("the saved state is damaged (line 1, column 40)"));
    let other = Sandbox::builder().api_key("sandbox_other".into()).saved_state(saved).start().await;
    assert!(other.unwrap_err().to_string().starts_with("the saved state has another API key"));
}

/// Holds the state of a sandbox against that of another one, which begins with a copy of its file.
async fn survives(sandbox: &Sandbox, file: &std::path::Path, after: &str) {
    let copy = file.with_extension("copy");
    std::fs::copy(file, &copy).unwrap();
    let other = Sandbox::builder().state_file(&copy).start().await.unwrap();
    let [own, others] = [sandbox, &other].map(|sandbox| {
        let mut state: serde_json::Value = serde_json::from_str(sandbox.saved_state().unwrap().expose()).unwrap();
        // Both clocks go on.
        assert!(state["clock"].as_object_mut().unwrap().remove("time").is_some());
        state
    });
    assert!(own == others, "after {after}");
}

#[tokio::test]
async fn a_state_file_has_every_change_by_the_time_of_the_response() {
    test_timeout::start();
    let folder = crate::common::Folder::new();
    let file = folder.path("state");
    let sandbox = Sandbox::builder().seed([seed(serde_json::json!({ "status": "ACTIVE" }))]).state_file(&file);
    let sandbox = sandbox.start().await.unwrap();
    survives(&sandbox, &file, "the start").await;
    let client = sandbox.client().build().unwrap();
    client.open_session().await.unwrap();
    survives(&sandbox, &file, "a session").await;
    let (email, phone) = ("user@example.com".parse().unwrap(), "+31600000000".parse().unwrap());
    let creating = client.provisions().create(NewProvision::person(Uuid::new_v4(), email, phone)).await.unwrap();
    survives(&sandbox, &file, "a creation").await;
    let id = creating.id();
    for _ in 0..10 {
        client.provisions().get(id).await.unwrap();
        survives(&sandbox, &file, "a read").await;
        client.provisions().list().page().await.unwrap();
        survives(&sandbox, &file, "a listing").await;
    }
    use_elsewhere(&sandbox, id).await;
    survives(&sandbox, &file, "the first use of a credential").await;
    drop(client.provisions().reset_token(id).await.unwrap());
    survives(&sandbox, &file, "a reset").await;
    drop(client.provisions().close(id).await.unwrap());
    survives(&sandbox, &file, "a closing").await;
    client.end_session().await.unwrap();
    survives(&sandbox, &file, "the end of a session").await;
    sandbox.inject(Fault::SessionLost);
    let _ = client.provisions().get(id).await;
    survives(&sandbox, &file, "a lost session").await;

    // What a test changes itself is there when it says so.
    let [populated, progressing, expiring] = sandbox.populate(3).try_into().unwrap();
    sandbox.fail(populated);
    drop(client.provisions().close(progressing).await.unwrap());
    sandbox.advance(progressing);
    sandbox.expire_credential(expiring);
    sandbox.save_state().unwrap();
    survives(&sandbox, &file, "interventions").await;
    sandbox.end_sessions();
    sandbox.save_state().unwrap();
    survives(&sandbox, &file, "the end of all sessions").await;
    sandbox.advance_clock(Duration::from_secs(60 * 60));
    sandbox.save_state().unwrap();
    survives(&sandbox, &file, "an advance of the clock").await;
    sandbox.change_key().await.unwrap();
    survives(&sandbox, &file, "another key").await;
    sandbox.forget_installations();
    sandbox.save_state().unwrap();
    survives(&sandbox, &file, "no installations").await;

    let both = Sandbox::builder().state_file(&file).saved_state(sandbox.saved_state().unwrap()).start().await;
    let expected = "a saved state and a state file were given: leave one of them out";
    assert_eq!(both.unwrap_err().to_string(), expected);
}

#[tokio::test]
async fn a_state_file_that_cannot_be_used_is_named() {
    test_timeout::start();
    let folder = crate::common::Folder::new();
    let start = |name: &'static str| {
        let file = folder.path(name);
        async move { Sandbox::builder().state_file(&file).start().await.map(drop).unwrap_err() }
    };
    std::fs::create_dir(folder.path("folder")).unwrap();
    folder.file("damaged", "{}\n");
    for (name, problem) in
        [("folder", "folder: it is not a regular file"), ("damaged", "damaged: the saved state is damaged")]
    {
        let error = start(name).await;
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().starts_with("the state file ") && error.to_string().contains(problem), "{error}");
    }
    let error = start("missing/state").await;
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("missing/state: "), "{error}");
}

#[tokio::test]
async fn a_key_is_refused_from_another_address() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    client.open_session().await.unwrap();
    sandbox.allow_addresses([IpAddr::from([192, 0, 2, 1])]);
    client.provisions().list().page().await.expect("the session goes on");
    client.end_session().await.unwrap();
    let error = client.open_session().await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unauthorized, Some(&Operation::CREATE_SESSION)));
    assert_eq!(error.bunq_messages(), ["User credentials are incorrect. Incorrect API key or IP address."]);
    let error = sandbox.client().build().unwrap().open_session().await.unwrap_err();
    assert_eq!(error.operation(), Some(&Operation::CREATE_DEVICE_SERVER));
}

#[tokio::test]
async fn a_device_is_bound_to_the_address_that_it_was_registered_from() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = crate::common::Folder::new();
    let from = |address: [u8; 4]| {
        let http = bunq_partner::HttpConfig::default().local_address(IpAddr::from(address));
        let client = sandbox.client().http(http).context_store(FileStore::new(folder.path("context.json")));
        client.build().unwrap()
    };
    from([127, 0, 0, 1]).open_session().await.unwrap();
    let devices = from([127, 0, 0, 1]).api().list_device_servers().await.unwrap();
    assert_eq!(devices[0].ip.as_deref(), Some("127.0.0.1"));
    sandbox.end_sessions();
    let error = from([127, 0, 0, 2]).provisions().list().page().await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unauthorized, Some(&Operation::CREATE_SESSION)));
}

#[tokio::test]
async fn what_is_known_of_earlier_calls_can_be_asked_without_a_call() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    assert_eq!(client.context().await.unwrap(), None);
    client.open_session().await.unwrap();
    let context = client.context().await.unwrap().unwrap();
    assert!(context.device_registered && context.has_session && context.renew_at.is_some());
    assert_eq!(context.user.unwrap().display_name.as_deref(), Some("Sandbox Partner"));
    client.end_session().await.unwrap();
    assert!(!client.context().await.unwrap().unwrap().has_session);
}

/// Each takes another key than the one before, and at the next sandbox they begin with the first one again.
#[tokio::test]
async fn clients_take_the_keys_of_the_process_in_turn() {
    test_timeout::start();
    let keys = async || {
        let sandbox = Sandbox::start().await.unwrap();
        let client = sandbox.client().build().unwrap();
        client.open_session().await.unwrap();
        client.reinstall().await.unwrap();
        sandbox.client().build().unwrap().open_session().await.unwrap();
        crate::common::calls(&sandbox, "POST", "/installation").into_iter().map(|call| call.body).collect::<Vec<_>>()
    };
    let keys = [keys().await, keys().await];
    assert!(keys[0][0] != keys[0][1] && keys[0][0] == keys[0][2]);
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_client_works_with_a_bank_of_another_kind() {
    test_timeout::start();
    let mut profile = Profile::default();
    profile.dead_token = DeadToken::InsufficientAuthentication;
    profile.signed_installation = false;
    profile.signed_refusals = [404].into();
    profile.repeated_request_id = None;
    profile.session_timeout = Duration::from_secs(60);
    profile.wording = [(404, "Route not found.".to_owned())].into();
    let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
    let client = Client::builder(Environment::Sandbox).base_url(sandbox.base_url()).api_key(sandbox.api_key());
    let client = client.build().unwrap();
    let error = client.provisions().get(7_u64.try_into().unwrap()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.bunq_messages()),
        (ErrorKind::NotFound, ["Route not found.".to_owned()].as_slice())
    );
}
