//! The times that `watch` writes.

use bunq_partner::jiff::Timestamp;
use bunq_partner_sandbox::Sandbox;

use crate::common::terminal::{Terminal, plain};
use crate::common::{Folder, program_with_session, ran};

/// A time zone that needs no database, and how many seconds it is ahead of UTC.
const ZONE: &str = "<+0545>-5:45";
const AHEAD: i64 = (5 * 60 + 45) * 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_local_time() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (id, state, key) = (sandbox.populate(1)[0].to_string(), folder.path(""), sandbox.api_key());
    let environment = [("XDG_STATE_HOME", state.to_str().unwrap()), ("BUNQ_API_KEY", key.expose()), ("TZ", ZONE)];
    let before = Timestamp::now().as_second();
    let arguments = ["watch", &id, "--base-url", sandbox.base_url()];
    let (screen, code) = Terminal::start(80, &arguments, &environment).end();
    let after = Timestamp::now().as_second();
    let time_of = |second: i64| {
        let of_day = (second + AHEAD).rem_euclid(24 * 60 * 60);
        format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
    };
    let shown = plain(&screen);
    let is_shown = (before..=after).any(|second| shown.contains(&format!("{}  {id}  ACTIVE", time_of(second))));
    assert!(is_shown && code == 0, "{shown} is not of {} to {}", time_of(before), time_of(after));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_date_time_and_offset() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0].to_string();
    let mut program = program_with_session(&folder, &sandbox).await;
    let before = Timestamp::now().as_second();
    let (out, err, code) = ran(program.env("TZ", ZONE).args(["watch", &id]));
    assert_eq!((err.as_str(), code), ("", 0));
    let time = out.split_whitespace().next().unwrap();
    let second = time.parse::<Timestamp>().unwrap().as_second();
    assert!(time.ends_with("+05:45") && (before..=Timestamp::now().as_second()).contains(&second), "{out}");
}
