//! `attachment`: files of a user go to bunq, and come back to their owner alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bunq_partner_sandbox::Sandbox;
use serde_json::{Value, json};

use crate::common::{Folder, again, in_shell, program, program_with_user, ran};

const GIF: &[u8] = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;\r\n\xff\x00\x1b[31m";

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_to_bunq_and_comes_back() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0].to_string();
    let session = program_with_user(&folder, &sandbox, id.parse().unwrap()).await;
    fs::write(folder.path("scan.gif"), GIF).unwrap();
    let put = ["attachment", "put", &id, "scan.gif", "--custody", "users", "--description=Passport", "-o", "json"];

    let (shown, err, code) = ran(again(&session).args(put).arg("--dry-run"));
    assert_eq!((err.as_str(), code), ("", 0));
    let shown = &serde_json::from_str::<Value>(&shown).unwrap()[0];
    assert_eq!(shown["upload"], json!({ "content_type": "image/gif", "size": GIF.len() }));
    assert_eq!(shown["headers"], json!({ "X-Bunq-Attachment-Description": "[redacted]" }));
    let (shown, ..) = ran(again(&session).args(put).args(["--dry-run", "--show-personal"]));
    assert!(shown.contains("\"X-Bunq-Attachment-Description\": \"Passport\""), "{shown}");

    sandbox.take_call_log();
    let (out, err, code) = ran(again(&session).args(put));
    assert_eq!((err.as_str(), code), ("", 0));
    let out = &serde_json::from_str::<Value>(&out).unwrap()[0];
    assert_eq!((&out["content_type"], &out["size"]), (&json!("image/gif"), &json!(GIF.len())));
    let calls = sandbox.take_call_log();
    let sent: Vec<_> = calls.iter().filter_map(|call| call.operation).map(|operation| operation.id).collect();
    assert_eq!(sent, ["create_attachment"], "both sessions are kept");

    let attachment = out["attachment_id"].to_string();
    let get = ["attachment", "get", &id, &attachment, "--custody", "users"];
    let to_file = ["--output-file", "back.gif"];
    let (out, err, code) = ran(again(&session).args(get).args(to_file));
    assert_eq!((err.as_str(), code), ("", 0));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), json!({ "file": "back.gif", "size": GIF.len() }));
    assert_eq!(fs::read(folder.path("back.gif")).unwrap(), GIF);
    assert_eq!(fs::metadata(folder.path("back.gif")).unwrap().permissions().mode() & 0o777, 0o600);
    let piped = in_shell(again(&session).args(get), "\"$0\" \"$@\" >piped").current_dir(&folder.0).status().unwrap();
    assert!(piped.success() && fs::read(folder.path("piped")).unwrap() == GIF);

    // What is there is not replaced, and a response that is a file is not JSON: both before anything is sent.
    sandbox.take_call_log();
    for (more, problem) in
        [(to_file, "back.gif: it exists, and is not replaced"), (["-o", "json"], "is a file, not JSON")]
    {
        let (_, err, code) = ran(again(&session).args(get).args(more));
        assert!(code == 2 && err.contains(problem), "{err}");
    }
    assert!(sandbox.call_log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_bunq_would_not_take_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0].to_string();
    let session = program_with_user(&folder, &sandbox, id.parse().unwrap()).await;
    for (name, bytes) in [("empty.png", &b""[..]), ("named.png", GIF), ("text", b"Ada")] {
        fs::write(folder.path(name), bytes).unwrap();
    }
    sandbox.take_call_log();
    for (file, problem) in [
        ("missing.png", "missing.png: it cannot be opened: No such file"),
        ("empty.png", "empty.png: it is empty"),
        ("named.png", "named.png: attachment: by its first bytes, the file is image/gif, and its name says image/png"),
        ("text", "text: attachment: by its first bytes, the file is none of image/png"),
    ] {
        let (_, err, code) = ran(again(&session).args(["attachment", "put", &id, file, "--custody", "users"]));
        assert!(code == 2 && err.contains(problem), "{err}");
    }
    let (_, err, code) = ran(again(&session).args(["attachment", "put", &id, "named.png"]));
    assert!(code == 2 && err.contains("no custody is named"), "{err}");
    let mut asked = program(&folder);
    asked
        .args(["attachment", "put", "7", "scan.png", "--custody", "users", "--env", "production"])
        .env("BUNQ_API_KEY", "key");
    let (_, err, code) = ran(&mut asked);
    assert!(code == 2 && err.contains("Upload a file of the user of provision 7 in production: confirm it"), "{err}");
    // A user of whom there is no token.
    let (_, err, code) = ran(again(&session).args(["attachment", "get", "7", "6001", "--custody", "users"]));
    assert!(code == 18 && err.contains("there is no token of provision 7 in custody"), "{err}");
    assert!(sandbox.call_log().is_empty());
}
