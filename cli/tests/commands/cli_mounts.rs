//! The rule for files on file systems that are mounted for it, with files of several users: as Kubernetes and Docker mount secrets
//! and volumes. Only root can do that; where it cannot, a test says so.

use std::fs;
use std::process::{Command, Stdio};

use bunq_partner_sandbox::Sandbox;

use crate::common::{Folder, by, program_for, ran, skipped};

/// Makes an empty file system at `$AT`, which nobody else sees and which ends with the script.
const MOUNT: &str = "set -e; mount -t tmpfs -o mode=755 none \"$AT\"; cd \"$AT\"\n";

/// A script that has a file system of its own at `volume`, with the program and its arguments as `"$@"`. `None`: that cannot be had.
fn on_a_mount(folder: &Folder, script: &str, plain: &Command) -> Option<Command> {
    let mounted = |script: &str, plain: &Command| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &format!("{MOUNT}{script}"), "sh"]);
        let mut command = by(command, plain);
        command.env("AT", folder.path("volume"));
        command
    };
    fs::create_dir_all(folder.path("volume")).unwrap();
    let as_another = "exec setpriv --reuid 1000 --regid 1000 --clear-groups \"$@\"";
    let mut program = Command::new(plain.get_program());
    program.arg("--version");
    let mut tried = mounted(as_another, &program);
    tried.stdout(Stdio::null()).stderr(Stdio::null());
    if !tried.status().is_ok_and(|status| status.success()) {
        skipped("no file system can be mounted, or another user cannot start the program where it is");
        return None;
    }
    Some(mounted(script, plain))
}

/// A secret as Kubernetes mounts it, and Docker without the links.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_on_a_mount_is_taken_by_its_owner_and_its_mode() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let script =
        "mkdir ..2026_1; printf %s \"$KEY\" > ..2026_1/api-key; ln -s ..2026_1 ..data; ln -s ..data/api-key api-key
         chown \"$OWNER\" ..2026_1/api-key; chmod \"$MODE\" ..2026_1/api-key; mount -o \"remount,$MOUNTED\" \"$AT\"
         exec setpriv --reuid \"$USER\" --regid \"$USER\" --groups 2000 \"$@\"";
    let everybody = "so that everybody on this machine may read it";
    let (mine, fixed) =
        ("so that others may change it: `chmod 600 ", "so that others may change it: give the path of one");
    for (user, mounted, owner, mode, code, said) in [
        ("1000", "rw", "0:2000", "0440", 0, ""),
        ("1000", "ro", "0:2000", "0440", 0, ""),
        ("1000", "ro", "0:2000", "0640", 0, ""),
        ("1000", "rw", "0:0", "0444", 0, everybody),
        ("1000", "ro", "0:0", "0444", 0, everybody),
        ("1000", "rw", "0:2000", "0660", 2, fixed),
        ("1000", "rw", "0:0", "0400", 2, "it cannot be opened: Permission denied"),
        ("1000", "rw", "1000:2000", "0400", 0, ""),
        ("1000", "rw", "1000:2000", "0440", 2, "so that others may read it: `chmod 600 "),
        ("1000", "ro", "1000:2000", "0440", 0, ""),
        ("1000", "ro", "1000:2000", "0444", 0, everybody),
        ("1000", "rw", "1000:2000", "0660", 2, mine),
        ("1000", "ro", "1000:2000", "0660", 2, fixed),
        (
            "1000",
            "rw",
            "1001:2000",
            "0440",
            2,
            "it belongs to the user 1001, not to 1000, who runs this program, nor to root",
        ),
        ("0", "rw", "0:0", "0400", 0, ""),
        ("0", "rw", "0:2000", "0440", 2, "so that others may read it: `chmod 600 "),
        ("0", "ro", "0:2000", "0440", 0, ""),
        ("0", "ro", "0:0", "0444", 0, everybody),
        ("0", "rw", "0:2000", "0660", 2, mine),
        ("0", "ro", "0:2000", "0660", 2, fixed),
        ("0", "rw", "1000:1000", "0400", 2, "it belongs to the user 1000, not to 0"),
        ("0", "ro", "1000:1000", "0400", 2, "it belongs to the user 1000, not to 0"),
    ] {
        let mut plain = program_for(&folder, &sandbox);
        plain.env_remove("BUNQ_API_KEY").args(["whoami", "--api-key-file"]).arg(folder.path("volume/api-key"));
        // What is kept is no matter of this test, and of each user.
        plain.arg("--context").arg(folder.path(&format!("{user}/context")));
        if !folder.path(user).exists() {
            fs::create_dir(folder.path(user)).unwrap();
            std::os::unix::fs::chown(folder.path(user), Some(user.parse().unwrap()), None).ok();
        }
        let Some(mut command) = on_a_mount(&folder, script, &plain) else { return };
        command.env("KEY", sandbox.api_key().expose()).env("MODE", mode).env("OWNER", owner);
        let (_, stderr, ended) = ran(command.env("MOUNTED", mounted).env("USER", user));
        let line = format!("{user}: {mounted} {owner} {mode}: {ended}: {stderr}");
        assert!(ended == code && stderr.contains(said) && stderr.is_empty() == said.is_empty(), "{line}");
    }
}

