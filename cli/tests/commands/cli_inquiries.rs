//! `inquiries`: what bunq asks of a user is shown without what is about the user, and answered once.

use std::fs;
use std::process::Command;

use bunq_partner::types::{InquiryEntryType, InquiryPurpose, UserInformationInquiryId};
use bunq_partner::{Operation, ProvisionId};
use bunq_partner_sandbox::{Fault, Injection, Review, Sandbox, SeedInquiry};
use serde_json::{Value, json};

use crate::common::{Folder, again, program, program_with_user, ran, user_in_custody};

const ANSWER: &Operation = &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY;

const TEXT: &str = "Planted: my income comes from employment.";

/// A bank with a user in custody, and a program with sessions of both.
struct User {
    folder: Folder,
    sandbox: Sandbox,
    id: ProvisionId,
    program: Command,
}

impl User {
    async fn new() -> Self {
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        let id = sandbox.populate(1)[0];
        let program = program_with_user(&folder, &sandbox, id).await;
        folder.file("answer.txt", &format!("{TEXT}\n"));
        fs::write(folder.path("payslip.gif"), "GIF89a").unwrap();
        sandbox.take_call_log();
        Self { folder, sandbox, id, program }
    }

    /// Runs a command with JSON for output; returns its list, what it has said beside it, and its exit code.
    fn run(&self, typed: &str) -> (Value, String, i32) {
        let typed = typed.replacen("USER", &self.id.to_string(), 1);
        let mut command = again(&self.program);
        command.args(typed.split_whitespace()).args(["--custody", "users", "--output", "json"]);
        let (out, err, code) = ran(&mut command);
        (serde_json::from_str(&out).unwrap_or_default(), err, code)
    }

