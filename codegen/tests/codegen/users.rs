//! Whose session an operation takes, and the user in its path.

use bunq_partner_codegen::Document;

const DOCUMENT: &str = include_str!("../../../openapi/bunq-partner.yaml");

/// The document, in which a device is that of a user.
fn of_a_user(parameter: &str) -> String {
    let path = "  /device-server/{device_server_id}:\n";
    let id = "        - name: device_server_id\n";
    assert!(DOCUMENT.contains(path) && DOCUMENT.contains(id));
    let text = DOCUMENT.replacen(path, "  /user/{user_id}/device-server/{device_server_id}:\n", 1);
    text.replacen(id, &format!("        - {parameter}\n{id}"), 1)
}

fn refusal(text: &str) -> String {
    Document::parse(text).unwrap_err().to_string()
}

/// The generated file of a document.
fn generated(text: &str, name: &str) -> String {
    let files = bunq_partner_codegen::generate(&Document::parse(text).unwrap()).unwrap();
    files.into_iter().find(|file| file.name == name).unwrap().code
}

#[test]
fn the_client_fills_in_the_user_of_the_session() {
    test_timeout::start();
    for (parameter, of_method, chosen) in [
        ("SessionUser", "&self, device_server_id: crate::types::DeviceServerId,", "None"),
        (
            "ChosenUser",
            "&self, user_id: ::std::option::Option<crate::types::UserId>, device_server_id: crate::types::DeviceServerId,",
            "Some",
        ),
    ] {
        let text = of_a_user(&format!("$ref: '#/components/parameters/{parameter}'"));
        let methods = generated(&text, "methods.rs");
        let (_, method) = methods.split_once("pub async fn get_device_server(").unwrap();
        let (arguments, _) = method.split_once(") ->").unwrap();
        assert_eq!(arguments.split_whitespace().collect::<Vec<_>>().join(" "), of_method);
        let example = generated(&text, "calls.rs");
        let call = example.split("get_device_server(").nth(1).unwrap().trim_start();
        assert_eq!(call.starts_with("None,"), chosen == "Some", "{call}");
        let operation = generated(&text, "operations.rs");
        let operation = operation.split("id: \"get_device_server\"").nth(1).unwrap();
        let user = parameter.trim_end_matches("User");
        assert!(operation.contains(&format!("path_user: Some(PathUser::{user})")), "{operation}");
        let ids = if chosen == "Some" { "&[\"user_id\", \"device_server_id\"]" } else { "&[\"device_server_id\"]" };
        assert!(operation.contains(&format!("ids: {ids}")), "{operation}");
    }
}

#[test]
fn a_user_in_a_path_is_that_of_a_session() {
    test_timeout::start();
    let user = "{name: user_id, in: path, required: true, x-bunq-value: session, schema: {$ref: '#/components/schemas/UserId'}}";
    let problem = "operation `get_device_server`: the user of its session is one id in its path, `user_id`: refer to one parameter for it";
    let session = "$ref: '#/components/parameters/SessionUser'";
    for parameter in [
        user.replace("user_id", "user"),
        user.replace("in: path", "in: query"),
        user.replace("{$ref: '#/components/schemas/UserId'}", "{type: integer}"),
        format!("{session}\n        - $ref: '#/components/parameters/ChosenUser'"),
    ] {
        assert_eq!(refusal(&of_a_user(&parameter)), problem, "{parameter}");
    }
    let refused = refusal(&of_a_user(&user.replace("session", "everybody")));
    assert!(refused.ends_with("set x-bunq-value to session, or remove it"), "{refused}");
    let text = of_a_user(session);
    let compared = text.replacen("{id: device_server_id}", "{id: user_id}", 1);
    assert_eq!(
        refusal(&compared),
        "operation `get_device_server`: its `user_id` is not known when its response is read: leave it out of what x-bunq-result repeats"
    );
    let without = DOCUMENT.replacen("  /session-server:\n", "  /user/{user_id}/session-server:\n", 1);
    let parameters = "      security:\n        - installationToken: []\n      parameters:\n";
    let (before, after) = without.split_once("operationId: create_session\n").unwrap();
    let after = after.replacen(parameters, &format!("{parameters}        - {session}\n"), 1);
    assert_eq!(
        refusal(&format!("{before}operationId: create_session\n{after}")),
        "operation `create_session`: it takes no token of a session, which could have a user: leave the user out of its path"
    );
}

#[test]
fn an_operation_says_whose_session_it_takes() {
    test_timeout::start();
    let said = "      x-bunq-user: either\n";
    for (to, problem) in [
        ("", "operation `get_installation`: say whose session it takes: set x-bunq-user to partner, user or either"),
        (
            "      x-bunq-user: everybody\n",
            "operation `get_installation`: say whose session it takes: set x-bunq-user to partner, user or either",
        ),
    ] {
        assert_eq!(refusal(&DOCUMENT.replacen(said, to, 1)), problem);
    }
    let none = "      x-bunq-auth: none\n";
    assert_eq!(
        refusal(&DOCUMENT.replacen(none, &format!("{none}{said}"), 1)),
        "operation `create_installation`: it takes no session: remove x-bunq-user"
    );
}
