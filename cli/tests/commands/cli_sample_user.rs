//! `--sandbox` has a user in custody, so that a newcomer can try what acts for one.

use serde_json::Value;

use crate::common::{Folder, program, ran};

const ANSWERS: &str = r#"{"nationality": ["NL"], "person": {"date_of_birth": "1990-01-31"}}"#;

#[test]
fn each_command_that_acts_for_a_user_can_be_tried() {
    test_timeout::start();
    let folder = Folder::new();
    let answers = folder.file("answers.json", ANSWERS);
    let scan = folder.path("scan.png");
    std::fs::write(&scan, b"\x89PNG\r\n\x1a\n").unwrap();
    let (answers, scan) = (answers.to_str().unwrap(), scan.to_str().unwrap());
    let sandbox = |words: &[&str]| ran(program(&folder).args(["--sandbox", "--output", "json"]).args(words));
    let results = |words: &[&str], expected: i32| -> Value {
        let (out, err, code) = sandbox(words);
        assert_eq!(code, expected, "{words:?}: {err}");
        serde_json::from_str(&out).unwrap()
    };
    let users = results(&["users", "list"], 0);
    assert_eq!((users[0]["id"].as_u64(), users[0]["state"].as_str()), (Some(1015), Some("activated")));
    assert_eq!(results(&["users", "show", "1015"], 0)[0]["credential_status"], "ACTIVE");
    assert_eq!(results(&["users", "reset", "1015"], 0)[0]["outcome"], "activated");
    assert_eq!(results(&["users", "activate", "1015"], 0)[0]["outcome"], "activated");
    let onboarding = &results(&["onboard", "1015", "--from", answers], 24)[0];
    assert!(onboarding["answered"].as_str().unwrap().contains("NATIONALITY"), "{onboarding}");
    let entry = &results(&["inquiries", "list", "1015"], 0)[0];
    assert_eq!(entry["waiting_for"], "user", "{entry}");
    let [inquiry, id] = ["inquiry_id", "entry_id"].map(|name| entry[name].to_string());
    let answer = ["inquiries", "answer", "1015", &inquiry, &id, "--text", "savings", "--attach", scan];
    assert_eq!(results(&answer, 0)[0]["outcome"], "accepted");
    assert_eq!(results(&["attachment", "put", "1015", scan], 0)[0]["content_type"], "image/png");
    assert!(results(&["api", "list_credentials", "--user", "1015"], 0)["Response"].is_array());

    // What lasts no longer than a command is not advised.
    for words in [
        &["onboard", "1019", "--from", answers][..],
        &["inquiries", "list", "1019"],
        &["attachment", "put", "1019", scan],
        &["api", "list_credentials", "--user", "1019"],
    ] {
        let (_, err, code) = sandbox(words);
        assert!(err.contains("with the user of 1015 in custody; for others, start `bunq-partner sandbox`"), "{err}");
        assert_eq!(code, 18, "{words:?}");
    }
}
