//! What a person sees before a closing in production: the name and the status of each provision, and the user of the API key.

use std::collections::HashMap;

use bunq_partner::{Provision, ProvisionId, ProvisionStatus};
use console::{Term, truncate_str};

use super::exit::Failure;
use super::invocation::Invocation;
use super::pages;
use super::screen;
use super::whoami;
use super::words::revealed;

/// How many provisions are shown of those whose ids were given.
const MAX_SHOWN: usize = 20;

/// How many ids are named in a hint.
const MAX_NAMED: usize = 20;

/// The provisions that are to be closed.
pub(super) struct Closing {
    /// The first of them, which are shown.
    first: Vec<ProvisionId>,
    count: u64,
}

impl Closing {
    /// `first` are the first of `count` provisions.
    pub(super) fn new(first: Vec<ProvisionId>, count: u64) -> Self {
        Self { first, count }
    }

    pub(super) fn of(ids: &[ProvisionId]) -> Self {
        Self::new(ids.iter().take(MAX_SHOWN).copied().collect(), ids.len() as u64)
    }

    /// Reads and shows what would be closed, and whose key it is.
    pub(super) async fn show(&self, invocation: &Invocation) -> Result<(), Failure> {
        let client = invocation.client()?;
        let seen = pages::read(&client.provisions(), &self.first).await?;
        let user = client.user().await?;
        let mut lines = lines(&self.first, &seen);
        let more = self.count.saturating_sub(self.first.len() as u64);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
        let (name, kind) = (user.display_name.unwrap_or_default(), whoami::kind_name(user.kind));
        lines.push(format!("API key of user {}, {} ({kind})", user.id, revealed(&name)));
        // A name that goes on in the next line could forge one.
        let width = usize::from(Term::stderr().size().1);
        let lines: Vec<_> = lines.iter().map(|line| truncate_str(line, width, "…")).collect();
        screen::say(&(lines.join("\n") + "\n"));
        Ok(())
    }
}

/// The closing of some provisions, in the words of a question.
pub(super) fn change(ids: &[ProvisionId]) -> String {
    match ids {
        [id] => format!("Close {id}"),
        ids => format!("Close {} provisions", ids.len()),
    }
}

/// What goes on at bunq after an interruption, and how to see it.
pub(super) fn goes_on(ids: &[ProvisionId]) -> String {
    let named: String = match ids.len() {
        ..=MAX_NAMED => ids.iter().map(|id| format!(" {id}")).collect(),
        _ => String::new(),
    };
    format!("what was requested goes on at bunq: `bunq-partner watch{named}`")
}

fn lines(ids: &[ProvisionId], seen: &HashMap<ProvisionId, Provision>) -> Vec<String> {
    let described: Vec<_> = ids.iter().map(|id| (id.to_string(), state(seen.get(id)), seen.get(id))).collect();
    let widest = |widths: &mut dyn Iterator<Item = usize>| widths.max().unwrap_or_default();
    let id_width = widest(&mut described.iter().map(|(id, ..)| id.len()));
    let state_width = widest(&mut described.iter().map(|(_, state, _)| state.chars().count()));
    let name = |seen: Option<&Provision>| seen?.label_user.as_ref()?.display_name.as_ref().map(|name| revealed(name));
    let line = described.iter().map(|(id, state, seen)| {
        let name = name(*seen).unwrap_or_default();
        format!("  {id:id_width$}  {state:state_width$}  {name}").trim_end().to_owned()
    });
    line.collect()
}

fn state(seen: Option<&Provision>) -> String {
    let Some(seen) = seen else { return "not at bunq".into() };
    let status = revealed(seen.status.as_str());
    match seen.status {
        ProvisionStatus::Closed => format!("{status}, closed already"),
        ProvisionStatus::Cancelled => format!("{status}, being closed already"),
        _ => status,
    }
}
