#![cfg(unix)]

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::process::Command;
use std::thread;

use uuid::Uuid;

use super::*;

/// A temporary folder, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("bunq-partner-{}", Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Makes a file with this mode.
    fn file(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, "text").unwrap();
        set_mode(&path, mode);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Only root can give a file to another user.
fn is_root(skipped: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped, because only root can do it: {skipped}");
    }
    is_root
}

/// The first words of an error, or `taken`.
fn said<T>(outcome: io::Result<T>) -> String {
    outcome.err().map_or_else(|| "taken".to_owned(), |error| error.to_string())
}

#[test]
fn what_is_read_only_is_taken_by_a_link_and_from_a_pipe() {
    test_timeout::start();
    let folder = Folder::new();
    let key = folder.file("key", 0o600);
    // The layout that Kubernetes makes.
    fs::create_dir(folder.0.join("..1")).unwrap();
    fs::rename(&key, folder.0.join("..1/key")).unwrap();
    symlink("..1", folder.0.join("..data")).unwrap();
    symlink("..data/key", &key).unwrap();
    let (file, warning) = open_secret(&key).unwrap();
    assert_eq!((read_text(file, 4).unwrap().expose(), warning), ("text", None));

    let pipe = folder.0.join("pipe");
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    let writer = thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "piped").unwrap()
    });
    assert_eq!(read_text(open_secret(&pipe).unwrap().0, 5).unwrap().expose(), "piped");
    writer.join().unwrap();
    assert_eq!(said(open_secret(&folder.0)), "it is neither a regular file nor a pipe");
    for outcome in [said(open_secret("/dev/zero")), said(open_public("/dev/null")), said(open_plain("/dev/zero"))] {
        assert_eq!(outcome, "it is neither a regular file nor a pipe");
    }
}

