//! What scripts read: one shape of JSON, the same names in CSV, and columns by choice.

use std::collections::BTreeSet;
use std::process::Command;

use bunq_partner::types::InquiryEntryType;
use bunq_partner::{NewAttachment, Operation};
use bunq_partner_sandbox::{Fault, Injection, Sandbox, SeedInquiry};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::common::{Folder, program, program_with_session, ran, user_in_custody};

/// The schema that the program prints, so strict that a member which it does not name is a mistake.
pub(crate) fn schema() -> Value {
    fn make_strict(schema: &mut Value) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let names: BTreeSet<_> = properties.keys().cloned().collect();
            let required = schema["required"].as_array().expect("a member that is named is always there");
            assert_eq!(required.iter().map(|name| name.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), names);
            schema["additionalProperties"] = false.into();
        }
        match schema {
            Value::Array(items) => items.iter_mut().for_each(make_strict),
            Value::Object(members) => members.values_mut().for_each(make_strict),
            _ => {}
        }
    }
    let (text, _, code) = ran(program(&Folder::new()).args(["help", "schema"]));
    assert_eq!(code, 0);
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    make_strict(&mut schema["$defs"]);
    schema
}

/// Checks values against one of the definitions.
pub(crate) fn validator(schema: &Value, definition: &str) -> Validator {
    let schema = json!({ "$defs": schema["$defs"], "$ref": format!("#/$defs/{definition}") });
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

#[track_caller]
pub(crate) fn check(validator: &Validator, value: &Value, of: &str) {
    let problems: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{of}: {problems:#?}\n{value:#}");
}

/// A value as CSV has it.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// A bank with provisions that are active, and the program in a folder with files for its commands.
struct Bank {
    folder: Folder,
    sandbox: Sandbox,
    ids: Vec<String>,
    /// A file of the user of the first one, whose token is in the custody `users`.
    attachment: String,
    /// An inquiry about that user, and its entry.
    inquiry: String,
}

impl Bank {
    async fn start() -> Self {
        let (folder, sandbox) = (Folder::new(), Sandbox::start().await.unwrap());
        let ids: Vec<_> = sandbox.populate(8).iter().map(ToString::to_string).collect();
        folder.file("ids.csv", &format!("id\n{}\n7\n", ids[7]));
        let user = |row| format!("22222222-2222-4222-8222-22222222222{row},user{row}@example.com,+3160000000{row}\n");
        let users: String = (1..=2).map(user).collect();
        folder.file("users.csv", &format!("external_uuid,email,phone_number\n{users}"));
        let user = user_in_custody(&folder, &sandbox, ids[0].parse().unwrap()).await;
        let attachment = user.attachments().upload(NewAttachment::new(&b"GIF89a"[..])).await.unwrap().to_string();
        let asked = SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund]);
        let inquiry = sandbox.inquire(user.provision_id(), asked).unwrap();
        let entry = user.inquiries().get(inquiry).await.unwrap().entries().next().unwrap().id;
        Self { folder, sandbox, ids, attachment, inquiry: format!("{inquiry} {entry}") }
    }

    async fn program(&self) -> Command {
        let mut program = program_with_session(&self.folder, &self.sandbox).await;
        program.current_dir(&self.folder.0).args(["--rehearse", "1000"]);
        program
    }

    /// The output of a command in a format, what it has said beside it, and its exit code.
    async fn run(&self, typed: &str, format: &str) -> (String, String, i32) {
        let typed = typed.replace("JOURNAL", &format!("{format}.journal")).replace("ATTACHMENT", &self.attachment);
        let typed = typed.replace("INQUIRY", &self.inquiry);
        // The demo is a bank itself, and takes no other.
        let mut program = if typed == "demo" { program(&self.folder) } else { self.program().await };
        program.args(typed.split(' ')).args(["--output", format]);
        tokio::task::spawn_blocking(move || ran(&mut program)).await.unwrap()
    }
}

const UUID: &str = "11111111-1111-4111-8111-111111111111";

