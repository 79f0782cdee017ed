//! Lists as streams: every provision once, whatever the pages contain.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bunq_partner::{Client, Cursor, ErrorKind, PageSize, ProvisionId};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::common::{person, start};

async fn create(client: &Client, count: usize) -> Vec<ProvisionId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(client.provisions().create(person()).await.unwrap().id());
    }
    ids.reverse();
    ids
}

fn ten() -> PageSize {
    PageSize::new(10).unwrap()
}

#[tokio::test]
async fn a_stream_holds_every_provision_once_newest_first() {
    test_timeout::start();
    let (_sandbox, client) = start().await;
    let created = create(&client, 25).await;
    let list = client.provisions().list().count(ten());
    let streamed: Vec<_> = list.stream().map_ok(|provision| provision.id).try_collect().await.unwrap();
    assert_eq!(streamed, created);
    assert_eq!(list.pages().count().await, 3);
}

#[tokio::test]
async fn provisions_created_meanwhile_shift_no_page() {
    test_timeout::start();
    let (_sandbox, client) = start().await;
    let created = create(&client, 25).await;
    let list = client.provisions().list().count(ten());
    let mut stream = Box::pin(list.stream());
    let mut streamed = Vec::new();
    while let Some(provision) = stream.try_next().await.unwrap() {
        streamed.push(provision.id);
        if streamed.len() % 8 == 0 {
            create(&client, 3).await;
        }
    }
    assert_eq!(streamed, created);
}

#[tokio::test]
async fn a_stream_resumes_behind_a_cursor() {
    test_timeout::start();
    let (_sandbox, client) = start().await;
    let created = create(&client, 25).await;
    let list = client.provisions().list().count(ten());
    let seen: Vec<_> = list.stream().take(13).map_ok(|provision| provision.id).try_collect().await.unwrap();
    // The cursor is stored as text, as if for another process.
    let cursor: Cursor = Cursor::older_than(*seen.last().unwrap()).to_string().parse().unwrap();
    let rest: Vec<_> = list.start_at(cursor).stream().map_ok(|provision| provision.id).try_collect().await.unwrap();
    assert_eq!([seen, rest].concat(), created);
}

#[tokio::test]
async fn an_empty_page_in_the_middle_is_not_the_end() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let created = create(&client, 25).await;
    let pages = AtomicUsize::new(0);
    sandbox.before_signing(move |_, response| {
        if pages.fetch_add(1, Ordering::Relaxed) == 1 {
            let mut body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            body["Response"] = serde_json::json!([]);
            response.body = body.to_string().into();
        }
    });
    let list = client.provisions().list().count(ten());
    let streamed: Vec<_> = list.stream().map_ok(|provision| provision.id).try_collect().await.unwrap();
    assert_eq!(streamed, [&created[..10], &created[20..]].concat());
}

#[tokio::test]
async fn an_endless_list_ends_with_an_error() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    create(&client, 25).await;
    let pages = Arc::new(AtomicUsize::new(0));
    sandbox.before_signing({
        let pages = Arc::clone(&pages);
        move |_, response| {
            pages.fetch_add(1, Ordering::Relaxed);
            let mut body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            body["Pagination"]["older_url"] = serde_json::json!("/v1/partner-user-provision?older_id=1005");
            response.body = body.to_string().into();
        }
    });
    let streamed: Vec<_> = client.provisions().list().count(ten()).stream().collect().await;
    let error = streamed.last().unwrap().as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert_eq!(error.to_string(), "the pages of the list go in a circle: from older_id=1005 back to older_id=1005");
    assert_eq!(pages.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_endless_list_of_empty_pages_ends_with_an_error() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    client.open_session().await.unwrap();
    let mut older = 1_000_000;
    sandbox.before_signing(move |_, response| {
        older -= 1;
        let older_url = format!("/v1/partner-user-provision?older_id={older}");
        let body = serde_json::json!({ "Response": [], "Pagination": { "older_url": older_url } });
        response.body = body.to_string().into();
    });
    let error = client.provisions().list().count(ten()).stream().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.to_string(), "the list does not end: 101 pages in a row are empty, and another follows");
}

#[tokio::test]
async fn pages_are_read_on_demand() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    create(&client, 25).await;
    let before = sandbox.call_log().len();
    let list = client.provisions().list().count(ten());
    let first: Vec<_> = list.stream().take(10).try_collect().await.unwrap();
    assert_eq!(first.len(), 10);
    assert_eq!(sandbox.call_log().len(), before + 1);
}

#[tokio::test]
async fn new_provisions_are_streamed_from_the_oldest_to_the_newest() {
    test_timeout::start();
    let (_sandbox, client) = start().await;
    let mut created = create(&client, 25).await;
    let seen = created.pop().unwrap();
    created.reverse();
    let list = client.provisions().list().count(ten()).start_at(Cursor::newer_than(seen));
    let streamed: Vec<_> = list.stream().map_ok(|provision| provision.id).try_collect().await.unwrap();
    assert_eq!(streamed, created);
}
