//! A program that bunq calls: it provisions two users, brings one on board, answers what bunq asks about it, and closes both.
//!
//! It asks for each step, and goes on when it hears that the step is made. Runs against bunq on loopback.

pub(crate) mod serve;

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use bunq_partner::types::{
    Address, CountryCode, Fulfillment, FulfillmentType, NotificationCategory, NotificationTarget, RequestedUserStatus,
    RequestedUserVerificationStatus, UpdateUserInformationInquiryEntryRequest, UpdateUserOnboardingRequest,
    UserInformationInquiry,
};
use bunq_partner::webhook::{ChangedObject, Changes, FileHintJournal, HintJournalBounds, Receiver};
use bunq_partner::{
    Client, Environment, FileCustody, FulfillmentAnswer, NewProvision, OnboardingOutcome, ProvisionId, ProvisionStatus,
    RequestedStatuses, UserClient, Uuid, WaitingFor,
};
use bunq_partner_sandbox::{Pace, Profile, Sandbox};
use futures_util::StreamExt as _;
use tokio::net::TcpListener;
use tokio::time::sleep;

use self::serve::serve;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const MOMENT: Duration = Duration::from_millis(100);

/// What was heard of a provision and its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    /// bunq has made the user.
    Ready,
    /// bunq knows who the user is.
    Verified,
    /// bunq asks something.
    Asked,
    /// bunq is content with the answers.
    Answered,
    /// It is closed.
    Closed,
    /// bunq could not make the user, or has not verified it.
    Failed,
}

/// What a change says, if something follows from it. Every state comes that bunq shows, some of them twice, and some are skipped.
fn news_of(object: &ChangedObject) -> Option<(ProvisionId, News)> {
    match object {
        ChangedObject::Provision(provision) => match provision.status {
            ProvisionStatus::Active => Some((provision.id, News::Ready)),
            ProvisionStatus::Closed => Some((provision.id, News::Closed)),
            ProvisionStatus::Failed => Some((provision.id, News::Failed)),
            _ => None,
        },
        ChangedObject::Onboarding { provision_id, onboarding } => match onboarding.outcome()? {
            OnboardingOutcome::Reached => Some((*provision_id, News::Verified)),
            _ => Some((*provision_id, News::Failed)),
        },
        ChangedObject::Inquiry { provision_id, inquiry } => match inquiry.waiting_for() {
            WaitingFor::User => Some((*provision_id, News::Asked)),
            WaitingFor::Nobody => Some((*provision_id, News::Answered)),
            _ => None,
        },
        // Nobody has confirmed what it says.
        _ => None,
    }
}

/// Does what follows from each change, until all provisions are closed. Returns what was heard. Only the first user is served.
async fn follow(
    client: &Client,
    changes: &mut Changes,
    provisions: [ProvisionId; 2],
    url: &NotificationTarget,
) -> Outcome<BTreeSet<(ProvisionId, News)>> {
    // What a program has in its database, so that it goes on after a crash.
    let mut heard = BTreeSet::new();
    let served = provisions[0];
    let all_are = |heard: &BTreeSet<_>, news| provisions.iter().all(|id| heard.contains(&(*id, news)));
    while !all_are(&heard, News::Closed) {
        let change = changes.next().await.ok_or("the client was shut down")?;
        if let ChangedObject::Inquiry { provision_id, inquiry } = change.object() {
            answer(&client.users().of(*provision_id), inquiry).await?;
        }
        if let Some((id, news)) = news_of(change.object())
            && heard.insert((id, news))
        {
            match news {
                News::Ready if all_are(&heard, News::Ready) => {
                    let user = client.users().activate(served).await?;
                    bring_on_board(&user, url).await?;
                }
                News::Verified | News::Answered
                    if heard.contains(&(served, News::Verified)) && heard.contains(&(served, News::Answered)) =>
                {
                    for id in provisions {
                        let _heard_of_later = client.provisions().close(id).await?;
                    }
                }
                News::Failed => return Err(format!("bunq has refused provision {id} or its user").into()),
                News::Closed => client.users().remove(id).await?,
                News::Ready | News::Verified | News::Asked | News::Answered => {}
            }
        }
        // Until now the journal has it: after a failure or a crash it is handed on again.
        change.done().await?;
    }
    Ok(heard)
}

