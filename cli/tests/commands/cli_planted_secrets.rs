//! What the program writes of bunq's documented bodies without `--show-secrets`, with a secret planted in every text that can hold one.

use std::sync::{Arc, Mutex};

use bunq_partner_sandbox::Sandbox;
use serde_json::Value;

use crate::common::{Folder, program_for, ran};
use crate::planted::{Documented, PLANTED, SHAPES, documented, id_in, respond, secret_members};

#[tokio::test(flavor = "multi_thread")]
async fn the_program_shows_no_secret_of_bunqs_documented_bodies() {
    test_timeout::start();
    let secret = secret_members();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let mut count = 0;
    // What is attempted again, or looked after, takes time, and shows no more.
    let is_quick = |documented: &Documented| {
        let is_read =
            ["get_provision", "list_provisions", "list_device_servers", "get_device_server", "get_installation"];
        is_read.contains(&documented.operation.id) && [200, 400, 404, 466, 490].contains(&documented.status)
            || documented.operation.id == "create_provision" && documented.status == 200
    };
    for documented in documented().into_iter().filter(is_quick) {
        respond(&sandbox, &documented, &secret, SHAPES[count % SHAPES.len()]);
        count += 1;
        let id = id_in(&documented.body).to_string();
        let parameter = documented.operation.path.split_once(['{', '}']).map(|(_, rest)| rest.trim_end_matches('}'));
        let parameter = parameter.map(|name| format!("--param={name}={id}"));
        let by_name: Vec<_> = ["api", documented.operation.id].into_iter().chain(parameter.as_deref()).collect();
        let new = ["create", "--email", "user@example.com", "--phone-number", "+31600000000"];
        let command = match documented.operation.id {
            "get_provision" => &["get", &id][..],
            "list_provisions" => &["list"],
            "create_provision" => &new,
            _ => &by_name,
        };
        let is_by_name = command[0] == "api";
        let runs = [
            (command, "json", true),
            (command, ["table", "csv"][count % 2], !is_by_name),
            // A creation by name takes a body.
            (&by_name, "jsonl", !is_by_name && documented.operation.id != "create_provision"),
        ];
        for (command, format, _) in runs.into_iter().filter(|(_, _, is_run)| *is_run) {
            let (out, err, _) = ran(program_for(&folder, &sandbox).args(command).args(["-vv", "--output", format]));
            assert!(err.contains("x-bunq-client-request-id"), "{err}");
            let shown = out + &err;
            for secret in [sandbox.api_key().expose(), PLANTED] {
                assert!(!shown.contains(secret), "{command:?} {format} {documented:?}: {shown}");
            }
        }
    }
    assert!(count > 30, "only {count} bodies");
}

/// The tokens that were sent and issued, the signatures both ways, and the API key, in the calls of every client: of the partner,
/// of its users, and those that open and end sessions.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn looking_inside_shows_no_secret_of_a_call() {
    test_timeout::start();
    let folder = Folder::new();
    let sandbox = Sandbox::start().await.unwrap();
    let secrets = Arc::new(Mutex::new(vec![sandbox.api_key().expose().to_owned()]));
    let (issued, names) = (Arc::clone(&secrets), secret_members());
    sandbox.after_signing(move |call, response| {
        let mut issued = issued.lock().unwrap();
        let sent =
            call.headers.iter().filter(|(name, _)| name.contains("authentication") || name.contains("signature"));
        issued.extend(sent.map(|(_, value)| value.clone()));
        let signed = response.headers.iter().filter(|(name, _)| name.to_ascii_lowercase().contains("signature"));
        issued.extend(signed.map(|(_, value)| value.clone()));
        collect(&serde_json::from_slice(&response.body).unwrap_or_default(), &names, &mut issued);
        // bunq may add headers, and repeat what it was sent: the token, and the key of whoever opens a session.
        let sent: Value = serde_json::from_str(&call.body).unwrap_or_default();
        let key = sent["secret"].as_str().unwrap_or_default();
        let token = call.header("x-bunq-client-authentication").unwrap_or_default();
        let more = [("Set-Cookie", format!("{PLANTED}cookie")), ("X-Token", format!("{PLANTED}new"))];
        response.headers.extend(more.map(|(name, value)| (name.to_owned(), value)));
        response.headers.push(("X-Bunq-Warning".into(), format!("{key} {token}")));
    });
    let (users, _) = crate::common::bulk::users(&folder, 2);
    let (users, kept) = (users.display().to_string(), folder.own_folder("kept").display().to_string());
    let id = sandbox.populate(1)[0].to_string();
    let users_reset = folder.own_folder("users").display().to_string();
    let commands = [
        &["--rehearse", "1000", "create", "--from", &users, "--activate", &kept][..],
        &["create", "--email", "user@example.com", "--phone-number", "+31600000000", "--wait"],
        &["users", "reset", &id, "--custody", &users_reset],
        &["users", "activate", &id, "--custody", &users_reset],
        &["users", "show", &id, "--custody", &users_reset],
        &["close", &id, "--wait"],
        &["list"],
        &["whoami"],
        &["doctor"],
        &["api", "list_device_servers"],
        &["session", "end"],
    ];
    for (command, format) in commands.into_iter().zip(["table", "jsonl"].into_iter().cycle()) {
        let (out, err, _) = ran(program_for(&folder, &sandbox).args(["-vv", "--output", format]).args(command));
        assert!(err.contains("x-bunq-client-response-id"), "{command:?}: {err}");
        let shown = out + &err;
        let secrets = secrets.lock().unwrap();
        let found = secrets.iter().map(String::as_str).chain([PLANTED]).find(|secret| shown.contains(secret));
        assert_eq!(found, None, "{command:?} {format}: {shown}");
    }
    let kept: Vec<_> = std::fs::read_dir(&kept).unwrap().collect();
    assert!(!kept.is_empty() && secrets.lock().unwrap().len() > 50);
}

/// Collects the texts of the members with these names.
fn collect(value: &Value, names: &[String], secrets: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if names.contains(name) && text.len() > 8 => secrets.push(text.clone()),
                    member => collect(member, names, secrets),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names, secrets)),
        _ => {}
    }
}
