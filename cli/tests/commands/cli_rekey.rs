//! `rekey`: what is kept is sealed for a new API key.

use std::fs;
use std::path::Path;
use std::process::Command;

use bunq_partner_sandbox::Sandbox;
use serde_json::Value;

use crate::common::{Folder, calls, program_for, ran, with_key};

/// The files of contexts in the state folder.
fn contexts(folder: &Folder) -> Vec<String> {
    let files = fs::read_dir(folder.path("bunq-partner")).unwrap().map(|file| file.unwrap().file_name());
    files.filter_map(|name| name.into_string().ok()).filter(|name| name.ends_with(".json")).collect()
}

fn rekey(folder: &Folder, sandbox: &Sandbox, old: &Path) -> Command {
    let mut program = program_for(folder, sandbox);
    program.args(["rekey", "--custody"]).arg(folder.path("users")).arg("--old-api-key-file").arg(old);
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_goes_on_where_the_one_before_was() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let users = folder.own_folder("users");
    let ids = sandbox.populate(2).into_iter().map(|id| id.to_string()).collect::<Vec<_>>();
    let of_users = |sandbox: &Sandbox, command: &str, id: &str| {
        let mut program = program_for(&folder, sandbox);
        ran(program.args(["--rehearse", "1000", "users", command, id, "--custody"]).arg(&users))
    };
    for id in &ids {
        let (_, err, code) = of_users(&sandbox, "activate", id);
        assert_eq!(code, 0, "{err}");
    }
    let old = folder.file("old-key", sandbox.api_key().expose());
    let before = contexts(&folder);
    let sandbox = with_key(sandbox, "sandbox_the-new-key").await;

    let (out, err, code) = ran(program_for(&folder, &sandbox).args(["rekey", "--custody"]).arg(&users));
    assert_eq!((out.as_str(), code), ("", 2), "{err}");
    assert!(err.contains("there is no API key to open with: give --old-api-key-file FILE"), "{err}");
    let (out, err, code) = ran(&mut rekey(&folder, &sandbox, &old));
    assert_eq!((err.as_str(), code), ("", 0), "{out}");
    assert_eq!(out.split_whitespace().collect::<Vec<_>>(), ["resealed", "3", "unchanged", "0"], "{out}");
    let now = contexts(&folder);
    assert!(now.len() == 1 && now != before, "{before:?} {now:?}");
    assert!(sandbox.take_call_log().is_empty());

    for id in &ids {
        let (out, err, code) = of_users(&sandbox, "show", id);
        assert!(code == 0 && out.contains("activated"), "{out}{err}");
    }
    assert_eq!(calls(&sandbox, "POST", "/installation").len(), 0, "the installation stays");
    assert_eq!(calls(&sandbox, "POST", "/device-server").len(), 1);

    // Again, and with something that nobody can open.
    let (out, err, code) = ran(rekey(&folder, &sandbox, &old).args(["--output", "json"]));
    assert_eq!((err.as_str(), code), ("", 0), "{out}");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said, serde_json::json!({ "resealed": 0, "unchanged": 3, "refused": [] }));
    let file = users.join(format!("{}.json", ids[0]));
    let damaged = fs::read_to_string(&file).unwrap().replace("\"sealed\":\"", "\"sealed\":\"A");
    fs::write(&file, damaged).unwrap();
    let (out, err, code) = ran(&mut rekey(&folder, &sandbox, &old));
    assert_eq!(code, 18, "{err}");
    assert!(out.contains('2') && err.contains(&format!("/{}.json", ids[0])), "{out}{err}");
    assert!(err.contains("1 text is left as it is: neither key opens it"), "{err}");
}

/// A trial with the new key has made an installation of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_the_new_key_has_stays() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    folder.own_folder("users");
    assert_eq!(ran(program_for(&folder, &sandbox).arg("whoami")).2, 0);
    let old = folder.file("old-key", sandbox.api_key().expose());
    let sandbox = with_key(sandbox, "sandbox_the-new-key").await;
    assert_eq!(ran(program_for(&folder, &sandbox).arg("whoami")).2, 0);
    let before = contexts(&folder).len();
    let (out, err, code) = ran(&mut rekey(&folder, &sandbox, &old));
    assert_eq!((out.split_whitespace().last(), code, before, contexts(&folder).len()), (Some("1"), 0, 2, 2), "{err}");
    assert!(err.contains("is left, with the installation of the key before: this key has"), "{err}");
}
