//! What the bank says: the context file, the key, the session, one call of each kind. Nothing of it is repeated, and no more
//! than one session is opened.

use std::time::Duration;

use bunq_partner::types::{DeviceServer, DeviceServerStatus, ListProvisionsQuery};
use bunq_partner::{Client, ContextStore, ContextSummary, Error, ErrorKind, Operation, PageSize, text};
use tokio::time::timeout;

use super::super::connection::ContextPlace;
use super::super::examination::step::{Check, Checks};
use super::super::exit::told;
use super::webhooks::{self, WEBHOOKS};

/// The name of the step about the OAuth client.
const OAUTH_CLIENT: &str = "OAuth client";

/// How many callback URLs are shown.
const URLS: usize = 3;

/// How long the context file may be locked by others, and how long the bank may take for a call without which all else is known.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of the bank's answers.
#[derive(Default)]
pub(super) struct Examination {
    pub(super) steps: Checks,
    /// The refusal of the key, or of what it was sent with.
    pub(super) refusal: Option<Error>,
    /// What earlier runs have left.
    pub(super) context: Option<ContextSummary>,
}

/// Checks the context that is kept, without asking the bank.
pub(super) async fn look_at_context(
    examination: &mut Examination,
    client: &Client,
    place: &ContextPlace,
) -> Option<()> {
    let name = "context";
    let (Some(store), Some(shown)) = (place.store(), place.shown()) else {
        examination.steps.push(Check::skipped(name, "it is in memory alone"));
        return Some(());
    };
    match client.context().await {
        Ok(None) => {
            examination.steps.push(Check::ok(name, format!("{shown} is not there yet: there was no earlier run")))
        }
        Ok(Some(context)) => {
            let session = match (context.has_session, context.renew_at) {
                (true, Some(until)) => format!("a session until {until:.0}"),
                (true, None) => "a session".to_owned(),
                (false, _) => "no session".to_owned(),
            };
            let device = if context.device_registered { "a registered device" } else { "no device yet" };
            let alone = match place {
                ContextPlace::File(_) => ", and its owner's alone",
                ContextPlace::Memory | ContextPlace::Database(_) => "",
            };
            let saw = format!("{shown} is this key's{alone}: an installation, {device}, {session}");
            let remedy = format!("see that {shown} can be written: else no run after this one has its session");
            examination.steps.push(match saved_again(&*store).await {
                Ok(()) => Check::ok(name, saw),
                Err(problem) => Check::failed(name, problem, remedy),
            });
            examination.context = Some(context);
        }
        Err(error) => {
            let remedy =
                format!("put {shown} right, or give another --context; where it is missing, the next run begins anew");
            examination.steps.push(Check::failed(name, told(&error), remedy));
            return None;
        }
    }
    Some(())
}

/// Saves the context that is kept once more, to know that the next session can be saved.
async fn saved_again(store: &dyn ContextStore) -> Result<(), String> {
    let text = |error: Error| told(&error);
    let locked = timeout(PATIENCE, store.lock()).await;
    let held = |_| {
        Error::busy(format_args!(
            "{}: another process has held its lock for {}",
            store.name(),
            text::duration(PATIENCE)
        ))
    };
    let lock = locked.map_err(held).flatten().map_err(text)?;
    match store.load().await.map_err(text)? {
        Some(context) => store.save(&lock, context).await.map_err(text),
        None => Ok(()),
    }
}

/// Opens a session if there is none, and makes a call of each kind.
pub(super) async fn ask(examination: &mut Examination, client: &Client) {
    if let Err(error) = call(examination, client).await {
        examination.refused(error);
    }
}

