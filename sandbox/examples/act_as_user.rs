//! Acting for a user, the whole way: from an `external_uuid` to a verified user whose documents bunq has, and the closing.
//!
//! `serve` can be killed at any point. Call it again some seconds later, when a creation cannot be on its way any more: what bunq shows and
//! what the custody has say where it goes on. Runs against bunq on loopback.

use std::error::Error;
use std::time::Duration;

use bunq_partner::types::{
    Address, CountryCode, CreateDocumentIdentificationRequest, Fulfillment, FulfillmentType, InquiryStatus,
    RequestedUserStatus, RequestedUserVerificationStatus, TaxResident, TaxResidentStatus,
    UpdateUserInformationInquiryEntryRequest, UpdateUserOnboardingRequest, UpdateUserPersonRequest,
};
use bunq_partner::{
    Client, FileCustody, FulfillmentAnswer, IdentityOutcome, NewAttachment, NewProvision, OnboardingOutcome,
    RequestedStatuses, UserClient, Uuid, WaitingFor,
};
use bunq_partner_sandbox::{Profile, Sandbox};
use futures_util::TryStreamExt as _;
use tokio::time::sleep;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What a partner knows of a user.
pub(crate) struct UserData {
    pub(crate) external_uuid: Uuid,
    pub(crate) address: Address,
    pub(crate) person: UpdateUserPersonRequest,
    pub(crate) country: CountryCode,
    pub(crate) tax_residence: TaxResident,
    /// The front and the back of a document, as images.
    pub(crate) document: [Vec<u8>; 2],
    pub(crate) income: String,
}

/// Creates the user, brings it to bunq's verification, answers what bunq asks, and closes it.
pub(crate) async fn serve(client: &Client, data: &UserData, pause: Duration) -> Outcome {
    let provisions = client.provisions();
    // A process before this one may have got further.
    let (id, is_over) = match provisions.find(data.external_uuid).await? {
        Some(seen) => {
            println!("provision {} is there, and is {}", seen.id, seen.status);
            (seen.id, seen.status.is_over())
        }
        // It looks again: a request of that process may have arrived since.
        None => (provisions.ensure(data.new_user()?).await?.id(), false),
    };
    if !is_over {
        // The token is in custody before it is used.
        let user = client.users().activate(id).await?;
        println!("provision {id} has user {}", user.user().await?.id);
        verify(&user, data, pause).await?;
        answer_inquiries(&user, data).await?;
        user.end_session().await?;
    }
    let closed = provisions.close(id).await?.await?;
    client.users().remove(id).await?;
    println!("provision {id} is {}, and nothing of its user is kept", closed.status);
    Ok(())
}

/// Gives bunq what it wants to know, until it has verified the user.
async fn verify(user: &UserClient, data: &UserData, pause: Duration) -> Outcome {
    let onboarding = user.onboarding();
    let id = onboarding.start().await?.id;
    let wanted =
        UpdateUserOnboardingRequest::new(RequestedUserStatus::Active, RequestedUserVerificationStatus::Verified);
    let waiter = loop {
        match onboarding.request(id, &wanted).await? {
            RequestedStatuses::Accepted(waiter) => break waiter,
            RequestedStatuses::Missing(mut missing) => {
                // As soon as nothing mandatory is missing, bunq takes the statuses, and lists nothing more. What may wait goes first.
                missing.sort_by_key(|one| !one.is_answerable());
                for one in missing.iter().filter(|one| one.waiting_for() == WaitingFor::User) {
                    give(user, one, data).await?;
                }
            }
        }
        sleep(pause).await;
    };
    match waiter.await?.outcome() {
        Some(OnboardingOutcome::Reached) => println!("the user is verified"),
        other => return Err(format!("the user is not verified: {other:?}").into()),
    }
    Ok(())
}

/// Gives bunq one thing that is missing.
async fn give(user: &UserClient, one: &Fulfillment, data: &UserData) -> Outcome {
    let answer = match &one.type_ {
        FulfillmentType::AddressMain => FulfillmentAnswer::AddressMain(data.address.clone()),
        FulfillmentType::AddressPostal => FulfillmentAnswer::AddressPostal(data.address.clone()),
        FulfillmentType::DateOfBirth => FulfillmentAnswer::Person(data.person.clone()),
        FulfillmentType::Nationality => FulfillmentAnswer::Nationality(vec![data.country.clone()]),
        FulfillmentType::TaxResident => FulfillmentAnswer::TaxResident(vec![data.tax_residence.clone()]),
        other => {
            match other.as_str() {
                "IDENTITY_VERIFICATION" => prove_identity(user).await?,
                "DOCUMENT_IDENTIFICATION" => link_document(user, data).await?,
                other => println!("{other} is for the user"),
            }
            return Ok(());
        }
    };
    println!("{} is answered", one.type_);
    Ok(user.onboarding().answer(one, &answer).await?)
}

