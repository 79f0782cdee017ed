//! A second resource, the devices of an API key: a feed and its waiters serve it as they serve provisions.

#[cfg(feature = "webhook")]
mod hearing;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner_sandbox::Sandbox;
use futures_util::future::{join, pending};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;

use super::knowledge::{Knowledge, Known};
use super::round::Round;
use super::{Acceptance, Condition, Evaluation, Feed, FeedItem, Hearing, Readable, Resource, Waiter};
use crate::api::{Api, Response};
use crate::client::Client;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind};
use crate::operation::Operation;
use crate::types::{Cursor, DeviceServer, DeviceServerId, DeviceServerStatus, Page};

impl Resource for DeviceServer {
    type Condition = Usable;

    fn is_terminal(&self) -> bool {
        matches!(self.status, Some(DeviceServerStatus::Obsolete))
    }

    fn progress(&self) -> String {
        self.status.as_ref().map_or("no status", DeviceServerStatus::as_str).to_owned()
    }
}

impl Readable for DeviceServer {
    type Id = DeviceServerId;
    /// Their listing has no filter.
    type State = ();

    const NAME: &'static str = "device";
    const LIST: Option<&'static Operation> = Some(&Operation::LIST_DEVICE_SERVERS);
    const GET: &'static Operation = &Operation::GET_DEVICE_SERVER;

    fn id(&self) -> DeviceServerId {
        self.id
    }

    fn state(&self) -> Option<()> {
        Some(())
    }

    fn states() -> Vec<()> {
        vec![()]
    }

    async fn read(api: &Api, id: DeviceServerId) -> Result<Self, Error> {
        api.get_device_server(id).await.map(Response::into_inner)
    }

    async fn read_page(api: &Api, _states: &[()], _cursor: Option<Cursor>) -> Result<Page<Self>, Error> {
        let items = api.list_device_servers().await?.into_inner();
        Ok(Page { items, older: None, newer: None, future: None })
    }
}

/// The device may be used.
#[derive(Debug, Clone)]
pub struct Usable;

impl Condition<DeviceServer> for Usable {
    fn name(&self) -> &'static str {
        "usable"
    }

    fn pending(&self) -> Vec<()> {
        vec![()]
    }

    fn ends(&self) -> Vec<()> {
        vec![()]
    }

    fn evaluate(&self, seen: &DeviceServer) -> Evaluation {
        match &seen.status {
            Some(DeviceServerStatus::Active) => Evaluation::Met,
            Some(DeviceServerStatus::Obsolete) => Evaluation::Unattainable("it is not used any more"),
            _ => Evaluation::Pending,
        }
    }
}

