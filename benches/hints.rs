//! What the journal of hints adds to a call: 200 entries a second, beside a bare write and sync of 100 bytes on the same disk.

mod common;

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bunq_partner::webhook::{Appended, FileHintJournal, Hint, HintJournal, HintJournalBounds};
use bunq_partner::{files, jiff};
use common::{Folder, Result, cpu_time_of_all, role, runtime};
use serde_json::json;

/// How long something took, in ms.
type Took = std::result::Result<f64, String>;

const A_SECOND: u32 = 200;
const ROUNDS: u32 = 20;
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
    let mut figures = [(); 3].map(|()| Vec::new());
    let mut spent = 0;
    // A second each, alternately. The first round is the warm-up.
    for round in 0..=ROUNDS {
        let (mut took, before) = (Vec::new(), cpu_time_of_all()?);
        took.push(at_a_rate(|start| append(journal.clone(), start, false)).await?);
        took.push(at_a_rate(|start| append(journal.clone(), start, true)).await?);
        let after = cpu_time_of_all()?;
        took.push(at_a_rate(|_| write(Arc::clone(&bare))).await?);
        if round > 0 {
            spent += after - before;
            figures.iter_mut().zip(took).for_each(|(figures, took)| figures.extend(took));
        }
    }
    println!("{A_SECOND} a second, {} of each, in ms\n", A_SECOND * ROUNDS);
    println!("                                   median       p99       max");
    let names = ["entries", "entries, each done at once", "bare writes of 100 bytes"];
    for (name, mut figures) in names.into_iter().zip(figures) {
        figures.sort_by(f64::total_cmp);
        let at = |share: usize| figures[(figures.len() - 1) * share / 100];
        println!("{name:<30}{:>11.2}{:>10.2}{:>10.2}", at(50), at(99), at(100));
    }
    println!("\nCPU time: {:.2} ms an entry", spent as f64 / f64::from(2 * A_SECOND * ROUNDS));
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
