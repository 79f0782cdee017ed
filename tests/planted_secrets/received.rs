//! bunq's calls, with planted secrets: through the receiver, into its journal, and on to whoever takes what was read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bunq_partner::types::NotificationCategory;
use bunq_partner::webhook::{
    ChangedObject, Changes, FileHintJournal, HintJournal as _, HintJournalBounds, Peer, Receiver,
};
use bunq_partner::{Environment, MemoryCustody};
use bunq_partner_sandbox::Sandbox;
use futures_util::StreamExt as _;
use http::{Request, StatusCode};
use serde_json::Value;
use tower_service::Service as _;

use super::common::{Folder, once};
use super::planted::{
    Documented, PERSONAL, PLANTED, SHAPES, called_about, called_back, documented, respond, secret_members,
};
use super::{shows_none, watched};

/// A receiver whose path has a planted segment, and all that can be seen of it.
struct World {
    _folder: Folder,
    path: PathBuf,
    segment: String,
    journal: FileHintJournal,
    receiver: Receiver<FileHintJournal>,
    shown: String,
    kept: String,
}

impl World {
    async fn new(environment: Environment, max_entries: usize) -> Self {
        let folder = Folder::new();
        let path = folder.path("hints");
        let bounds = HintJournalBounds::default().max_entries(max_entries);
        let journal = FileHintJournal::open(&path, bounds).await.unwrap();
        let segment = format!("{}-0123456789-0123456789", PLANTED.trim_matches(|c: char| !c.is_ascii_alphanumeric()));
        let builder = Receiver::builder(environment, segment.clone()).trusted_proxies(["127.0.0.1"]);
        let mut shown = format!("{builder:?} {bounds:?}");
        let receiver = builder.build(journal.clone()).unwrap();
        write!(shown, "{receiver:?} {journal:?}").unwrap();
        Self { _folder: folder, path, segment, journal, receiver, shown, kept: String::new() }
    }

    async fn call(&mut self, path: &str, ip: &str, body: &str) -> StatusCode {
        let request =
            Request::post(format!("https://partner.example/{path}")).header("content-type", "application/json");
        let request = request.header("x-forwarded-for", format!("{PLANTED}forwarded"));
        let mut request = request.body(body.to_owned()).unwrap();
        request.extensions_mut().insert(Peer::new(ip.parse().unwrap()).certificate(PLANTED));
        let peer = format!("{:?}", request.extensions().get::<Peer>());
        let response = self.receiver.call(request).await.unwrap();
        write!(self.shown, "{peer} {response:?}").unwrap();
        response.status()
    }

    /// bunq calls about this.
    async fn called(&mut self, body: &Value) {
        let path = self.segment.clone();
        assert_eq!(self.call(&path, "185.40.108.1", &body.to_string()).await, StatusCode::OK);
    }

    /// Takes what is handed on, and looks at all that is shown and kept meanwhile. Returns how many of each kind there were.
    async fn take(&mut self, changes: &mut Changes, kinds: &mut BTreeMap<&'static str, usize>) {
        loop {
            let entries = self.journal.pending(None).await.unwrap();
            let marks = self.journal.marks(None).await.unwrap();
            write!(self.shown, "{changes:?} {:?} {entries:?} {marks:?}", changes.numbers()).unwrap();
            self.kept += &fs::read_to_string(&self.path).unwrap();
            // A secret of another shape than the documented one may cost the whole.
            let Ok(change) = tokio::time::timeout(Duration::from_secs(10), changes.next()).await else { return };
            let change = change.unwrap();
            let kind = match change.object() {
                ChangedObject::Provision(_) => "provision",
                ChangedObject::Onboarding { .. } => "onboarding",
                ChangedObject::Inquiry { .. } => "inquiry",
                _ => "unconfirmed",
            };
            *kinds.entry(kind).or_default() += 1;
            write!(self.shown, "{change:?} {change:#?} {:?}", change.object()).unwrap();
            change.done().await.unwrap();
        }
    }