    /// Opens an inquiry; returns its id, and the words for its only entry.
    fn asked(&self, reviews: &[Review]) -> (UserInformationInquiryId, String) {
        let seed = SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund]).reviews(reviews.iter().copied());
        let id = self.sandbox.inquire(self.id, seed).unwrap();
        let (list, err, code) = self.run("inquiries list USER");
        assert_eq!(code, 0, "{err}");
        let entry = list.as_array().unwrap().iter().find(|entry| entry["inquiry_id"] == json!(id)).unwrap();
        (id, format!("{id} {}", entry["entry_id"]))
    }

    /// What was sent since this was asked, but for what is read.
    fn sent(&self) -> Vec<&'static str> {
        let calls = self.sandbox.take_call_log().into_iter().filter_map(|call| call.operation);
        calls.filter(|operation| operation.method != "GET").map(|operation| operation.id).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_a_person_is_shown_on_request() {
    test_timeout::start();
    let user = User::new().await;
    let (first, entry) = user.asked(&[Review::Rejected]);
    let (second, _) = user.asked(&[]);
    let (answered, err, code) =
        user.run(&format!("inquiries answer USER {entry} --text @answer.txt --wait --rehearse 1000"));
    assert_eq!(
        (code, &answered[0]["review"], &answered[0]["entry_status"]),
        (14, &json!("asked_again"), &json!("PENDING"))
    );
    assert!(err.contains("bunq has rejected the answer") && !err.contains("does not say what was asked"), "{err}");

    let (hidden, _, _) = user.run("inquiries list USER");
    let ids: Vec<_> = hidden.as_array().unwrap().iter().map(|entry| entry["inquiry_id"].clone()).collect();
    assert_eq!(ids, [json!(second), json!(first)], "newest first");
    let redacted = json!("[redacted]");
    assert!(["title", "submitted", "reject_reason"].iter().all(|name| hidden[1][name] == redacted), "{hidden}");
    let turn = |list: &Value| (list[1]["waiting_for"].clone(), list[1]["review"].clone());
    assert_eq!(turn(&hidden), (json!("user"), json!("asked_again")));
    let (shown, _, _) = user.run("inquiries list USER --show-personal");
    assert_eq!(shown[1]["reject_reason"], "The answer does not say what was asked.");
    assert!(shown[1]["submitted"].as_str().unwrap().contains(TEXT), "{shown}");

    let mut renewal = SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund]);
    renewal.purpose = InquiryPurpose::DocumentExpiryRenewal;
    user.sandbox.inquire(user.id, renewal).unwrap();
    for (filter, count) in [
        ("--status EXPECTING_REPLY_FROM_USER", 3),
        ("--status finalized", 0),
        ("--purpose ONBOARDING --kind USER_PERSON", 2),
        ("--purpose document_expiry_renewal", 1),
        ("--kind USER_COMPANY,UNKNOWN_YET", 0),
        ("--limit 1", 1),
    ] {
        let (list, err, code) = user.run(&format!("inquiries list USER {filter}"));
        assert_eq!((list.as_array().unwrap().len(), code), (count, 0), "{filter}: {err}");
    }
    let mut list = again(&user.program);
    list.args(["inquiries", "list", &user.id.to_string(), "--custody", "users", "--status", "FINAL,FINALIZED"]);
    let (_, err, code) = ran(&mut list);
    assert!(code == 0 && err.contains("this version does not know FINAL, which bunq is asked for: it knows"), "{err}");
    assert!(!err.contains("not know FINALIZED"), "{err}");
    let (_, err, code) = user.run("inquiries list USER --status finalized.");
    assert!(code == 2 && err.contains("letters, digits and underscores"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_files_is_sent_once() {
    test_timeout::start();
    let user = User::new().await;
    let (_, entry) = user.asked(&[]);
    let (put, _, _) = user.run("attachment put USER payslip.gif --description Payslip");
    let uploaded = put[0]["attachment_id"].to_string();
    let attached = format!("--attach {uploaded} --attach payslip.gif");
    let answer = format!("inquiries answer USER {entry} {attached} --text @answer.txt");
    user.sent();

    let (hidden, _, _) = user.run(&format!("{answer} --dry-run"));
    assert_eq!((&hidden[1]["body"]["answer"], hidden.to_string().contains(TEXT)), (&json!("[redacted]"), false));
    let (shown, err, code) = user.run(&format!("{answer} --dry-run --show-personal"));
    assert_eq!((err.as_str(), code), ("", 0));
    let shown = shown.as_array().unwrap();
    assert_eq!((shown.len(), &shown[0]["upload"]), (2, &json!({ "content_type": "image/gif", "size": 6 })));
    let ids = json!([uploaded.parse::<u64>().unwrap(), "the id of a file above"]);
    assert_eq!(shown[1]["body"], json!({ "all_attachment_id": ids, "answer": TEXT }));
    assert!(user.sandbox.call_log().is_empty());

    // The response is lost: what became of the answer is looked up.
    user.sandbox.inject(Injection::new(Fault::Drop).on(ANSWER).carried_out(true));
    let (answered, err, code) = user.run(&format!("{answer} --rehearse 1000"));
    assert_eq!((code, &answered[0]["outcome"]), (0, &json!("found")), "{err}");
    assert_eq!(user.sent(), ["create_attachment", ANSWER.id]);
    let (again, err, code) = user.run(&format!("{answer} --wait --rehearse 1000"));
    assert_eq!((code, &again[0]["outcome"], &again[0]["review"]), (0, &json!("already"), &json!("approved")), "{err}");
    assert_eq!((&again[0]["attachments"], user.sent().len()), (&answered[0]["attachments"], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_no_answer_gets_none() {
    test_timeout::start();
    let user = User::new().await;
    let ((first, entry), (_, other)) = (user.asked(&[]), user.asked(&[]));
    let entry_of_other = other.split(' ').nth(1).unwrap();
    user.folder.file("empty.txt", "\n");
    user.folder.file("notes.txt", "Planted");
    fs::write(user.folder.path("scan.png"), "GIF89a").unwrap();
    let answered = user.run(&format!("inquiries answer USER {entry} --text Work. --wait --rehearse 1000"));
    assert_eq!((answered.2, &answered.0[0]["review"]), (0, &json!("approved")));
    user.sent();
    for (typed, problem, ends) in [
        (format!("{other} --text @empty.txt"), "--text @empty.txt: it is empty", 2),
        (format!("{other} --text {}", "a".repeat(10_001)), "--text: an answer is 1 to 10,000 characters", 2),
        (format!("{other} --attach notes.txt"), "notes.txt: attachment: by its first bytes, the file is none of", 2),
        (format!("{other} --attach scan.png"), "the file is image/gif, and its name says image/png", 2),
        (format!("{other} --wait"), "<--text <TEXT>|--attach <FILE>>", 2),
        (format!("{first} {entry_of_other} --text Work."), &format!("the inquiry {first} has no entry"), 2),
        (format!("{first} {entry_of_other} --attach payslip.gif"), "is not there", 14),
        (format!("{entry} --text Other."), "the inquiry", 14),
        (format!("{entry} --attach payslip.gif"), "is APPROVED", 14),
        (format!("7 {entry_of_other} --text Work."), "bunq has no such object", 9),
    ] {
        let (out, err, code) = user.run(&format!("inquiries answer USER {typed}"));
        assert!(code == ends && err.contains(problem) && out.is_null(), "{typed}: {code} {err}");
        assert!(!err.contains("Planted"), "{err}");
    }
    assert_eq!(user.sent(), [""; 0]);
    let mut asked = program(&user.folder);
    asked.args(["inquiries", "answer", "7", "88", "881", "--text=Work.", "--custody=users", "--env=production"]);
    let (_, err, code) = ran(asked.env("BUNQ_API_KEY", "key"));
    let question =
        "Answer the entry 881 of the inquiry 88 of the user of provision 7 in production: confirm it with --yes";
    assert!(code == 2 && err.contains(question), "{err}");
}

/// What one user has is not given to another.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_user_is_refused() {
    test_timeout::start();
    let user = User::new().await;
    let (_, entry) = user.asked(&[]);
    let another = user.sandbox.populate(1)[0];
    let folder = Folder::new();
    let client = user_in_custody(&folder, &user.sandbox, another).await;
    let file = client.attachments().upload(bunq_partner::NewAttachment::new(&b"GIF89a"[..])).await.unwrap();
    let (_, err, code) = user.run(&format!("inquiries answer USER {entry} --attach {file}"));
    assert!([9, 12].contains(&code), "{code} {err}");
}
