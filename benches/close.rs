//! The CPU time of a signed and verified close: by the crate, compared with the same bytes sent without it.

#[path = "common/bare.rs"]
mod bare;
mod common;

use std::time::Duration;

use bare::Bare;
use bunq_partner::{Client, Environment, Operation, ProvisionId};
use bunq_partner_sandbox::{CallLogEntry, RawResponse, Sandbox};
use common::{API_KEY, Result, Server, Spread, cpu_time, role, runtime, serve};

const ID: u64 = 1_000_000;
const BLOCKS: u32 = 200;
const CLOSES: u32 = 100;

fn main() -> Result<()> {
    match role().as_deref() {
        None => Ok(()),
        Some([role]) if role == "serve" => runtime()?.block_on(server()),
        Some(_) => runtime()?.block_on(measure()),
    }
}

/// Responds to every close with success, so that one provision can be closed many times, as long as all closes have the
/// same bytes.
async fn server() -> Result<()> {
    let sandbox = Sandbox::builder().api_key(API_KEY.into()).start().await?;
    let mut first = None;
    sandbox.before_signing(move |call: &CallLogEntry, response: &mut RawResponse| {
        if call.method == "PUT" {
            let bytes = bytes(call);
            response.status = if *first.get_or_insert_with(|| bytes.clone()) == bytes { 200 } else { 400 };
            response.body = format!(r#"{{"Response":[{{"Id":{{"id":{ID}}}}}]}}"#).into_bytes();
        }
    });
    serve(sandbox).await
}

/// A received call, in which the values that differ by call or session are replaced by their lengths.
fn bytes(call: &CallLogEntry) -> (String, Vec<(String, String)>, String) {
    let own = ["x-bunq-client-request-id", "x-bunq-client-authentication", "x-bunq-client-signature"];
    let mut headers = call.headers.clone();
    for (_, value) in headers.iter_mut().filter(|(name, _)| own.contains(&name.as_str())) {
        *value = value.len().to_string();
    }
    headers.sort();
    (call.path.clone(), headers, call.body.clone())
}

async fn measure() -> Result<()> {
    let server = Server::start(&["serve"])?;
    let bare = Bare::open(&server.base_url).await?;
    // The rate limit is active, but never delays a close.
    let client = Client::builder(Environment::Sandbox)
        .base_url(&server.base_url)
        .api_key(API_KEY)
        .rate_limit(&Operation::UPDATE_PROVISION, 2, Duration::from_nanos(1))
        .build()?;

    let mut figures = [Vec::new(), Vec::new()];
    // The first block is the warm-up.
    for block in 0..=BLOCKS {
        // Each of the two goes first equally often.
        let order = if block % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let before = cpu_time()?;
            for _ in 0..CLOSES {
                if side == 0 { bare.close(ID).await? } else { close(&client).await? }
            }
            let spent = cpu_time()? - before;
            if block > 0 {
                figures[side].push(micros(spent) / f64::from(CLOSES));
            }
        }
    }
    let ratios = figures[0].iter().zip(&figures[1]).map(|(bare, own)| own / bare).collect();
    let [bare, own] = figures;
    println!("CPU time of a close, {BLOCKS} blocks of {CLOSES} on each side, alternately\n");
    println!("                     median       min       max");
    for (name, figures) in [("bare reqwest, µs", bare), ("bunq-partner, µs", own), ("ratio", ratios)] {
        let Spread { median, min, max } = Spread::of(figures)?;
        println!("{name:<17}{median:>10.3}{min:>10.3}{max:>10.3}");
    }
    Ok(())
}

async fn close(client: &Client) -> Result<()> {
    drop(client.provisions().close(ProvisionId::try_from(ID)?).await?);
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
