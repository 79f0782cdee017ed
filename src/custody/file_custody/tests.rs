use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use uuid::Uuid;

use super::*;
use crate::custody::kept::{NewToken, Records};
use crate::custody::step_list::Step;
use crate::custody::steps::Steps;
use crate::environment::Environment;
use crate::files::for_owner_alone;
use crate::operation::Operation;
use crate::session::context::Identity;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A temporary folder of its owner alone, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("bunq-partner-{}", Uuid::new_v4()));
        crate::files::create_own_folder(&path).unwrap();
        Self(path)
    }

    fn custody(&self) -> FileCustody {
        FileCustody::new(&self.0)
    }

    fn names(&self) -> Vec<String> {
        let names = |folder: PathBuf| {
            let entries = fs::read_dir(folder).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        let mut all = names(self.0.clone());
        all.extend(names(self.0.join("unactivated")).into_iter().map(|name| format!("unactivated/{name}")));
        all.sort();
        all
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn id(id: u64) -> ProvisionId {
    id.try_into().unwrap()
}

fn entry(number: u64, is_activated: bool) -> CustodyEntry {
    CustodyEntry { is_activated, ..CustodyEntry::new(id(number)) }
}

/// Saves under the lock of the user.
async fn save(custody: &FileCustody, entry: CustodyEntry, text: Secret) -> Result<(), Error> {
    let held = custody.lock(entry.provision_id).await?;
    custody.save(&held, entry, text).await
}

async fn remove(custody: &FileCustody, id: ProvisionId) -> Result<(), Error> {
    let held = custody.lock(id).await?;
    custody.remove(&held, id).await
}

/// All entries, by pages.
async fn listed(custody: &FileCustody, filter: CustodyFilter) -> Vec<CustodyEntry> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = custody.list(filter, after).await.unwrap();
        let Some(last) = page.last() else { return entries };
        after = Some(last.provision_id);
        entries.extend(page);
    }
}

async fn ids(custody: &FileCustody, filter: CustodyFilter) -> Vec<u64> {
    listed(custody, filter).await.into_iter().map(|entry| entry.provision_id.get()).collect()
}

fn records(custody: &FileCustody) -> Records {
    let identity = Identity::new(Environment::Sandbox, "https://bank.example/v1", &"sandbox_planted-key".into());
    Records::new(Arc::new(custody.clone()), identity, PATIENCE)
}

fn new_token(token: &str) -> NewToken {
    let external_uuid = Some("5f3f2a4e-0b0e-4c39-8f5e-000000001015".parse().unwrap());
    let expiry = Some("2026-11-29 20:00:00".parse().unwrap());
    NewToken { external_uuid, credential_id: None, token: token.into(), expiry }
}

#[tokio::test]
async fn what_is_saved_is_there_for_the_next_process() {
    test_timeout::start();
    let folder = Folder::new();
    let saved = CustodyEntry {
        external_uuid: Some("5f3f2a4e-0b0e-4c39-8f5e-000000001015".parse().unwrap()),
        user_id: Some(i64::MAX.try_into().unwrap()),
        granted_by: Some(i64::MAX.try_into().unwrap()),
        expiry: Some("9999-12-31 23:59:59.999999".parse().unwrap()),
        ..CustodyEntry::new(i64::MAX.try_into().unwrap())
    };
    let (id, file) = (saved.provision_id, "9223372036854775807.json");
    {
        let custody = folder.custody();
        assert_eq!((custody.entry(id).await.unwrap(), ids(&custody, CustodyFilter::All).await), (None, vec![]));
        assert_eq!(folder.names(), [""; 0], "nothing is made to list nothing");
        assert_eq!(custody.load(id).await.unwrap(), None);
        save(&custody, saved.clone(), "planted text".into()).await.unwrap();
    }
    let custody = folder.custody();
    assert_eq!(custody.load(id).await.unwrap(), Some("planted text".into()));
    assert_eq!(custody.entry(id).await.unwrap(), Some(saved.clone()));
    assert_eq!(listed(&custody, CustodyFilter::Unactivated).await, std::slice::from_ref(&saved));
    let mark = format!("unactivated/{id}");
    assert_eq!(folder.names(), [file, "custody.lock", "unactivated", &mark]);

    // An earlier version wrote no ids of the user.
    edit(&folder.0.join(file), |text| {
        let ids = r#","user_id":9223372036854775807,"granted_by":9223372036854775807}"#;
        text.replace(ids, &format!("{:<1$}", "}", ids.len()))
    });
    let earlier = CustodyEntry { user_id: None, granted_by: None, ..saved.clone() };
    assert_eq!(custody.entry(id).await.unwrap(), Some(earlier));

    save(&custody, CustodyEntry { is_activated: true, ..saved }, "another text".into()).await.unwrap();
    assert_eq!(custody.load(id).await.unwrap(), Some("another text".into()));
    assert_eq!(listed(&custody, CustodyFilter::Unactivated).await, []);
    assert_eq!(folder.names(), [file, "custody.lock", "unactivated"]);
    assert!(!format!("{custody:?} {}", custody.name_of(id)).contains("text"));
    remove(&custody, id).await.unwrap();
    remove(&custody, id).await.unwrap();
    assert_eq!(
        (custody.load(id).await.unwrap(), folder.names()),
        (None, vec!["custody.lock".into(), "unactivated".into()])
    );
}

