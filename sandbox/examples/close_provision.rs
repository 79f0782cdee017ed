//! The main use: create a provision, follow it until it is ready, close it, and wait until bunq says `CLOSED`.
//!
//! It runs against bunq on loopback. With `BUNQ_API_KEY` set to a key of bunq's sandbox (`sandbox_…`), it does the same
//! there.

use std::env::VarError;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use bunq_partner::{Client, Environment, NewProvision, Provision, Uuid, Waiter};
use bunq_partner_sandbox::Sandbox;
use futures_util::TryStreamExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut builder = Client::builder(Environment::Sandbox);
    let mut pause = Duration::from_secs(2);
    let loopback;
    match std::env::var("BUNQ_API_KEY") {
        Err(VarError::NotPresent) => {
            loopback = Sandbox::start().await?;
            builder = loopback.client();
            pause = Duration::from_millis(100);
        }
        api_key => builder = builder.api_key(api_key?),
    }
    let client = builder.build()?;
    println!("{client:?}");
    let provisions = client.provisions();

    let external_uuid = Uuid::new_v4();
    let email = format!("{external_uuid}@example.com").parse()?;
    let phone_number = format!("+316{:08}", external_uuid.as_u128() % 100_000_000).parse()?;
    let creating = provisions.create(NewProvision::person(external_uuid, email, phone_number)).await?;
    let id = creating.id();
    println!("provision {id} is asked for");
    follow(creating.poll_interval(pause)).await?;
    println!("provision {id} is ready");

    let closing = provisions.close(id).await?;
    println!("provision {id} is asked to be closed");
    let closed = follow(closing.poll_interval(pause)).await?;
    println!("provision {id} is {}", closed.status);

    client.end_session().await?;
    Ok(())
}

/// Prints each change of status as it happens, and returns the provision in its last state.
async fn follow(waiter: Waiter) -> Result<Provision, Box<dyn Error>> {
    let mut changes = pin!(waiter.changes());
    let mut last = None;
    while let Some(provision) = changes.try_next().await? {
        let step = provision.sub_status.as_ref().map_or("-", |step| step.as_str());
        println!("  {:<24}{step:<34}waiting for {:?}", provision.status.as_str(), provision.waiting_for());
        last = Some(provision);
    }
    last.ok_or_else(|| "the wait ended before the provision was read".into())
}
