//! `whoami` and `session`.

use bunq_partner::UserKind;
use serde_json::json;

use super::arguments::OutputFormat;
use super::exit::Failure;
use super::invocation::Invocation;
use super::output::{Field, Record, lines, write_text, write_value};
use super::provisions::show_previews;

pub(super) async fn show(invocation: &Invocation) -> Result<(), Failure> {
    let client = invocation.client()?;
    let user = client.user().await?;
    // The user may be known from an earlier run: whether bunq still accepts the session is asked.
    client.api().get_installation().await?;
    let kind = kind_name(user.kind);
    let (environment, base_url) = (invocation.connection.environment.to_string(), client.base_url());
    let context = invocation.connection.context.shown();
    let user = Record::of(vec![
        Field::new("user_id", 0, user.id),
        Field::new("kind", 0, kind),
        Field::new("display_name", 0, user.display_name),
        Field::new("environment", 0, environment),
        Field::new("base_url", 0, base_url),
        Field::new("context", 0, context),
    ]);
    match invocation.format() {
        OutputFormat::Table => write_text(&lines(&user))?,
        format => write_value(format, &user.json())?,
    }
    Ok(())
}

pub(super) fn kind_name(kind: UserKind) -> &'static str {
    match kind {
        UserKind::Company => "company",
        UserKind::Person => "person",
        UserKind::ApiKey => "api_key",
        UserKind::PaymentServiceProvider => "payment_service_provider",
        _ => "unknown",
    }
}

pub(super) async fn end_session(invocation: &Invocation, is_dry_run: bool) -> Result<(), Failure> {
    let client = invocation.client()?;
    if is_dry_run {
        return show_previews(invocation.format(), &[client.preview_end_session()?]);
    }
    let had_session = client.context().await?.is_some_and(|context| context.has_session);
    client.end_session().await?;
    match invocation.format() {
        OutputFormat::Table => {
            invocation.note(if had_session { "the session has ended" } else { "there was no session" });
        }
        format => write_value(format, &json!({ "had_session": had_session }))?,
    }
    Ok(())
}

/// Makes another installation, whether there is one or not.
pub(super) async fn reinstall(invocation: &Invocation) -> Result<(), Failure> {
    let client = invocation.client()?;
    client.reinstall().await?;
    let user = client.user().await?;
    let context = invocation.connection.context.shown();
    match invocation.format() {
        OutputFormat::Table => {
            let kept = context.map(|file| format!(", kept in {file}")).unwrap_or_default();
            invocation.note(&format!("another installation is in use{kept}, with a session of user {}", user.id));
        }
        format => write_value(format, &json!({ "user_id": user.id, "context": context }))?,
    }
    Ok(())
}
