//! Acting for a provisioned user: activate the credential of a provision, and store the user's session.
//!
//! Runs against bunq on loopback.

use std::error::Error;

use bunq_partner::{CredentialStatus, FileStore, NewProvision, Uuid};
use bunq_partner_sandbox::Sandbox;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::start().await?;
    let partner = sandbox.client().build()?;
    let new = NewProvision::person(Uuid::new_v4(), "user@example.com".parse()?, "+31600000000".parse()?);
    let ready = partner.provisions().create(new).await?.await?;
    let credential = ready.fresh_credential().ok_or("a provision that is ready has a credential")?;
    println!("provision {} is ready; its credential expires at {:?}", ready.id, credential.expiry_time);

    // bunq never shows the token again after the first session, so the session is stored in a file of the user's own.
    let file = std::env::temp_dir().join(format!("bunq-user-{}.json", ready.id));
    let user = partner.for_user(credential)?.context_store(FileStore::new(&file)).build()?;
    user.open_session().await?;
    let known = user.user().await?;
    println!("the session acts for the {:?} {}: paths begin with /user/{}", known.kind, known.id, known.id);

    let seen = partner.provisions().get(ready.id).await?;
    let status = seen.credential.and_then(|credential| credential.status);
    assert_eq!(status, Some(CredentialStatus::Active));
    println!("the credential is in use");

    user.end_session().await?;
    std::fs::remove_file(file)?;
    Ok(())
}
