//! The program, or another one, at a terminal.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

use super::HEARING;
use super::variables::{OTHERS, SETTINGS};

/// Longer than anything takes that comes at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a program as a terminal's shell does, says how it ended, and stays. The end of the process that leads a terminal
/// closes it, and what is not yet read then may be lost.
const SHELL: &str = r#"trap : INT; "$@"; printf '[exit]%d[end]' $?; read -r _"#;

/// A program at a terminal of its own. It is killed when this is dropped.
pub struct Terminal {
    process: std::process::Child,
    screen: Receiver<Vec<u8>>,
    pub keyboard: Arc<Pty>,
    pub seen: String,
}

impl Terminal {
    /// The program of this repository.
    pub fn start(columns: u16, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::run(columns, &[&[env!("CARGO_BIN_EXE_bunq-partner")], arguments].concat(), environment)
    }

    pub fn run(columns: u16, words: &[&str], environment: &[(&str, &str)]) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(50, columns)).unwrap();
        let (program, options) = HEARING.split_first().unwrap();
        let command = Command::new(program).args(options).args(["sh", "-c", SHELL, "sh"]).args(words);
        let unset = SETTINGS.into_iter().chain(OTHERS);
        let command = unset.fold(command, Command::env_remove).env("XDG_CONFIG_HOME", "/nonexistent");
        let command = command.env("TERM", "xterm-256color").envs(environment.iter().copied());
        let process = command.spawn(pts).unwrap();
        let keyboard = Arc::new(pty);
        let reader = Arc::clone(&keyboard);
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal ends with an error when its last program does.
            while let Ok(count @ 1..) = (&*reader).read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { process, screen, keyboard, seen: String::new() }
    }

    /// Waits until a text is on the screen.
    pub fn expect(&mut self, text: &str) {
        while !self.seen.contains(text) {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{text:?} does not come ({error}): {}", self.seen),
            }
        }
    }

    /// Waits until a text is on the screen, and forgets the screen up to it. Returns what was before the text.
    pub fn take_until(&mut self, text: &str) -> String {
        self.expect(text);
        let (before, after) = self.seen.split_once(text).unwrap();
        let (before, after) = (before.to_owned(), after.to_owned());
        self.seen = after;
        before
    }

    pub fn type_keys(&self, keys: &str) {
        (&*self.keyboard).write_all(keys.as_bytes()).unwrap();
    }

    /// Whether the terminal shows what is typed.
    pub fn is_echoing(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&*self.keyboard).unwrap().local_modes;
        modes.contains(rustix::termios::LocalModes::ECHO)
    }

    /// Waits for the end; returns all that was on the screen, and the exit code.
    pub fn end(mut self) -> (String, i32) {
        self.expect("[end]");
        self.type_keys("\n");
        self.process.wait().unwrap();
        let (screen, code) = self.seen.split_once("[exit]").unwrap();
        (screen.replace("\r\n", "\n"), code.trim_end_matches("[end]").parse().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A text without its colours.
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = escape.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, after)| after);
    }
    plain + rest
}
