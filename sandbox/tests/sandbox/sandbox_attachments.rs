//! Files that users upload and download.

use bunq_partner::types::{AttachmentContentType, AttachmentId};
use bunq_partner::{Api, ErrorKind};
use bunq_partner_sandbox::Sandbox;

use crate::common::{Folder, calls, ready, user_of};

async fn upload(api: &Api, file: &[u8], description: Option<&str>) -> AttachmentId {
    let description = description.map(|text| text.parse().unwrap());
    let content_type = AttachmentContentType::ImageGif;
    api.create_attachment(content_type, file.to_vec(), description.as_ref()).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_sent() {
    test_timeout::start();
    let (folder, scan) = (Folder::new(), [b"GIF89a".as_slice(), &vec![0xfe; 3 * 1024 * 1024]].concat());
    let file = folder.path("state");
    let (id, other);
    {
        let sandbox = Sandbox::builder().state_file(&file).start().await.unwrap();
        let client = sandbox.client().build().unwrap();
        id = upload(&client.api(), &scan, Some("Passport")).await;
        // A state that is written anew has what was added before.
        sandbox.save_state().unwrap();
        other = upload(&client.api(), b"GIF87a", None).await;
    }
    // After a restart too.
    let sandbox = Sandbox::builder().state_file(&file).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let api = client.api();
    for (id, file, description) in [(id, &scan[..], Some("Passport")), (other, b"GIF87a", None)] {
        let attachment = api.get_attachment(id).await.unwrap().into_inner();
        let shown = attachment.attachment.unwrap();
        assert_eq!((shown.description.as_deref(), shown.content_type.as_deref()), (description, Some("image/gif")));
        assert!(attachment.created.is_some() && attachment.updated.is_some());
        assert!(api.get_attachment_content(id).await.unwrap()[..] == *file);
    }
    let content = calls(&sandbox, "GET", "/content").pop().unwrap();
    assert!(content.carried_out && content.status == 200);
}

#[tokio::test]
async fn a_file_is_its_users_alone() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let id = upload(&client.api(), b"GIF89a", None).await;
    let provision = ready(&client).await;
    let users = user_of(&sandbox, provision).await;
    let own = upload(&users.api(), b"GIF89a", None).await;
    users.api().get_attachment(own).await.unwrap();

    for (api, id) in [(client.api(), own), (users.api(), id)] {
        for kind in
            [api.get_attachment(id).await.unwrap_err().kind(), api.get_attachment_content(id).await.unwrap_err().kind()]
        {
            assert_eq!(kind, ErrorKind::NotFound);
        }
    }
}

/// What the client refuses before it sends anything, the sandbox refuses of others.
#[tokio::test]
async fn what_is_no_file_is_refused() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let user = client.user().await.unwrap().id;
    upload(&client.api(), b"GIF89a", Some("Passport")).await;
    let sent = calls(&sandbox, "POST", "/attachment").pop().unwrap();
    let http = reqwest::Client::new();
    // A request id is taken once, so it is left out.
    let again = |changed: &'static str, value: String| {
        let url = format!("{}/user/{user}/attachment", sandbox.base_url());
        let kept = sent.headers.iter().filter(move |(name, _)| {
            *name != changed && !["host", "content-length", "x-bunq-client-request-id"].contains(&name.as_str())
        });
        let request = kept.fold(http.post(url), |request, (name, value)| request.header(name, value));
        request.header(changed, value).body(sent.bytes.clone())
    };
    for (changed, value, status) in [
        ("content-type", "image/gif", 200),
        ("content-type", "image/png", 400),
        ("content-type", "application/octet-stream", 400),
        ("x-bunq-attachment-description", "Passport, page 2", 200),
        ("x-bunq-attachment-description", "", 400),
        ("x-bunq-attachment-description", &*"x".repeat(1001), 400),
    ] {
        let answer = again(changed, value.to_owned()).send().await.unwrap();
        assert_eq!(answer.status(), status, "{changed}: {value}: {}", answer.text().await.unwrap());
    }
    assert_eq!(calls(&sandbox, "POST", "/attachment").iter().filter(|call| call.carried_out).count(), 3);
}
