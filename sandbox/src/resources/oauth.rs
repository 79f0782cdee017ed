//! The partner's OAuth client and its callback URLs.

use bunq_partner::Operation;
use bunq_partner::types::{
    CreateOauthCallbackUrlRequest, CreateOauthClientRequest, RequestedOauthClientStatus, UpdateOauthCallbackUrlRequest,
    UpdateOauthClientRequest,
};
use serde_json::{Value, json};

use super::{Answer, Handler, RoutedCall};
use crate::bank::Bank;
use crate::input;
use crate::objects::oauth::{OauthCallbackUrl, OauthClient};
use crate::objects::table::Stored;
use crate::wire::response::{RawResponse, Refusal};

pub(super) const ANSWERS: &[Answer] = &[
    Answer { operation: &Operation::LIST_OAUTH_CLIENTS, handler: Handler::SessionUser(list) },
    Answer { operation: &Operation::CREATE_OAUTH_CLIENT, handler: Handler::SessionUser(create) },
    Answer { operation: &Operation::GET_OAUTH_CLIENT, handler: Handler::SessionUser(get) },
    Answer { operation: &Operation::UPDATE_OAUTH_CLIENT, handler: Handler::SessionUser(update) },
    Answer { operation: &Operation::LIST_OAUTH_CALLBACK_URLS, handler: Handler::SessionUser(list_urls) },
    Answer { operation: &Operation::CREATE_OAUTH_CALLBACK_URL, handler: Handler::SessionUser(create_url) },
    Answer { operation: &Operation::GET_OAUTH_CALLBACK_URL, handler: Handler::SessionUser(get_url) },
    Answer { operation: &Operation::UPDATE_OAUTH_CALLBACK_URL, handler: Handler::SessionUser(update_url) },
    Answer { operation: &Operation::DELETE_OAUTH_CALLBACK_URL, handler: Handler::SessionUser(delete_url) },
];

/// The ids of what a sandbox begins with. Objects that are made later have ids above 1000.
const FIRST_CLIENT: u64 = 901;
const FIRST_URL: u64 = 902;

fn list(bank: &mut Bank, _: &RoutedCall<'_>, _: u64) -> Result<RawResponse, Refusal> {
    Ok(RawResponse::items(bank.oauth_clients().into_iter().rev().map(client_item).collect()))
}

fn create(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let body: CreateOauthClientRequest = input::body(&request.call.body)?;
    let is_active = body.status.is_none_or(|status| status == RequestedOauthClientStatus::Active);
    if is_active {
        only_one(bank, None)?;
    }
    Ok(RawResponse::id(bank.objects.oauth_clients.add(
        user,
        OauthClient::new(is_active),
        request.now,
        &mut bank.numbers,
    )))
}

fn get(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    let client = show(bank, bank.objects.oauth_clients.get(user, id)?);
    Ok(RawResponse::items(vec![client_item(client)]))
}

fn update(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    let body: UpdateOauthClientRequest = input::body(&request.call.body)?;
    bank.objects.oauth_clients.get(user, id)?;
    let is_active = body.status == RequestedOauthClientStatus::Active;
    if is_active {
        only_one(bank, Some(id))?;
    }
    bank.objects.oauth_clients.change(user, id, request.now)?.is_active = is_active;
    Ok(RawResponse::id(id))
}

fn list_urls(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [client] = request.route.ids();
    bank.objects.oauth_clients.get(user, client)?;
    Ok(RawResponse::items(urls(bank, client).map(url_item).collect()))
}

fn create_url(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [client] = request.route.ids();
    let body: CreateOauthCallbackUrlRequest = input::body(&request.call.body)?;
    if !bank.objects.oauth_clients.get(user, client)?.content.is_active {
        return Err(Refusal::bad_request(format!("The OAuth client {client} is cancelled.")));
    }
    let url = OauthCallbackUrl { client, url: body.url.into() };
    Ok(RawResponse::id(bank.objects.oauth_callback_urls.add(user, url, request.now, &mut bank.numbers)))
}

fn get_url(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let id = url_of(bank, request, user)?;
    Ok(RawResponse::items(vec![url_item(bank.objects.oauth_callback_urls.get(user, id)?)]))
}

