//! What users cost: the memory of one with an open session, and of many beside those that are idle, the CPU time of its calls beside
//! that of the partner's, that of opening one from custody, how long the making of a key holds the runtime, and the CPU time of an
//! estimate while many calls wait.

mod common;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use bunq_partner::wire::SigningKey;
use bunq_partner::{Api, Client, ClientBuilder, Environment, FileCustody, Operation, ProvisionId};
use bunq_partner_sandbox::Sandbox;
use common::{
    API_KEY, Folder, Result, Server, Spread, another, cpu_time, cpu_time_of_all, longest_hold, peak_memory, role,
    runtime, serve, thread_time,
};
use futures_util::{StreamExt as _, TryStreamExt as _, poll};

const FEW: usize = 100;
const MANY: usize = 1_100;
const ROUNDS: usize = 3;
const OPEN: usize = 1_000;
const IDLE: u64 = 10_000;
const OPENED: u32 = 100;
const KEYS: usize = 10;
const BLOCKS: u32 = 100;
const CALLS: u32 = 50;

fn main() -> Result<()> {
    let Some(role) = role() else { return Ok(()) };
    match role.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", count] => runtime()?.block_on(server(count.parse()?)),
        ["open", base_url, count] => runtime()?.block_on(open(base_url, count.parse()?)),
        ["hold", base_url] => runtime()?.block_on(hold(base_url)),
        ["custody"] => measure_idle().and_then(|()| runtime()?.block_on(measure_opening())),
        ["estimates"] => runtime()?.block_on(measure_estimates()),
        _ => {
            measure_memory()?;
            measure_idle()?;
            runtime()?.block_on(measure_opening())?;
            runtime()?.block_on(measure_calls())?;
            runtime()?.block_on(measure_estimates())
        }
    }
}

async fn server(count: usize) -> Result<()> {
    let sandbox = Sandbox::builder().api_key(API_KEY.into()).start().await?;
    sandbox.populate(count);
    serve(sandbox).await
}

/// A partner that makes no keys: each installation has an object of its own with the same key.
fn partner(base_url: &str, folder: &std::path::Path) -> Result<ClientBuilder> {
    let key = SigningKey::generate()?.to_pkcs8()?;
    let builder = Client::builder(Environment::Sandbox).base_url(base_url).api_key(API_KEY).without_rate_limits();
    Ok(builder.signing_keys(move || SigningKey::from_pkcs8(&key)).custody(FileCustody::new(folder)))
}

/// The provisions of the sandbox.
async fn provisions(partner: &Client, count: usize) -> Result<Vec<ProvisionId>> {
    let provisions = partner.provisions().list().stream().take(count);
    Ok(provisions.map_ok(|provision| provision.id).try_collect().await?)
}

/// Opens the sessions of users, makes a call for each, and prints the peak memory of the process.
async fn open(base_url: &str, count: usize) -> Result<()> {
    let folder = Folder::new()?;
    let partner = partner(base_url, &folder.0)?.build()?;
    let mut users = Vec::with_capacity(count);
    for id in provisions(&partner, count).await? {
        let user = partner.users().activate(id).await?;
        user.api().list_credentials().await?;
        users.push(user);
    }
    println!("{} {}", users.len(), peak_memory()?);
    Ok(())
}

fn measure_memory() -> Result<()> {
    let mut each = Vec::new();
    for _ in 0..ROUNDS {
        let [few, many] = [FEW, MANY].map(peak);
        each.push((many? - few?) / (MANY - FEW) as f64);
    }
    let Spread { median, min, max } = Spread::of(each)?;
    println!("Memory of a user with an open session, in KiB, by processes with {FEW} and {MANY}\n");
    println!("median       min       max\n{median:>6.1}{min:>10.1}{max:>10.1}\n");
    Ok(())
}