/// Each command that writes JSON, what it writes, an example, and how that ends. It is run as `jsonl`, as `json` and as `csv`, so
/// that what it changes is done already when the two last are compared.
fn cases(ids: &[String], file: &str, failure: &str) -> Vec<(&'static str, &'static str, String, i32)> {
    let new = format!("create --email user@example.com --phone-number +31600000000 --external-uuid {UUID}");
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|place: usize| &ids[place]);
    vec![
        ("get", "provisions", format!("get {a}"), 0),
        ("get", "provisions", format!("get {a} {b}"), 0),
        ("get", "provisions", format!("get {a} 7"), 9),
        ("list", "provisions", "list".into(), 0),
        ("list", "provisions", "list --status FAILED".into(), 0),
        ("watch", "provisions", format!("watch {a}"), 0),
        ("close", "outcomes", format!("close {b}"), 0),
        ("close", "outcomes", format!("close {c} {d} --wait"), 0),
        ("close", "outcomes", format!("close {e} 7"), 9),
        ("close", "outcomes", "close 7".into(), 9),
        ("close", "requests", format!("close {a} --dry-run"), 0),
        ("close", "rows", "close --from ids.csv --journal closing-JOURNAL".into(), 9),
        ("close", "plan", "close --from ids.csv --dry-run".into(), 0),
        ("report", "rows", "report --from ids.csv --journal closing-JOURNAL".into(), 9),
        ("create", "outcomes", format!("{new} --wait"), 0),
        ("create", "outcomes", new.clone(), 0),
        ("create", "requests", format!("{new} --dry-run"), 0),
        ("create", "rows", "create --from users.csv --journal creating-JOURNAL".into(), 0),
        ("create", "plan", "create --from users.csv --dry-run".into(), 0),
        ("report", "rows", "report --from users.csv --journal creating-JOURNAL".into(), 0),
        ("find", "provisions", format!("find {UUID}"), 0),
        ("users list", "users_in_custody", "users list --custody users".into(), 0),
        ("users activate", "activations", "users activate 9 --custody users".into(), 9),
        ("users activate", "activation_plan", format!("users activate {a} {b} --dry-run --custody users"), 0),
        ("users reset", "activations", "users reset 9 --custody users".into(), 9),
        ("users reset", "activations", format!("users reset {f} --custody users"), 0),
        ("users reset", "requests", format!("users reset {f} --dry-run --custody users"), 0),
        ("users activate", "activations", format!("users activate {f} --custody users"), 0),
        ("users show", "users_shown", format!("users show {a} --custody users"), 0),
        ("receipts verify", "receipts", "receipts verify closing.receipts".into(), 1),
        ("whoami", "user", "whoami".into(), 0),
        ("oauth show", "oauth_clients", "oauth show".into(), 0),
        ("oauth ensure", "oauth_setups", "oauth ensure https://partner.example.com/callback".into(), 0),
        ("session end", "requests", "session end --dry-run".into(), 0),
        ("session end", "session_end", "session end".into(), 0),
        ("rekey", "rekeyed", "rekey --old-api-key-file old-key --custody users".into(), 0),
        ("session reinstall", "session_reinstall", "session reinstall".into(), 0),
        ("api", "response", format!("api get_provision --param provision_id={a}"), 0),
        ("api", "requests", format!("api get_provision --param provision_id={a} --dry-run"), 0),
        (
            "api",
            "download",
            format!("api get_attachment_content -p attachment_id={file} --output-file file-JOURNAL"),
            0,
        ),
        ("onboard", "onboardings", format!("onboard {a} --custody users"), 24),
        ("onboard", "requests", format!("onboard {a} --dry-run"), 0),
        ("inquiries list", "inquiry_entries", format!("inquiries list {a} --custody users"), 0),
        (
            "inquiries answer",
            "inquiry_answers",
            format!("inquiries answer {a} INQUIRY --text Work. --custody users"),
            0,
        ),
        ("inquiries answer", "requests", format!("inquiries answer {a} INQUIRY --text Work. --dry-run"), 0),
        ("attachment put", "attachments", format!("attachment put {a} scan --custody users"), 0),
        ("attachment put", "requests", format!("attachment put {a} scan --dry-run"), 0),
        (
            "attachment get",
            "download",
            format!("attachment get {a} ATTACHMENT --custody users --output-file got-JOURNAL"),
            0,
        ),
        ("webhooks ensure", "requests", "webhooks ensure SUPPORT --url-file url --user 7 --dry-run".into(), 0),
        ("webhooks ensure", "ensured_filters", "webhooks ensure PARTNER_USER_PROVISION --url-file url".into(), 0),
        ("webhooks list", "notification_filters", "webhooks list".into(), 0),
        ("webhooks list", "notification_filters", format!("webhooks list --user {a} --custody users"), 0),
        ("webhooks trigger", "trigger", format!("webhooks trigger PARTNER_USER_PROVISION {a}"), 0),
        ("webhooks failures", "failed_calls", "webhooks failures".into(), 0),
        ("webhooks check", "webhook_check", "webhooks check".into(), 1),
        ("webhooks retry", "requests", format!("webhooks retry {failure} --dry-run"), 0),
        ("webhooks retry", "retried_calls", format!("webhooks retry {failure}"), 0),
        ("webhooks remove", "requests", "webhooks remove PARTNER_USER_PROVISION --url-file url --dry-run".into(), 0),
        ("webhooks remove", "removed_filters", "webhooks remove PARTNER_USER_PROVISION --url-file url".into(), 0),
        ("doctor", "diagnosis", "doctor".into(), 0),
        ("probe", "behaviour", "probe".into(), 0),
        ("demo", "demo", "demo".into(), 0),
        ("config show", "settings", "config show".into(), 0),
        ("config path", "config_path", "config path".into(), 0),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_writes_what_the_schema_says() {
    test_timeout::start();
    let bank = Bank::start().await;
    let (_, said, code) = bank.run(&format!("close {} --receipts closing.receipts", bank.ids[6]), "table").await;
    assert_eq!(code, 0, "{said}");
    let receipts = bank.folder.path("closing.receipts");
    let damaged = std::fs::read_to_string(&receipts).unwrap() + "{}\n";
    std::fs::write(&receipts, damaged).unwrap();

    bank.folder.file("scan", "GIF89a");
    bank.folder.file("old-key", "sandbox_before");
    bank.folder.file("url", "http://127.0.0.1:9/bunq/planted");
    let (_, said, code) = bank.run("webhooks ensure PARTNER_USER_PROVISION --url-file url", "table").await;
    assert_eq!(code, 0, "{said}");
    bank.sandbox.fail_notification(bank.ids[0].parse().unwrap());
    let (failures, said, code) = bank.run("webhooks failures", "json").await;
    assert_eq!(code, 0, "{said}");
    let failure = serde_json::from_str::<Value>(&failures).unwrap()[0]["failure_id"].to_string();
    let (uploaded, said, code) = bank.run("api create_attachment --body @scan", "json").await;
    assert_eq!(code, 0, "{said}");
    let file = serde_json::from_str::<Value>(&uploaded).unwrap()["Response"][0]["Id"]["id"].to_string();

    let schema = schema();
    let line = validator(&schema, "stderr_line");
    let mut missing: BTreeSet<(String, String)> = BTreeSet::new();
    for (command, written) in schema["properties"].as_object().unwrap() {
        let any = written.get("anyOf").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![written.clone()]);
        let definition = |one: &Value| one["$ref"].as_str().unwrap().trim_start_matches("#/$defs/").to_owned();
        missing.extend(any.iter().map(|one| (command.clone(), definition(one))));
    }
    let all = missing.clone();
    // It ends when it is interrupted: `cli_listen` checks it.
    missing.remove(&("webhooks listen".to_owned(), "heard".to_owned()));
    // They need a server: `cli_postgres` checks them.
    missing.remove(&("postgres migrate".to_owned(), "migration".to_owned()));
    missing.remove(&("fleet status".to_owned(), "fleet".to_owned()));
    missing.remove(&("fleet forget".to_owned(), "forgotten_member".to_owned()));
    for (command, definition, typed, ends) in cases(&bank.ids, &file, &failure) {
        let key = (command.to_owned(), definition.to_owned());
        assert!(all.contains(&key), "the schema does not say that {command} writes {definition}");
        missing.remove(&key);
        let validator = validator(&schema, definition);
        let is_list = schema["$defs"][definition]["type"] == "array";
        let check_said = |said: &str| {
            said.lines().for_each(|text| check(&line, &serde_json::from_str(text).unwrap(), &typed));
        };

        let (lines, said, code) = bank.run(&typed, "jsonl").await;
        assert_eq!(code, ends, "{typed}: {said}");
        check_said(&said);
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let lines = if is_list { Value::from(lines) } else { lines.into_iter().next().unwrap() };
        check(&validator, &lines, &typed);

        let (text, said, code) = bank.run(&typed, "json").await;
        if command == "watch" {
            assert_eq!((&*text, code), ("", 2));
            continue;
        }
        assert_eq!(code, ends, "{typed}: {said}");
        check_said(&said);
        let json: Value = serde_json::from_str(&text).unwrap();
        check(&validator, &json, &typed);
        assert_eq!(is_list, json.is_array(), "{typed}");

        let (text, said, code) = bank.run(&typed, "csv").await;
        if ["requests", "plan", "activation_plan"].contains(&definition) || !is_list {
            assert!(code == 2 && text.is_empty() && said.contains("csv is for records"), "{typed}: {said}");
            continue;
        }
        assert_eq!(code, ends, "{typed}: {said}");
        let mut csv = csv::Reader::from_reader(text.as_bytes());
        let header: Vec<_> = csv.headers().unwrap().iter().map(str::to_owned).collect();
        let item = schema["$defs"][definition]["items"]["$ref"].as_str().unwrap().trim_start_matches('#');
        let properties = schema.pointer(item).unwrap()["properties"].as_object().unwrap();
        assert!(header.iter().all(|name| properties.contains_key(name)), "{typed}: {header:?}");
        if command == "config show" {
            // It tells the format.
            continue;
        }
        // Each call and each journal has its own.
        let own = ["response_id", "request_id", "at", "attachment_id"];
        let json = json.as_array().unwrap().iter().map(|record| {
            let cells =
                header.iter().map(|name| if own.contains(&&**name) { String::new() } else { cell(&record[name]) });
            cells.collect::<Vec<_>>()
        });
        let csv = csv.records().map(|record| {
            let record = record.unwrap();
            let cells = header.iter().zip(&record);
            cells.map(|(name, cell)| if own.contains(&&**name) { "" } else { cell }.to_owned()).collect::<Vec<_>>()
        });
        // Several calls end in no order.
        assert_eq!(json.collect::<BTreeSet<_>>(), csv.collect::<BTreeSet<_>>(), "{typed}");
    }
    assert!(missing.is_empty(), "nothing here writes {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_calls_are_in_the_schema() {
    test_timeout::start();
    let bank = Bank::start().await;
    let line = validator(&schema(), "stderr_line");
    for verbose in ["-v", "-vv"] {
        // One attempt gets no response, the next one does.
        bank.sandbox.inject(Injection::new(Fault::Drop).on(&Operation::GET_PROVISION));
        let (_, said, code) = bank.run(&format!("get {} {verbose}", bank.ids[0]), "jsonl").await;
        assert_eq!((said.lines().count(), code), (2, 0), "{said}");
        said.lines().for_each(|text| check(&line, &serde_json::from_str(text).unwrap(), verbose));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_chosen_where_there_are_some() {
    test_timeout::start();
    let bank = Bank::start().await;
    let id = &bank.ids[0];
    for (typed, format, expected) in [
        (format!("get {id} --columns status,id"), "csv", format!("status,id\nACTIVE,{id}\n")),
        (format!("get {id} --columns status,id --no-header"), "csv", format!("ACTIVE,{id}\n")),
        (
            format!("get {id} --columns action_required,id"),
            "table",
            format!("ACTION REQUIRED  ID\nNONE             {id}\n"),
        ),
        (format!("get {id} --columns status --columns id --no-header"), "table", format!("ACTIVE  {id}\n")),
        (format!("get {id} {} --columns id --no-header", bank.ids[1]), "table", format!("{id}\n{}\n", bank.ids[1])),
        (format!("watch {id} --columns id,status"), "csv", format!("id,status\n{id},ACTIVE\n")),
        (format!("close {id} --columns outcome,in_doubt"), "csv", "outcome,in_doubt\naccepted,false\n".into()),
        ("list --status FAILED --columns id,token".into(), "csv", "id,token\n".into()),
        ("list --status FAILED --columns id,token --no-header".into(), "csv", String::new()),
    ] {
        let (text, said, code) = bank.run(&typed, format).await;
        assert_eq!((text, code), (expected, 0), "{typed}: {said}");
    }

    // Nothing is sent if they are refused.
    bank.sandbox.take_call_log();
    let known = "id, outcome, status, error_kind, response_id, external_uuid, http_status, in_doubt, credential_expiry, token, created";
    for (typed, format, problem) in [
        (
            format!("close {id} --columns id,state"),
            "csv",
            format!("there is no column `state`\nhint: the columns here are {known}\n"),
        ),
        (format!("close {id} --columns ID"), "table", "there is no column `ID`".into()),
        (format!("close {id} --columns ID"), "json", "there is no column `ID`".into()),
        (format!("watch {id} --columns id"), "json", "use --output jsonl".into()),
    ] {
        let (text, said, code) = bank.run(&typed, format).await;
        assert!(text.is_empty() && said.contains(&problem) && code == 2, "{typed}: {code} {text}{said}");
    }
    let calls = bank.sandbox.take_call_log();
    assert!(calls.iter().all(|call| call.path.contains("installation")), "{calls:?}");
}

#[test]
fn a_command_line_that_is_not_accepted_is_refused_in_its_format() {
    test_timeout::start();
    let line = validator(&schema(), "stderr_line");
    let folder = Folder::new();
    for (typed, problem) in [
        ("get x -o json", "provision_id: `x` is not a positive integer"),
        ("-o json lst", "unrecognized subcommand 'lst'"),
        ("--output=jsonl list --bogus", "unexpected argument '--bogus' found"),
        ("list --limit 0x1 -ojson", "a count is written as in 100"),
        ("list -vojson --limit", "a value is required for '--limit <COUNT>'"),
        ("list --limit --output json", "a value is required for '--limit <COUNT>'"),
        ("create -o=json", "required arguments were not provided: --email <EMAIL> --phone-number <NUMBER>"),
        ("config -o json", "requires a subcommand"),
        ("list -o csv -o json", "cannot be used multiple times"),
        ("help nothing -o json", "there is no command and no topic `nothing`"),
    ] {
        let (out, said, code) = ran(program(&folder).args(typed.split(' ')));
        let error: Value = serde_json::from_str(&said).unwrap_or_else(|problem| panic!("{typed}: {problem}: {said}"));
        check(&line, &error, typed);
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(problem) && !message.contains("For more"), "{typed}: {message}");
        assert_eq!((&*out, code, &error["error"]["kind"]), ("", 2, &"InvalidInput".into()), "{typed}");
    }
    // Where `json` is no format that was asked for.
    for typed in
        ["get x", "list --limit json", "list -- -o json", "list -o table --bogus", "list -o jsn", "api x -bo json"]
    {
        let (out, said, code) = ran(program(&folder).args(typed.split(' ')));
        assert!(out.is_empty() && said.starts_with("error: ") && code == 2, "{typed}: {said}");
    }
    let (out, said, code) = ran(program(&folder).args(["list", "-o", "json", "--help"]));
    assert!(out.starts_with("List provisions") && said.is_empty() && code == 0, "{out}{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_doubt_is_unfinished_as_in_a_report() {
    test_timeout::start();
    let bank = Bank::start().await;
    // The reset gets no response, and nobody can look what became of it.
    bank.sandbox.inject(Injection::new(Fault::Drop).on(&Operation::UPDATE_PROVISION).always());
    bank.sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::GET_PROVISION).after(3).always());
    let (text, said, code) = bank.run(&format!("users reset {} --custody users", bank.ids[0]), "jsonl").await;
    assert_eq!(code, 20, "{said}");
    let outcome: Value = serde_json::from_str(&text).unwrap();
    check(&validator(&schema(), "activation"), &outcome, "users reset");
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&outcome["outcome"], &outcome["in_doubt"]), (&"unfinished".into(), &true.into()), "{outcome}");
    assert_eq!((&outcome["error"], &outcome["error_kind"]), (&told["error"], &told["error"]["kind"]));
    assert_eq!(told["error"]["in_doubt"], true);
}