/// Gives bunq what it wants to know, until it checks the user.
async fn bring_on_board(user: &UserClient, url: &NotificationTarget) -> Outcome {
    // What happens to a user is told to the user's own targets, by the user's own session.
    for category in [NotificationCategory::UserOnboarding, NotificationCategory::UserInformationInquiry] {
        user.notifications().ensure(category, url.clone()).await?;
    }
    let onboarding = user.onboarding();
    let id = onboarding.start().await?.id;
    let wanted =
        UpdateUserOnboardingRequest::new(RequestedUserStatus::Active, RequestedUserVerificationStatus::Verified);
    while let RequestedStatuses::Missing(missing) = onboarding.request(id, &wanted).await? {
        for one in missing.iter().filter(|one| one.waiting_for() == WaitingFor::User) {
            onboarding.answer(one, &known(one)?).await?;
        }
        // bunq checks some answers for a while, and makes no call about that.
        sleep(MOMENT).await;
    }
    Ok(())
}

/// What is known of a user who does not exist.
fn known(missing: &Fulfillment) -> Outcome<FulfillmentAnswer> {
    let country: CountryCode = "NL".parse()?;
    match &missing.type_ {
        FulfillmentType::AddressMain => {
            let (number, postal_code, street) = ("1a".parse()?, "1000 AA".parse()?, "Example Street".parse()?);
            let address = Address::new("Exampleton".parse()?, country, number, postal_code, street);
            Ok(FulfillmentAnswer::AddressMain(address))
        }
        FulfillmentType::Nationality => Ok(FulfillmentAnswer::Nationality(vec![country])),
        other => Err(format!("{other} is not known").into()),
    }
}

/// Answers what is still to be answered.
async fn answer(user: &UserClient, inquiry: &UserInformationInquiry) -> Outcome {
    for entry in inquiry.entries().filter(|entry| entry.waiting_for() == WaitingFor::User) {
        let mut answer = UpdateUserInformationInquiryEntryRequest::new();
        answer.answer = Some("My income comes from employment.".parse()?);
        let _heard_of_later = user.inquiries().answer(inquiry.id, entry.id, &answer).await?;
    }
    Ok(())
}

/// The whole program. Returns the lines that it prints.
pub(crate) async fn run() -> Outcome<Vec<String>> {
    let sandbox = Sandbox::builder().pace(Pace::Every(MOMENT)).profile(bank()).start().await?;
    let folder = std::env::temp_dir().join(format!("bunq-webhooks-{}", Uuid::new_v4()));
    let mut private = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut private, 0o700);
    private.recursive(true).create(folder.join("users"))?;
    let client = sandbox.client().custody(FileCustody::new(folder.join("users"))).build()?;

    // Whoever knows the segment can call. It comes from your store of secrets, and stays the same after a restart.
    let segment = Uuid::new_v4().simple().to_string();
    let journal = FileHintJournal::open(folder.join("hints"), HintJournalBounds::default()).await?;
    let receiver = Receiver::builder(Environment::Sandbox, segment.as_str()).folder("/bunq/").build(journal)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url: NotificationTarget = format!("http://{}/bunq/{segment}", listener.local_addr()?).parse()?;
    let app = Router::new().route_service("/bunq/{segment}", receiver.clone());
    let server = tokio::spawn(serve(listener, app));

    let mut changes = client.changes(&receiver).start()?;
    client.notifications().ensure(NotificationCategory::PartnerUserProvision, url.clone()).await?;
    let provisions = [create(&client).await?, create(&client).await?];
    let heard = follow(&client, &mut changes, provisions, &url).await?;

    server.abort();
    std::fs::remove_dir_all(folder)?;
    let name = |id| if id == provisions[0] { "first" } else { "second" };
    Ok(heard.into_iter().map(|(id, news)| format!("{} user: {news:?}", name(id))).collect())
}

async fn create(client: &Client) -> Outcome<ProvisionId> {
    let new = NewProvision::person(Uuid::new_v4(), "user@example.com".parse()?, "+31600000000".parse()?);
    Ok(client.provisions().create(new).await?.id())
}

/// A bank that wants to know little, and is quick.
fn bank() -> Profile {
    let mut profile = Profile::default();
    profile.fulfillments = vec!["ADDRESS_MAIN".to_owned(), "NATIONALITY".to_owned()];
    profile.onboarding_check = Duration::from_secs(1);
    profile
}

#[tokio::main]
async fn main() -> Outcome {
    for line in run().await? {
        println!("{line}");
    }
    Ok(())
}