/// `fsGroup` of Kubernetes gives all that is on a volume to a group each time that it is mounted; the user of the next container may
/// be another, and a copy of the volume may be there to be read alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_on_a_volume_outlasts_a_restart_of_its_own_user() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let script = "chown 0:2000 .; chmod 2770 .; echo 9 > ids; chmod 644 ids
         as() { user=$1; shift; setpriv --reuid $user --regid $user --groups 2000 \"$@\" >out 2>&1 && ended=0 || ended=$?; echo $ended; }
         context=\"--context $AT/context\"; from=\"--from $AT/ids\"
         close() { as 1000 \"$@\" $context close $from; }
         resume() { as 1000 \"$@\" $context close $from --resume; }
         touch out; chmod 666 out
         echo first $(as 1000 \"$@\" whoami $context) $(close \"$@\")
         chmod 660 context context.lock ids.journal
         echo restart $(as 1000 \"$@\" whoami $context) $(resume \"$@\") $(stat -c %a context context.lock ids.journal)
         chmod 660 context context.lock ids.journal
         echo another $(as 1001 \"$@\" whoami $context) $(grep -c 'it belongs to the user 1000, not to 1001' out)
         echo root $(as 0 \"$@\" whoami $context) $(grep -c 'it belongs to the user 1000, not to 0' out)
         mount -o remount,ro \"$AT\"
         said() { setpriv --reuid 1000 --regid 1000 --groups 2000 \"$@\" 2>&1 && echo 0 || echo $?; }
         echo fixed $(said \"$@\" whoami $context | tail -n 1) $(said \"$@\" report $from | tail -n 1)
         echo written $(said \"$@\" $context close $from --journal \"$AT/other\" | grep -c 'Read-only file system.*: give a path where files can be')
         echo state $(said \"$1\" sandbox --state \"$AT/state\" | grep -c 'Read-only file system.*: give a path where files can be')";
    let Some(mut command) = on_a_mount(&folder, script, &program_for(&folder, &sandbox)) else { return };
    let (stdout, stderr, _) = ran(&mut command);
    let expected = "first 0 9\nrestart 0 9 600 600 600\nanother 18 1\nroot 18 1\nfixed 0 9\nwritten 1\nstate 1\n";
    assert_eq!(stdout, expected, "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_saved_is_refused_before_the_probe_or_shown_after_it() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let mut plain = program_for(&folder, &sandbox);
    plain.args(["probe", "--save"]).arg(folder.path("volume"));
    let Some(mut command) = on_a_mount(&folder, "mount -o remount,ro \"$AT\"; exec \"$@\"", &plain) else { return };
    let (stdout, stderr, code) = ran(&mut command);
    assert!(stderr.contains("--save ") && stderr.contains("Read-only file system"), "{stderr}");
    assert_eq!((stdout.as_str(), code, sandbox.call_log().len()), ("", 2, 0));

    // The trial fits, and two of the three files do not.
    let Some(mut command) = on_a_mount(&folder, "mount -o remount,size=8k \"$AT\"; exec \"$@\"", &plain) else {
        return;
    };
    let (stdout, stderr, code) = ran(&mut command);
    assert!(stdout.contains("| How is a dead session refused? | 401 |"), "{stdout}");
    assert!(stderr.contains("No space left on device") && code == 19, "{code}: {stderr}");
}