    /// Checks all that can be seen.
    fn shows_none(&mut self) {
        self.kept += &fs::read_to_string(&self.path).unwrap();
        write!(self.shown, "{:?} {:?}", self.receiver, self.receiver.numbers()).unwrap();
        let (logged, measured) = (watched().logged(), watched().measured());
        assert!(measured.contains("bunq.client.webhook.calls"), "{measured}");
        let texts = [("shown", &*self.shown), ("kept", &self.kept), ("logged", &logged), ("measured", &measured)];
        shows_none(&texts, &[PLANTED, PERSONAL, &self.segment]);
    }
}

/// A receiver is sent all that bunq sends, on the right path and on another, whole and cut, from bunq and from a stranger.
#[tokio::test(start_paused = true)]
async fn no_secret_of_a_call_is_shown_by_the_receiver() {
    test_timeout::start();
    watched();
    let mut world = World::new(Environment::Production, 10).await;
    let segment = world.segment.clone();
    for body in called_back(&secret_members(), SHAPES[0]) {
        let body = body.to_string();
        for (path, ip, body) in [
            (&*segment, "185.40.108.1", &*body),
            (&segment, "185.40.108.1", &body[..body.len() - 1]),
            (&segment, "127.0.0.1", &body),
            (&segment[1..], "185.40.108.1", &body),
        ] {
            world.call(path, ip, body).await;
        }
    }
    let numbers = world.receiver.numbers();
    assert!(numbers.kept == 10 && numbers.full > 10, "{numbers:?}");
    assert!(numbers.not_notification > 10 && numbers.wrong_peer > 10 && numbers.wrong_path > 10, "{numbers:?}");
    world.shows_none();
}

/// bunq calls about all that is documented, known or not, lists calls as failed, and each is handed on as it is read, or is refused.
#[tokio::test(start_paused = true)]
async fn no_secret_of_a_change_is_shown_as_it_is_handed_on() {
    test_timeout::start();
    watched();
    let (secret, mut kinds) = (secret_members(), BTreeMap::new());
    let mut world = World::new(Environment::Sandbox, 10_000).await;
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().retry(once()).custody(MemoryCustody::new()).build().unwrap();
    let user = client.users().activate(sandbox.populate(1)[0]).await.unwrap().user().await.unwrap().id;
    let all: Vec<NotificationCategory> = called_back(&secret, SHAPES[0])
        .iter()
        .filter_map(|body| serde_json::from_value(body["NotificationUrl"]["category"].clone()).ok())
        .collect();
    let receiver = world.receiver.clone();
    let start = || client.changes(&receiver).unconfirmed(all.clone()).start();
    for shape in SHAPES {
        let mut changes = start().unwrap();
        for body in called_back(&secret, shape) {
            world.called(&body).await;
        }
        world.take(&mut changes, &mut kinds).await;
    }
    for documented in of_operations(&["list_notification_filter_failures"]) {
        for shape in SHAPES {
            respond(&sandbox, &documented, &secret, shape);
            world.take(&mut start().unwrap(), &mut kinds).await;
            sandbox.clear_edits();
        }
    }
    let mut changes = start().unwrap();
    let refused = start().unwrap_err();
    write!(world.shown, "{:?} {refused} {refused:?}", client.changes(&receiver)).unwrap();
    for documented in of_operations(&["get_provision", "get_user_onboarding", "get_user_information_inquiry"]) {
        for shape in SHAPES {
            respond(&sandbox, &documented, &secret, shape);
            world.called(&called_about(&documented, user)).await;
            world.take(&mut changes, &mut kinds).await;
            sandbox.clear_edits();
        }
    }
    // Those of one id follow each other only if they are newer.
    assert!(["provision", "onboarding", "inquiry", "unconfirmed"].iter().all(|kind| kinds[kind] > 1), "{kinds:?}");
    assert!(changes.numbers().failed > 10, "{changes:?}");
    drop(changes);
    assert!(watched().measured().contains("bunq.client.webhook.changes"));
    world.shows_none();
}

fn of_operations(ids: &[&str]) -> impl Iterator<Item = Documented> {
    let is_one = |documented: &Documented| ids.contains(&documented.operation.id);
    documented().into_iter().filter(is_one).collect::<Vec<_>>().into_iter()
}