#[tokio::test]
async fn what_a_crash_leaves_is_removed_and_not_believed() {
    test_timeout::start();
    let folder = Folder::new();
    {
        let custody = folder.custody();
        save(&custody, entry(7, false), "text".into()).await.unwrap();
        save(&custody, entry(8, true), "text".into()).await.unwrap();
    }
    // Of a user that is activated, of one whose record was not written any more, and half a record.
    for left in ["unactivated/8", "unactivated/9", "custody.bunq-partner-tmp"] {
        fs::write(folder.0.join(left), "planted ha").unwrap();
    }
    assert_eq!(ids(&folder.custody(), CustodyFilter::Unactivated).await, [7]);
    assert_eq!(folder.names().len(), 8, "who only lists changes nothing");
    let custody = folder.custody();
    assert_eq!(custody.load(id(9)).await.unwrap(), None);
    assert_eq!(ids(&custody, CustodyFilter::Unactivated).await, [7]);
    assert_eq!(ids(&custody, CustodyFilter::All).await, [7, 8]);
    assert_eq!(folder.names(), ["7.json", "8.json", "custody.lock", "unactivated", "unactivated/7"]);
}

#[tokio::test]
async fn pages_are_in_the_order_of_the_ids_and_one_user_is_one_file() {
    test_timeout::start();
    let folder = Folder::new();
    let custody = folder.custody();
    save(&custody, entry(1, true), "text".into()).await.unwrap();
    let whole = fs::read_to_string(folder.0.join("1.json")).unwrap();
    for number in 2..=2500 {
        let head = whole.replace("\"provision_id\":1,", &format!("\"provision_id\":{number},"));
        let spaces = head.len() - whole.len();
        let file = for_owner_alone().create_new(true).open(folder.0.join(format!("{number}.json")));
        file.unwrap().write_all(head.replacen(&" ".repeat(spaces), "", 1).as_bytes()).unwrap();
    }
    for number in [2300, 20] {
        save(&custody, entry(number, false), "text".into()).await.unwrap();
    }
    for name in ["0.json", "01.json", "x.json", "30", "99999999999999999999.json"] {
        fs::write(folder.0.join(name), "no record").unwrap();
    }
    assert_eq!(ids(&custody, CustodyFilter::All).await, (1..=2500).collect::<Vec<_>>());
    assert!(!custody.0.folder.is_listing(), "nothing stays in memory");
    // Nothing of the others is read.
    for number in 21..=2299 {
        fs::write(folder.0.join(format!("{number}.json")), "damaged").unwrap();
    }
    let unactivated = listed(&custody, CustodyFilter::Unactivated).await;
    assert_eq!(unactivated, [entry(20, false), entry(2300, false)]);
    assert_eq!(custody.load(id(2300)).await.unwrap(), Some("text".into()));
    // A damaged record hides none of the others.
    let all = listed(&custody, CustodyFilter::All).await;
    assert_eq!((all.len(), all.iter().filter(|entry| entry.problem.is_some()).count()), (2500, 2279));
}

