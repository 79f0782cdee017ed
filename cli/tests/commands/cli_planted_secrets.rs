//! What the program writes of bunq's documented bodies without `--show-secrets`, with a secret planted in every text that can hold one.

use bunq_partner_sandbox::Sandbox;

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
        let parameter = parameter.map(|name| format!("{name}={id}"));
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
            let (out, err, _) = ran(program_for(&folder, &sandbox).args(command).args(["--output", format]));
            let shown = out + &err;
            for secret in [sandbox.api_key().expose(), PLANTED] {
                assert!(!shown.contains(secret), "{command:?} {format} {documented:?}: {shown}");
            }
        }
    }
    assert!(count > 30, "only {count} bodies");
}
