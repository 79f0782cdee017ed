//! Which files the program uses, and which it refuses before anything is sent: each line of the table of `bunq_partner::files`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bunq_partner_sandbox::Sandbox;

use crate::common::{Folder, by, in_shell, program, program_for, ran, skipped};

/// A user and a group that own nothing.
const NOBODY: u32 = 65534;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command for a bank, with the key in a file.
fn whoami(folder: &Folder, sandbox: &Sandbox, key: &Path) -> Command {
    let mut command = program(folder);
    command.args(["whoami", "--base-url", sandbox.base_url(), "--api-key-file"]).arg(key);
    command
}

/// A file with the key of a bank.
fn key_file(folder: &Folder, sandbox: &Sandbox, mode: u32) -> PathBuf {
    let key = folder.file("key", &format!("{}\n", sandbox.api_key().expose()));
    set_mode(&key, mode);
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_may_read_or_change_is_refused_before_anything_is_sent() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    for (mode, problem) in [
        (0o644, "so that others may read it: `chmod 600 "),
        (0o444, "so that others may read it: `chmod 600 "),
        (0o640, "so that others may read it: `chmod 600 "),
        (0o620, "so that others may change it: `chmod 600 "),
        (0o602, "so that others may change it: `chmod 600 "),
    ] {
        let key = key_file(&folder, &sandbox, mode);
        let (_, stderr, code) = ran(&mut whoami(&folder, &sandbox, &key));
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains(&format!("key: its mode is {mode:04o}, {problem}")), "{stderr}");
        // What it says helps.
        let advice = stderr.split('`').nth(1).unwrap();
        assert!(Command::new("sh").args(["-c", advice]).status().unwrap().success());
        assert_eq!(self::mode(&key), 0o600);
        fs::remove_file(key).unwrap();
    }
    let (_, stderr, code) = ran(&mut whoami(&folder, &sandbox, &folder.path("")));
    assert!(stderr.contains("it is neither a regular file nor a pipe") && code == 2, "{stderr}");
    if is_root() {
        let key = key_file(&folder, &sandbox, 0o600);
        chown(&key, Some(NOBODY), None).unwrap();
        let (_, stderr, code) = ran(&mut whoami(&folder, &sandbox, &key));
        assert!(stderr.contains("it belongs to the user 65534, not to 0") && code == 2, "{stderr}");
    } else {
        skipped("only root can give a key to another user");
    }
    assert!(sandbox.call_log().is_empty());
}

/// As the shell, Kubernetes and a password manager give it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_by_a_link_and_from_a_pipe() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let key = key_file(&folder, &sandbox, 0o600);
    symlink(&key, folder.path("link")).unwrap();
    let (_, stderr, code) = ran(&mut whoami(&folder, &sandbox, &folder.path("link")));
    assert_eq!((stderr.as_str(), code), ("", 0));
    let mut shell = in_shell(&program(&folder), "\"$0\" whoami --base-url \"$1\" --api-key-file <(cat \"$2\")");
    let (_, stderr, code) = ran(shell.arg(sandbox.base_url()).arg(&key));
    assert_eq!((stderr.as_str(), code), ("", 0));
}

