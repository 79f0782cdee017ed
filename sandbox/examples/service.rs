//! A service that closes provisions: it takes orders from a queue, works on many at once, and stops cleanly.
//!
//! It runs against bunq on loopback.

use std::error::Error;
use std::time::Duration;

use bunq_partner::{Client, HttpConfig, Operation, ProvisionId};
use bunq_partner_sandbox::Sandbox;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::start().await?;
    // One client for the whole service: all clones share its session, its connections and its rate limits. In
    // production: `Client::builder_from_env()?.context_store(FileStore::new("…"))`.
    let client = sandbox.client().http(HttpConfig::default().user_agent_suffix("example-service/1.0")).build()?;
    // The service does not start with a key that bunq refuses.
    client.open_session().await?;

    let (orders, queue) = mpsc::channel(100);
    let service = tokio::spawn(serve(client, queue));
    for id in sandbox.populate(5) {
        orders.send(id).await?;
    }
    // No more orders come: the service finishes those that it has begun. A real one drops the sender on SIGTERM.
    drop(orders);
    service.await?;
    Ok(())
}

async fn serve(client: Client, mut queue: mpsc::Receiver<ProvisionId>) {
    let mut work = JoinSet::new();
    while let Some(id) = queue.recv().await {
        // A load balancer asks this to know whether there is room for more.
        let wait = client.expected_wait(&Operation::UPDATE_PROVISION);
        println!("provision {id}: its request can go in {} s", wait.as_secs());
        let client = client.clone();
        work.spawn(async move {
            match close(&client, id).await {
                Ok(()) => println!("provision {id} is closed"),
                // Closing twice does no harm, so even a doubtful failure can be tried again.
                Err(error) if error.is_retryable() || error.is_doubtful() => println!("later, please: {error}"),
                Err(error) => println!("provision {id} needs a person: {error}"),
            }
        });
        while work.try_join_next().is_some() {}
    }
    work.join_all().await;
}

async fn close(client: &Client, id: ProvisionId) -> Result<(), bunq_partner::Error> {
    let provisions = client.provisions().operation_timeout(Duration::from_secs(600));
    let closing = provisions.close(id).await?;
    println!("provision {id}: {:?}, bunq's id of the response: {:?}", closing.acceptance(), closing.response_id());
    closing.timeout(Duration::from_secs(3600)).await.map(drop)
}