#[tokio::test(start_paused = true)]
async fn one_custody_at_a_time_uses_a_folder() {
    test_timeout::start();
    let folder = Folder::new();
    let first = folder.custody();
    save(&first, entry(7, false), "text".into()).await.unwrap();
    let second = folder.custody();
    assert_refused(&folder, &second).await;
    // Clones are the same one, and a lock lasts longer than they.
    let lock = first.clone().lock(id(7)).await.unwrap();
    drop(first);
    assert_refused(&folder, &second).await;
    drop(lock);
    assert_eq!(second.load(id(7)).await.unwrap(), Some("text".into()));
}

/// Checks that `custody` may list, and do nothing else.
async fn assert_refused(folder: &Folder, custody: &FileCustody) {
    let before = folder.names();
    let outcomes = [
        custody.load(id(7)).await.map(drop),
        custody.save(&ContextLock::new(()), entry(7, true), "another text".into()).await,
        custody.remove(&ContextLock::new(()), id(7)).await,
        custody.lock(id(7)).await.map(drop),
        records(custody).of(id(7)).store(new_token("token")).await,
    ];
    for outcome in outcomes {
        let error = outcome.unwrap_err().to_string();
        let expected = format!(
            "the custody in {}: another process uses it, or this one twice: wait for its end",
            folder.0.display()
        );
        assert!(error.starts_with(&expected), "{error}");
    }
    assert_eq!(ids(custody, CustodyFilter::All).await, [7]);
    assert_eq!(custody.entry(id(7)).await.unwrap(), Some(entry(7, false)));
    assert_eq!(folder.names(), before);
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_releases_the_folder() {
    test_timeout::start();
    let folder = Folder::new();
    let mut process = another_process(&folder);
    // The process saves until it is killed.
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with(SAVED)));
    let error = folder.custody().load(id(1)).await.unwrap_err().to_string();
    assert!(error.contains("another process uses it"), "{error}");
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(folder.custody().load(id(1)).await.unwrap().is_some());
}

const SAVED: &str = "<saved>";
const FOLDER: &str = "BUNQ_PARTNER_TEST_CUSTODY";

