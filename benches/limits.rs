//! How much of bunq's rate limits the client uses, by itself, by how far the bank is, and beside other clients, who waits how
//! long for a permit, and how many requests it takes to wait for many provisions.

mod common;
#[path = "common/way.rs"]
mod way;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bunq_partner::{ClientBuilder, Operation, PageSize};
use bunq_partner_sandbox::{CallLogEntry, Sandbox, SandboxBuilder};
use common::{Result, Spread, role};
use futures_util::future::{join_all, try_join_all};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use way::{Closes, Way};

const CLOSED: usize = 60;
const AWAITED: usize = 2_000;

/// How long each direction takes on the ways to the bank, in milliseconds, and what an exchange takes in all.
const WAYS: [(&str, RangeInclusive<u64>); 4] =
    [("0 ms", 0..=0), ("30 ms", 15..=15), ("100 ms", 50..=50), ("100 ± 30 ms", 35..=65)];
const MINUTES: u32 = 2;
/// How many of a client's closes wait at once.
const AT_ONCE: usize = 16;

const CLIENTS: usize = 4;
const SHARED: usize = 32;

const WAITING: usize = 90;
const ARRIVING: usize = 60;

const ALL: usize = 20_000;
const SOUGHT: usize = 500;

/// The default of a waiter.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// The divisor of bunq's windows, unless `full` is given.
const SCALE: u32 = 10;

#[tokio::main]
async fn main() -> Result<()> {
    match role().as_deref() {
        None => Ok(()),
        Some([full]) if full == "full" => measure(1).await,
        Some([only]) if only == "distance" => distance(MINUTES).await,
        Some([only, minutes]) if only == "distance" => distance(minutes.parse()?).await,
        Some([only]) if only == "share" => {
            for _ in 0..6 {
                share(SCALE, false).await?;
                share(SCALE, true).await?;
            }
            Ok(())
        }
        Some(_) => measure(SCALE).await,
    }
}

async fn measure(scale: u32) -> Result<()> {
    println!("bunq's rate limits, with windows of 1/{scale}\n");
    close(scale).await?;
    share(scale, false).await?;
    share(scale, true).await?;
    queue(scale).await?;
    wait(scale).await?;
    find(scale, false).await?;
    find(scale, true).await
}

/// A sandbox that enforces bunq's limits in scaled windows.
fn sandbox(scale: u32) -> SandboxBuilder {
    Operation::ALL.iter().fold(Sandbox::builder(), |sandbox, operation| {
        let limit = operation.rate_limit;
        sandbox.rate_limit(operation, limit.calls, limit.per / scale)
    })
}

/// A client that keeps to the same limits.
fn client(sandbox: &Sandbox, scale: u32) -> ClientBuilder {
    Operation::ALL.iter().fold(sandbox.client(), |client, operation| {
        let limit = operation.rate_limit;
        client.rate_limit(operation, limit.calls, limit.per / scale)
    })
}

async fn close(scale: u32) -> Result<()> {
    let sandbox = sandbox(scale).start().await?;
    let ids = sandbox.populate(CLOSED);
    let client = client(&sandbox, scale).build()?;
    // Open the session first, so that it is not measured.
    client.provisions().list().page().await?;
    sandbox.take_call_log();

    let provisions = client.provisions();
    let start = Instant::now();
    let closings = try_join_all(ids.into_iter().map(|id| provisions.close(id))).await?;
    let took = start.elapsed();

    let limit = Operation::UPDATE_PROVISION.rate_limit;
    // The first window is free; each further window holds as many calls as the limit allows.
    let windows = u32::try_from(closings.len())?.div_ceil(limit.calls) - 1;
    let least = limit.per / scale * windows;
    let journal = sandbox.take_call_log();
    println!("closing {CLOSED}: {took:.2?}; the limit asks for {windows} windows, {least:.2?}");
    println!("  {:.1} % of what the limit allows", least.as_secs_f64() / took.as_secs_f64() * 100.0);
    println!("  {} requests, {} responses 429\n", journal.len(), refused(&journal));
    Ok(())
}

/// How much of the limit is used by how far the bank is, with bunq's own windows: all ways at once, each with a bank and a
/// client of its own.
async fn distance(minutes: u32) -> Result<()> {
    println!("closing for {minutes} minutes with bunq's windows\n");
    println!("                        of the limit, %           the client's own time, ms");
    println!(
        "exchange        closes    used  possible   ratio    mean     min  median     max    429s    mean exchange, ms"
    );
    let ways = WAYS.map(|(name, each_way)| {
        tokio::spawn(async move { used(each_way, minutes).await.map(|used| (name, used)).map_err(|e| e.to_string()) })
    });
    for way in ways {
        let (name, closes) = way.await??;
        report(name, closes)?;
    }
    Ok(())
}