#[test]
fn the_group_cannot_use_what_is_kept_any_more() {
    test_timeout::start();
    let folder = Folder::new();
    for before in [0o640, 0o660, 0o610] {
        let file = folder.file("kept", before);
        assert_eq!(read_text(open_kept(&file).unwrap(), 4).unwrap().expose(), "text");
        assert_eq!(mode(&file), 0o600);
        set_mode(&file, before);
        replace_kept(&file, b"new").unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("new", 0o600));
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn what_is_kept_is_neither_everybodys_nor_elsewhere_too() {
    test_timeout::start();
    let folder = Folder::new();
    let refused = |path: &Path, problem: &str| {
        let before = fs::symlink_metadata(path).unwrap();
        for outcome in [said(open_kept(path)), said(replace_kept(path, b"new"))] {
            assert!(outcome.contains(problem), "{outcome}");
        }
        let after = fs::symlink_metadata(path).unwrap();
        assert_eq!((after.ino(), after.mode(), after.len()), (before.ino(), before.mode(), before.len()));
    };
    for mode in [0o604, 0o602, 0o666] {
        refused(&folder.file("everybody's", mode), "so that others may have read or changed it: `chmod 600 '/");
    }
    let kept = folder.file("kept", 0o600);
    symlink(&kept, folder.0.join("link")).unwrap();
    refused(&folder.0.join("link"), "it is a symbolic link: give the path that it leads to");
    fs::hard_link(&kept, folder.0.join("second")).unwrap();
    refused(&kept, "it has 2 names (hard links)");
    fs::create_dir(folder.0.join("folder")).unwrap();
    refused(&folder.0.join("folder"), "it is not a regular file");
    assert!(Command::new("mkfifo").arg(folder.0.join("pipe")).status().unwrap().success());
    refused(&folder.0.join("pipe"), "it is not a regular file");
    let count = fs::read_dir(&folder.0).unwrap().count();
    for there in ["link", "folder", "pipe", "kept"] {
        let error = create_kept(folder.0.join(there)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let error = create_whole(folder.0.join(there), b"new").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), count);
}

/// Whoever sees it sees all of it, and of several with one name, one is made.
#[test]
fn a_file_is_created_whole_and_once() {
    test_timeout::start();
    let folder = Folder::new();
    // No name can be longer.
    let path = folder.0.join("a".repeat(255));
    let contents: Vec<_> = (0..8).map(|number| vec![number; 100_000]).collect();
    let created: Vec<_> = thread::scope(|scope| {
        let path = &path;
        let seen = scope.spawn(move || {
            loop {
                match fs::read(path) {
                    Ok(seen) => return seen,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
                }
            }
        });
        let creators: Vec<_> =
            contents.iter().map(|content| scope.spawn(move || create_whole(path, content).map(|()| content))).collect();
        let created = creators.into_iter().filter_map(|creator| creator.join().unwrap().ok()).collect();
        assert!(contents.contains(&seen.join().unwrap()));
        created
    });
    let [content] = created[..] else { panic!("{} were created", created.len()) };
    assert!(fs::read(&path).unwrap() == *content);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((mode(&path), metadata.nlink(), fs::read_dir(&folder.0).unwrap().count()), (0o600, 1, 1));
    let error = create_whole(folder.0.join("none/file"), b"new").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

/// Opening does not wait for a pipe that has taken the place of a file after the check, and follows no link.
#[test]
fn a_pipe_is_opened_without_waiting() {
    test_timeout::start();
    let folder = Folder::new();
    let pipe = folder.0.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(!at_once(OpenOptions::new().read(true)).open(&pipe).unwrap().metadata().unwrap().is_file());
    assert!(at_once(OpenOptions::new().write(true)).open(&pipe).is_err());
    symlink("pipe", folder.0.join("link")).unwrap();
    assert!(at_once(OpenOptions::new().read(true)).open(folder.0.join("link")).is_err());
}

#[test]
fn a_file_of_another_user_is_refused_for_root_too() {
    test_timeout::start();
    if !is_root("a file of another user is refused") {
        assert!(said(open_kept("/etc/passwd")).starts_with("it belongs to the user 0, not to "));
        // A secret file of root's is accepted.
        let warning = open_secret("/etc/passwd").unwrap().1.unwrap();
        assert!(warning.ends_with("so that everybody on this machine may read it"), "{warning}");
        return;
    }
    let folder = Folder::new();
    let file = folder.file("file", 0o600);
    chown(&file, Some(12345), None).unwrap();
    for outcome in [said(open_secret(&file)), said(open_public(&file)), said(open_kept(&file))] {
        assert!(outcome.starts_with("it belongs to the user 12345, not to 0, who runs this program"), "{outcome}");
    }
    chown(&folder.0, Some(12345), None).unwrap();
    assert!(said(check_folder(&folder.0)).starts_with("it belongs to the user 12345, not to 0"));
}

#[test]
fn a_folder_is_refused_in_which_others_may_replace_files() {
    test_timeout::start();
    let folder = Folder::new();
    let checked = |mode| {
        set_mode(&folder.0, mode);
        said(check_folder(&folder.0))
    };
    for mode in [0o700, 0o755, 0o1777, 0o770, 0o2775] {
        assert_eq!(checked(mode), "taken", "{mode:o}");
    }
    assert!(checked(0o777).starts_with("its mode is 0777, so that everybody may replace the files in it: `chmod o-w "));
    let file = folder.file("file", 0o600);
    assert_eq!(said(check_folder(&file)), "it is not a folder");
    assert!(said(check_folder(folder.0.join("missing"))).starts_with("it cannot be opened: "));
    if is_root("a folder of a group that is not the process's is refused") {
        chown(&folder.0, None, Some(12345)).unwrap();
        assert!(checked(0o770).starts_with("its mode is 0770, so that the group 12345, to which this process"));
        assert_eq!(checked(0o750), "taken");
    }
}

#[test]
fn a_text_is_read_up_to_its_bound() {
    test_timeout::start();
    assert_eq!(read_text(&b"text"[..], 4).unwrap().expose(), "text");
    assert_eq!(read_text(&b"\xef\xbb\xbftext"[..], 7).unwrap().expose(), "text");
    assert_eq!(said(read_text(&b"texts"[..], 4)), "it is larger than 4 bytes");
    assert_eq!(said(read_text(&b"\xff"[..], 4)), "it is not text");
    assert!(!format!("{:?}", read_text(&b"planted\xff"[..], 40).unwrap_err()).contains("planted"));
}

#[test]
fn a_file_system_without_locks_is_named() {
    test_timeout::start();
    for code in [libc::ENOLCK, libc::EOPNOTSUPP, libc::ENOSYS] {
        let error = not_locked(io::Error::from_raw_os_error(code)).to_string();
        assert!(error.contains("its file system has no locks") && error.contains("such as a local disk"), "{error}");
    }
    let error = not_locked(io::Error::from_raw_os_error(libc::EIO)).to_string();
    assert!(error.starts_with("it cannot be locked: ") && !error.contains("file system"), "{error}");
}

#[test]
fn a_file_is_made_with_access_for_only_its_owner() {
    test_timeout::start();
    let folder = Folder::new();
    let file = folder.0.join("file");
    create_kept(&file).unwrap().write_all(b"text").unwrap();
    assert_eq!(mode(&file), 0o600);
    // What a crash leaves is removed, and what somebody else has there is not.
    let others = folder.file("other.tmp", 0o600);
    folder.file("other.bunq-partner-tmp", 0o600);
    replace_kept(folder.0.join("other"), b"new").unwrap();
    assert_eq!(mode(&folder.0.join("other")), 0o600);
    assert_eq!(fs::read_to_string(others).unwrap(), "text");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 3);
}
