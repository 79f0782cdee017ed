//! What a call costs: 200 a second through the receiver, with their bodies, and as entries of the journal of hints alone, beside a bare
//! write and sync of 100 bytes on the same disk.

mod common;

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bunq_partner::webhook::{Appended, FileHintJournal, Hint, HintJournal, HintJournalBounds, Receiver};
use bunq_partner::{Environment, files, jiff};
use common::{Folder, Result, cpu_time_of_all, role, runtime};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower_service::Service as _;

/// How long something took, in ms.
type Took = std::result::Result<f64, String>;

const A_SECOND: u32 = 200;
const ROUNDS: u32 = 20;
const SEGMENT: &str = "0123456789-0123456789-";
const PAUSE: Duration = Duration::from_nanos(1_000_000_000 / A_SECOND as u64);

fn main() -> Result<()> {
    if role().is_none() {
        return Ok(());
    }
    runtime()?.block_on(measure())
}

async fn measure() -> Result<()> {
    let folder = Folder::new()?;
    let bare = Arc::new(Mutex::new(files::create_kept(folder.0.join("bare"))?));
    let journal = FileHintJournal::open(folder.0.join("hints"), HintJournalBounds::default()).await?;
    // One of its own, whose entries are done beside the time.
    let called = FileHintJournal::open(folder.0.join("called"), HintJournalBounds::default()).await?;
    let receiver = Receiver::builder(Environment::Sandbox, SEGMENT).build(called.clone())?;
    let body = body()?;
    let mut figures = [(); 4].map(|()| Vec::new());
    let mut spent = [0; 3];
    // A second each, alternately. The first round is the warm-up.
    for round in 0..=ROUNDS {
        let (mut took, before) = (Vec::new(), cpu_time_of_all()?);
        took.push(at_a_rate(|start| call(receiver.clone(), body.clone(), start)).await?);
        let after_calls = cpu_time_of_all()?;
        for (entry, _) in called.pending(None).await? {
            called.done(entry).await?;
        }
        let before_entries = cpu_time_of_all()?;
        took.push(at_a_rate(|start| append(journal.clone(), start, false)).await?);
        took.push(at_a_rate(|start| append(journal.clone(), start, true)).await?);
        let after = cpu_time_of_all()?;
        took.push(at_a_rate(|_| write(Arc::clone(&bare))).await?);
        let after_bare = cpu_time_of_all()?;
        if round > 0 {
            spent[0] += after_calls - before;
            spent[1] += after - before_entries;
            spent[2] += after_bare - after;
            figures.iter_mut().zip(took).for_each(|(figures, took)| figures.extend(took));
        }
    }
    println!("{A_SECOND} a second, {} of each, in ms\n", A_SECOND * ROUNDS);
    println!("                                   median       p99       max");
    let names = ["calls", "entries", "entries, each done at once", "bare writes of 100 bytes"];
    for (name, mut figures) in names.into_iter().zip(figures) {
        figures.sort_by(f64::total_cmp);
        let at = |share: usize| figures[(figures.len() - 1) * share / 100];
        println!("{name:<30}{:>11.2}{:>10.2}{:>10.2}", at(50), at(99), at(100));
    }
    let [calls, entries, bare] = spent.map(|spent| spent as f64 / f64::from(A_SECOND * ROUNDS));
    println!(
        "\nCPU time: {calls:.2} ms a call of {} bytes, {:.2} ms an entry, {bare:.2} ms a bare write",
        body.len(),
        entries / 2.0
    );
    Ok(())
}

/// Begins one each 5 ms, for a second, whether those before have ended or not. Returns how long each took, in ms.
async fn at_a_rate<F: Future<Output = Took> + Send + 'static>(work: impl Fn(Instant) -> F) -> Result<Vec<f64>> {
    let start = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..A_SECOND {
        let due = start + PAUSE * number;
        tokio::time::sleep_until(due.into()).await;
        // What the timer is late is not the journal's.
        tasks.push(tokio::spawn(work(Instant::now())));
    }
    let mut figures = Vec::new();
    for task in tasks {
        figures.push(task.await??);
    }
    Ok(figures)
}

/// The longest of bunq's documented calls.
fn body() -> Result<String> {
    let vectors: Value = serde_json::from_str(include_str!("../openapi/vectors/decoding.json"))?;
    let cases = vectors["cases"].as_array().into_iter().flatten();
    let calls = cases.filter(|case| case["callback"].is_string() && case["refuse"] != true);
    let longest = calls.map(|case| case["body"].to_string()).max_by_key(String::len);
    longest.ok_or_else(|| "no call is documented".into())
}

async fn call(mut receiver: Receiver<FileHintJournal>, body: String, start: Instant) -> Took {
    let request = Request::post(format!("/{SEGMENT}")).header("content-type", "application/json");
    let request = request.body(body).map_err(|error| error.to_string())?;
    let status = match receiver.call(request).await {
        Ok(response) => response.status(),
        Err(never) => match never {},
    };
    match status {
        StatusCode::OK => Ok(start.elapsed().as_secs_f64() * 1e3),
        other => Err(format!("it was answered with {other}")),
    }
}

async fn append(journal: FileHintJournal, start: Instant, is_done: bool) -> Took {
    let hint = hint().map_err(|error| error.to_string())?;
    let Appended::Kept(entry) = journal.append(hint).await.map_err(|error| error.to_string())? else {
        return Err("it is full".into());
    };
    let took = start.elapsed().as_secs_f64() * 1e3;
    if is_done {
        journal.done(entry).await.map_err(|error| error.to_string())?;
    }
    Ok(took)
}

fn hint() -> serde_json::Result<Hint> {
    let (category, event) = ("PARTNER_USER_PROVISION", "PARTNER_USER_PROVISION_PROCESS_UPDATED");
    let arrived = jiff::Timestamp::now().as_millisecond();
    serde_json::from_value(json!([category, event, "provision", 123_456, null, 1_755_096_318_621_550_i64, arrived]))
}

async fn write(file: Arc<Mutex<File>>) -> Took {
    let written = tokio::task::spawn_blocking(move || {
        let mut file = file.lock().map_err(|error| error.to_string())?;
        // With the wait for those before, it would not be bare.
        let start = Instant::now();
        file.write_all(&[b'x'; 100]).and_then(|()| file.sync_data()).map_err(|error| error.to_string())?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    });
    written.await.map_err(|error| error.to_string())?
}