/// Closes one provision after the other over such a way.
async fn used(each_way: RangeInclusive<u64>, minutes: u32) -> Result<Closes> {
    let limit = Operation::UPDATE_PROVISION.rate_limit;
    let count = minutes * 60 / u32::try_from(limit.per.as_secs())? * limit.calls;
    let sandbox = sandbox(1).start().await?;
    let way = Way::to(sandbox.base_url(), each_way).await?;
    let client = client(&sandbox, 1).base_url(&way.base_url).build()?;
    client.open_session().await?;
    let closings = sandbox.populate(usize::try_from(count)?).into_iter().map(|id| {
        let provisions = client.provisions();
        async move { provisions.close(id).await }
    });
    stream::iter(closings).buffer_unordered(AT_ONCE).try_for_each(async |_| Ok(())).await?;
    Ok(way.closes())
}

/// Prints how much of the limit was used, and how much can be used if a permit is free one window after the response.
fn report(name: &str, closes: Closes) -> Result<()> {
    let limit = Operation::UPDATE_PROVISION.rate_limit;
    let own = closes.own_times(limit.calls, limit.per);
    let Closes { mut began, took, refused, .. } = closes;
    let (count, calls, per) = (began.len(), limit.calls as usize, limit.per.as_secs_f64());
    began.sort_unstable();
    // A close takes the permit of the close as many before it as there are calls in a window.
    let cycles: f64 = began.iter().skip(calls).zip(&began).map(|(next, begun)| (*next - *begun).as_secs_f64()).sum();
    let exchange = took.as_secs_f64() / count as f64;
    let (used, possible) = (per * own.len() as f64 / cycles * 1e2, per / (per + exchange) * 1e2);
    let mean = own.iter().sum::<f64>() / own.len() as f64;
    let Spread { median, min, max } = Spread::of(own)?;
    println!(
        "{name:<14}{count:>8}{used:>8.2}{possible:>10.2}{:>8.4}{mean:>8.2}{min:>8.2}{median:>8.2}{max:>8.2}{refused:>8}{:>21.2}",
        used / possible,
        exchange * 1e3
    );
    Ok(())
}

/// Several clients at one address that do not know of each other.
async fn share(scale: u32, refused_count: bool) -> Result<()> {
    // Opening the sessions is not measured.
    let sandbox = sandbox(scale).rate_limit(&Operation::CREATE_SESSION, u32::MAX, Duration::from_secs(1));
    let sandbox = sandbox.refused_calls_count(refused_count).start().await?;
    let ids = sandbox.populate(SHARED);
    let clients = (0..CLIENTS).map(|_| client(&sandbox, scale).build()).collect::<std::result::Result<Vec<_>, _>>()?;
    for client in &clients {
        client.open_session().await?;
    }
    sandbox.take_call_log();

    let start = Instant::now();
    let closings = ids.chunks(SHARED / CLIENTS).zip(&clients).flat_map(|(ids, client)| {
        ids.iter().map(|id| {
            let provisions = client.provisions();
            async move { provisions.close(*id).await }
        })
    });
    let failed = join_all(closings).await.iter().filter(|closing| closing.is_err()).count();
    let took = start.elapsed();
    let limit = Operation::UPDATE_PROVISION.rate_limit;
    let least = limit.per / scale * (u32::try_from(SHARED)?.div_ceil(limit.calls) - 1);
    let journal = sandbox.take_call_log();
    let counted = if refused_count { "counts" } else { "does not count" };
    println!("{CLIENTS} clients close {SHARED}, and what bunq refuses {counted}: {took:.2?}, {failed} failed");
    println!("  {:.2} x what the limit asks for", took.as_secs_f64() / least.as_secs_f64());
    println!("  {} requests, {} responses 429\n", journal.len(), refused(&journal));
    Ok(())
}

/// Calls that wait while others arrive at nine tenths of the limit.
async fn queue(scale: u32) -> Result<()> {
    let sandbox = sandbox(scale).start().await?;
    let client = client(&sandbox, scale).build()?;
    client.provisions().list().page().await?;
    let limit = Operation::UPDATE_PROVISION.rate_limit;
    let pause = limit.per / scale / limit.calls * 10 / 9;
    sandbox.take_call_log();
    let begun = Arc::new(AtomicU64::new(0));
    let mut calls = JoinSet::new();
    for (position, id) in sandbox.populate(WAITING + ARRIVING).into_iter().enumerate() {
        if position >= WAITING {
            sleep(pause).await;
        }
        let (provisions, begun) = (client.provisions(), Arc::clone(&begun));
        calls.spawn(async move {
            let (place, start) = (begun.fetch_add(1, Ordering::Relaxed), Instant::now());
            (id.to_string(), place, provisions.close(id).await.is_err(), start.elapsed())
        });
    }
    let finished = calls.join_all().await;
    let longest = |have_failed: bool| {
        let waits = finished.iter().filter(|(_, _, has_failed, _)| *has_failed == have_failed);
        waits.map(|(.., waited)| *waited).max().unwrap_or_default()
    };
    let failed = finished.iter().filter(|(_, _, has_failed, _)| *has_failed).count();
    let (longest, longest_in_vain) = (longest(false), longest(true));
    let places: HashMap<_, _> = finished.into_iter().map(|(id, place, ..)| (id, place)).collect();
    let sent = sandbox.take_call_log().into_iter().filter(|call| call.method == "PUT");
    let sent: Vec<_> = sent.filter_map(|call| places.get(call.path.rsplit('/').next()?).copied()).collect();
    // Calls of one window go out together, in any order.
    let overtaken = sent.windows(3).filter(|sent| sent[0] > sent[2]).count();
    println!("{WAITING} calls wait and {ARRIVING} arrive: {overtaken} were overtaken");
    println!("  the longest wait was {longest:.2?}; {failed} were told that their turn comes too late");
    println!("  the longest wait in vain was {longest_in_vain:.2?}\n");
    Ok(())
}

