//! How much of bunq's rate limits the client uses, and how many requests a wait for many provisions takes.

mod common;

use std::time::{Duration, Instant};

use bunq_partner::sandbox::{JournalEntry, Sandbox, SandboxBuilder};
use bunq_partner::{Client, Operation};
use common::{Result, role};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;

const CLOSED: usize = 60;
const AWAITED: usize = 2_000;

/// A waiter's own default.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// What bunq's windows are divided by, unless `full` is asked for.
const SCALE: u32 = 10;

#[tokio::main]
async fn main() -> Result<()> {
    match role().as_deref() {
        None => Ok(()),
        Some([full]) if full == "full" => measure(1).await,
        Some(_) => measure(SCALE).await,
    }
}

async fn measure(scale: u32) -> Result<()> {
    println!("bunq's rate limits, with windows of 1/{scale}\n");
    close(scale).await?;
    wait(scale).await
}

/// A sandbox that enforces bunq's limits, in scaled windows.
fn sandbox(scale: u32) -> SandboxBuilder {
    Operation::ALL.iter().fold(Sandbox::builder(), |sandbox, operation| {
        let limit = operation.rate_limit;
        sandbox.rate_limit(operation, limit.calls, limit.per / scale)
    })
}

/// A client that keeps the same limits.
fn client(sandbox: &Sandbox, scale: u32) -> Result<Client> {
    let client = Operation::ALL.iter().fold(sandbox.client(), |client, operation| {
        let limit = operation.rate_limit;
        client.rate_limit(operation, limit.calls, limit.per / scale)
    });
    Ok(client.build()?)
}

async fn close(scale: u32) -> Result<()> {
    let sandbox = sandbox(scale).start().await?;
    let ids = sandbox.populate(CLOSED);
    let client = client(&sandbox, scale)?;
    // The session is not what is measured.
    client.provisions().list().page().await?;
    sandbox.take_journal();

    let provisions = client.provisions();
    let start = Instant::now();
    let closings = try_join_all(ids.into_iter().map(|id| provisions.close(id))).await?;
    let took = start.elapsed();

    let limit = Operation::UPDATE_PROVISION.rate_limit;
    // The first window is free; each further window holds as many calls as the limit allows.
    let windows = u32::try_from(closings.len())?.div_ceil(limit.calls) - 1;
    let least = limit.per / scale * windows;
    let journal = sandbox.take_journal();
    println!("closing {CLOSED}: {took:.2?}; the limit asks for {windows} windows, {least:.2?}");
    println!("  {:.1} % of what the limit allows", least.as_secs_f64() / took.as_secs_f64() * 100.0);
    println!("  {} requests, {} responses 429\n", journal.len(), refused(&journal));
    Ok(())
}

/// Waits for many provisions to be closed, and reads each of them twice: once in progress, once closed.
async fn wait(scale: u32) -> Result<()> {
    // The requests to close are not measured.
    let sandbox = sandbox(scale).rate_limit(&Operation::UPDATE_PROVISION, u32::MAX, Duration::from_secs(1));
    let sandbox = sandbox.start().await?;
    let hasty = sandbox.client().without_rate_limits().build()?;
    let ids = sandbox.populate(AWAITED);
    for id in &ids {
        drop(hasty.provisions().close(*id).await?);
    }
    let client = client(&sandbox, scale)?;
    // The session is not what is measured.
    client.provisions().list().page().await?;
    sandbox.take_journal();

    let provisions = client.provisions();
    let start = Instant::now();
    let seen = try_join_all(ids.into_iter().map(|id| {
        let waiter = provisions.wait_until_closed(id).poll_interval(POLL_EVERY / scale);
        waiter.changes().try_fold(0, async |seen, _| Ok(seen + 1))
    }));
    // One GET for each time that a provision is read.
    let gets: usize = seen.await?.into_iter().sum();
    let took = start.elapsed();

    let journal = sandbox.take_journal();
    let pages = journal.iter().filter(|call| call.path.ends_with("/partner-user-provision")).count();
    let reads = journal.len() - pages;
    println!("waiting for {AWAITED}: {took:.2?}, {gets} states read");
    println!(
        "  {pages} pages and {reads} reads by id, 1/{:.0} of a GET for each state",
        gets as f64 / journal.len() as f64
    );
    println!("  {} responses 429", refused(&journal));
    Ok(())
}

fn refused(journal: &[JournalEntry]) -> usize {
    journal.iter().filter(|call| call.status == 429).count()
}