/// What the bank says of the devices 1 and 2.
type Statuses = Arc<Mutex<[&'static str; 2]>>;

async fn devices() -> (Sandbox, Statuses, Feed<DeviceServer>) {
    let sandbox = Sandbox::start().await.unwrap();
    let statuses = Statuses::new(Mutex::new(["NEEDS_CONFIRMATION"; 2]));
    let shown = Arc::clone(&statuses);
    sandbox.before_signing(move |call, response| {
        let Some((_, path)) = call.path.split_once("/device-server").filter(|_| call.method == "GET") else { return };
        let wanted = path.trim_start_matches('/').parse::<usize>().ok();
        let items = shown.lock().unwrap().into_iter().enumerate().filter_map(|(at, status)| {
            let json = format!(r#"{{"DeviceServer": {{"id": {}, "status": "{status}"}}}}"#, at + 1);
            wanted.is_none_or(|wanted| wanted == at + 1).then_some(json)
        });
        let items = items.collect::<Vec<_>>().join(",");
        (response.status, response.body) = (200, format!(r#"{{"Response": [{items}]}}"#).into());
    });
    let client = Client::builder(Environment::Sandbox).api_key(sandbox.api_key().expose());
    let client = client.base_url(sandbox.base_url()).build().unwrap();
    client.open_session().await.unwrap();
    sandbox.take_call_log();
    (sandbox, statuses, Feed::new(client.api(), 1.0))
}

fn id(id: u64) -> DeviceServerId {
    id.try_into().unwrap()
}

fn waiter(feed: &Feed<DeviceServer>, number: u64) -> Waiter<DeviceServer> {
    Waiter::new(feed.clone(), id(number), Usable, Acceptance::NotRequested, Duration::from_secs(3600))
}

#[tokio::test(start_paused = true)]
async fn any_resource_is_waited_for_and_followed() {
    test_timeout::start();
    let (sandbox, statuses, feed) = devices().await;
    let mut changes = Box::pin(feed.subscribe());
    let (mut first, mut second) = (Box::pin(waiter(&feed, 1).changes()), Box::pin(waiter(&feed, 2).changes()));
    let (_, seen) = join(first.next(), second.next()).await;
    assert_eq!(seen.unwrap().unwrap().progress(), "NEEDS_CONFIRMATION");
    assert_eq!(sandbox.take_call_log().len(), 1, "one page has both");
    *statuses.lock().unwrap() = ["ACTIVE", "OBSOLETE"];
    assert_eq!(feed.nudge(id(2)).await.unwrap().status, Some(DeviceServerStatus::Obsolete));
    let error = second.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unattainable);
    let message = "device 2 will not be usable: it is not used any more (last seen as OBSOLETE)";
    assert_eq!(error.to_string(), message);
    assert!(error.last_seen::<DeviceServer>().is_some_and(Resource::is_terminal));
    assert_eq!(first.next().await.unwrap().unwrap().id.get(), 1);
    assert!(first.next().await.is_none());
    let told: Vec<_> = changes.by_ref().take(4).collect().await;
    let told: Vec<_> = told
        .iter()
        .map(|item| match item {
            FeedItem::Changed(seen) => (seen.id.get(), seen.progress()),
            FeedItem::Lagged(_) => (0, String::new()),
        })
        .collect();
    let pending = "NEEDS_CONFIRMATION".to_owned();
    assert_eq!(told, [(1, pending.clone()), (2, pending), (2, "OBSOLETE".into()), (1, "ACTIVE".into())]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_waited_for_is_forgotten() {
    test_timeout::start();
    let (_sandbox, statuses, feed) = devices().await;
    let kept = || feed.rounds.knowledge(|knowledge| knowledge.entries.len());
    feed.nudge(id(1)).await.unwrap();
    assert_eq!(kept(), 0);
    let mut changes = Box::pin(waiter(&feed, 1).changes());
    changes.next().await.unwrap().unwrap();
    assert_eq!(kept(), 1);
    let subscription = feed.subscribe();
    feed.nudge(id(2)).await.unwrap();
    drop(changes);
    assert_eq!(kept(), 2);
    drop(subscription);
    assert_eq!(kept(), 0);
    statuses.lock().unwrap()[0] = "ACTIVE";
    waiter(&feed, 1).await.unwrap();
    assert_eq!(kept(), 0);
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_is_given_up_however_many_did() {
    test_timeout::start();
    let (mut round, ids) = (Round::<DeviceServer>::default(), (1..=1000).map(id).collect::<Vec<_>>());
    for id in &ids {
        round.add(*id, oneshot::channel().0);
    }
    assert!(matches!(round.while_wanted(&ids, pending::<()>()).now_or_never(), Some(None)));
}

fn device(id: u64, status: &str) -> Arc<DeviceServer> {
    serde_json::from_str::<DeviceServer>(&format!(r#"{{"id": {id}, "status": "{status}"}}"#)).unwrap().into()
}

#[test]
fn what_is_kept_for_subscribers_is_bounded() {
    test_timeout::start();
    let mut knowledge = Knowledge::new(Hearing::of_partner());
    let _changes = knowledge.subscribe();
    knowledge.keep(id(1), false);
    for number in 1..=12_000 {
        let began = knowledge.now();
        knowledge.learn(&Known { began, object: device(number, "ACTIVE") }, false);
    }
    assert_eq!(knowledge.entries.len(), 10_001, "and the one that is waited for");
    assert_eq!([1, 2, 12_000].map(|number| knowledge.entries.contains_key(&id(number))), [true, false, true]);
}

#[test]
fn an_older_read_replaces_and_answers_nothing() {
    test_timeout::start();
    let mut knowledge = Knowledge::new(Hearing::of_partner());
    let mut changes = knowledge.subscribe();
    let [early, asked, late] = [(); 3].map(|()| knowledge.now());
    knowledge.keep(id(1), false);
    let mut heard = knowledge.listen(id(1), asked);
    knowledge.learn(&Known { began: early, object: device(1, "BLOCKED") }, false);
    assert!(heard.try_recv().is_err(), "that read began before");
    knowledge.learn(&Known { began: late, object: device(1, "ACTIVE") }, false);
    assert_eq!(heard.try_recv().unwrap().object, device(1, "ACTIVE"));
    knowledge.learn(&Known { began: early, object: device(1, "BLOCKED") }, false);
    assert_eq!(changes.try_recv().unwrap(), device(1, "BLOCKED"));
    assert_eq!(changes.try_recv().unwrap(), device(1, "ACTIVE"));
    assert!(changes.try_recv().is_err(), "nothing newer was read");
    assert_eq!(knowledge.listen(id(1), early).try_recv().unwrap().object, device(1, "ACTIVE"));
}