/// What root has put there, as systemd, Kubernetes and Docker do, is taken by others, whom `chmod` would not help.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_roots_is_taken_and_told_if_everybody_may_read_it() {
    test_timeout::start();
    if !is_root() {
        return skipped("only root can start the program as another user");
    }
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    set_mode(&folder.path(""), 0o755);
    fs::create_dir(folder.path("bunq-partner")).unwrap();
    chown(folder.path("bunq-partner"), Some(NOBODY), None).unwrap();
    let ran_as_nobody = |command: &mut Command| ran(command.uid(NOBODY).gid(NOBODY).current_dir("/"));
    if program(&folder).uid(NOBODY).gid(NOBODY).arg("--version").stdout(Stdio::null()).status().is_err() {
        return skipped("another user cannot start the program where it is");
    }
    for (mode, group, expected) in [
        (0o440, NOBODY, ""),
        (0o640, NOBODY, ""),
        (0o444, 0, "its mode is 0444, so that everybody on this machine may read it\n"),
        (0o644, 0, "its mode is 0644, so that everybody on this machine may read it\n"),
    ] {
        let key = key_file(&folder, &sandbox, mode);
        chown(&key, None, Some(group)).unwrap();
        let (stdout, stderr, code) = ran_as_nobody(&mut whoami(&folder, &sandbox, &key));
        assert!(code == 0 && stdout.contains("Sandbox Partner"), "{stderr}");
        assert!(stderr.ends_with(expected) && stderr.lines().count() == usize::from(!expected.is_empty()), "{stderr}");
        assert!(stderr.is_empty() || stderr.starts_with("warning: --api-key-file /"), "{stderr}");
        let (_, stderr, _) = ran_as_nobody(whoami(&folder, &sandbox, &key).args(["-o", "json"]));
        let is_warning = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["warning"].is_string();
        assert!(stderr.lines().all(is_warning), "{stderr}");
    }
    for mode in [0o464, 0o666] {
        let key = key_file(&folder, &sandbox, mode);
        let (_, stderr, code) = ran_as_nobody(&mut whoami(&folder, &sandbox, &key));
        assert!(stderr.contains("so that others may change it: give the path of one") && code == 2, "{stderr}");
    }
}

/// The owner of a file on such a file system is told nothing that would not help; root, who may do everything, neither.
/// A process of the owner has no capabilities.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_where_nothing_can_be_written_is_taken() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    fs::create_dir(folder.path("secrets")).unwrap();
    fs::create_dir(folder.path("state")).unwrap();
    let fixed = |who: &str, plain: &Command| {
        let script = format!("mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec {who} \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).arg(folder.path("secrets"));
        let mut command = by(command, plain);
        command.env("XDG_STATE_HOME", folder.path("state"));
        command
    };
    let (root, owner) = ("", "setpriv --bounding-set -all");
    let mut tried = fixed(owner, &Command::new("true"));
    if !tried.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return skipped("a file system cannot be mounted to be read only");
    }
    for (mode, expected) in [(0o400, 0), (0o440, 0), (0o444, 1)] {
        let key = key_file(&folder, &sandbox, 0o600);
        fs::rename(key, folder.path("secrets/key")).unwrap();
        set_mode(&folder.path("secrets/key"), mode);
        for who in [root, owner] {
            let (_, stderr, code) = ran(&mut fixed(who, &whoami(&folder, &sandbox, &folder.path("secrets/key"))));
            assert_eq!((stderr.lines().count(), code), (expected, 0), "{who} {mode:o}: {stderr}");
        }
    }
}

/// What makes a file one that is refused.
type Spoil<'a> = &'a dyn Fn(&Path);

