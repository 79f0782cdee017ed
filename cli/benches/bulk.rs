//! Many provisions at once: how much of bunq's limit is used, what the journal costs a row, and the peak memory of the program
//! with a million rows.

#[path = "../../benches/common/mod.rs"]
mod common;
#[path = "../../benches/common/way.rs"]
mod way;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bunq_partner::{FileJournal, Journal, JournalStart, MemoryJournal, Operation, RowRecord, Uuid};
use bunq_partner_sandbox::Sandbox;
use common::{API_KEY, Result, Server, Spread, role, runtime, serve};
use futures_util::future::try_join_all;
use futures_util::{TryStreamExt, stream};
use way::Way;

const CLOSED: usize = 60;
/// What bunq's windows are divided by, and how often it is measured.
const PAIRS: [(u32, u32); 2] = [(10, 10), (1, 1)];

const JOURNALED: u64 = 2_000;
const ROWS: u64 = 1_000_000;

fn main() -> Result<()> {
    let Some(role) = role() else { return Ok(()) };
    match role.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => {
            runtime()?.block_on(async { serve(Sandbox::builder().api_key(API_KEY.into()).start().await?).await })
        }
        ["limit"] => with_threads(limit()),
        ["journal"] => runtime()?.block_on(journal()),
        ["memory"] => memory(),
        _ => {
            runtime()?.block_on(journal())?;
            memory()?;
            with_threads(limit())
        }
    }
}

/// Sandbox and client do not wait for each other's cryptography.
fn with_threads(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("bunq-partner-bench-{}", Uuid::new_v4()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How much of the limit is used by closings at once without a journal, and by a bulk operation with a journal in a file,
/// alternately.
async fn limit() -> Result<()> {
    for (scale, pairs) in PAIRS {
        println!("closing {CLOSED} with windows of 1/{scale}, {pairs} times on each side, alternately\n");
        println!("of the limit, %          median       min       max");
        let (mut used, mut own) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for pair in 0..pairs {
            // Each of the two goes first equally often.
            for side in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
                let (share, times) = closed(scale, side == 1).await?;
                used[side].push(share);
                own[side].extend(times);
            }
        }
        let difference = used[1].iter().zip(&used[0]).map(|(bulk, single)| bulk - single).collect();
        let [single, bulk] = used;
        for (name, figures) in [("one by one", single), ("bulk, with a journal", bulk), ("difference", difference)] {
            let Spread { median, min, max } = Spread::of(figures)?;
            println!("{name:<21}{median:>10.2}{min:>10.2}{max:>10.2}");
        }
        println!("\nthe client's own time in a window, ms\n");
        for (name, times) in ["one by one", "bulk, with a journal"].into_iter().zip(own) {
            let Spread { median, min, max } = Spread::of(times)?;
            println!("{name:<21}{median:>10.2}{min:>10.2}{max:>10.2}");
        }
        println!();
    }
    Ok(())
}

/// Closes provisions with bunq's windows divided by `scale`; sandbox and client keep the same limits. Returns how much of the
/// limit was used, in percent, and the client's own time in each window.
async fn closed(scale: u32, in_bulk: bool) -> Result<(f64, Vec<f64>)> {
    let sandbox = Operation::ALL.iter().fold(Sandbox::builder(), |sandbox, operation| {
        let limit = operation.rate_limit;
        sandbox.rate_limit(operation, limit.calls, limit.per / scale)
    });
    let sandbox = sandbox.start().await?;
    let way = Way::to(sandbox.base_url(), 0..=0).await?;
    let client = sandbox.client().base_url(&way.base_url).build()?;
    client.open_session().await?;
    let (ids, provisions) = (sandbox.populate(CLOSED), client.provisions());
    let folder = Folder::new()?;
    let journal = FileJournal::open(folder.0.join("journal")).await?;
    let began = Instant::now();
    let done = if in_bulk {
        let closing = provisions.close_all(stream::iter(ids)).journal(journal).stream();
        closing.try_fold(0, async |done, row| Ok(done + usize::from(row.state.is_done()))).await?
    } else {
        try_join_all(ids.into_iter().map(|id| provisions.close(id))).await?.len()
    };
    let took = began.elapsed();
    let refused = sandbox.call_log().iter().filter(|call| call.status == 429).count();
    if (done, refused) != (CLOSED, 0) {
        return Err(format!("{done} of {CLOSED} are done, with {refused} × 429").into());
    }
    // The first window is free.
    let limit = Operation::UPDATE_PROVISION.rate_limit;
    let windows = u32::try_from(CLOSED)?.div_ceil(limit.calls) - 1;
    let used = (limit.per / scale * windows).div_duration_f64(took) * 100.0;
    Ok((used, way.closes().own_times(limit.calls, limit.per / scale)))
}

/// What a row costs: two entries, each synced; rows one after the other, and 16 at once.
async fn journal() -> Result<()> {
    let folder = Folder::new()?;
    let file = FileJournal::open(folder.0.join("journal")).await?;
    let sample: RowRecord = serde_json::from_str(
        r#"{"row":1,"at":"2026-11-01T22:00:00.123456Z","state":"accepted","kind":"id","key":"123456","id":123456,
            "response_id":"11111111-1111-4111-8111-111111111111"}"#,
    )?;
    if file.start().await? != JournalStart::New {
        return Err("the journal is not new".into());
    }
    println!("What the journal costs a row (two entries), {JOURNALED} rows\n");
    for (name, at_once) in [("one after the other", 1), ("16 at once", 16)] {
        let took = write(&file, &sample, at_once).await?;
        println!("file, {name}: {:.0?} a row", took / u32::try_from(JOURNALED)?);
    }
    let took = write(&MemoryJournal::new(), &sample, 1).await?;
    println!("memory: {:.1?} a row\n", took / u32::try_from(JOURNALED)?);
    Ok(())
}

