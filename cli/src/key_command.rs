//! `api_key_command`: a program of the user's, often a password manager's, that writes the API key to its standard output.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bunq_partner::Secret;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::sleep;

use super::exit::Failure;

/// How long it may take. It may wait for a person who unlocks something.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Gets a key of at most `max_len` bytes from a command: a program and its arguments, which no shell interprets. Its standard error is
/// shown. If the future is dropped, the command is killed.
pub(super) async fn key(words: &[String], max_len: usize) -> Result<Secret, Failure> {
    key_until(words, max_len, sleep(TIMEOUT)).await
}

async fn key_until(words: &[String], max_len: usize, timeout: impl Future<Output = ()>) -> Result<Secret, Failure> {
    let (program, arguments) = words.split_first().ok_or_else(|| Failure::usage("the command has no words"))?;
    let failed = |problem: String| Failure::usage(format!("`{program}` {problem}"));
    let failed_io = |error: io::Error| failed(format!("cannot be run: {error}"));
    let mut command = Command::new(program);
    // In a group of its own it cannot read from the terminal, so it is given no standard input that could be one.
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(failed_io)?;
    let mut group = Group::of(&child);
    let ended = tokio::select! {
        biased;
        ended = output(&mut child, max_len) => ended.map_err(failed_io)?,
        () = timeout => {
            let problem = format!("has not ended within {} s, and was killed", TIMEOUT.as_secs());
            let hint = "it cannot ask at the terminal: unlock what it asks for first";
            return Err(failed(problem).with_hint(hint));
        }
    };
    let Some((bytes, status)) = ended else {
        return Err(failed(format!("prints more than {max_len} bytes: a key is one line")));
    };
    group.has_ended();
    if !status.success() {
        return Err(failed(format!("failed ({status})")));
    }
    let Ok(text) = String::from_utf8(bytes).map(Secret::from) else {
        return Err(failed("prints something that is not text".to_owned()));
    };
    match text.expose().trim() {
        "" => Err(failed("prints nothing: a key is one line".to_owned())),
        key if key.contains(['\n', '\r']) => Err(failed("prints several lines: a key is one line".to_owned())),
        key => Ok(key.into()),
    }
}

/// What a command writes until it ends, and how it ends. `None`: it writes too much. What it leaves behind, such as an agent, may
/// hold the pipe open for longer.
async fn output(child: &mut Child, max_len: usize) -> io::Result<Option<(Vec<u8>, ExitStatus)>> {
    // With room for one byte too many, so that it does not grow and leave copies.
    let mut bytes = Vec::with_capacity(max_len + 64);
    if let Some(output) = child.stdout.take() {
        let mut output = output.take(max_len as u64 + 1);
        loop {
            tokio::select! {
                biased;
                count = output.read_buf(&mut bytes) => if count? == 0 { break },
                _ = child.wait() => {
                    let left = left_in(output.get_ref())?;
                    output.set_limit(left.min(output.limit()));
                    output.read_to_end(&mut bytes).await?;
                    break;
                }
            }
        }
    }
    if bytes.len() > max_len {
        return Ok(None);
    }
    let status = child.wait().await?;
    Ok(Some((bytes, status)))
}

/// How many bytes are in the pipe of a command that has ended.
#[cfg(unix)]
fn left_in(output: &ChildStdout) -> io::Result<u64> {
    Ok(rustix::io::ioctl_fionread(output)?)
}

/// Elsewhere that is not known, and the pipe is read until all have closed it.
#[cfg(not(unix))]
fn left_in(_output: &ChildStdout) -> io::Result<u64> {
    Ok(u64::MAX)
}

/// The group of processes of a command, which is killed with all that it has started, unless it has ended by itself.
#[cfg(unix)]
struct Group(Option<rustix::process::Pid>);

#[cfg(unix)]
impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(rustix::process::Pid::from_raw))
    }

    fn has_ended(&mut self) {
        self.0 = None;
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // It may have ended by now.
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}