fn update_url(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let id = url_of(bank, request, user)?;
    let body: UpdateOauthCallbackUrlRequest = input::body(&request.call.body)?;
    bank.objects.oauth_callback_urls.change(user, id, request.now)?.url = body.url.into();
    Ok(RawResponse::id(id))
}

fn delete_url(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let id = url_of(bank, request, user)?;
    bank.objects.oauth_callback_urls.delete(user, id)?;
    Ok(RawResponse::items(Vec::new()))
}

/// The id of the callback URL in the path, which must be one of the client in the path.
fn url_of(bank: &Bank, request: &RoutedCall<'_>, user: u64) -> Result<u64, Refusal> {
    let [client, id] = request.route.ids();
    match bank.objects.oauth_callback_urls.get(user, id)? {
        url if url.content.client == client => Ok(id),
        _ => Err(Refusal::not_found(format!("There is no callback URL {id} of the OAuth client {client}."))),
    }
}

/// Refuses an active client beside another one, if the bank does.
fn only_one(bank: &Bank, client: Option<u64>) -> Result<(), Refusal> {
    let other = bank.objects.oauth_clients.active(bank.partner).find(|active| Some(*active) != client);
    match (bank.settings.profile.second_oauth_client, other) {
        (Some(status), Some(other)) => {
            Err(Refusal::new(status, format!("The OAuth client {other} is active: there can be one.")))
        }
        _ => Ok(()),
    }
}

fn urls(bank: &Bank, client: u64) -> impl Iterator<Item = &Stored<OauthCallbackUrl>> {
    bank.objects.oauth_callback_urls.of(bank.partner).filter(move |url| url.content.client == client)
}

fn url_item(url: &Stored<OauthCallbackUrl>) -> Value {
    url.item("OauthCallbackUrl", [("url", url.content.url.as_str().into())])
}

fn client_item(client: Value) -> Value {
    json!({ "OauthClient": client })
}

fn show(bank: &Bank, client: &Stored<OauthClient>) -> Value {
    let OauthClient { is_active, client_id, secret } = &client.content;
    let urls = urls(bank, client.id).map(|url| url_item(url)["OauthCallbackUrl"].take());
    json!({
        "id": client.id,
        "status": if *is_active { "ACTIVE" } else { "CANCELLED" },
        "display_name": null,
        "client_id": client_id.expose(),
        "secret": secret.expose(),
        "callback_url": urls.collect::<Vec<_>>(),
    })
}

impl Bank {
    /// Adds the client that a sandbox begins with, and its callback URL.
    pub(crate) fn begin_with_oauth_client(&mut self) {
        let (partner, now) = (self.partner, self.clock.now());
        self.objects.oauth_clients.insert(partner, FIRST_CLIENT, OauthClient::new(true), now);
        let url = OauthCallbackUrl { client: FIRST_CLIENT, url: "https://sandbox.example/callback".to_owned() };
        self.objects.oauth_callback_urls.insert(partner, FIRST_URL, url, now);
    }

    /// All OAuth clients as they are shown, oldest first.
    pub(crate) fn oauth_clients(&self) -> Vec<Value> {
        self.objects.oauth_clients.of(self.partner).map(|client| show(self, client)).collect()
    }

    /// Adds an active client, whatever there is.
    pub(crate) fn add_oauth_client(&mut self) {
        let (client, now) = (OauthClient::new(true), self.clock.now());
        self.objects.oauth_clients.add(self.partner, client, now, &mut self.numbers);
    }

    pub(crate) fn cancel_oauth_clients(&mut self) {
        let now = self.clock.now();
        let active: Vec<_> = self.objects.oauth_clients.active(self.partner).collect();
        for id in active {
            if let Ok(client) = self.objects.oauth_clients.change(self.partner, id, now) {
                client.is_active = false;
            }
        }
    }

    /// Checks what bunq demands of a partner before it provisions a user: an active client with a callback URL.
    pub(super) fn check_oauth_client(&self) -> Result<(), Refusal> {
        let mut active = self.objects.oauth_clients.active(self.partner);
        if active.any(|client| urls(self, client).next().is_some()) {
            return Ok(());
        }
        Err(Refusal::bad_request("There is no active OAuth client with a callback URL: no user can be provisioned."))
    }
}
