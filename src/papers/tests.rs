//! Files and documents of users, over the sandbox: what is no file is refused, and nothing is linked twice.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bunq_partner_sandbox::{Fault, Sandbox};
use futures_util::future::join_all;
use uuid::Uuid;

use super::*;
use crate::error::{Error, ErrorKind, Sent};
use crate::feed::Acceptance;
use crate::identity::tests::User;
use crate::operation::Operation;
use crate::types::{AttachmentContentType, AttachmentId, CreateDocumentIdentificationRequest};

const UPLOAD: &Operation = &Operation::CREATE_ATTACHMENT;
const LINK: &Operation = &Operation::CREATE_DOCUMENT_IDENTIFICATION;
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n planted-picture";

/// A folder for one test, which is removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("bunq-partner-{}", Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.0.join(name), bytes).unwrap();
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn attachments(user: &User) -> Attachments {
    user.restarted().attachments()
}

fn documents(user: &User) -> Documents {
    user.restarted().documents()
}

async fn upload(user: &User) -> AttachmentId {
    attachments(user).upload(NewAttachment::new(PNG)).await.unwrap()
}

async fn upload_another(user: &User, name: &str) -> AttachmentId {
    attachments(user).upload(NewAttachment::new([PNG, name.as_bytes()].concat())).await.unwrap()
}

fn document(front: AttachmentId) -> CreateDocumentIdentificationRequest {
    let (country, kind) = ("NL".parse().unwrap(), "CRYPTO_KYC_QUESTIONNAIRE".parse().unwrap());
    CreateDocumentIdentificationRequest::new(front, country, kind)
}

