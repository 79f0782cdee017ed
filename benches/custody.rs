//! What a custody of 100,000 users in a folder costs: listing it, listing those that are not activated, and the first load of a user.

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use bunq_partner::{Custody, CustodyEntry, CustodyFilter, FileCustody, ProvisionId, Uuid};
use common::{Folder, Result, Spread, another, cpu_time_of_all, peak_memory, role, runtime};

const MANY: u64 = 100_000;
const FEW: u64 = 10;
const UNACTIVATED: u64 = 480;
const ROUNDS: usize = 5;

/// The length of a record with the keys of an installation.
const RECORD_LEN: usize = 3_000;

fn main() -> Result<()> {
    let Some(role) = role() else { return Ok(()) };
    match role.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [work, folder, users] => runtime()?.block_on(work_alone(work, FileCustody::new(folder), users.parse()?)),
        _ => runtime()?.block_on(measure()),
    }
}

/// Does one thing, and prints how many milliseconds it took, those of CPU time, and the peak memory of the process in KiB.
async fn work_alone(work: &str, custody: FileCustody, users: u64) -> Result<()> {
    let start = Instant::now();
    let done = match work {
        "list" => count(&custody, CustodyFilter::All).await? == users,
        "unactivated" => count(&custody, CustodyFilter::Unactivated).await? == users.min(UNACTIVATED),
        "load" => custody.load(ProvisionId::try_from(users / 2)?).await?.is_some(),
        _ => true,
    };
    if !done {
        return Err(format!("{work}: it is not what was made").into());
    }
    let (took, spent) = (start.elapsed().as_secs_f64() * 1e3, cpu_time_of_all()?);
    println!("{took} {spent} {}", peak_memory()?);
    Ok(())
}

async fn count(custody: &FileCustody, filter: CustodyFilter) -> Result<u64> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = custody.list(filter, after).await?;
        let Some(last) = page.last() else { return Ok(count) };
        after = Some(last.provision_id);
        count += page.len() as u64;
    }
}

async fn measure() -> Result<()> {
    println!("Each {ROUNDS} times in a process of its own, files in the page cache\n");
    println!("                              ms: median      min      max  CPU time   peak memory, KiB");
    for users in [FEW, MANY] {
        let folder = Folder::new()?;
        make(&folder.0, users).await?;
        for work in ["nothing", "load", "unactivated", "list"] {
            let mut figures = [(); 3].map(|()| Vec::new());
            for _ in 0..ROUNDS {
                let output = another(&[work, &folder.0.to_string_lossy(), &users.to_string()])?.output()?;
                let printed = str::from_utf8(&output.stdout)?.split_whitespace();
                for (figures, figure) in figures.iter_mut().zip(printed) {
                    figures.push(figure.parse()?);
                }
            }
            let [took, spent, peak] = figures.map(Spread::of);
            let (Spread { median, min, max }, spent, peak) = (took?, spent?.median, peak?.max);
            println!("{users:>7} users: {work:<14}{median:>14.1}{min:>9.1}{max:>9.1}{spent:>10.1}{peak:>19.0}");
        }
    }
    Ok(())
}

/// Makes the users. Those that are activated are copies of the file of one, because each save is synced.
async fn make(folder: &Path, users: u64) -> Result<()> {
    let custody = FileCustody::new(folder);
    let text = "x".repeat(RECORD_LEN);
    let entry = |number| -> Result<CustodyEntry> {
        let mut entry = CustodyEntry::new(ProvisionId::try_from(number)?);
        entry.external_uuid = Some(Uuid::new_v4());
        entry.expiry = Some("2026-11-29 20:00:00".parse()?);
        Ok(entry)
    };
    for number in 1..=users.min(UNACTIVATED) {
        let entry = entry(number)?;
        let lock = custody.lock(entry.provision_id).await?;
        custody.save(&lock, entry, text.as_str().into()).await?;
    }
    let mut activated = entry(users)?;
    activated.is_activated = users > UNACTIVATED;
    let lock = custody.lock(activated.provision_id).await?;
    custody.save(&lock, activated, text.into()).await?;
    let whole = fs::read_to_string(folder.join(format!("{users}.json")))?;
    let (id, len) = (format!("\"provision_id\":{users},"), users.to_string().len());
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    for number in UNACTIVATED + 1..users {
        // The head keeps its length.
        let content = whole.replacen(&id, &format!("\"provision_id\":{number:>len$},"), 1);
        options.open(folder.join(format!("{number}.json")))?.write_all(content.as_bytes())?;
    }
    Ok(())
}
