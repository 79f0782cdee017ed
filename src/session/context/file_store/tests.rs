use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::time::timeout;
use uuid::Uuid;

use super::*;

/// For a free lock. A process that is starting beside the test holds all locks for a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells the second process which file to lock.
const LOCK_VARIABLE: &str = "BUNQ_PARTNER_TEST_LOCK";
const LOCKED: &str = "<the lock is held>";

/// A temporary folder, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("bunq-partner-{}", Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> PathBuf {
        self.0.join("bunq.json")
    }

    fn store(&self) -> FileStore {
        FileStore::new(self.path())
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits for the lock as long as the session would let it.
fn lock(store: &FileStore, patience: Duration) -> Result<ContextLock, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let locked = runtime.block_on(async { timeout(patience, store.lock()).await });
    locked.unwrap_or_else(|_| Err(store.refused("its lock is held")))
}

fn save(store: &FileStore, text: &str) -> Result<(), Error> {
    let _lock = lock(store, PATIENCE)?;
    store.write(&text.into())
}

/// The refusal of `store`, without the store's name.
fn refusal<T>(store: &FileStore, result: Result<T, Error>) -> String {
    let error = result.err().unwrap().to_string();
    error.strip_prefix(&format!("the context file {}: ", store.0.display())).unwrap_or(&error).to_string()
}

/// Writes a file with the right mode, so that only `bytes` can be wrong with it.
fn put(folder: &Folder, bytes: &[u8]) {
    let _ = fs::remove_file(folder.path());
    for_owner_alone().create_new(true).open(folder.path()).unwrap().write_all(bytes).unwrap();
}

#[test]
fn a_saved_context_is_loaded_by_another_store() {
    test_timeout::start();
    let folder = Folder::new();
    assert_eq!(folder.store().read_stored().unwrap(), None);
    save(&folder.store(), "first").unwrap();
    assert_eq!(folder.store().read_stored().unwrap(), Some("first".into()));
    // What a crash leaves is removed.
    fs::write(folder.0.join("bunq.json.bunq-partner-tmp"), "hal").unwrap();
    assert_eq!(folder.store().read_stored().unwrap(), Some("first".into()));
    save(&folder.store(), "second").unwrap();
    assert_eq!(folder.store().read_stored().unwrap(), Some("second".into()));
    assert_eq!(folder.names(), ["bunq.json", "bunq.json.lock"]);
}

#[test]
fn a_relative_path_starts_at_the_working_directory() {
    test_timeout::start();
    let here = std::env::current_dir().unwrap();
    let store = FileStore::new("bunq.json");
    assert_eq!(store.name(), format!("the context file {}", here.join("bunq.json").display()));
}

#[test]
fn a_path_that_leads_nowhere_is_refused() {
    test_timeout::start();
    let folder = Folder::new();
    let store = FileStore::new(folder.0.join("missing/bunq.json"));
    let missing = format!("the folder `{}` does not exist: make it first", folder.0.join("missing").display());
    assert_eq!(refusal(&store, store.read_stored()), missing);
    assert_eq!(refusal(&store, lock(&store, PATIENCE)), missing);
    std::fs::write(folder.0.join("file"), "").unwrap();
    let store = FileStore::new(folder.0.join("file/bunq.json"));
    let file = format!("`{}` is not a folder: give a path in one", folder.0.join("file").display());
    assert_eq!(refusal(&store, store.read_stored()), file);
    for path in ["", "/"] {
        let store = FileStore::new(path);
        assert_eq!(refusal(&store, store.read_stored()), "it is not the path of a file");
        assert_eq!(refusal(&store, lock(&store, PATIENCE)), "it is not the path of a file");
    }
}

