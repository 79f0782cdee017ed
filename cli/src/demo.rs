//! `demo`: the life of a provision, in a bunq of this program's own.

use std::pin::pin;

use bunq_partner::{NewProvision, Uuid, Waiter};
use bunq_partner_sandbox::Sandbox;
use futures_util::TryStreamExt as _;

use super::exit::Failure;
use super::output::write_text;
use super::records;

pub(super) async fn run() -> Result<(), Failure> {
    let sandbox = Sandbox::start().await.map_err(|error| Failure::local("the sandbox cannot be started", &error))?;
    let client = sandbox.client().build()?;
    step(&format!("A bunq listens on {}. It is this program's own, and ends with it.", sandbox.base_url()))?;

    let user = client.user().await?;
    step(&format!(
        "Installation, device and session are made: the API key is that of {}.",
        user.display_name.unwrap_or_default()
    ))?;

    let new = NewProvision::person(Uuid::new_v4(), "user@example.com".parse()?, "+31600000000".parse()?);
    let creating = client.provisions().create(new).await?;
    let id = creating.id();
    step(&format!("Provision {id} is requested. bunq makes the user:"))?;
    follow(creating).await?;
    step("The user has a credential that nobody has used yet: it is ready.")?;

    step(&format!("Provision {id} is closed:"))?;
    follow(client.provisions().close(id).await?).await?;
    write_text("\nTry the rest with --sandbox: `bunq-partner --sandbox list`\n")?;
    Ok(())
}

async fn follow(waiter: Waiter) -> Result<(), Failure> {
    let mut changes = pin!(waiter.changes());
    while let Some(seen) = changes.try_next().await? {
        write_text(&format!("  {}\n", records::change(&seen)))?;
    }
    Ok(())
}

fn step(text: &str) -> std::io::Result<()> {
    write_text(&format!("\x1b[1m{text}\x1b[0m\n"))
}
