//! Shared parts of the benches: a second process of the same bench, and the CPU time and memory of this one.

#![allow(dead_code)]

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bunq_partner::Uuid;
use bunq_partner_sandbox::Sandbox;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The API key that both processes know.
pub(crate) const API_KEY: &str = "sandbox_of_the_benches";

/// The role of this process: the arguments that a bench gives to a second process of itself, or none.
///
/// A run by anything but `cargo bench`, such as `cargo test --benches`, does nothing.
pub(crate) fn role() -> Option<Vec<String>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_bench = arguments.iter().any(|argument| argument == "--bench");
    arguments.retain(|argument| argument != "--bench");
    is_bench.then_some(arguments)
}

/// A Tokio runtime on only this thread.
pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // `cpu_time` loses the time of threads that have ended: the threads that generate keys must end before it
        // starts counting.
        .thread_keep_alive(Duration::from_millis(1))
        .build()
}

/// A sandbox in another process, which ends when this is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) base_url: String,
}

impl Server {
    /// Starts this bench again as `role`, which must call [`serve`].
    pub(crate) fn start(role: &[&str]) -> Result<Self> {
        let mut process = another(role)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut base_url = String::new();
        if let Some(output) = &mut process.stdout {
            BufReader::new(output).read_line(&mut base_url)?;
        }
        Ok(Self { process, base_url: base_url.trim().to_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process ends at the end of its input.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Prints the address of the sandbox, and serves until the process that started this one ends.
pub(crate) async fn serve(sandbox: Sandbox) -> Result<()> {
    println!("{}", sandbox.base_url());
    tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

/// A command that runs this bench as `role`.
pub(crate) fn another(role: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--bench").args(role);
    Ok(command)
}

/// The CPU time of all threads of this process, to the nanosecond.
pub(crate) fn cpu_time() -> Result<Duration> {
    leave_the_cpu();
    let of_task = |task: io::Result<fs::DirEntry>| -> Result<u64> {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
    };
    let tasks = fs::read_dir("/proc/self/task").map_err(|_| "not measured: only Linux tells the CPU time in /proc")?;
    tasks.map(of_task).sum::<Result<u64>>().map(Duration::from_nanos)
}

/// The CPU time of this process in milliseconds, in steps of 10, with that of threads that have ended.
pub(crate) fn cpu_time_of_all() -> Result<u64> {
    cpu_time_of("self")
}

/// The same of another process, by its id.
pub(crate) fn cpu_time_of(process: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"));
    let text = text.map_err(|_| "not measured: only Linux tells it in /proc")?;
    let (_, members) = text.rsplit_once(") ").ok_or("no name in /proc/self/stat")?;
    let ticks = members.split(' ').skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<std::result::Result<u64, _>>()? * 10)
}

/// The longest CPU time of the thread between two turns of another task, while `work` is done, in ms. What other processes take of the
/// processor does not count.
pub(crate) async fn longest_hold(work: impl Future<Output = Result<()>>) -> Result<f64> {
    let is_done = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_done);
    let other = tokio::spawn(async move {
        let (mut last, mut longest) = (thread_time().ok()?, Duration::ZERO);
        while !seen.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
            let now = thread_time().ok()?;
            longest = longest.max(now.saturating_sub(last));
            last = now;
        }
        Some(longest)
    });
    let worked = work.await;
    is_done.store(true, Ordering::Relaxed);
    let longest = other.await?.ok_or("the CPU time is not known")?;
    worked.map(|()| longest.as_secs_f64() * 1e3)
}

/// Linux accounts the time of a running thread when the thread leaves the CPU.
fn leave_the_cpu() {
    std::thread::yield_now();
}

/// The CPU time of this thread.
pub(crate) fn thread_time() -> Result<Duration> {
    leave_the_cpu();
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split_whitespace().next().unwrap_or_default().parse()?))
}

/// The peak memory of this process, in KiB.
pub(crate) fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").map_err(|_| "not measured: only Linux tells it in /proc")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(peak.trim().trim_end_matches(" kB").parse()?)
}

/// The median of some figures, with their minimum and maximum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut figures: Vec<f64>) -> Result<Self> {
        figures.sort_by(f64::total_cmp);
        match (figures.first(), figures.get(figures.len() / 2), figures.last()) {
            (Some(&min), Some(&median), Some(&max)) => Ok(Self { median, min, max }),
            _ => Err("no figures".into()),
        }
    }
}

/// A folder of its owner alone, removed when it is dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("bunq-partner-bench-{}", Uuid::new_v4()));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