/// The peak memory of a process with so many open users, in KiB.
fn peak(count: usize) -> Result<f64> {
    let server = Server::start(&["serve", &MANY.to_string()])?;
    let output = another(&["open", &server.base_url, &count.to_string()])?.output()?;
    let text = str::from_utf8(&output.stdout)?.trim();
    match text.split_once(' ') {
        Some((opened, peak)) if opened.parse() == Ok(count) => Ok(peak.parse()?),
        _ => Err(format!("{text} {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Opens the sessions of users, lists them with others that are idle in custody, and prints the peak memory of the process.
async fn hold(base_url: &str) -> Result<()> {
    let folder = Folder::new()?;
    let partner = partner(base_url, &folder.0)?.build()?;
    let (users, mut clients) = (partner.users(), Vec::new());
    for id in provisions(&partner, OPEN).await? {
        let user = users.activate(id).await?;
        user.api().list_credentials().await?;
        clients.push(user);
    }
    let id = clients.last().ok_or("no user")?.provision_id();
    let record = std::fs::read_to_string(folder.0.join(format!("{id}.json")))?;
    for number in 0..IDLE {
        let idle = 10_000_000 + number;
        let record = record.replace(&format!("\"provision_id\":{id}"), &format!("\"provision_id\":{idle}"));
        let path = folder.0.join(format!("{idle}.json"));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(record.as_bytes())?;
        clients.push(users.of(ProvisionId::try_from(idle)?));
    }
    let listed = users.list().try_fold(0, async |count, _| Ok(count + 1)).await?;
    println!("{} {listed} {}", clients.len(), peak_memory()?);
    Ok(())
}

fn measure_idle() -> Result<()> {
    let server = Server::start(&["serve", &OPEN.to_string()])?;
    let output = another(&["hold", &server.base_url])?.output()?;
    let text = str::from_utf8(&output.stdout)?.trim();
    if text.split(' ').count() != 3 {
        return Err(format!("{text} {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    println!(
        "Clients of {OPEN} users with open sessions and {IDLE} idle ones, users listed, peak memory in KiB: {text}\n"
    );
    Ok(())
}

async fn measure_opening() -> Result<()> {
    let server = Server::start(&["serve", &(1 + KEYS).to_string()])?;
    let folder = Folder::new()?;
    // Each client that it builds is one that has not acted for the user yet. All share the custody.
    let partner = partner(&server.base_url, &folder.0)?;
    let first = partner.clone().build()?;
    let ids = provisions(&first, 1 + KEYS).await?;
    first.users().activate(ids[0]).await?;
    println!("CPU time of opening a user from custody, with a key that is there, ms, the mean of {OPENED}\n");
    for (name, is_ended) in [("whose session is in custody", false), ("with a new session", true)] {
        let mut spent = 0;
        for _ in 0..OPENED {
            if is_ended {
                partner.clone().build()?.users().of(ids[0]).end_session().await?;
            }
            let users = partner.clone().build()?.users();
            let before = cpu_time_of_all()?;
            users.of(ids[0]).open_session().await?;
            spent += cpu_time_of_all()? - before;
        }
        println!("{name:<28}{:>6.2}", spent as f64 / f64::from(OPENED));
    }
    let with_keys = Client::builder(Environment::Sandbox).base_url(&server.base_url).api_key(API_KEY);
    let folder = Folder::new()?;
    let with_keys = with_keys.without_rate_limits().custody(FileCustody::new(&folder.0)).build()?;
    with_keys.open_session().await?;
    let mut held = Vec::new();
    for id in ids.into_iter().skip(1) {
        let users = with_keys.users();
        held.push(longest_hold(async { users.activate(id).await.map(drop).map_err(Into::into) }).await?);
    }
    let Spread { median, min, max } = Spread::of(held)?;
    println!("\nHow long the runtime is held at most by an activation that makes a key, ms, {KEYS} of them\n");
    println!("median       min       max\n{median:>6.1}{min:>10.1}{max:>10.1}\n");
    Ok(())
}

async fn measure_calls() -> Result<()> {
    let server = Server::start(&["serve", "1"])?;
    let folder = Folder::new()?;
    let partner = partner(&server.base_url, &folder.0)?;
    // The limit is active, but never delays a call.
    let partner = partner.rate_limit(&Operation::LIST_CREDENTIALS, 2, Duration::from_nanos(1)).build()?;
    let id = provisions(&partner, 1).await?[0];
    let user = partner.users().activate(id).await?;
    let apis = [partner.api(), user.api()];
    let mut figures = [Vec::new(), Vec::new()];
    // The first block is the warm-up.
    for block in 0..=BLOCKS {
        // Each of the two goes first equally often.
        let order = if block % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let before = cpu_time()?;
            for _ in 0..CALLS {
                call(&apis[side]).await?;
            }
            let spent = cpu_time()? - before;
            if block > 0 {
                figures[side].push(spent.as_secs_f64() * 1e6 / f64::from(CALLS));
            }
        }
    }
    let ratios = figures[0].iter().zip(&figures[1]).map(|(partner, user)| user / partner).collect();
    let [partner, user] = figures;
    println!("CPU time of a call, {BLOCKS} blocks of {CALLS} on each side, alternately\n");
    println!("                     median       min       max");
    for (name, figures) in [("the partner's, µs", partner), ("a user's, µs", user), ("ratio", ratios)] {
        let Spread { median, min, max } = Spread::of(figures)?;
        println!("{name:<17}{median:>10.3}{min:>10.3}{max:>10.3}");
    }
    Ok(())
}

async fn call(api: &Api) -> Result<()> {
    api.list_credentials().await?;
    Ok(())
}

/// Estimates while a user and a hundred others wait within one limit.
async fn measure_estimates() -> Result<()> {
    const ESTIMATES: u32 = 100;
    const OTHERS: usize = 100;
    let server = Server::start(&["serve", &OTHERS.to_string()])?;
    let folder = Folder::new()?;
    let partner = partner(&server.base_url, &folder.0)?.operation_timeout(Duration::from_secs(1_000_000));
    let partner = partner.rate_limit(&Operation::GET_INSTALLATION, 1, Duration::from_secs(1)).build()?;
    let mut users = Vec::new();
    for id in provisions(&partner, OTHERS).await? {
        let user = partner.users().activate(id).await?;
        user.open_session().await?;
        users.push(user);
    }
    println!("\nCPU time while calls of one user wait, and one call of each of {} others, µs\n", OTHERS - 1);
    println!("waiting     of an estimate     of a call that begins to wait");
    for waiting in [10, 100, 1_000, 10_000] {
        let apis: Vec<_> = users.iter().map(bunq_partner::UserClient::api).collect();
        let before = thread_time()?;
        let mut calls: Vec<_> = Vec::new();
        for api in std::iter::repeat_n(&apis[0], waiting).chain(&apis[1..]) {
            calls.push(Box::pin(api.get_installation()));
            let _ = poll!(calls.last_mut().ok_or("no call")?);
        }
        let entered = thread_time()? - before;
        let before = thread_time()?;
        for _ in 0..ESTIMATES {
            std::hint::black_box(partner.expected_wait(&Operation::GET_INSTALLATION));
        }
        let estimated = thread_time()? - before;
        let micros = |time: Duration, count: f64| time.as_secs_f64() * 1e6 / count;
        let (estimate, entry) = (micros(estimated, ESTIMATES.into()), micros(entered, calls.len() as f64));
        println!("{waiting:>7}{estimate:>19.1}{entry:>34.1}");
    }
    Ok(())
}
