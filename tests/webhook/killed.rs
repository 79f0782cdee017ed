//! Processes that are killed while they keep hints.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;

use crate::common::Folder;
use crate::journal::{kept, open, pending};

const PATH: &str = "BUNQ_TEST_JOURNAL";
const FIRST: &str = "BUNQ_TEST_FIRST";
const REOPENS: &str = "BUNQ_TEST_REOPENS";

/// How many processes are killed, and after how many entries at least that were acknowledged. All are 5,000.
const PROCESSES: u64 = 50;
const ENTRIES: usize = 100;

/// One process has numbers below those of the next.
const NUMBERS: u64 = 1_000_000;

#[tokio::test]
async fn fifty_kills_lose_nothing_that_was_acknowledged() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("hints");
    let (mut expected, mut done, mut total) = (BTreeSet::new(), BTreeSet::new(), 0);
    for process in 1..=PROCESSES {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["killed::a_process", "--exact", "--ignored", "--nocapture"])
            .env(PATH, &path)
            .env(FIRST, (process * NUMBERS).to_string())
            // Every second one opens its journal again and again, so that it is killed while the file is replaced.
            .env(REOPENS, (process % 2 == 0).to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut count = 0;
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            let Some(line) = line.strip_suffix('\n') else { break };
            let (what, number) = line.split_once(' ').unwrap();
            let number: u64 = number.parse().unwrap_or_else(|_| panic!("{line}"));
            match what {
                "kept" => {
                    count += 1;
                    expected.insert(number);
                }
                // From here on it may be there or not.
                "finishing" => assert!(expected.remove(&number)),
                "done" => assert!(done.insert(number)),
                _ => panic!("{line}"),
            }
            if count == ENTRIES {
                // What it has said meanwhile is read too.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(count >= ENTRIES, "process {process} has ended by itself after {count}");
        total += count;
        let found: BTreeSet<_> = pending(&open(&path).await).await.into_iter().collect();
        let lost: Vec<_> = expected.difference(&found).collect();
        assert!(lost.is_empty(), "process {process} has lost {lost:?}");
        assert!(found.is_disjoint(&done), "process {process}: what is done is there again");
    }
    assert!(total >= 5_000, "{total}");
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "another test starts it"]
async fn a_process() {
    test_timeout::start();
    let variable = |name| std::env::var(name).unwrap();
    let path = PathBuf::from(variable(PATH));
    let next = Arc::new(AtomicU64::new(variable(FIRST).parse().unwrap()));
    let count = if variable(REOPENS) == "true" { 4 } else { usize::MAX };
    loop {
        let journal = open(&path).await;
        let task = || {
            let (journal, next) = (journal.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                for _ in 0..count {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let entry = kept(&journal, number).await;
                    say("kept", number);
                    if number % 2 == 0 {
                        say("finishing", number);
                        bunq_partner::webhook::HintJournal::done(&journal, entry).await.unwrap();
                        say("done", number);
                    }
                }
            })
        };
        join_all((0..16).map(|_| task())).await.into_iter().for_each(Result::unwrap);
    }
}

/// Says it in one write, so that no line is mixed with another.
fn say(what: &str, number: u64) {
    std::io::stderr().write_all(format!("{what} {number}\n").as_bytes()).unwrap();
}
