//! What the program writes of bunq's documented bodies without `--show-secrets`, with a secret planted in every text that can hold one.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::Operation;
use bunq_partner_sandbox::{Fault, Injection, Profile, RawResponse, Sandbox};
use serde_json::{Value, json};

#[cfg(unix)]
use crate::cli_listen::{self, SEGMENT};
use crate::common::{Folder, again, program_for, program_with_user, ran, user_in_custody};
use crate::planted::{
    BIRTH, Documented, PERSONAL, PLANTED, SHAPES, called_about, called_back, documented, id_in, respond, secret_members,
};

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
    let secrets = secrets_of_calls(&sandbox);
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

/// All that bunq calls about, and what it says to that.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn listening_shows_no_secret_of_what_bunq_sends() {
    test_timeout::start();
    let secret = secret_members();
    for format in ["table", "jsonl", "csv"] {
        let bank = cli_listen::bank().await;
        let id = bank.sandbox.populate(1)[0];
        let user = user_in_custody(&bank.folder, &bank.sandbox, id).await.user().await.unwrap().id;
        let first = |operation: &str| {
            documented().into_iter().find(|one| one.operation.id == operation && one.status == 200).unwrap()
        };
        respond(&bank.sandbox, &first("list_notification_filter_failures"), &secret, SHAPES[0]);
        let mut listening =
            bank.listen(&format!("--url-file url --custody users --journal hints -vv --output {format}"));
        let reads = [
            ("get_provision", "provision"),
            ("get_user_onboarding", "onboarding"),
            ("get_user_information_inquiry", "inquiry"),
        ];
        for (operation, kind) in reads {
            respond(&bank.sandbox, &first(operation), &secret, SHAPES[0]);
            assert_eq!(listening.call(SEGMENT, &called_about(&first(operation), user)), 200);
            let is_read = |line: &str| line.contains("confirmed") && line.contains(kind);
            while !is_read(&listening.line()) {}
        }
        for body in SHAPES.into_iter().flat_map(|shape| called_back(&secret, shape)) {
            assert_eq!(listening.call(SEGMENT, &body), 200);
            assert_eq!(listening.call(&format!("{PLANTED}path"), &body), 404);
        }
        let (out, err) = listening.interrupt();
        let kept = fs::read_to_string(bank.folder.path("hints")).unwrap();
        assert!(err.contains("x-bunq-client-request-id") && kept.contains("USER_ONBOARDING"), "{err}{kept}");
        let shown = out + &err + &kept;
        for secret in [PLANTED, PERSONAL, SEGMENT, bank.sandbox.api_key().expose()] {
            assert!(!shown.contains(secret), "{secret} {format}: {shown}");
        }
    }
}

