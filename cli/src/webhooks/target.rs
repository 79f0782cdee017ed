//! The URL of a command: read from a file, a variable or the terminal, and checked before anybody is asked.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use bunq_partner::text::url_without_path;
use bunq_partner::types::NotificationTarget;
use bunq_partner::{Error, Secret, environment_variable, files};

use super::super::arguments::{FilterOptions, RetryOptions};
use super::super::exit::Failure;
use super::super::interrupt::blocking;
use super::super::invocation::Invocation;
use super::super::output::warn;
use super::super::{questions, reading, standard_input};
use super::filters::not_changed;
use super::{notifications, of};

const VARIABLE: &str = "BUNQ_WEBHOOK_URL";

/// No URL is longer.
const MAX_LEN: usize = 4096;

/// A change that is about a URL.
#[derive(Clone, Copy)]
pub(crate) enum TargetChange<'a> {
    Ensure(&'a FilterOptions),
    Remove(&'a FilterOptions),
    Retry(&'a RetryOptions),
}

impl TargetChange<'_> {
    /// Reads the URL, and refuses what bunq would not take.
    pub(crate) async fn target(self, invocation: &Invocation) -> Result<NotificationTarget, Failure> {
        let file = match self {
            Self::Ensure(options) | Self::Remove(options) => options.url.url_file.as_deref(),
            Self::Retry(options) => options.url.url_file.as_deref(),
        };
        let target = read(invocation, file).await?;
        if let Self::Ensure(FilterOptions { category, whose, .. }) = self {
            let checked = notifications(invocation, whose.user)?.check(category, &target);
            checked.map_err(|error: Error| not_changed(category, whose.user, error))?;
        }
        Ok(target)
    }

    /// What it changes, in the words of the question that production asks.
    pub(crate) fn what(self, target: &NotificationTarget) -> String {
        let url = url_without_path(target.as_str());
        match self {
            Self::Ensure(options) => format!("Have bunq tell {} to {url}", options.category),
            Self::Remove(options) => format!("Have bunq tell {} to {url} no more", options.category),
            Self::Retry(_) => format!("Have bunq make the failed calls to {url} again"),
        }
    }

    /// What may go on at bunq after an interruption, and how to see it.
    pub(crate) fn goes_on(self) -> String {
        let user = match self {
            Self::Ensure(options) | Self::Remove(options) => of(options.whose.user),
            Self::Retry(RetryOptions { whose, .. }) => {
                let user = of(whose.user);
                return format!(
                    "the calls may be made again: `bunq-partner webhooks failures{user}` shows what is left"
                );
            }
        };
        format!("the filters may have been changed: `bunq-partner webhooks list{user}` shows them")
    }
}

/// Reads the URL from a file, from the variable, or at the terminal.
async fn read(invocation: &Invocation, file: Option<&Path>) -> Result<NotificationTarget, Failure> {
    if let Some(target) = given(invocation, file).await? {
        return Ok(target);
    }
    if !io::stdin().is_terminal() {
        return Err(missing());
    }
    let asked = questions::hidden("URL that bunq calls (it is not shown): ".to_owned(), "the URL").await?;
    parsed(&asked, "the URL")
}

/// Reads the URL from a file or from the variable, if there is one.
pub(super) async fn given(invocation: &Invocation, file: Option<&Path>) -> Result<Option<NotificationTarget>, Failure> {
    let (text, place) = match (file, environment_variable(VARIABLE)) {
        (Some(file), _) => {
            let place = format!("--url-file {}", file.display());
            let read = if file == Path::new("-") {
                from_standard_input().await
            } else {
                from_file(invocation, "--url-file", file, MAX_LEN).await
            };
            (read.map_err(|error| Failure::usage(format!("{place}: {error}")))?, place)
        }
        (None, Some(value)) => {
            let text = value.into_string().map_err(|_| Failure::usage(format!("{VARIABLE} is not text")))?;
            (text.into(), VARIABLE.to_owned())
        }
        (None, None) => return Ok(None),
    };
    parsed(&text, &place).map(Some)
}

fn parsed(text: &Secret, place: &str) -> Result<NotificationTarget, Failure> {
    // The rule does not repeat it.
    let parsed = text.expose().trim().parse::<NotificationTarget>();
    parsed.map_err(|error| Failure::usage(format!("{place}: {}", error.rule())))
}

/// There is no URL.
pub(super) fn missing() -> Failure {
    let failure = Failure::usage(format!("there is no URL: give --url-file, or set {VARIABLE}"));
    failure.with_hint("it has a secret in its path, so it is no argument, which whoever lists processes sees")
}

async fn from_standard_input() -> io::Result<Secret> {
    standard_input::announce("the URL");
    reading::text(MAX_LEN, || Ok(io::stdin())).await
}

/// Reads a file with a secret, which an option names.
pub(super) async fn from_file(
    invocation: &Invocation,
    option: &str,
    file: &Path,
    max_len: usize,
) -> io::Result<Secret> {
    let path = file.to_owned();
    let (opened, warning) = blocking(move || files::open_secret(path)).await?;
    if let Some(warning) = warning {
        warn(invocation.format(), &format!("{option} {}: {warning}", file.display()));
    }
    reading::text(max_len, || Ok(opened)).await
}