fn another_process(folder: &Folder) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "custody::file_custody::tests::saves_without_an_end", "--ignored", "--nocapture"])
        .env(FOLDER, &folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

const USERS: u64 = 3;

/// The text of the save with this number.
fn text(number: u64) -> String {
    format!("{number}{}end", " ".repeat(usize::try_from(number * 2003 % 5000).unwrap()))
}

#[tokio::test]
#[ignore = "the process of a_process_that_is_killed_loses_nothing_that_was_saved"]
async fn saves_without_an_end() {
    test_timeout::start();
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    // Runs until it is killed, or the first process ends.
    std::thread::spawn(|| {
        let _ = io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    let custody = FileCustody::new(folder);
    let saved = custody.load(id(1)).await.unwrap();
    let begin = saved.map_or(0, |text| text.expose().split_once(' ').unwrap().0.parse().unwrap());
    for number in begin + 1.. {
        for user in 1..=USERS {
            // Each user is activated, reset, and removed in its turn.
            if (number + user).is_multiple_of(5) && user > 1 {
                remove(&custody, id(user)).await.unwrap();
            } else {
                save(&custody, entry(user, (number + user).is_multiple_of(2)), text(number).into()).await.unwrap();
            }
            println!("\n{SAVED} {user} {number}");
        }
    }
}

#[tokio::test]
async fn a_process_that_is_killed_loses_nothing_that_was_saved() {
    test_timeout::start();
    let folder = Folder::new();
    for _ in 0..20 {
        let mut process = another_process(&folder);
        let mut saved = [0; USERS as usize];
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut seen = lines.filter_map(|line| Some(line.strip_prefix(SAVED)?.trim().to_owned()));
        let mut note = |line: String| {
            let (user, number) = line.split_once(' ').unwrap();
            saved[user.parse::<usize>().unwrap() - 1] = number.parse::<u64>().unwrap();
        };
        seen.by_ref().take(fastrand::usize(1..60)).for_each(&mut note);
        process.kill().unwrap();
        // It may have saved more than was read so far.
        seen.for_each(note);
        process.wait().unwrap();

        let custody = folder.custody();
        for (user, number) in (1..=USERS).zip(saved) {
            // The last change that was told, or the next.
            let is_removed = |number: u64| (number + user).is_multiple_of(5) && user > 1;
            let expected = |number| (!is_removed(number)).then(|| Secret::from(text(number)));
            let loaded = custody.load(id(user)).await.unwrap();
            let is_expected = number == 0 || loaded == expected(number) || loaded == expected(number + 1);
            assert!(is_expected, "user {user}, {number}: {:?}", loaded.map(|text| text.expose().len()));
        }
        let all = listed(&custody, CustodyFilter::All).await;
        let unactivated: Vec<_> = all.iter().filter(|entry| !entry.is_activated).cloned().collect();
        assert!(all.iter().all(|entry| entry.problem.is_none()), "{all:?}");
        assert_eq!(listed(&custody, CustodyFilter::Unactivated).await, unactivated);
        let names = 2 + all.len() + unactivated.len();
        assert_eq!(folder.names().len(), names, "{:?}", folder.names());
    }
}

#[tokio::test]
async fn a_lock_waits_for_a_write_whose_caller_has_given_up() {
    test_timeout::start();
    let folder = Folder::new();
    let custody = folder.custody();
    let lock = custody.lock(id(7)).await.unwrap();
    let mut saving = custody.save(&lock, entry(7, false), "text".into());
    assert!(futures_util::poll!(&mut saving).is_pending());
    drop(saving);
    drop(lock);
    let _lock = custody.lock(id(7)).await.unwrap();
    assert_eq!(custody.load(id(7)).await.unwrap(), Some("text".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_changes_of_users_are_all_kept() {
    test_timeout::start();
    const ONE: &Operation = &Operation::CREATE_OAUTH_CLIENT;
    let folder = Folder::new();
    let custody = folder.custody();
    for user in 1..=4 {
        records(&custody).of(id(user)).store(new_token("token")).await.unwrap();
    }
    let begun = join_all((0..80).map(|number| {
        let records = records(&custody);
        tokio::spawn(async move {
            let steps = Steps::new(records.of(id(number % 4 + 1)));
            // Each step is begun by two tasks.
            steps.begin(ONE, &(number / 8)).await.unwrap()
        })
    }));
    let begun: Vec<_> = begun.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(begun.iter().filter(|step| **step == Step::New).count(), 40, "{begun:?}");
    drop(custody);

    // After a crash they are in doubt.
    let custody = folder.custody();
    for number in 0..40 {
        let steps = Steps::new(records(&custody).of(id(number % 4 + 1)));
        assert!(matches!(steps.begin(ONE, &(number / 4)).await.unwrap(), Step::InDoubt { .. }), "{number}");
    }
}

#[tokio::test]
async fn a_folder_that_is_not_its_owners_alone_is_refused() {
    test_timeout::start();
    let folder = Folder::new();
    let refusal = async |path: PathBuf| {
        let custody = FileCustody::new(path);
        let error = custody.load(id(7)).await.unwrap_err().to_string();
        let listing = custody.list(CustodyFilter::All, None).await.unwrap_err().to_string();
        assert_eq!(error, listing);
        error.strip_prefix(&format!("{}: ", custody.name())).unwrap_or(&error).to_owned()
    };
    let missing = folder.0.join("not there");
    assert_eq!(
        refusal(missing.clone()).await,
        format!("it does not exist: make it first, with `mkdir -m 700 '{}'`", missing.display())
    );
    fs::write(folder.0.join("file"), "").unwrap();
    assert_eq!(refusal(folder.0.join("file")).await, "it is not a folder");
    #[cfg(unix)]
    for mode in [0o755, 0o710, 0o701] {
        set_mode(&folder.0, mode);
        assert_eq!(
            refusal(folder.0.clone()).await,
            format!(
                "its mode is {mode:04o}, so that others may see what is in it, or change it: `chmod 700 {}`",
                folder.0.display()
            )
        );
    }
}

#[cfg(unix)]
fn set_mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// Each case makes one record useless. It must be refused with the file, the user and what to do, and left as it is; the other user's
/// is not touched.
#[cfg(unix)]
#[tokio::test]
async fn a_record_that_cannot_be_used_is_named_and_left_as_it_is() {
    test_timeout::start();
    const REMEDY: &str = "take this one out of the custody and reset the user";
    type Spoil = fn(&PathBuf, &PathBuf);
    let cases: [(&str, Spoil, &[&str]); 10] = [
        ("damaged head", |file, _| edit(file, |text| text[1..].to_owned()), &["it is damaged, or no record", REMEDY]),
        (
            "damaged",
            |file, _| edit(file, |text| text[..text.len() - 3].to_owned()),
            &["is damaged (line 1, column", REMEDY],
        ),
        ("cut", |file, _| edit(file, |text| text[..200].to_owned()), &["it is damaged, or no record", REMEDY]),
        ("empty", |file, _| edit(file, |_| String::new()), &["it is damaged, or no record", REMEDY]),
        (
            "swapped",
            |file, other| fs::write(file, fs::read(other).unwrap()).unwrap(),
            &["is that of provision 8, in the wrong place", REMEDY],
        ),
        (
            "swapped behind its head",
            |file, other| {
                let other = fs::read_to_string(other).unwrap();
                edit(file, |text| text[..256].to_owned() + &other[256..]);
            },
            &["is that of provision 8, in the wrong place", REMEDY],
        ),
        (
            "newer",
            |file, _| edit(file, |text| text.replace("_custody\":1", "_custody\":2")),
            &["it has format 2", "use the version that wrote it"],
        ),
        ("readable", |file, _| set_mode(file, 0o604), &["others may have read or changed it", "`chmod 600 "]),
        (
            "link",
            |file, other| {
                fs::remove_file(file).unwrap();
                std::os::unix::fs::symlink(other, file).unwrap();
            },
            &["it is a symbolic link", "put the file itself there"],
        ),
        (
            "large",
            |file, _| edit(file, |text| text + &" ".repeat(140_000)),
            &["it is larger than 131328 bytes, so it is no record", REMEDY],
        ),
    ];
    for (case, spoil, expected) in cases {
        let folder = Folder::new();
        let custody = folder.custody();
        for user in [7, 8] {
            records(&custody).of(id(user)).store(new_token("planted-token")).await.unwrap();
        }
        let [file, other] = ["7.json", "8.json"].map(|name| folder.0.join(name));
        spoil(&file, &other);
        let spoiled = fs::read(&file).unwrap();
        let kept = records(&custody).of(id(7));
        for error in [
            kept.record().await.unwrap_err(),
            kept.store(new_token("another-token")).await.unwrap_err(),
            Steps::new(kept.clone()).begin(&Operation::CREATE_OAUTH_CLIENT, &1).await.unwrap_err(),
            kept.remove().await.unwrap_err(),
        ] {
            let error = format!("{error}");
            let named = format!("the record {} of provision 7", file.display());
            let says_all = expected.iter().all(|part| error.contains(part)) && error.starts_with(&named);
            assert!(says_all && !error.contains("planted"), "{case}: {error}");
        }
        assert_eq!(fs::read(&file).unwrap(), spoiled, "{case}");
        // The list reads no text, so it does not know of each.
        let entries = listed(&custody, CustodyFilter::Unactivated).await;
        assert_eq!((entries.len(), &entries[1].problem), (2, &None), "{case}");
        assert!(records(&custody).of(id(8)).record().await.unwrap().is_some(), "{case}");
    }
}

#[cfg(unix)]
fn edit(file: &PathBuf, edit: impl FnOnce(String) -> String) {
    fs::write(file, edit(fs::read_to_string(file).unwrap())).unwrap();
}

/// A process that cannot write to any file, as on a full disk.
#[cfg(unix)]
#[tokio::test]
async fn a_full_disk_loses_nothing() {
    test_timeout::start();
    const FULL: &str = "BUNQ_PARTNER_TEST_FULL_DISK";
    if let Some(path) = std::env::var_os(FULL) {
        let custody = FileCustody::new(path);
        let error = records(&custody).of(id(7)).store(new_token("another-token")).await.unwrap_err().to_string();
        assert!(error.contains("7.json of provision 7: it cannot be written: "), "{error}");
        return;
    }
    let folder = Folder::new();
    records(&folder.custody()).of(id(7)).store(new_token("token")).await.unwrap();
    let this_test = "custody::file_custody::tests::a_full_disk_loses_nothing";
    // Its output goes to pipes, to which the limit does not apply.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" --exact \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap()).arg(this_test).env(FULL, &folder.0);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert_eq!(folder.names(), ["7.json", "custody.lock", "unactivated", "unactivated/7"]);
    let record = records(&folder.custody()).of(id(7)).record().await.unwrap().unwrap();
    assert_eq!(record.token, "token".into());
}

/// In a namespace of its own, which not everybody may make.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_read_only_disk_is_listed_and_not_used() {
    test_timeout::start();
    const READ_ONLY: &str = "BUNQ_PARTNER_TEST_READ_ONLY";
    if let Some(path) = std::env::var_os(READ_ONLY) {
        let custody = FileCustody::new(path);
        assert_eq!(ids(&custody, CustodyFilter::All).await, [7]);
        let error = records(&custody).of(id(7)).record().await.unwrap_err().to_string();
        assert!(error.contains("custody.lock") && error.contains("give a path where files can be written"), "{error}");
        return;
    }
    let folder = Folder::new();
    records(&folder.custody()).of(id(7)).store(new_token("token")).await.unwrap();
    let mounted = |then: &str| {
        let script = format!("set -e; mount --bind \"$0\" \"$0\"; mount -o remount,bind,ro \"$0\"; {then}");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).arg(&folder.0).env(READ_ONLY, &folder.0);
        command
    };
    if !mounted("true").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: no file system can be mounted");
        return;
    }
    let this_test = "custody::file_custody::tests::a_read_only_disk_is_listed_and_not_used";
    let output =
        mounted("exec \"$@\"").arg(std::env::current_exe().unwrap()).args(["--exact", this_test]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[test]
fn without_a_runtime_it_is_an_error() {
    test_timeout::start();
    let folder = Folder::new();
    let listed = futures_util::FutureExt::now_or_never(folder.custody().list(CustodyFilter::All, None)).unwrap();
    assert!(listed.unwrap_err().to_string().contains("there is no Tokio runtime here"));
}

/// Polls a future once, which waits, and never again.
macro_rules! unpolled {
    ($name:ident, $future:expr) => {
        let mut $name = std::pin::pin!($future);
        assert!(futures_util::poll!(&mut $name).is_pending());
    };
}

/// A stream polls the futures of one user only while it looks for another.
#[tokio::test]
async fn a_future_that_is_not_polled_holds_up_no_other_user() {
    test_timeout::start();
    let folder = Folder::new();
    let custody = folder.custody();
    unpolled!(_claiming, custody.load(id(1)));
    save(&custody, entry(2, true), "text".into()).await.unwrap();

    let ((begun, was_begun), (may_end, go_on)) = (tokio::sync::oneshot::channel(), std::sync::mpsc::channel());
    let writing = custody.clone();
    let running = tokio::spawn(async move {
        let write = move |_: &UserFolder| {
            begun.send(()).unwrap();
            go_on.recv().unwrap();
            Ok(())
        };
        writing.write(write).await
    });
    was_begun.await.unwrap();
    let held = custody.lock(id(4)).await.unwrap();
    unpolled!(_saving, custody.save(&held, entry(4, true), "text".into()));
    may_end.send(()).unwrap();
    running.await.unwrap().unwrap();
    save(&custody, entry(5, true), "text".into()).await.unwrap();
    assert_eq!(ids(&custody, CustodyFilter::All).await, [2, 5]);
}
