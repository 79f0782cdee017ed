//! The journal of hints: what it keeps, for how long, and what it refuses.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bunq_partner::webhook::{
    Appended, EntryId, FileHintJournal, Hint, HintJournal, HintJournalBounds, HintedObject, Mark,
};
use bunq_partner::{ErrorKind, jiff};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::advance;

use crate::common::Folder;

const MINUTE: Duration = Duration::from_secs(60);

/// The hint about a provision, of a call that arrives now.
pub(crate) fn hint(number: u64) -> Hint {
    hint_of(number, jiff::Timestamp::now())
}

pub(crate) fn hint_of(number: u64, arrived: jiff::Timestamp) -> Hint {
    let event = "PARTNER_USER_PROVISION_PROCESS_UPDATED";
    let encoded = json!([
        "PARTNER_USER_PROVISION",
        event,
        "provision",
        number,
        null,
        1_755_096_318_621_550_i64,
        arrived.as_millisecond()
    ]);
    serde_json::from_value(encoded).unwrap()
}

/// The provisions that the entries are about, in their order.
pub(crate) async fn pending(journal: &FileHintJournal) -> Vec<u64> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = journal.pending(after).await.unwrap();
        let Some((last, _)) = page.last() else { return found };
        after = Some(*last);
        found.extend(page.iter().map(|(_, hint)| match hint.object {
            Some(HintedObject::Provision(id)) => id.get(),
            ref other => panic!("{other:?}"),
        }));
    }
}

pub(crate) async fn open(path: &Path) -> FileHintJournal {
    FileHintJournal::open(path, HintJournalBounds::default()).await.unwrap()
}

pub(crate) async fn kept(journal: &FileHintJournal, number: u64) -> EntryId {
    match journal.append(hint(number)).await.unwrap() {
        Appended::Kept(id) => id,
        Appended::Full => panic!("there is no place for {number}"),
    }
}

#[tokio::test]
async fn what_is_not_done_is_there_again() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("hints");
    let journal = open(&path).await;
    let mut entries = Vec::new();
    for number in 1..=2_500 {
        entries.push(journal.append(hint(number)));
    }
    let appended: Vec<_> = join_all(entries).await.into_iter().map(Result::unwrap).collect();
    for (number, appended) in (1..).zip(&appended) {
        let Appended::Kept(entry) = *appended else { panic!("{appended:?}") };
        if number % 3 == 0 {
            // Whoever gives up has done nothing: the entry is there, and is done by another call.
            if number % 99 == 0 {
                drop(journal.done(entry).now_or_never());
            }
            journal.done(entry).await.unwrap();
            // It is done already.
            journal.done(entry).await.unwrap();
        }
    }
    let (before, left) = (pending(&journal).await, (1..=2_500).filter(|number| number % 3 != 0));
    assert!(before.iter().copied().collect::<BTreeSet<_>>().into_iter().eq(left));
    drop(journal);
    let journal = open(&path).await;
    // An entry after a restart has a number of its own.
    let entry = kept(&journal, 9_000).await;
    assert_eq!(pending(&journal).await.last(), Some(&9_000));
    journal.done(entry).await.unwrap();
    assert!(pending(&journal).await == before, "they are in another order");
}