/// Files that the program keeps, each with the command that uses it, and the exit code if it cannot.
fn kept(folder: &Folder, sandbox: &Sandbox) -> Vec<(PathBuf, Command, i32)> {
    let ids = folder.file("ids", "99999\n");
    let close = || {
        let mut command = program(folder);
        command.env("BUNQ_API_KEY", sandbox.api_key().expose());
        command.args(["--base-url", sandbox.base_url(), "close", "--from"]).arg(&ids);
        command
    };
    let with = |option: &str, name: &str, code| {
        let mut command = close();
        command.arg(option).arg(folder.path(name));
        (folder.path(name), command, code)
    };
    let mut locked = close();
    locked.arg("--context").arg(folder.path("other"));
    let mut bank = program(folder);
    bank.args(["sandbox", "--state"]).arg(folder.path("state"));
    let mut report = program(folder);
    report.args(["report", "--from"]).arg(&ids).arg("--journal").arg(folder.path("reported"));
    let mut probe = program(folder);
    probe.env("BUNQ_API_KEY", sandbox.api_key().expose());
    probe.args(["--base-url", sandbox.base_url(), "probe", "--save"]).arg(folder.path(""));
    vec![
        with("--context", "context", 18),
        (folder.path("other.lock"), locked, 18),
        with("--receipts", "receipts", 21),
        with("--journal", "journal", 21),
        (folder.path("reported"), report, 21),
        (folder.path("state"), bank, 2),
        (folder.path("report.md"), probe, 2),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_refused_before_the_run_unless_it_is_its_owners_alone() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let give_away = |path: &Path| chown(path, Some(NOBODY), None).unwrap();
    let link = |path: &Path| {
        fs::rename(path, path.with_extension("target")).unwrap();
        symlink(path.with_extension("target"), path).unwrap();
    };
    let pipe = |path: &Path| {
        fs::remove_file(path).unwrap();
        assert!(Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap().success());
    };
    let lines: [(&str, Spoil<'_>, &str); 6] = [
        ("read by everybody", &|path| set_mode(path, 0o604), "its mode is 0604, so that others may have read"),
        ("changed by everybody", &|path| set_mode(path, 0o622), "its mode is 0622, so that others may have read"),
        ("names", &|path| fs::hard_link(path, path.with_extension("second")).unwrap(), "it has 2 names"),
        ("kind, of a link", &link, "it is a symbolic link"),
        ("kind, of a pipe", &pipe, "it is not a regular file"),
        ("owner", &give_away, "it belongs to the user 65534, not to 0"),
    ];
    for (line, spoil, problem) in lines {
        if line == "owner" && !is_root() {
            skipped("only root can give a file to another user");
            continue;
        }
        let folder = Folder::new();
        for (path, mut command, code) in kept(&folder, &sandbox) {
            fs::write(&path, "").unwrap();
            set_mode(&path, 0o600);
            spoil(&path);
            let (_, stderr, ended) = ran(&mut command);
            assert!(stderr.contains(problem) && ended == code, "{line}: {}: {ended}: {stderr}", path.display());
            assert!(!folder.path("ids.journal").exists(), "{line}: {}: a journal was begun", path.display());
        }
    }
    assert!(sandbox.call_log().is_empty());
}

/// `fsGroup` of Kubernetes gives all files of a volume to a group each time that it is mounted.
#[tokio::test(flavor = "multi_thread")]
async fn the_group_of_what_is_kept_cannot_use_it_any_more() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let closings =
        kept(&folder, &sandbox).into_iter().filter(|(_, command, _)| command.get_args().any(|word| word == "--from"));
    for (path, mut command, _) in closings {
        if !path.ends_with("context") {
            fs::write(&path, "").unwrap();
            set_mode(&path, 0o660);
        }
        // The row fails, or there is none yet.
        let (_, stderr, code) = ran(&mut command);
        assert!(code == 9 || code == 1, "{}: {code}: {stderr}", path.display());
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        set_mode(&path, 0o660);
        let (_, stderr, code) = ran(command.arg("--resume"));
        assert!(code == 9 || code == 2, "{}: {code}: {stderr}", path.display());
        let _ = fs::remove_file(folder.path("ids.journal"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_users_that_others_may_use_is_refused() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (from, _) = crate::common::bulk::users(&folder, 1);
    let kept = folder.own_folder("users");
    let create = |mode| {
        set_mode(&kept, mode);
        let mut command = crate::common::bulk::bulk(&folder, &sandbox, "create", &from);
        ran(command.arg("--activate").arg(&kept))
    };
    let refused = |mode, problem: &str| {
        let (_, stderr, code) = create(mode);
        assert!(stderr.contains(problem) && code == 2, "{stderr}");
        assert!(!folder.path("users.csv.journal").exists() && sandbox.call_log().is_empty());
    };
    for mode in [0o777, 0o1777, 0o2770, 0o750] {
        refused(mode, &format!("its mode is {:04o}, so that others may ", mode & 0o777));
        refused(mode, "`chmod 700 ");
    }
    if is_root() {
        chown(&kept, Some(NOBODY), Some(0)).unwrap();
        refused(0o700, "it belongs to the user 65534, not to 0");
        chown(&kept, Some(0), None).unwrap();
    } else {
        skipped("only root can give a folder to another user");
    }
    let (_, stderr, code) = create(0o2700);
    assert_eq!(code, 0, "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_beside_a_file_that_is_replaced_stays() {
    test_timeout::start();
    let folder = Folder::new();
    let others = folder.file("state.tmp", "others");
    let mut sandbox = program(&folder);
    sandbox.args(["sandbox", "--state"]).arg(folder.path("state"));
    let mut sandbox = sandbox.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(sandbox.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    assert!(line.contains("base_url") && folder.path("state").exists());
    assert_eq!(fs::read_to_string(others).unwrap(), "others");
}

/// Such a file system is that of some networks. Here the system's own function says that there are none.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_without_locks_is_told_before_anything_is_sent() {
    test_timeout::start();
    if !cfg!(target_os = "linux") {
        return skipped("a function of the system can be replaced on Linux alone");
    }
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let source = folder.file(
        "locks.c",
        "#include <errno.h>\nint flock(int file, int how) { (void)file; (void)how; errno = ERROR; return -1; }\n",
    );
    let from = folder.file("ids", "7\n");
    for error in ["ENOLCK", "EOPNOTSUPP"] {
        let library = folder.path(error);
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", &format!("-DERROR={error}"), "-o"]).arg(&library).arg(&source);
        if !compiler.status().is_ok_and(|status| status.success()) {
            return skipped("there is no compiler of C");
        }
        for (name, arguments, code) in [
            ("context", &["whoami", "--context"][..], 18),
            ("journal", &["close", "--from", from.to_str().unwrap(), "--journal"], 21),
            ("receipts", &["close", "7", "--receipts"], 21),
        ] {
            let mut command = program_for(&folder, &sandbox);
            let (_, stderr, ended) = ran(command.args(arguments).arg(folder.path(name)).env("LD_PRELOAD", &library));
            let advice = "its file system has no locks, as that of some networks: ";
            assert!(
                stderr.contains(advice) && stderr.contains("give a path on another, such as a local disk"),
                "{stderr}"
            );
            assert!(stderr.contains(folder.path(name).to_str().unwrap()) && ended == code, "{name}: {ended}: {stderr}");
        }
    }
    assert!(sandbox.call_log().is_empty());
}

/// What may be seen by everybody must be changed by nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_public_key_may_be_read_by_everybody() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let receipts = folder.path("receipts");
    let ids: String = sandbox.populate(1).iter().map(|id| format!("{id}\n")).collect();
    let from = folder.file("ids", &ids);
    let (_, stderr, code) =
        ran(crate::common::bulk::bulk(&folder, &sandbox, "close", &from).arg("--receipts").arg(&receipts));
    assert_eq!(code, 0, "{stderr}");
    let line: serde_json::Value = serde_json::from_str(&fs::read_to_string(&receipts).unwrap()).unwrap();
    let key = folder.file("bunq.pem", line["public_key"].as_str().unwrap());
    let verify = || {
        let mut command = program(&folder);
        ran(command.args(["receipts", "verify"]).arg(&receipts).arg("--public-key").arg(&key))
    };
    for (mode, code) in [(0o644, 0), (0o664, 2), (0o646, 2)] {
        set_mode(&key, mode);
        let (_, stderr, ended) = verify();
        assert_eq!(ended, code, "{stderr}");
        assert!(code == 0 || stderr.contains("bunq.pem: its mode is 06"), "{stderr}");
    }
    set_mode(&key, 0o644);
    set_mode(&receipts, 0o644);
    let (_, stderr, code) = verify();
    assert!(stderr.contains("receipts: its mode is 0644, so that others may read it") && code == 21, "{stderr}");
}
