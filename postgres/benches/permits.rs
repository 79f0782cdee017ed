//! What a permit in the database costs beside one in memory, how many there are in a second, and how many statements a call takes.

#[path = "../../benches/common/mod.rs"]
mod common;
#[path = "../tests/common/mod.rs"]
mod postgres;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bunq_partner::{
    BoxFuture, Client, Error, MemoryPermits, Operation, PermitStore, PermitWindow, Priority, ProvisionId, RateLimit,
    Settlement, Taken,
};
use bunq_partner_postgres::PostgresPermits;
use bunq_partner_sandbox::Sandbox;
use common::{Result, cpu_time_of, cpu_time_of_all, role};
use postgres::TestDatabase;
use tokio::task::JoinSet;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

/// So many calls are never made.
const UNLIMITED: u32 = 1_000_000;
/// The length of bunq's windows, in which all permits count, and one after which hardly any counts.
const LENGTHS: [Duration; 2] = [Duration::from_secs(3), Duration::from_millis(10)];
const MEMBERS: [usize; 3] = [1, 2, 8];
const MEASURED: Duration = Duration::from_secs(10);

const COMMITS: u32 = 200;
const PERMITS_IN_MEMORY: u32 = 50_000;

/// A tenth of bunq's narrowest window for calls that are not of sessions, its callers, and the calls of each.
const NARROW: RateLimit = RateLimit::new(2, Duration::from_millis(300));
const CALLERS: usize = 8;
const CALLS: usize = 10;

fn main() -> Result<()> {
    let Some(_) = role() else { return Ok(()) };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure())
}

async fn measure() -> Result<()> {
    let sandbox = Sandbox::builder().rate_limit(&Operation::GET_PROVISION, NARROW.calls, NARROW.per).start().await?;
    let id = sandbox.populate(1)[0];
    let window = window(&sandbox, id).await?;
    println!("permits of an unlimited window\n");
    println!(
        "                             permits/s    µs each: median     p99    CPU µs: client    server    two commits, µs"
    );
    for length in LENGTHS {
        let mut window = window.clone();
        window.limit = RateLimit::new(UNLIMITED, length);
        in_memory(&window).await?;
        for members in MEMBERS {
            in_database(&window, members).await?;
        }
    }
    statements(&sandbox, id).await
}

/// Takes permits in memory, and keeps the window that it was asked for.
#[derive(Debug, Default)]
struct Witness {
    permits: MemoryPermits,
    seen: Arc<Mutex<Option<PermitWindow>>>,
}

impl PermitStore for Witness {
    fn take<'a>(
        &'a self,
        window: &'a PermitWindow,
        priority: Priority,
    ) -> BoxFuture<'a, std::result::Result<Taken, Error>> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(window.clone());
        self.permits.take(window, priority)
    }

    fn settle<'a>(
        &'a self,
        window: &'a PermitWindow,
        id: u128,
        settlement: Settlement,
    ) -> BoxFuture<'a, std::result::Result<(), Error>> {
        self.permits.settle(window, id, settlement)
    }
}

/// The window of reads, as a client names it.
async fn window(sandbox: &Sandbox, id: ProvisionId) -> Result<PermitWindow> {
    let witness = Witness::default();
    let seen = Arc::clone(&witness.seen);
    sandbox.client().permits(witness).build()?.provisions().get(id).await?;
    let window = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    window.ok_or_else(|| "the client has asked for no permit".into())
}

/// Takes a permit of a window where there is one always, and gives it back.
async fn use_permit(permits: &impl PermitStore, window: &PermitWindow) -> Result<()> {
    let Taken::Granted(grant) = permits.take(window, Priority::default()).await? else {
        return Err("an unlimited window has no permit".into());
    };
    Ok(permits.settle(window, grant.id, Settlement::Admitted).await?)
}

async fn in_memory(window: &PermitWindow) -> Result<()> {
    let (permits, mut took) = (MemoryPermits::new(), Vec::new());
    let (start, cpu) = (Instant::now(), cpu_time_of_all()?);
    for _ in 0..PERMITS_IN_MEMORY {
        let start = Instant::now();
        use_permit(&permits, window).await?;
        took.push(start.elapsed());
    }
    let (spent, permits) = ((start.elapsed(), cpu_time_of_all()? - cpu, 0), took.len());
    row(&format!("in memory, {:?}", window.limit.per), permits, took, spent)?;
    println!();
    Ok(())
}