/// Elsewhere only the process itself is killed, when it is dropped.
#[cfg(not(unix))]
struct Group;

#[cfg(not(unix))]
impl Group {
    fn of(_child: &Child) -> Self {
        Self
    }

    fn has_ended(&mut self) {}
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::PathBuf;

    use bunq_partner::Uuid;

    use super::*;

    async fn said(script: &str) -> Result<String, String> {
        let words = ["sh", "-c", script].map(str::to_owned);
        let key = key(&words, 100).await;
        key.map(|key| key.expose().to_owned()).map_err(|failure| failure.message().to_owned())
    }

    #[tokio::test]
    async fn a_command_prints_one_line() {
        test_timeout::start();
        for script in ["echo planted", "printf planted", "printf 'planted\\r\\n'", "cat; echo planted"] {
            assert_eq!(said(script).await.as_deref(), Ok("planted"), "{script}");
        }
        for (script, problem) in [
            ("echo planted; exit 3", "`sh` failed (exit status: 3)"),
            ("echo planted; kill -9 $$", "`sh` failed (signal: 9"),
            ("", "`sh` prints nothing"),
            ("echo planted; echo planted", "`sh` prints several lines"),
            ("printf 'planted\\rplanted'", "`sh` prints several lines"),
            ("printf 'planted\\377'", "`sh` prints something that is not text"),
            ("printf %0101d 0", "`sh` prints more than 100 bytes"),
            ("yes planted", "`sh` prints more than 100 bytes"),
        ] {
            let said = said(script).await.unwrap_err();
            assert!(said.starts_with(problem) && !said.contains("planted"), "{script}: {said}");
        }
        let missing = key(&["bunq-partner-missing".to_owned()], 100).await.unwrap_err();
        assert!(missing.message().starts_with("`bunq-partner-missing` cannot be run: No such file"), "{missing:?}");
    }

    /// What is left behind ends with the pipe.
    #[tokio::test]
    async fn a_command_has_ended_although_it_leaves_something_behind() {
        test_timeout::start();
        let pipe: PathBuf = std::env::temp_dir().join(format!("bunq-partner-{}", Uuid::new_v4()));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let held = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        for (printed, key) in
            [("printf planted", Ok("planted")), ("printf %0101d 0", Err("prints more than 100 bytes"))]
        {
            let script = format!("cat {pipe:?} 2>/dev/null & {printed}");
            match (said(&script).await, key) {
                (Ok(said), Ok(key)) => assert_eq!(said, key),
                (Err(said), Err(problem)) => assert!(said.contains(problem), "{said}"),
                (said, _) => panic!("{said:?}"),
            }
        }
        std::fs::remove_file(pipe).unwrap();
        drop(held);
    }

    /// Each of the processes holds one end of a pipe, which is closed when none is left.
    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_what_it_has_started() {
        test_timeout::start();
        let pipe: PathBuf = std::env::temp_dir().join(format!("bunq-partner-{}", Uuid::new_v4()));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let script = "exec 3>\"$0\"; sleep 1000 & echo started >&3; sleep 1000";
        let words = ["sh", "-c", script, pipe.to_str().unwrap()].map(str::to_owned);
        let mut held = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&pipe).unwrap();
        let mut started = [0; 8];
        let timeout = async {
            // The child has not opened its end yet: there is nothing to read, which is no failure.
            while held.read(&mut started).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
        };
        let failure = key_until(&words, 100, timeout).await.unwrap_err();
        assert_eq!(failure.message(), "`sh` has not ended within 30 s, and was killed");
        assert_eq!(&started, b"started\n");
        assert_eq!(held.read(&mut [0]).await.unwrap(), 0);
        std::fs::remove_file(pipe).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_hangs_is_killed_after_a_time() {
        test_timeout::start();
        let failure = said("sleep 1000").await.unwrap_err();
        assert_eq!(failure, "`sh` has not ended within 30 s, and was killed");
    }
}