/// Makes the calls, until one is refused.
async fn call(examination: &mut Examination, client: &Client) -> Result<(), Error> {
    client.open_session().await?;
    let query = ListProvisionsQuery::default();
    let query = PageSize::try_from(1_u64).map_or(query.clone(), |one| query.count(one));
    // It fails if a session that is dead could not be replaced.
    let listed = client.api().list_provisions(query).await?;
    examination.steps.push(Check::ok("session", whose(client).await));
    let response_id = listed.response_id().unwrap_or("unknown");
    examination.steps.push(Check::ok("list call", format!("answered; bunq's response id is {response_id}")));
    let mut warning = listed.warning().map(str::to_owned);
    match client.api().operation_timeout(PATIENCE).list_device_servers().await {
        Ok(devices) => {
            warning = warning.or_else(|| devices.warning().map(str::to_owned));
            examination.steps.push(registered(&devices));
        }
        Err(error) if matches!(error.kind(), ErrorKind::Signature | ErrorKind::Unauthorized | ErrorKind::Forbidden) => {
            return Err(error);
        }
        Err(error) => {
            let remedy = "the devices cannot be listed, which does no harm";
            examination.steps.push(Check::warning("device", told(&error), remedy));
        }
    }
    examination.steps.push(oauth_client(client).await?);
    examination.steps.push(webhooks::look(&client.notifications().operation_timeout(PATIENCE)).await?);
    examination.steps.push(Check::ok("signatures", "bunq's signature of each response is valid"));
    examination.steps.push(match warning {
        Some(warning) => Check::warning("warnings", warning, "bunq says this to the developers of the client"),
        None => Check::ok("warnings", "none"),
    });
    Ok(())
}

impl Examination {
    /// Which of the three calls was refused, or which other one.
    fn refused(&mut self, error: Error) {
        let name = match error.operation() {
            Some(operation) if *operation == Operation::CREATE_INSTALLATION => "installation",
            Some(operation) if *operation == Operation::CREATE_DEVICE_SERVER => "device",
            Some(operation) if *operation == Operation::LIST_PROVISIONS => "list call",
            Some(operation) if *operation == Operation::LIST_DEVICE_SERVERS => "device",
            Some(operation) if *operation == Operation::LIST_OAUTH_CLIENTS => OAUTH_CLIENT,
            Some(operation) if operation.path.contains("/notification-filter-") => WEBHOOKS,
            Some(operation) if *operation == Operation::LIST_PINNED_CERTIFICATES => WEBHOOKS,
            _ => "session",
        };
        let name = if error.kind() == ErrorKind::Context { "context" } else { name };
        self.steps.push(Check::failed(name, told(&error), "see the verdict"));
        self.refusal = Some(error);
    }
}

async fn whose(client: &Client) -> String {
    match client.user().await {
        Ok(user) => format!("open, for user {} ({})", user.id, user.display_name.unwrap_or_default()),
        Err(_) => "open".to_owned(),
    }
}

/// Whether there is what bunq demands before it provisions a user. A signature that is not valid, or a token that is refused, is an error.
async fn oauth_client(client: &Client) -> Result<Check, Error> {
    let remedy = "no user can be provisioned until `bunq-partner oauth ensure URL` has set it up";
    Ok(match client.oauth().operation_timeout(PATIENCE).find().await {
        Ok(Some(active)) if active.callback_url.is_empty() => {
            Check::failed(OAUTH_CLIENT, format!("{} is active, and has no callback URL", active.id), remedy)
        }
        Ok(Some(active)) => {
            let urls: Vec<_> = active.callback_url.iter().take(URLS).map(|known| known.url.as_str()).collect();
            let more = match active.callback_url.len().saturating_sub(URLS) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            Check::ok(OAUTH_CLIENT, format!("{} is active, with {}{more}", active.id, urls.join(" and ")))
        }
        Ok(None) => Check::failed(OAUTH_CLIENT, "none is active", remedy),
        Err(error) if error.kind() == ErrorKind::Duplicate => {
            Check::failed(OAUTH_CLIENT, told(&error), "`bunq-partner api update_oauth_client` cancels one")
        }
        Err(error) if matches!(error.kind(), ErrorKind::Signature | ErrorKind::Unauthorized) => return Err(error),
        Err(error) => {
            let remedy = "the OAuth clients cannot be listed: whether a user can be provisioned is not known";
            Check::warning(OAUTH_CLIENT, told(&error), remedy)
        }
    })
}

/// From where the device was registered, and whether bunq still has it.
fn registered(devices: &[DeviceServer]) -> Check {
    let name = "device";
    let shown: Vec<_> = devices
        .iter()
        .map(|device| {
            let (ip, status) = (device.ip.as_deref().unwrap_or("unknown"), device.status.as_ref());
            format!("{} registered from {ip}, {}", device.id, status.map_or("unknown", |status| status.as_str()))
        })
        .collect();
    let is_active = devices.iter().any(|device| device.status == Some(DeviceServerStatus::Active));
    if is_active || devices.is_empty() {
        Check::ok(name, if shown.is_empty() { "bunq lists none".to_owned() } else { shown.join("; ") })
    } else {
        Check::warning(name, shown.join("; "), "none of them is ACTIVE: look at the devices in bunq's app")
    }
}