#[test]
fn anything_but_a_text_file_is_refused_and_not_replaced() {
    test_timeout::start();
    let folder = Folder::new();
    let store = folder.store();
    put(&folder, b"\xff");
    let no_text = "it is not text, so it is not a context: give another path";
    assert_eq!(refusal(&store, store.read_stored()), no_text);
    assert_eq!(refusal(&store, store.write(&"text".into())), no_text);

    put(&folder, &[b' '; MAX_LEN + 1]);
    let too_large = "it is larger than 65536 bytes, so it is not a context: give another path";
    assert_eq!(refusal(&store, store.read_stored()), too_large);
    assert_eq!(refusal(&store, store.write(&"text".into())), too_large);
    assert_eq!(fs::metadata(folder.path()).unwrap().len(), MAX_LEN as u64 + 1);

    let most = " ".repeat(MAX_LEN);
    put(&folder, most.as_bytes());
    assert_eq!(store.read_stored().unwrap(), Some(most.clone().into()));
    let more = "the context is larger than 64 KiB";
    assert_eq!(refusal(&store, store.write(&(most + " ").into())), more);
}

/// The tests of `files` have the whole rule.
#[cfg(unix)]
#[test]
fn the_file_and_its_lock_follow_the_rule_of_kept_files() {
    test_timeout::start();
    use std::os::unix::fs::PermissionsExt as _;

    for name in ["bunq.json", "bunq.json.lock"] {
        let folder = Folder::new();
        let (store, path) = (folder.store(), folder.0.join(name));
        save(&store, "text").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode(), 0o100_600, "{name}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        // A lock that cannot be taken is found before a session is opened.
        for refusal in [refusal(&store, store.read_stored()), refusal(&store, save(&store, "other"))] {
            assert!(refusal.contains("its mode is 0604, so that others may have read or changed it"), "{refusal}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(store.read_stored().unwrap(), Some("text".into()));
    }
}

#[cfg(unix)]
#[test]
fn a_link_to_the_folder_leads_to_the_same_file_and_lock() {
    test_timeout::start();
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    save(&elsewhere.store(), "text").unwrap();
    std::os::unix::fs::symlink(&elsewhere.0, folder.0.join("linked")).unwrap();
    let linked = FileStore::new(folder.0.join("linked/bunq.json"));
    assert_eq!(linked.read_stored().unwrap(), Some("text".into()));
    let _lock_held = lock(&linked, PATIENCE).unwrap();
    assert!(lock(&elsewhere.store(), Duration::ZERO).is_err());
}

#[test]
fn a_reader_never_sees_half_a_file() {
    test_timeout::start();
    let folder = Folder::new();
    let texts = ["a".repeat(10), "b".repeat(60_000)];
    save(&folder.store(), &texts[0]).unwrap();
    let done = AtomicBool::new(false);
    let seen = texts.clone().map(|text| (text, AtomicBool::new(false)));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let text = folder.store().read_stored().unwrap().unwrap();
                    seen.iter().find(|(whole, _)| text.expose() == whole).unwrap().1.store(true, Ordering::Relaxed);
                }
            });
        }
        let is_each_seen = || seen.iter().all(|(_, seen)| seen.load(Ordering::Relaxed));
        let mut turns = (0..100_000).take_while(|turn| *turn < 200 || !is_each_seen());
        let wrote = turns.try_for_each(|turn: usize| save(&folder.store(), &texts[turn % 2]));
        done.store(true, Ordering::Relaxed);
        wrote.unwrap();
    });
    assert!(seen.iter().all(|(_, seen)| seen.load(Ordering::Relaxed)), "{seen:?}");
}

#[test]
fn the_lock_is_released_when_it_is_dropped() {
    test_timeout::start();
    let folder = Folder::new();
    let store = folder.store();
    let lock_held = lock(&store, PATIENCE).unwrap();
    assert_eq!(refusal(&store, lock(&store, Duration::from_millis(50))), "its lock is held");
    let waiting = thread::spawn({
        let store = store.clone();
        move || lock(&store, Duration::from_secs(60)).map(drop)
    });
    drop(lock_held);
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_dead_process_releases_the_lock() {
    test_timeout::start();
    let folder = Folder::new();
    let store = folder.store();
    let mut second = second_process(&folder);
    let lines = BufReader::new(second.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(LOCKED)), "the second process took no lock");

    assert_eq!(refusal(&store, lock(&store, Duration::from_millis(50))), "its lock is held");
    assert_eq!(store.read_stored().unwrap(), Some("from the second process".into()));
    second.kill().unwrap();
    second.wait().unwrap();
    lock(&store, PATIENCE).unwrap();
}