/// Waits for some provisions among many others, which are active or closed.
async fn find(scale: u32, are_closed: bool) -> Result<()> {
    let sandbox = sandbox(scale).rate_limit(&Operation::UPDATE_PROVISION, u32::MAX, Duration::from_secs(1));
    let sandbox = sandbox.start().await?;
    let ids = sandbox.populate(ALL);
    let hasty = sandbox.client().without_rate_limits().build()?;
    let (sought, others): (Vec<_>, Vec<_>) = ids.into_iter().enumerate().partition(|(at, _)| at % (ALL / SOUGHT) == 0);
    if are_closed {
        for (_, id) in others {
            drop(hasty.provisions().close(id).await?);
        }
        // The second read of each closes it.
        for _ in 0..2 {
            hasty.provisions().list().count(PageSize::MAX).pages().try_for_each(async |_| Ok(())).await?;
        }
    }
    let client = client(&sandbox, scale).rate_limit(&Operation::UPDATE_PROVISION, u32::MAX, Duration::from_secs(1));
    let client = client.poll_interval(POLL_EVERY / scale).build()?;
    // The requests to close are not measured.
    let mut waiters = Vec::new();
    for (_, id) in sought {
        waiters.push(client.provisions().close(id).await?);
    }
    sandbox.take_call_log();

    let start = Instant::now();
    let told = waiters.into_iter().map(async |waiter| waiter.await.map(|_| start.elapsed()));
    let told = try_join_all(told).await?;
    let journal = sandbox.take_call_log();
    let pages = journal.iter().filter(|call| call.path.ends_with("/partner-user-provision")).count();
    let reads = journal.iter().filter(|call| call.method == "GET").count() - pages;
    let others = if are_closed { "closed" } else { "in use" };
    println!("waiting for {SOUGHT} among {ALL}, the others {others}: {pages} pages, {reads} reads by id");
    println!("  the last was told after {:.2?}", told.into_iter().max().unwrap_or_default());
    println!("  {} responses 429\n", refused(&journal));
    Ok(())
}

/// Waits until many provisions are closed, and reads each of them twice: once in progress, once closed.
async fn wait(scale: u32) -> Result<()> {
    // The requests to close are not measured.
    let sandbox = sandbox(scale).rate_limit(&Operation::UPDATE_PROVISION, u32::MAX, Duration::from_secs(1));
    let sandbox = sandbox.start().await?;
    let hasty = sandbox.client().without_rate_limits().build()?;
    let ids = sandbox.populate(AWAITED);
    for id in &ids {
        drop(hasty.provisions().close(*id).await?);
    }
    let client = client(&sandbox, scale).build()?;
    // Open the session first, so that it is not measured.
    client.provisions().list().page().await?;
    sandbox.take_call_log();

    let provisions = client.provisions();
    let start = Instant::now();
    let seen = try_join_all(ids.into_iter().map(|id| {
        let waiter = provisions.wait_until_closed(id).poll_interval(POLL_EVERY / scale);
        waiter.changes().try_fold(0, async |seen, _| Ok(seen + 1))
    }));
    // One GET for each read of a provision.
    let gets: usize = seen.await?.into_iter().sum();
    let took = start.elapsed();

    let journal = sandbox.take_call_log();
    let pages = journal.iter().filter(|call| call.path.ends_with("/partner-user-provision")).count();
    let reads = journal.len() - pages;
    println!("waiting for {AWAITED}: {took:.2?}, {gets} states read");
    println!(
        "  {pages} pages and {reads} reads by id, 1/{:.0} of a GET for each state",
        gets as f64 / journal.len() as f64
    );
    println!("  {} responses 429\n", refused(&journal));
    Ok(())
}

fn refused(journal: &[CallLogEntry]) -> usize {
    journal.iter().filter(|call| call.status == 429).count()
}