#[tokio::test]
async fn an_entry_has_at_most_200_bytes_and_only_what_is_in_the_hint() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("hints");
    let journal = open(&path).await;
    let longest: Hint = serde_json::from_value(json!([
        "USER_INFORMATION_INQUIRY",
        "USER_INFORMATION_INQUIRY_EXPECTING_REPLY_FROM_USER",
        "inquiry",
        i64::MAX,
        i64::MAX,
        253_402_207_199_999_999_i64,
        jiff::Timestamp::now().as_millisecond(),
    ]))
    .unwrap();
    assert!(matches!(journal.append(longest.clone()).await.unwrap(), Appended::Kept(_)));
    let shown = format!("{journal:?}");
    assert!(shown.len() < 300 && shown.contains("hints"), "{shown}");
    assert_eq!(journal.pending(None).await.unwrap()[0].1, longest);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    assert_eq!(lines[0], "{\"bunq_partner_hints\":1}\n");
    assert_eq!(lines[1], format!("[1,{}]\n", serde_json::to_string(&longest).unwrap()));
    assert!(lines.len() == 2 && lines[1].len() <= 200, "{}", lines[1].len());
    #[cfg(unix)]
    for name in ["hints", "hints.lock"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(folder.path(name)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// The mark of a provision.
fn mark(number: u64, digest: u64) -> Mark {
    serde_json::from_value(json!(["provision", number, null, 1_755_096_318_621_550_i64, digest, false, true])).unwrap()
}

#[tokio::test]
async fn the_last_mark_of_an_object_is_kept_over_a_restart() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("hints");
    let bounds = HintJournalBounds::default().max_entries(1_500);
    let journal = FileHintJournal::open(&path, bounds).await.unwrap();
    join_all((1..=1_501).map(|number| journal.mark(mark(number, 1)))).await.into_iter().for_each(Result::unwrap);
    journal.mark(mark(7, u64::MAX)).await.unwrap();
    // That of a user is another one, also if the id is the same.
    let longest = json!(["onboarding", i64::MAX, i64::MAX, 253_402_207_199_999_999_i64, u64::MAX, false, false]);
    journal.mark(serde_json::from_value(longest).unwrap()).await.unwrap();
    let longest = fs::read_to_string(&path).unwrap().lines().map(str::len).max().unwrap();
    assert!(longest < 200, "{longest}");
    let of_7 = mark(7, u64::MAX).object;
    for is_opened_again in [false, true] {
        let journal = match is_opened_again {
            false => journal.clone(),
            true => {
                let copy = folder.path("copy");
                fs::copy(&path, &copy).unwrap();
                FileHintJournal::open(&copy, bounds).await.unwrap()
            }
        };
        assert_eq!(journal.mark_of(&of_7).await.unwrap(), Some(mark(7, u64::MAX)));
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = journal.marks(after.as_ref()).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.object.clone());
            all.extend(page);
        }
        // Of the first ones two have gone: one too many was made, and then that of the onboarding.
        assert_eq!((all.len(), &all[1_498]), (1_500, &mark(7, u64::MAX)), "{is_opened_again}");
    }
}

