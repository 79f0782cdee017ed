//! What is kept of users in the custody of a profile, when their provisions are closed.

use std::process::Command;

use bunq_partner::{FileCustody, FileStore, ProvisionId};
use bunq_partner_sandbox::{Pace, Sandbox};
use serde_json::{Value, json};

use crate::common::{Folder, program, ran};

/// A bank, and users of it in the custody of the profile `default`.
async fn with_users(folder: &Folder, count: usize) -> (Sandbox, Vec<ProvisionId>) {
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let (ids, users) = (sandbox.populate(count), folder.own_folder("users"));
    let builder = sandbox.client().context_store(FileStore::new(folder.path("context.json")));
    let client = builder.custody(FileCustody::new(users)).build().unwrap();
    for id in &ids {
        client.users().activate(*id).await.unwrap();
    }
    std::fs::create_dir(folder.path("bunq-partner")).unwrap();
    folder.file("partner.key", sandbox.api_key().expose());
    let profile = format!(
        "[profiles.default]\nbase_url = \"{}\"\napi_key_file = \"../partner.key\"\ncontext = \"../context.json\"\n\
         custody = \"../users\"\n",
        sandbox.base_url()
    );
    folder.file("bunq-partner/config.toml", &profile);
    (sandbox, ids)
}

fn in_custody(folder: &Folder) -> Vec<String> {
    let (out, err, code) = ran(program(folder).args(["users", "list", "--output", "csv", "--columns", "id"]));
    assert_eq!(code, 0, "{err}");
    out.lines().skip(1).map(str::to_owned).collect()
}

fn command(folder: &Folder, words: &[&str]) -> Command {
    let mut command = program(folder);
    command.args(words);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_a_user_goes_when_its_provision_is_closed() {
    test_timeout::start();
    let folder = Folder::new();
    let (sandbox, ids) = with_users(&folder, 3).await;
    let [first, second, third] = [0, 1, 2].map(|place: usize| ids[place].to_string());
    let (_, err, code) = ran(&mut command(&folder, &["close", &first, &second]));
    assert_eq!(code, 0, "{err}");
    let kept = format!(
        "kept in the custody until bunq has closed it: each user of {first} {second}; `bunq-partner close {first} {second} --wait` removes it then"
    );
    assert!(err.contains(&kept), "{err}");
    assert_eq!(in_custody(&folder), [&first, &second, &third].map(String::as_str));

    assert!(sandbox.advance(ids[0]));
    let (out, err, code) = ran(&mut command(&folder, &["close", &first, &second, "--output", "json"]));
    assert_eq!(code, 0, "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap().as_array().unwrap().len(), 2);
    let said: Value = serde_json::from_str(&err).unwrap();
    assert_eq!(said, json!({ "custody": { "removed": [ids[0]], "kept": [ids[1]] } }));
    assert_eq!(in_custody(&folder), [&second, &third].map(String::as_str));

    assert!(sandbox.advance(ids[1]));
    let (_, err, code) = ran(&mut command(&folder, &["close", &second, "--wait"]));
    assert!(err.contains(&format!("removed from the custody, because it is closed: the user of {second}\n")), "{err}");
    assert_eq!((in_custody(&folder), code), (vec![third.clone()], 0));

    // A custody that cannot be used holds no closing up.
    std::fs::rename(folder.path("users"), folder.path("elsewhere")).unwrap();
    let (_, err, code) = ran(&mut command(&folder, &["close", &third]));
    assert!(err.contains("warning: nothing is removed from the custody: ") && code == 0, "{err}");
    assert_eq!(sandbox.provision(ids[2]).unwrap()["status"], "CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_run_removes_what_is_kept_of_closed_users() {
    test_timeout::start();
    let folder = Folder::new();
    let (sandbox, ids) = with_users(&folder, 2).await;
    let other = sandbox.populate(1)[0];
    let from = folder.file("ids.csv", &format!("id\n{}\n{other}\n{}\n", ids[0], ids[1]));
    let from = from.to_str().unwrap();
    let (_, err, code) = ran(&mut command(&folder, &["close", "--from", from]));
    assert!(
        err.contains(&format!("kept in the custody until bunq has closed it: each user of {} {}", ids[0], ids[1])),
        "{err}"
    );
    assert_eq!((in_custody(&folder).len(), code), (2, 0));
    for id in ids {
        assert!(sandbox.advance(id));
    }
    let (_, err, code) = ran(&mut command(&folder, &["close", "--from", from, "--resume"]));
    assert!(err.contains("removed from the custody, because it is closed: each user of ") && code == 0, "{err}");
    assert!(in_custody(&folder).is_empty());
}

/// The folder of `--activate` is that of the profile, if none is typed.
#[tokio::test(flavor = "multi_thread")]
async fn new_users_are_kept_in_the_custody_of_the_profile() {
    test_timeout::start();
    let folder = Folder::new();
    let (sandbox, ids) = with_users(&folder, 1).await;
    let rows = "external_uuid,email,phone_number\n00000000-0000-4000-8000-000000000005,user@example.com,+31600000000\n";
    let from = folder.file("users.csv", rows);
    let words = ["create", "--activate", "--rehearse", "1000", "--from", from.to_str().unwrap()];
    let run = std::thread::spawn({
        let mut create = command(&folder, &words);
        move || ran(&mut create)
    });
    let created = loop {
        match sandbox.provision_ids().into_iter().find(|id| *id != ids[0]) {
            Some(id) => break id,
            None => std::thread::yield_now(),
        }
    };
    (0..3).for_each(|_| assert!(sandbox.advance(created)));
    let (_, err, code) = run.join().unwrap();
    assert_eq!(code, 0, "{err}");
    assert_eq!(in_custody(&folder), [ids[0], created].map(|id| id.to_string()));

    // Without one, nobody is created.
    let (_, err, code) =
        ran(program(&folder).args(words).args(["--base-url", sandbox.base_url(), "--journal", "none"]));
    assert!(err.contains("no custody is named") && err.contains("give --activate FOLDER, or set `custody`"), "{err}");
    assert_eq!((sandbox.provision_ids().len(), code), (2, 2));
}
