//! The peak memory of a process that streams provisions, many and few.

mod common;

use bunq_partner::sandbox::Sandbox;
use bunq_partner::{Client, Environment, PageSize};
use common::{API_KEY, Result, Server, Spread, another, peak_memory, role, runtime, serve};
use futures_util::TryStreamExt;

const FEW: usize = 1_000;
const MANY: usize = 100_000;
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let Some(role) = role() else { return Ok(()) };
    match role.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", count] => runtime()?.block_on(server(count.parse()?)),
        ["stream", base_url, count] => runtime()?.block_on(stream(base_url, count.parse()?)),
        _ => measure(),
    }
}

async fn server(count: usize) -> Result<()> {
    let sandbox = Sandbox::builder().api_key(API_KEY.into()).start().await?;
    sandbox.populate(count);
    serve(sandbox).await
}

/// Streams all provisions, and prints the peak memory of the process.
async fn stream(base_url: &str, count: usize) -> Result<()> {
    let client =
        Client::builder(Environment::Sandbox).base_url(base_url).api_key(API_KEY).without_rate_limits().build()?;
    let provisions = client.provisions().list().count(PageSize::MAX).stream();
    let seen = provisions.try_fold(0, async |seen, _| Ok(seen + 1)).await?;
    if seen != count {
        return Err(format!("{seen} provisions were seen of {count}").into());
    }
    println!("{}", peak_memory()?);
    Ok(())
}

fn measure() -> Result<()> {
    let mut peaks = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (count, peaks) in [FEW, MANY].into_iter().zip(&mut peaks) {
            peaks.push(peak(&count.to_string())?);
        }
    }
    println!("Peak memory of a process that streams provisions, {ROUNDS} processes each\n");
    println!("provisions  median, KiB       min       max");
    let [few, many] = peaks.map(Spread::of);
    let (few, many) = (few?, many?);
    for (count, Spread { median, min, max }) in [(FEW, few), (MANY, many)] {
        println!("{count:>10}{median:>13.0}{min:>10.0}{max:>10.0}");
    }
    println!("\n{:+.1} %", (many.median / few.median - 1.0) * 100.0);
    Ok(())
}

/// The peak memory of one process, in KiB.
fn peak(count: &str) -> Result<f64> {
    let server = Server::start(&["serve", count])?;
    let output = another(&["stream", &server.base_url, count])?.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(str::from_utf8(&output.stdout)?.trim().parse()?)
}