#[tokio::test]
async fn a_full_journal_says_so_and_what_is_done_makes_place() {
    test_timeout::start();
    let folder = Folder::new();
    let journal =
        FileHintJournal::open(folder.path("hints"), HintJournalBounds::default().max_entries(16)).await.unwrap();
    // Those that are being written have their places already.
    let appended: Vec<_> = join_all((0..40).map(|number| journal.append(hint(number + 1)))).await;
    let kept: Vec<_> = appended
        .into_iter()
        .filter_map(|appended| match appended.unwrap() {
            Appended::Kept(id) => Some(id),
            Appended::Full => None,
        })
        .collect();
    assert_eq!((kept.len(), pending(&journal).await.len()), (16, 16));
    assert_eq!(journal.append(hint(1)).await.unwrap(), Appended::Full);
    journal.done(kept[3]).await.unwrap();
    assert!(matches!(journal.append(hint(100)).await.unwrap(), Appended::Kept(_)));
    assert_eq!(journal.append(hint(1)).await.unwrap(), Appended::Full);
    assert_eq!(pending(&journal).await.last(), Some(&100));
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_no_place_taken() {
    test_timeout::start();
    let folder = Folder::new();
    let journal =
        FileHintJournal::open(folder.path("hints"), HintJournalBounds::default().max_entries(1)).await.unwrap();
    for number in 1..=20 {
        // It has begun to be written, and may be written already.
        if let Some(appended) = journal.append(hint(number)).now_or_never() {
            let Ok(Appended::Kept(entry)) = appended else { panic!("{appended:?}") };
            journal.done(entry).await.unwrap();
        }
    }
    assert!(pending(&journal).await.is_empty());
    kept(&journal, 30).await;
    assert_eq!(pending(&journal).await, [30]);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_too_old_makes_place_and_is_counted() {
    test_timeout::start();
    let folder = Folder::new();
    let bounds = HintJournalBounds::default().max_entries(2).max_age(MINUTE);
    let journal = FileHintJournal::open(folder.path("hints"), bounds).await.unwrap();
    kept(&journal, 1).await;
    advance(MINUTE / 2).await;
    kept(&journal, 2).await;
    assert_eq!(journal.append(hint(3)).await.unwrap(), Appended::Full);
    advance(MINUTE / 2).await;
    kept(&journal, 3).await;
    assert_eq!((pending(&journal).await, journal.expired()), (vec![2, 3], 1));
    assert_eq!(journal.append(hint(4)).await.unwrap(), Appended::Full);
}

/// A host starts with a clock that is wrong, and sets it while calls come.
#[tokio::test(start_paused = true)]
async fn that_the_clock_is_set_drops_nothing_and_keeps_nothing_for_longer() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("hints");
    let (bounds, hour) = (HintJournalBounds::default(), 60 * MINUTE);
    let journal = FileHintJournal::open(&path, bounds).await.unwrap();
    let now = jiff::Timestamp::now();
    for (number, arrived) in [(1, now + 2 * hour), (2, now - 2 * hour), (3, now - hour / 2)] {
        assert!(matches!(journal.append(hint_of(number, arrived)).await.unwrap(), Appended::Kept(_)));
    }
    journal.mark(mark(1, 1)).await.unwrap();
    assert_eq!((pending(&journal).await, journal.expired()), (vec![1, 2, 3], 0));
    assert_eq!(journal.mark_of(&mark(1, 1).object).await.unwrap(), Some(mark(1, 1)));
    // The next process knows no other time. What is from the future for it is taken for new, and holds up nothing.
    let copy = folder.path("copy");
    fs::copy(&path, &copy).unwrap();
    let next = FileHintJournal::open(&copy, bounds).await.unwrap();
    assert_eq!((pending(&next).await, next.expired()), (vec![1, 3], 1));
    advance(hour * 3 / 4).await;
    assert_eq!((pending(&next).await, next.expired()), (vec![1], 2));
    advance(hour / 4).await;
    assert_eq!((pending(&next).await, next.expired()), (vec![], 3));
    // In the process before they are equally old.
    assert_eq!((pending(&journal).await, journal.expired()), (vec![], 3));
    assert_eq!(journal.mark_of(&mark(1, 1).object).await.unwrap(), None);
}

/// What says nothing any more does not grow for ever, while calls come in.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_what_is_done_is_replaced() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("hints");
    let journal = open(&path).await;
    let oldest = kept(&journal, 1).await;
    let mut longest = 0;
    for round in 0..20_u64 {
        let of_round = |number: u64| {
            let journal = journal.clone();
            async move {
                let entry = kept(&journal, 1_000 * (round + 1) + number).await;
                if number > 1 {
                    journal.done(entry).await.unwrap();
                }
            }
        };
        join_all((1..=1_000).map(|number| tokio::spawn(of_round(number)))).await.into_iter().for_each(Result::unwrap);
        longest = longest.max(fs::metadata(&path).unwrap().len());
    }
    // 20,000 entries are 3 MB.
    assert!(longest < 1_600_000, "{longest}");
    let left: BTreeSet<_> = (1..=20).map(|round| 1_000 * round + 1).chain([1]).collect();
    assert_eq!(pending(&journal).await.into_iter().collect::<BTreeSet<_>>(), left);
    drop(journal);
    let journal = open(&path).await;
    assert_eq!(pending(&journal).await.into_iter().collect::<BTreeSet<_>>(), left);
    journal.done(oldest).await.unwrap();
    assert!(!pending(&journal).await.contains(&1));
}