async fn prove_identity(user: &UserClient) -> Outcome {
    let identity = user.identity();
    let mut session = match identity.start().await {
        // It was begun before a crash, and bunq lists no sessions. This program decides for a second one, which bunq may refuse while
        // another goes on.
        Err(error) if error.is_doubtful() => {
            println!("in doubt: {error}");
            identity.start_another().await?
        }
        started => started?,
    };
    if let Some(IdentityOutcome::NotApproved { .. }) = session.session().outcome() {
        session = identity.start_another().await?;
    }
    // The user's app gives this secret to the SDK, and tells when the user is done.
    let _for_the_sdk = session.take_token();
    let result = identity.submit(session.id()).await?.await?;
    println!("the verification of the identity is {:?}", result.outcome());
    Ok(())
}

async fn link_document(user: &UserClient, data: &UserData) -> Outcome {
    let attachments = user.attachments();
    let front = attachments.upload(NewAttachment::new(data.document[0].clone())).await?;
    let back = attachments.upload(NewAttachment::new(data.document[1].clone())).await?;
    let kind = "CRYPTO_KYC_QUESTIONNAIRE".parse()?;
    let mut document = CreateDocumentIdentificationRequest::new(front, data.country.clone(), kind);
    document.document_back_attachment_id = Some(back);
    let linked = match user.documents().link(&document).await {
        // It was begun before a crash. bunq says that the document is missing, so it is sent again.
        Err(error) if error.is_doubtful() => {
            println!("in doubt: {error}");
            user.documents().link_again(&document).await?
        }
        linked => linked?,
    };
    println!("document {} is linked", linked.id);
    Ok(())
}

/// Answers all that bunq asks now, and waits until bunq has looked at it. bunq asks when it likes: this bank does when the user is verified.
async fn answer_inquiries(user: &UserClient, data: &UserData) -> Outcome {
    let inquiries = user.inquiries();
    let open = [InquiryStatus::ExpectingReplyFromUser, InquiryStatus::ExpectingReplyFromBunq];
    let open: Vec<_> = inquiries.list().status(open).stream().try_collect().await?;
    for inquiry in open {
        for entry in inquiry.entries().filter(|entry| entry.waiting_for() == WaitingFor::User) {
            let proof = user.attachments().upload(NewAttachment::new(data.document[0].clone())).await?;
            let mut answer = UpdateUserInformationInquiryEntryRequest::new();
            (answer.answer, answer.all_attachment_id) = (Some(data.income.parse()?), vec![proof]);
            let _waiter = inquiries.answer(inquiry.id, entry.id, &answer).await?;
        }
        // Also for what a process before this one has answered.
        let reviewed = inquiries.wait_until_reviewed(inquiry.id).await?;
        println!("inquiry {} is {:?}", inquiry.id, reviewed.status);
    }
    Ok(())
}

impl UserData {
    /// Somebody who does not exist.
    pub(crate) fn of_nobody(external_uuid: Uuid) -> Outcome<Self> {
        let (country, city): (CountryCode, _) = ("NL".parse()?, "Exampleton".parse()?);
        let (number, postal_code, street) = ("1a".parse()?, "1000 AA".parse()?, "Example Street".parse()?);
        let mut person = UpdateUserPersonRequest::new();
        person.date_of_birth = Some("1990-01-31".parse()?);
        let image = |side: &[u8]| [b"\x89PNG\r\n\x1a\n", side].concat();
        Ok(Self {
            external_uuid,
            address: Address::new(city, country.clone(), number, postal_code, street),
            person,
            tax_residence: TaxResident::new(country.clone(), TaxResidentStatus::Confirmed, "123456782".parse()?),
            country,
            document: [image(b"front"), image(b"back")],
            income: "My income comes from employment.".to_owned(),
        })
    }

    fn new_user(&self) -> Outcome<NewProvision> {
        Ok(NewProvision::person(self.external_uuid, "user@example.com".parse()?, "+31600000000".parse()?))
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let mut profile = Profile::default();
    (profile.onboarding_check, profile.identity_check) = (Duration::from_secs(1), Duration::from_secs(1));
    let sandbox = Sandbox::builder().profile(profile).start().await?;
    let folder = std::env::temp_dir().join(format!("bunq-users-{}", Uuid::new_v4()));
    let mut private = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut private, 0o700);
    private.create(&folder)?;
    let client = sandbox.client().custody(FileCustody::new(&folder)).build()?;
    let data = UserData::of_nobody(Uuid::new_v4())?;
    let pause = Duration::from_millis(100);
    serve(&client, &data, pause).await?;
    println!("once more");
    serve(&client, &data, pause).await?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
