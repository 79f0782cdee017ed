//! What the tests of `close --from` and `create --from` share.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use bunq_partner::{ProvisionId, Uuid};
use bunq_partner_sandbox::Sandbox;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use super::{Folder, in_shell, program_for, unsealed};

/// So many times as fast as bunq allows.
pub const FAST: &str = "1000";

pub fn bulk(folder: &Folder, sandbox: &Sandbox, command: &str, from: &Path) -> Command {
    rehearsed(FAST, folder, sandbox, command, from)
}

pub fn rehearsed(times: &str, folder: &Folder, sandbox: &Sandbox, command: &str, from: &Path) -> Command {
    let mut program = program_for(folder, sandbox);
    program.args(["--rehearse", times, "-o", "csv", command, "--from"]).arg(from);
    program
}

/// The program with files of at most so many blocks of 1,024 bytes, as on a full disk.
pub fn limited(plain: &Command, blocks: u64) -> Command {
    in_shell(plain, &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""))
}

/// A file of new users.
pub fn users(folder: &Folder, count: usize) -> (PathBuf, Vec<Uuid>) {
    let uuids: Vec<_> = (0..count).map(|_| Uuid::new_v4()).collect();
    let lines: String =
        uuids.iter().zip(1..).map(|(uuid, row)| format!("{uuid},user{row}@example.com,+31600{row:06}\n")).collect();
    (folder.file("users.csv", &format!("external_uuid,email,phone_number\n{lines}")), uuids)
}

/// The record of a user, which is kept sealed in the second line of its file.
pub fn kept_record(sandbox: &Sandbox, folder: &Path, id: ProvisionId) -> serde_json::Value {
    let text = std::fs::read_to_string(folder.join(format!("{id}.json"))).unwrap();
    unsealed(text.split_once('\n').unwrap().1, &sandbox.api_key())
}

/// The token of a user that was activated, as it is kept.
pub fn kept_token(sandbox: &Sandbox, folder: &Path, id: ProvisionId) -> String {
    kept_record(sandbox, folder, id)["token"].as_str().unwrap().to_owned()
}

/// Sends a signal to a program that [hears](super::hearing) it.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The lines of a report, by their columns.
pub fn report(csv: &str) -> Vec<HashMap<String, String>> {
    let mut lines = csv.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    lines.map(|line| header.iter().cloned().zip(line).collect()).collect()
}

/// The provisions of each user.
pub fn made(sandbox: &Sandbox) -> HashMap<Uuid, Vec<String>> {
    let mut made: HashMap<Uuid, Vec<String>> = HashMap::new();
    for id in sandbox.provision_ids() {
        let uuid = sandbox.provision(id).unwrap()["external_uuid"].as_str().unwrap().parse().unwrap();
        made.entry(uuid).or_default().push(id.to_string());
    }
    made
}

pub fn check_created(sandbox: &Sandbox, uuids: &[Uuid], report: &[HashMap<String, String>]) {
    let made = made(sandbox);
    assert_eq!(report.len(), uuids.len());
    for (row, uuid) in report.iter().zip(uuids) {
        assert_eq!(row["external_uuid"], uuid.to_string());
        match &made[uuid][..] {
            [only] => {
                assert!(["accepted", "found"].contains(&&*row["outcome"]) && row["id"] == *only, "{row:?} {only}")
            }
            several => assert_eq!(row["error_kind"], "Duplicate", "{row:?} {several:?}"),
        }
    }
}