/// Wherever the last write is cut, everything before it is there, and the journal goes on.
#[tokio::test]
async fn a_torn_end_is_cut_off() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("hints");
    let journal = open(&path).await;
    let first = kept(&journal, 1).await;
    kept(&journal, 2).await;
    journal.done(first).await.unwrap();
    let before = fs::read(&path).unwrap();
    kept(&journal, 3).await;
    drop(journal);
    let whole = fs::read(&path).unwrap();
    let cut = (before.len()..=whole.len()).map(|len| whole[..len].to_vec());
    // What a file system may leave in blocks that it did not store, and what was there before.
    let other = [&b"\0\0\0\0\0\0"[..], b"[4,[\"PARTNER", b"\xff\xfe\n", b"[4,[]]\n", b"[\n[5]x\n", &[b'7'; 5_000]]
        .map(|end| [&before[..], end].concat());
    let holes = (before.len()..whole.len()).map(|place| {
        let mut hole = whole.clone();
        hole[place] = 0;
        hole
    });
    for (case, torn) in cut.chain(other).chain(holes).enumerate() {
        // Where the line break alone lacks, it is added.
        let text = &whole[before.len()..whole.len() - 1];
        let third = matches!(torn[before.len()..].strip_prefix(text), Some(b"" | b"\0" | b"\n"));
        let path = folder.file(&format!("torn{case}"), "");
        fs::write(&path, &torn).unwrap();
        let journal = open(&path).await;
        let expected: &[_] = if third { &[2, 3] } else { &[2] };
        assert_eq!(pending(&journal).await, expected, "{case}: {:?}", String::from_utf8_lossy(&torn));
        if case % 16 == 0 {
            kept(&journal, 9).await;
            drop(journal);
            assert_eq!(pending(&open(&path).await).await, [expected, &[9]].concat(), "{case}");
        }
    }
}

