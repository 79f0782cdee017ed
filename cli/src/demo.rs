//! `demo`: the life of a provision, in a bunq of this program's own.

use std::io;
use std::pin::pin;

use bunq_partner::{NewProvision, Uuid, Waiter};
use bunq_partner_sandbox::Sandbox;
use console::Term;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use super::arguments::OutputFormat;
use super::exit::Failure;
use super::line_clock::LineClock;
use super::output::{write_text, write_value};
use super::records;

pub(super) async fn run(format: OutputFormat) -> Result<(), Failure> {
    let sandbox = Sandbox::start().await.map_err(|error| Failure::local("the sandbox cannot be started", &error))?;
    let client = sandbox.client().build()?;
    let mut story = Story { format, clock: LineClock::new(Term::stdout().is_term()), changes: Vec::new() };
    story.tell(&format!("A bunq listens on {}. It is this program's own, and ends with it.", sandbox.base_url()))?;

    let user = client.user().await?.display_name.unwrap_or_default();
    story.tell(&format!("Installation, device and session are made: the API key is that of {user}."))?;

    let new = NewProvision::person(Uuid::new_v4(), "user@example.com".parse()?, "+31600000000".parse()?);
    let creating = client.provisions().create(new).await?;
    let id = creating.id();
    story.tell(&format!("Provision {id} is requested. bunq makes the user:"))?;
    story.follow(creating).await?;
    story.tell("The user has a credential that nobody has used yet: it is ready.")?;

    story.tell(&format!("Provision {id} is closed:"))?;
    story.follow(client.provisions().close(id).await?).await?;
    if format == OutputFormat::Table {
        write_text("\nTry the rest with --sandbox: `bunq-partner --sandbox list`\n")?;
    } else {
        write_value(format, &json!({ "base_url": sandbox.base_url(), "user": user, "changes": story.changes }))?;
    }
    Ok(())
}

/// What happens: told to a person as it happens, and kept for a script.
struct Story {
    format: OutputFormat,
    clock: LineClock,
    changes: Vec<Value>,
}

impl Story {
    fn tell(&self, text: &str) -> io::Result<()> {
        if self.format == OutputFormat::Table { write_text(&format!("\x1b[1m{text}\x1b[0m\n")) } else { Ok(()) }
    }

    async fn follow(&mut self, waiter: Waiter) -> Result<(), Failure> {
        let mut changes = pin!(waiter.changes());
        while let Some(seen) = changes.try_next().await? {
            if self.format == OutputFormat::Table {
                write_text(&format!("  {}\n", records::change(&self.clock.now().1, &seen)))?;
            } else {
                self.changes.push(records::provision(&seen, false).json());
            }
        }
        Ok(())
    }
}