fn second_process(folder: &Folder) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "session::context::file_store::tests::holds_the_lock", "--ignored", "--nocapture"])
        .env(LOCK_VARIABLE, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the second process of a_dead_process_releases_the_lock"]
fn holds_the_lock() {
    test_timeout::start();
    let Some(path) = std::env::var_os(LOCK_VARIABLE) else { return };
    let store = FileStore::new(path);
    let _lock_held = lock(&store, Duration::from_secs(10)).unwrap();
    store.write(&"from the second process".into()).unwrap();
    println!("\n{LOCKED}");
    // Runs until it is killed or the first process ends.
    let _ = io::stdin().read_line(&mut String::new());
}

/// A process that cannot write to any file, as on a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_stray_file() {
    test_timeout::start();
    const FULL: &str = "BUNQ_PARTNER_TEST_FULL_DISK";
    if let Some(path) = std::env::var_os(FULL) {
        let store = FileStore::new(PathBuf::from(path));
        let refusal = refusal(&store, store.write(&"new".into()));
        assert!(refusal.starts_with("it cannot be written: "), "{refusal}");
        return;
    }
    let folder = Folder::new();
    save(&folder.store(), "old").unwrap();
    let this_test = "session::context::file_store::tests::a_full_disk_leaves_no_stray_file";
    // Its output goes to pipes, to which the limit does not apply.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" --exact \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap()).arg(this_test).env(FULL, folder.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert_eq!(folder.names(), ["bunq.json", "bunq.json.lock"]);
    assert_eq!(folder.store().read_stored().unwrap(), Some("old".into()));
}

/// The waiting task is dropped with the runtime.
#[test]
fn a_wait_for_the_lock_does_not_hold_up_the_end_of_a_runtime() {
    test_timeout::start();
    let folder = Folder::new();
    let _held = lock(&folder.store(), PATIENCE).unwrap();
    let store = folder.store();
    let (sender, ended) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let waiting = tokio::spawn(async move { store.lock().await.map(drop) });
            assert!(timeout(LOCK_PAUSE * 3, waiting).await.is_err());
        });
        drop(runtime);
        sender.send(()).unwrap();
    });
    ended.recv_timeout(PATIENCE).expect("the runtime does not end");
}

/// As when the runtime of the caller ends.
#[tokio::test]
async fn a_lock_waits_for_a_save_whose_caller_has_given_up() {
    test_timeout::start();
    let folder = Folder::new();
    let store = folder.store();
    for number in 0..20 {
        let lock = store.lock().await.unwrap();
        let mut saving = store.save(&lock, number.to_string().into());
        assert!(futures_util::poll!(&mut saving).is_pending());
        drop(saving);
        drop(lock);
        let _lock = store.lock().await.unwrap();
        assert_eq!(store.load().await.unwrap(), Some(number.to_string().into()));
    }
}

#[tokio::test]
async fn a_store_is_saved_with_its_own_lock_alone() {
    test_timeout::start();
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let (store, other) = (folder.store(), elsewhere.store());
    for lock in [other.lock().await.unwrap(), ContextLock::new(())] {
        let refusal = refusal(&store, store.save(&lock, "text".into()).await);
        assert_eq!(refusal, "it is saved with its own lock alone: take that before");
    }
    assert_eq!(store.load().await.unwrap(), None);
    let lock = folder.store().lock().await.unwrap();
    store.save(&lock, "text".into()).await.unwrap();
    assert_eq!(store.load().await.unwrap(), Some("text".into()));
}