#[tokio::test]
async fn what_is_no_journal_of_ones_own_is_refused_and_left() {
    test_timeout::start();
    let folder = Folder::new();
    let header = "{\"bunq_partner_hints\":1}\n";
    let damaged = format!("{header}[1,]\n{}", "[2]\n".repeat(20_000));
    for (name, text, problem) in [
        ("text", "some text\n", "it does not hold hints: give the path of a file that does"),
        ("bulk", "{\"bunq_partner_journal\":2}\n", "it does not hold hints"),
        ("later", "{\"bunq_partner_hints\":2}\n[1]\n", "it is of another version of this program"),
        ("damaged", &damaged, "line 2 is damaged"),
    ] {
        let path = folder.file(name, text);
        let error = FileHintJournal::open(&path, HintJournalBounds::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        let named = format!("the journal of hints {}: ", path.display());
        assert!(error.to_string().contains(&named) && error.to_string().contains(problem), "{error}");
        assert!(fs::read_to_string(&path).unwrap() == text, "{name}");
    }
    let error = FileHintJournal::open(folder.path("none/hints"), HintJournalBounds::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    #[cfg(unix)]
    {
        let path = folder.file("everybody's", header);
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let error = FileHintJournal::open(&path, HintJournalBounds::default()).await.unwrap_err();
        assert!(error.to_string().contains("so that others may have read or changed it: `chmod 600"), "{error}");
        std::os::unix::fs::symlink("text", folder.path("link")).unwrap();
        let error = FileHintJournal::open(folder.path("link"), HintJournalBounds::default()).await.unwrap_err();
        assert!(error.to_string().contains("it is a symbolic link"), "{error}");
    }
}

#[tokio::test]
async fn bounds_that_cannot_be_are_refused() {
    test_timeout::start();
    let folder = Folder::new();
    let bounds = HintJournalBounds::default();
    for (bounds, problem) in [
        (bounds.max_entries(0), "max_entries: 0 is not from 1 to 1000000"),
        (bounds.max_entries(1_000_001), "max_entries: 1000001 is not from 1 to 1000000"),
        (bounds.max_age(Duration::ZERO), "max_age: 0ns is not more than zero and at most seven days"),
        (bounds.max_age(Duration::MAX), "is not more than zero and at most seven days"),
    ] {
        let error = FileHintJournal::open(folder.path("hints"), bounds).await.unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains(problem), "{error}");
    }
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[tokio::test]
async fn a_journal_in_use_is_refused() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("hints");
    let journal = open(&path).await;
    kept(&journal, 1).await;
    let clone = journal.clone();
    drop(journal);
    let error = FileHintJournal::open(&path, HintJournalBounds::default()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Storage && error.to_string().contains("another process uses it"), "{error}");
    // It can be used as before, also after its file was replaced.
    kept(&clone, 2).await;
    drop(clone);
    assert_eq!(pending(&open(&path).await).await, [1, 2]);
}

const PATH: &str = "BUNQ_TEST_JOURNAL";

/// Runs a test of this program in a process of its own, with a journal at `path`. Returns what it has written to its standard error.
#[cfg(unix)]
fn run(limits: &str, test: &str, path: &Path) -> String {
    let script = format!(r#"trap '' XFSZ; {limits}; exec "$0" "$@""#);
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(std::env::current_exe().unwrap());
    let output = command.args([test, "--exact", "--ignored", "--nocapture"]).env(PATH, path).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

/// A disk that is full keeps what was acknowledged, says so, and the journal goes on when there is space.
#[cfg(unix)]
#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("hints");
    // A file has at most 16 blocks of 512 or 1024 bytes, until the process raises its limit.
    let text = run("ulimit -S -f 16", "journal::a_process_with_a_full_disk", &path);
    let expected: BTreeSet<u64> = text.lines().filter_map(|line| line.strip_prefix("kept ")?.parse().ok()).collect();
    assert!(expected.len() > 50 && expected.contains(&100_000), "{text}");
    assert_eq!(pending(&open(&path).await).await.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
#[ignore = "another test starts it"]
async fn a_process_with_a_full_disk() {
    test_timeout::start();
    use rustix::process::{Resource, getrlimit, setrlimit};

    let journal = open(Path::new(&std::env::var(PATH).unwrap())).await;
    let mut first = None;
    for number in 1.. {
        match journal.append(hint(number)).await {
            Ok(Appended::Kept(entry)) => {
                first.get_or_insert(entry);
                eprintln!("kept {number}");
            }
            Ok(Appended::Full) => panic!("it has a place for {number}"),
            Err(error) => {
                assert!(
                    error.kind() == ErrorKind::Storage && error.to_string().contains("cannot be written"),
                    "{error}"
                );
                break;
            }
        }
    }
    // The file written anew would be as long, which is tried once in a while.
    for number in 50_000..50_100 {
        let error = journal.append(hint(number)).await;
        if let Ok(Appended::Kept(_)) = error {
            eprintln!("kept {number}");
        }
    }
    let count = pending(&journal).await.len();
    let mut limit = getrlimit(Resource::Fsize);
    limit.current = limit.maximum;
    setrlimit(Resource::Fsize, limit).unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    kept(&journal, 100_000).await;
    eprintln!("kept 100000");
    assert_eq!(pending(&journal).await.len(), count + 1);
}

/// What waits behind a disk that stands still is not written at once, also if everybody has given up: if the power fails meanwhile, more
/// than can be cut off would be damaged.
#[cfg(unix)]
#[tokio::test]
async fn what_has_waited_is_written_in_parts() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("hints");
    run(":", "journal::a_process_that_has_given_up_a_thousand_calls", &path);
    // The second part was one too many for the disk. A part has at most 64,000 bytes, and a line about 125.
    let kept = pending(&open(&path).await).await;
    assert!((500..640).contains(&kept.len()), "{}", kept.len());
    assert!(kept.iter().copied().zip(1..).all(|(kept, number)| kept == number), "{kept:?}");
}

#[cfg(unix)]
#[test]
#[ignore = "another test starts it"]
fn a_process_that_has_given_up_a_thousand_calls() {
    test_timeout::start();
    use rustix::process::{Resource, getrlimit, setrlimit};

    // What stops the one thread for files is the disk that stands still.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let journal = open(Path::new(&std::env::var(PATH).unwrap())).await;
        let limit = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, rustix::process::Rlimit { current: Some(100_000), ..limit }).unwrap();
        let (goes_on, stands_still) = std::sync::mpsc::channel::<()>();
        let stalled = tokio::task::spawn_blocking(move || stands_still.recv());
        for number in 1..=1_000 {
            assert!(tokio::task::unconstrained(journal.append(hint(number))).now_or_never().is_none());
        }
        drop(goes_on);
        stalled.await.unwrap().unwrap_err();
        journal.append(hint(1_001)).await.unwrap_err();
    });
}