async fn write(journal: &dyn Journal, sample: &RowRecord, at_once: usize) -> Result<Duration> {
    let began = Instant::now();
    stream::iter((1..=JOURNALED).map(Ok))
        .try_for_each_concurrent(at_once, async |row| {
            for _ in 0..2 {
                let mut record = sample.clone();
                record.row = row;
                journal.append(record).await?;
            }
            Ok::<_, bunq_partner::Error>(())
        })
        .await?;
    Ok(began.elapsed())
}

/// The peak memory of the program, with a journal in which all rows are done.
fn memory() -> Result<()> {
    let server = Server::start(&["serve"])?;
    let folder = Folder::new()?;
    let (ids, users) = (folder.0.join("ids.csv"), folder.0.join("users.csv"));
    let mut file = BufWriter::new(File::create(&ids)?);
    writeln!(file, "id")?;
    for id in 1..=ROWS {
        writeln!(file, "{id}")?;
    }
    file.flush()?;
    let mut file = BufWriter::new(File::create(&users)?);
    writeln!(file, "external_uuid,email,phone_number")?;
    for row in 1..=ROWS {
        writeln!(file, "{},user{row}@example.com,+31600000000", Uuid::new_v4())?;
    }
    file.flush()?;
    let program = |arguments: &[&str], from: &Path| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_bunq-partner"));
        program.env("BUNQ_API_KEY", API_KEY).env("XDG_STATE_HOME", &folder.0);
        program.args(["--base-url", &server.base_url]).args(arguments).arg("--from").arg(from);
        program
    };
    println!("Peak memory of the program with {ROWS} rows\n");
    println!("create, the check of the input: {} MB", peak(&mut program(&["create", "--dry-run"], &users))?);
    println!("close, the check of the input: {} MB", peak(&mut program(&["close", "--dry-run"], &ids))?);
    done(&server, &folder.0, &ids)?;
    println!("close --resume of a finished run: {} MB", peak(&mut program(&["-o", "csv", "close", "--resume"], &ids))?);
    println!("report: {} MB\n", peak(&mut program(&["-o", "csv", "report"], &ids))?);
    Ok(())
}

/// A journal in which all rows are done.
fn done(server: &Server, folder: &Path, ids: &Path) -> Result<()> {
    // The header is that of a run of the first row.
    let journal = PathBuf::from(format!("{}.journal", ids.display()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunq-partner"));
    command.env("BUNQ_API_KEY", API_KEY).env("XDG_STATE_HOME", folder).args(["--base-url", &server.base_url]);
    let mut begun = command.args(["close", "--from"]).arg(ids).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let header = loop {
        let text = fs::read_to_string(&journal).unwrap_or_default();
        if let Some((header, _)) = text.split_once('\n') {
            break header.to_owned();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    begun.kill()?;
    begun.wait()?;
    let mut file = BufWriter::new(File::create(&journal)?);
    writeln!(file, "{header}")?;
    for row in 1..=ROWS {
        writeln!(
            file,
            r#"{{"row":{row},"at":"2026-11-01T22:00:00.123456Z","state":"accepted","kind":"id","key":"{row}","id":{row},"response_id":"{}"}}"#,
            Uuid::nil()
        )?;
    }
    file.flush()?;
    Ok(())
}

/// Runs a program, and returns its peak memory in megabytes.
fn peak(command: &mut Command) -> Result<u64> {
    let mut child = command.stdout(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let of_now = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let of_now = of_now.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(of_now.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    if !child.wait()?.success() {
        return Err("the program has failed".into());
    }
    Ok(peak / 1024)
}