/// All that a person gives to act for a user, and all that bunq says of the user: each command is refused first, and then does its work.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn acting_for_a_user_shows_no_secret_and_nothing_about_the_user() {
    test_timeout::start();
    for format in ["table", "jsonl", "csv"] {
        let folder = Folder::new();
        let mut profile = Profile::default();
        (profile.onboarding_check, profile.identity_check) = (Duration::ZERO, Duration::ZERO);
        let sandbox = Sandbox::builder().profile(profile).start().await.unwrap();
        let secrets = secrets_of_calls(&sandbox);
        sandbox.before_signing(|call, response| say_more_of_the_user(call.fault.is_some(), response));
        let [id, other] = sandbox.populate(2)[..] else { panic!() };
        let program = program_with_user(&folder, &sandbox, id).await;
        let run = |typed: &str| {
            let typed = typed.replacen("USER", &id.to_string(), 1).replacen("OTHER", &other.to_string(), 1);
            let mut command = again(&program);
            command.args(["-vv", "--rehearse", "1000"]).args(typed.split_whitespace()).args(["--custody", "users"]);
            ran(&mut command)
        };
        let address = json!({
            "street": format!("{PERSONAL}street"), "house_number": "1a", "postal_code": format!("{PERSONAL}code"),
            "city": format!("{PERSONAL}city"), "country": "NL",
        });
        let answers = json!({
            "address_main": address, "address_postal": address, "person": { "date_of_birth": BIRTH },
            "tax_resident": [{ "country": "NL", "tax_number": format!("{PERSONAL}tax") }], "nationality": ["NL"],
        });
        folder.file("answers.json", &answers.to_string());
        folder.file("answer.txt", &format!("{PERSONAL}answer"));
        let file = [b"GIF89a", PERSONAL.as_bytes()].concat();
        fs::write(folder.path("scan.gif"), &file).unwrap();

        let mut shown = String::new();
        let mut step = |operation: &Operation, typed: &str| {
            sandbox.inject(Injection::new(Fault::Status(400)).on(operation));
            let refused = run(typed);
            assert!(refused.2 != 0 && refused.1.contains("x-bunq-client-response-id"), "{typed}: {refused:?}");
            sandbox.clear_injections();
            let (out, err, code) = run(typed);
            assert!(![2, 19].contains(&code), "{typed}: {err}");
            shown += &format!("{}{}{out}{err}\n", refused.0, refused.1);
            out
        };
        let onboard = format!("onboard USER --from answers.json --identity-token-file token -o {format}");
        step(&Operation::CREATE_ADDRESS_MAIN, &onboard);
        let reads = &Operation::GET_IDENTITY_VERIFICATION_SESSION;
        let read = sandbox.call_log().into_iter().find(|call| call.operation == Some(reads)).unwrap();
        let session = read.path.rsplit('/').next().unwrap();
        let submit = format!("onboard USER --submit-identity {session} --wait -o {format}");
        step(&Operation::UPDATE_IDENTITY_VERIFICATION_SESSION, &submit);
        let put = "attachment put USER scan.gif --columns attachment_id --no-header -o csv";
        let attachment = step(&Operation::CREATE_ATTACHMENT, &format!("{put} --description {PERSONAL}description"));
        let get = format!("attachment get USER {} --output-file back.gif", attachment.trim());
        step(&Operation::GET_ATTACHMENT_CONTENT, &get);
        let kind = bunq_partner::types::InquiryEntryType::UserPersonSourceOfFund;
        let inquiry = sandbox.inquire(id, bunq_partner_sandbox::SeedInquiry::new([kind])).unwrap();
        let list = "inquiries list USER --columns entry_id --no-header -o csv";
        let entry = step(&Operation::LIST_USER_INFORMATION_INQUIRIES, list);
        let answer = format!("inquiries answer USER {inquiry} {} --text @answer.txt --attach scan.gif", entry.trim());
        step(&Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY, &format!("{answer} --wait -o {format}"));
        step(&Operation::LIST_USER_INFORMATION_INQUIRIES, &format!("inquiries list USER -o {format}"));
        step(&Operation::GET_PROVISION, &format!("users show USER -o {format}"));
        step(&Operation::UPDATE_PROVISION, &format!("users reset USER -o {format}"));
        step(&Operation::GET_PROVISION, &format!("users activate OTHER -o {format}"));
        let calls = sandbox.call_log().len();
        let listed = if format == "csv" { "table" } else { format };
        for dry in [onboard.replace("token ", "token2 "), answer.clone(), format!("{put} --description {PERSONAL}scan")]
        {
            let (dry, _) = dry.split_once(" -o ").unwrap_or((&dry, ""));
            let (dry, _) = dry.split_once(" --columns ").unwrap_or((dry, ""));
            let (out, err, code) = run(&format!("{dry} --dry-run -o {listed}"));
            assert!(code == 0 && out.contains("[redacted]") || dry.starts_with("attachment"), "{dry}: {out}{err}");
            shown += &(out + &err);
        }
        assert_eq!(sandbox.call_log().len(), calls);
        shown += &format!("{:?}", run(&format!("users list -o {format}")));
        assert!(!shown.contains(PERSONAL) && !shown.contains(BIRTH), "{format}: {shown}");

        // A call by name shows what was asked for, without the secrets.
        for (call, body) in [("create_identity_verification_session", "{}"), ("list_user_information_inquiries", "")] {
            let body = if body.is_empty() { String::new() } else { format!(" --body {body}") };
            shown += &format!("{:?}", run(&format!("api {call} --user USER{body} -o {format}")));
        }
        let sdk = fs::read_to_string(folder.path("token")).unwrap();
        let secrets = secrets.lock().unwrap().clone();
        assert!(secrets.contains(&sdk) && secrets.len() > 50);
        let found = secrets.iter().map(String::as_str).chain([PLANTED]).find(|secret| shown.contains(secret));
        assert_eq!(found, None, "{format}: {shown}");

        // It is what was given, and shown on request; and nothing of it is left behind.
        assert!(sandbox.given(id).unwrap()["TAX_RESIDENT"].to_string().contains(PERSONAL));
        assert_eq!(fs::read(folder.path("back.gif")).unwrap(), file);
        let (out, ..) = run("inquiries list USER --show-personal -o json");
        assert!(out.contains(&format!("{PERSONAL}answer")) && out.contains(&format!("{PERSONAL}title")), "{out}");
        for given in ["answers.json", "answer.txt", "scan.gif", "back.gif", "token"] {
            fs::remove_file(folder.path(given)).unwrap();
        }
        // The context has the user of the session, with the name that bunq shows.
        let left = texts_in(&folder.0).replace(&format!("{PERSONAL}name"), "");
        assert!(!left.contains(PERSONAL) && !left.contains(BIRTH) && !left.contains(&sdk), "{format}: {left}");
    }
}

/// Adds what bunq knows of a person, where the document has a place for it.
#[cfg(unix)]
fn say_more_of_the_user(is_refusal: bool, response: &mut RawResponse) {
    let Ok(mut body) = serde_json::from_slice::<Value>(&response.body) else { return };
    if let Some(refusal) = body.pointer_mut("/Error/0").filter(|_| is_refusal) {
        refusal["error_additional_parameter"] = json!([{ "city": format!("{PERSONAL}known") }]);
    }
    for item in body.get_mut("Response").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(inquiry) = item.get_mut("UserInformationInquiry") {
            for name in ["title", "subtitle", "assistant_conversation"] {
                inquiry[name] = format!("{PERSONAL}{name}").into();
            }
        }
        for user in ["/UserPerson", "/UserApiKey/granted_by_user/UserPerson"] {
            if let Some(user) = item.pointer_mut(user) {
                user["display_name"] = format!("{PERSONAL}name").into();
            }
        }
    }
    response.body = body.to_string().into();
}

/// All that the files in a folder have.
#[cfg(unix)]
fn texts_in(folder: &Path) -> String {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: std::path::PathBuf| match path.is_dir() {
        true => texts_in(&path),
        false => String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned(),
    };
    paths.map(text).collect()
}

/// The secrets of all calls from now on, whoever makes them: the API key, the tokens, the secrets in the responses, and the signatures both
/// ways. The bank adds headers, and repeats in one what it was sent.
fn secrets_of_calls(sandbox: &Sandbox) -> Arc<Mutex<Vec<String>>> {
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
    secrets
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