/// What is wrong with a file. Nothing of it is shown.
fn problem(error: &Error) -> String {
    assert_eq!((error.kind(), error.sent(), error.field()), (ErrorKind::InvalidInput, Sent::No, Some("attachment")));
    assert!(!format!("{error:?}").contains("planted"), "{error:?}");
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_file_comes_back_as_it_was() {
    test_timeout::start();
    let (user, folder) = (User::new(Sandbox::builder()).await, Folder::new());
    let attachments = attachments(&user);
    for name in ["scan.png", "scan.PNG", "scan.dat", "scan", "scan.png.1"] {
        let scan = attachments.open(folder.file(name, PNG)).await.unwrap().description("planted".parse().unwrap());
        assert_eq!(format!("{scan:?}"), "NewAttachment(24 bytes)");
        let id = attachments.upload(scan).await.unwrap();
        let file = attachments.download(id).await.unwrap();
        assert_eq!((file.id, file.content_type.as_deref()), (id, Some("image/png")));
        assert_eq!((&*file.bytes, file.description.as_deref()), (PNG, Some("planted")));
        assert_eq!(format!("{file:?}"), format!("DownloadedAttachment({id}, Some(\"image/png\"), 24 bytes)"));
    }
    // A type of bunq's of tomorrow is as it is. A known one is held against the file.
    let id = upload(&user).await;
    for (shown, is_taken) in [("image/avif", true), ("application/pdf", false)] {
        user.sandbox.clear_edits();
        user.sandbox.before_signing(move |_, response| {
            if let Ok(body) = String::from_utf8(response.body.clone()) {
                response.body = body.replace("image/png", shown).into();
            }
        });
        match attachments.download(id).await {
            Ok(file) => assert!(is_taken && file.content_type.as_deref() == Some(shown)),
            Err(error) => {
                assert!(!is_taken && error.kind() == ErrorKind::InvalidResponse, "{error}");
                assert!(error.to_string().contains("as application/pdf, and sends image/png"), "{error}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_file_of_bunqs_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let (user, folder) = (User::new(Sandbox::builder()).await, Folder::new());
    let attachments = attachments(&user);
    let (most, pdf) = (user.restarted().api().max_upload_size(), AttachmentContentType::ApplicationPdf);
    let large = [PNG, &vec![0; most]].concat();
    let too_large = format!("the file has {} bytes, and at most {most} are sent: set max_upload_size", large.len());
    let none_of =
        "by its first bytes, the file is none of image/png, image/jpeg, image/gif, application/pdf: convert it";
    for (new, says) in [
        (NewAttachment::new(Vec::new()), "the file is empty"),
        (NewAttachment::new(large.clone()), &*too_large),
        (NewAttachment::new(&b"planted"[..]), none_of),
        (
            NewAttachment::new(PNG).content_type(pdf),
            "the file is image/png, and the content type that was given says application/pdf",
        ),
    ] {
        let problem = problem(&attachments.upload(new).await.unwrap_err());
        assert!(problem.contains(says), "{problem}");
    }

    let (pipe, link) = (folder.0.join("pipe.png"), folder.0.join("link.png"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink(folder.file("scan.png", PNG), &link).unwrap();
    let not_regular = "it is not a regular file: give the path of one";
    for (path, says) in [
        (folder.0.join("missing.png"), "it cannot be opened: No such file"),
        (folder.0.clone(), not_regular),
        (pipe, not_regular),
        (link, not_regular),
        ("/dev/null".into(), not_regular),
        ("/dev/zero".into(), not_regular),
        (folder.file("empty.png", b""), "the file is empty"),
        (folder.file("large.png", &large), &too_large),
        (folder.file("text.pdf", b"planted"), none_of),
        (folder.file("scan.pdf", PNG), "by its first bytes, the file is image/png, and its name says application/pdf"),
        (folder.file("scan.JPEG", PNG), "by its first bytes, the file is image/png, and its name says image/jpeg"),
    ] {
        let problem = problem(&attachments.open(&path).await.unwrap_err());
        assert!(problem.contains(says) && problem.contains(&*path.to_string_lossy()), "{problem}");
    }
    assert!(user.sandbox.call_log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_same_document_is_linked_once() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let (front, back) = (upload(&user).await, upload_another(&user, "back").await);
    let linked = documents(&user).link(&document(front)).await.unwrap();
    assert_eq!(linked.acceptance, Acceptance::Accepted);
    let again = documents(&user).link(&document(front)).await.unwrap();
    assert_eq!((again.id, again.acceptance), (linked.id, Acceptance::Already));
    assert_eq!(user.calls(LINK), 1);
    // Another request is another document.
    let mut two_sides = document(front);
    two_sides.document_back_attachment_id = Some(back);
    assert_ne!(documents(&user).link(&two_sides).await.unwrap().id, linked.id);
    assert_ne!(documents(&user).link_again(&document(front)).await.unwrap().id, linked.id);
    assert_eq!(user.calls(LINK), 3);
}

/// Whoever goes on after a crash has the file, and not the id that it had got.
#[tokio::test(start_paused = true)]
async fn what_is_made_of_the_same_file_is_the_same_request() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let linked = documents(&user).link(&document(upload(&user).await)).await.unwrap();
    let again = documents(&user).link(&document(upload(&user).await)).await.unwrap();
    assert_eq!((again.id, again.acceptance), (linked.id, Acceptance::Already));
    assert_eq!((user.calls(UPLOAD), user.calls(LINK)), (1, 1));
    // Another description is another attachment, and a lost response leaves one at bunq that nothing names.
    let described = || NewAttachment::new(PNG).description("planted".parse().unwrap());
    user.play(Fault::Drop, true, UPLOAD);
    let id = attachments(&user).upload(described()).await.unwrap();
    assert_ne!(id, upload(&user).await);
    assert_eq!((attachments(&user).upload(described()).await.unwrap(), user.calls(UPLOAD)), (id, 3));
}

/// Each task links what it has uploaded.
#[tokio::test(start_paused = true)]
async fn the_same_file_at_once_is_one_attachment_and_one_document() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let tasks = [(); 8].map(|()| (attachments(&user), documents(&user)));
    let uploads = tasks.iter().map(|(attachments, _)| attachments.upload(NewAttachment::new(PNG)));
    let ids: Vec<_> = join_all(uploads).await.into_iter().map(Result::unwrap).collect();
    assert!(user.calls(UPLOAD) > 1, "they are uploaded at once");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let requests: Vec<_> = ids.into_iter().map(document).collect();
    let links = join_all(tasks.iter().zip(&requests).map(|((_, documents), request)| documents.link(request))).await;
    assert!(links.iter().any(Result::is_ok));
    assert_eq!(user.calls(LINK), 1);
}

#[tokio::test(start_paused = true)]
async fn a_document_is_never_linked_twice_unnoticed() {
    test_timeout::start();
    let late = Fault::LateArrival(Duration::from_secs(3));
    for (fault, carried_out) in [(Fault::Drop, true), (Fault::Drop, false), (Fault::Status(502), true), (late, true)] {
        let user = User::new(Sandbox::builder()).await;
        let scan = upload(&user).await;
        user.play(fault, carried_out, LINK);
        let error = documents(&user).link(&document(scan)).await.unwrap_err();
        assert!(error.is_doubtful() && error.to_string().contains("`link_again`"), "{fault}: {error}");
        let error = documents(&user).link(&document(scan)).await.unwrap_err();
        assert!(error.is_doubtful() && error.kind() == ErrorKind::Unattainable, "{fault}: {error}");
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(user.calls(LINK), 1, "{fault}");
        // Others are not held up.
        let other = upload_another(&user, "other").await;
        documents(&user).link(&document(other)).await.unwrap();
        let linked = documents(&user).link_again(&document(scan)).await.unwrap();
        assert_eq!(documents(&user).link(&document(scan)).await.unwrap().id, linked.id);
        assert_eq!(user.calls(LINK), 3, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_refused_can_be_linked_later() {
    test_timeout::start();
    let user = User::new(Sandbox::builder()).await;
    let others = 9_999_u64.try_into().unwrap();
    for _ in 0..2 {
        let error = documents(&user).link(&document(others)).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Rejected && !error.is_doubtful(), "{error}");
        assert_eq!(error.bunq_messages(), ["There is no attachment 9999."]);
    }
    assert_eq!(user.calls(LINK), 2);
}