/// Members with connections of their own, as processes have them, take permits one after the other.
async fn in_database(window: &PermitWindow, members: usize) -> Result<()> {
    let Some(test) = TestDatabase::migrated().await else { return Ok(()) };
    let mut stores = Vec::new();
    for _ in 0..members {
        let permits = PostgresPermits::builder(&test.connect().await).build()?;
        // The first one makes the window, and statements are prepared.
        use_permit(&permits, window).await?;
        stores.push(permits);
    }
    let two_commits = 2.0 * commit(&test);
    let backends = backends(&test);
    let (start, cpu, of_server) = (Instant::now(), cpu_time_of_all()?, cpu_time_of_server(&backends)?);
    let mut working = JoinSet::new();
    for permits in stores {
        let window = window.clone();
        working.spawn(async move {
            let mut took = Vec::new();
            while start.elapsed() < MEASURED {
                let start = Instant::now();
                use_permit(&permits, &window).await.map_err(|error| error.to_string())?;
                took.push(start.elapsed());
            }
            Ok::<_, String>(took)
        });
    }
    let mut took = Vec::new();
    while let Some(worked) = working.join_next().await {
        took.extend(worked??);
    }
    let spent = (start.elapsed(), cpu_time_of_all()? - cpu, cpu_time_of_server(&backends)? - of_server);
    let name = format!("{members} in the database, {:?}", window.limit.per);
    let permits = took.len();
    row(&name, permits, took, spent)?;
    println!("{two_commits:>19.0}");
    Ok(())
}

/// How long the server takes to insert a row and commit, in µs: it syncs its log each time.
fn commit(test: &TestDatabase) -> f64 {
    test.sql("CREATE TABLE IF NOT EXISTS bare (row integer)");
    let start = Instant::now();
    test.sql(&format!("DO $$ BEGIN FOR i IN 1..{COMMITS} LOOP INSERT INTO bare VALUES (i); COMMIT; END LOOP; END $$"));
    start.elapsed().as_secs_f64() * 1e6 / f64::from(COMMITS)
}

/// Prints what permits have cost: the time of each, and in all the time, and the CPU time of client and server in ms.
fn row(name: &str, permits: usize, mut took: Vec<Duration>, spent: (Duration, u64, u64)) -> Result<()> {
    took.sort();
    let micros = |time: Option<&Duration>| time.map(|time| time.as_secs_f64() * 1e6).ok_or("there was no permit");
    let (median, p99) = (micros(took.get(permits / 2))?, micros(took.get(permits * 99 / 100))?);
    let (time, client, server) = spent;
    let each = |cpu: u64| cpu as f64 * 1e3 / permits as f64;
    print!(
        "{name:<26}{:>12.0}{median:>20.1}{p99:>8.1}{:>18.1}{:>10.1}",
        permits as f64 / time.as_secs_f64(),
        each(client),
        each(server)
    );
    Ok(())
}

/// The ids of the server's processes: those of a test's connections, and those that write for all.
fn backends(test: &TestDatabase) -> Vec<String> {
    // That of psql ends, and a vacuum may.
    let sql = format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND backend_type = 'client backend'
            OR backend_type IN ('walwriter', 'background writer', 'checkpointer')",
        test.name
    );
    let ids = test.server.sql("postgres", &sql);
    ids.lines().map(str::to_owned).collect()
}

/// The CPU time of these processes, in milliseconds.
fn cpu_time_of_server(backends: &[String]) -> Result<u64> {
    backends.iter().map(|process| cpu_time_of(process)).sum()
}

/// Callers that wait for their permits, each a client of its own: how many statements a call takes.
async fn statements(sandbox: &Sandbox, id: ProvisionId) -> Result<()> {
    let Some(test) = TestDatabase::migrated().await else { return Ok(()) };
    test.sql(&format!("ALTER DATABASE {} SET track_functions = 'all'", test.name));
    let mut working = JoinSet::new();
    let start = Instant::now();
    for _ in 0..CALLERS {
        let permits = PostgresPermits::builder(&test.connect().await).build()?;
        let client = sandbox.client().permits(permits).build()?;
        working.spawn(calls(client, id));
    }
    while let Some(worked) = working.join_next().await {
        worked??;
    }
    let took = start.elapsed();
    // Its backends have told what they have done when they have ended.
    let left = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'", test.name);
    while test.server.sql("postgres", &left) != "0" {
        sleep(SECOND / 10).await;
    }
    let made = CALLERS * CALLS;
    println!("\n{CALLERS} clients make {made} calls at {} in {:?}: {took:.1?}\n", NARROW.calls, NARROW.per);
    let counted =
        "SELECT funcname, calls FROM pg_stat_user_functions WHERE funcname ~ '^(take|settle|renew|withdraw)_'";
    for line in test.sql(counted).lines() {
        let (function, count) = line.split_once('|').ok_or("no count")?;
        println!("{function:<18}{:>6.2} a call", count.parse::<f64>()? / made as f64);
    }
    Ok(())
}

async fn calls(client: Client, id: ProvisionId) -> std::result::Result<(), String> {
    for _ in 0..CALLS {
        client.provisions().get(id).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}
