//! One snapshot per operation: the request as it is sent, the response as it is received, and what the typed method
//! makes of it. The responses are the examples of the document.

#[path = "../../tests/common/document.rs"]
mod document;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use bunq_partner_sandbox::{CallLogEntry, RawResponse, ReceivedSignature, Sandbox};
use jiff::civil::date;
use serde_json::Value;
use uuid::Uuid;

use super::{Api, Response};
use crate::client::Client;
use crate::environment::Environment;
use crate::error::Error;
use crate::operation::Operation;
use crate::transport::credentials::{BoxFuture, Credentials, Installation, ProvideCredentials, Renewal};
use crate::transport::signature::{SigningKey, VerifyingKey};
use crate::transport::trouble::Trouble;
use crate::types::{
    AttachmentContentType, CertificatePinnedId, CreateCredentialIpRequest, CreateOauthCallbackUrlRequest,
    CreateOauthClientRequest, CreatePinnedCertificateRequest, CredentialId, CredentialIpId, Cursor,
    DeviceServerRequest, InstallationId, InstallationRequest, ListNotificationFilterFailuresQuery, ListProvisionsQuery,
    NewProvision, NewProvisionByPointer, NotificationCategory, NotificationFilter, NotificationVerificationType,
    PageSize, PermittedIp, PinnedCertificate, ProvisionId, ProvisionStatus, ReplaceNotificationFiltersRequest,
    RequestedCredentialIpStatus, RequestedOauthClientStatus, RequestedStatus, RetryNotificationFilterFailuresRequest,
    Secret, SessionServerRequest, UpdateCredentialIpRequest, UpdateOauthCallbackUrlRequest, UpdateOauthClientRequest,
    UpdateProvisionRequest,
};

/// The example file of a download, which has no JSON.
const EXAMPLE_FILE: &[u8] = b"%PDF-1.4\n\xff\n";

const UUID: Uuid = Uuid::from_u128(0x550e8400_e29b_41d4_a716_446655440000);

struct Wire {
    sandbox: Sandbox,
    examples: Value,
}

impl Wire {
    /// Makes a call, responds with an example of the document, and records request, response and result.
    async fn record<T: Debug>(
        &self,
        name: &str,
        example: &str,
        call: impl Future<Output = Result<Response<T>, Error>>,
    ) {
        let body = match self.examples[example]["value"] {
            Value::Null => EXAMPLE_FILE.to_vec(),
            ref value => format!("{value:#}").into_bytes(),
        };
        let is_installation = name == "create_installation";
        self.sandbox.before_signing(move |_, response| (response.status, response.body) = (200, body.clone()));
        let received = Arc::new(Mutex::new(None));
        let receiver = Arc::clone(&received);
        self.sandbox.after_signing(move |_, response| {
            // The key in the example is not a key, so nothing can be verified with it.
            response.headers.retain(|(name, _)| !(is_installation && name == "X-Bunq-Server-Signature"));
            *receiver.lock().unwrap() = Some(response.clone());
        });
        let result = call.await.unwrap_or_else(|error| panic!("{name}: {error}"));
        self.sandbox.clear_edits();
        let call = self.sandbox.call_log().pop().unwrap();
        assert_eq!(result.request_id(), call.header("x-bunq-client-request-id"));
        let received = received.lock().unwrap().take().unwrap();
        let (sent, received, result) = (self.sent(&call), received_text(&received), result.into_inner());
        let text = format!("{sent}\n\n=== response ===\n\n{received}\n\n=== result ===\n\n{result:#?}");
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../tests/transport/snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(format!("transport__wire__{name}"), text));
    }

    /// The request as it was received: its line, its headers by name, its body. Values that differ from run to run are
    /// replaced.
    fn sent(&self, call: &CallLogEntry) -> String {
        let mut headers: Vec<String> = call
            .headers
            .iter()
            .map(|(name, value)| match name.as_str() {
                "host" => "host: [loopback]".into(),
                "user-agent" => format!("user-agent: {}", value.replace(env!("CARGO_PKG_VERSION"), "[version]")),
                "x-bunq-client-request-id" => format!("{name}: [{} characters]", value.len()),
                "x-bunq-client-authentication" => format!("{name}: [token]"),
                "x-bunq-client-signature" => {
                    assert_eq!(call.signature, ReceivedSignature::Valid);
                    format!("{name}: [valid]")
                }
                _ => format!("{name}: {value}"),
            })
            .collect();
        headers.sort();
        let query = call.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let body = shown(&call.bytes).replace(self.sandbox.api_key().expose(), "[api key]");
        let body = match body.split_once("-----BEGIN PUBLIC KEY-----") {
            Some((before, _)) => format!("{before}[public key]\"}}"),
            None => body,
        };
        format!("{} {}{query}\n{}\n\n{body}", call.method, call.path, headers.join("\n"))
    }
}

/// A body, with escapes if it is no text.
fn shown(body: &[u8]) -> String {
    std::str::from_utf8(body).map_or_else(|_| body.escape_ascii().to_string(), str::to_owned)
}

/// The response as it was sent: its status, its headers by name, its body.
fn received_text(response: &RawResponse) -> String {
    let mut headers: Vec<String> = response
        .headers
        .iter()
        .map(|(name, value)| match name.as_str() {
            "X-Bunq-Server-Signature" => format!("{name}: [signature]"),
            "X-Bunq-Client-Request-Id" | "X-Bunq-Client-Response-Id" => format!("{name}: [{} characters]", value.len()),
            _ => format!("{name}: {value}"),
        })
        .collect();
    headers.sort();
    format!("{}\n{}\n\n{}", response.status, headers.join("\n"), shown(&response.body))
}

/// A client for the sandbox, whose types are those of another copy of this crate.
fn client(sandbox: &Sandbox) -> Client {
    let builder = Client::builder(Environment::Sandbox).without_rate_limits();
    builder.base_url(sandbox.base_url()).api_key(api_key(sandbox)).build().unwrap()
}

fn api_key(sandbox: &Sandbox) -> Secret {
    sandbox.api_key().expose().into()
}

fn api(sandbox: &Sandbox, credentials: Credentials) -> Api {
    Api { source: Arc::new(credentials), ..client(sandbox).api() }
}

#[tokio::test]
async fn every_operation_both_ways() {
    test_timeout::start();
    let document = document::document();
    let sandbox = Sandbox::start().await.unwrap();
    let examples = document["components"]["examples"].clone();
    let wire = Wire { sandbox: sandbox.clone(), examples };

    let signing_key = SigningKey::generate().unwrap();
    let request = InstallationRequest::new(signing_key.public_key_pem().unwrap());
    let unknown = api(&sandbox, Credentials::default());
    wire.record("create_installation", "InstallationResponse", unknown.create_installation(&request)).await;
    let output = unknown.create_installation(&request).await.unwrap().into_inner();
    let server_key = VerifyingKey::from_pem(&output.server_public_key.server_public_key).unwrap();
    let installation = Arc::new(Installation { signing_key, server_key, token: output.token.token, received: None });

    let installed = api(&sandbox, Credentials::of_installation(&installation));
    let mut request = DeviceServerRequest::new("till 7".parse().unwrap(), api_key(&sandbox).into());
    request.permitted_ips = vec![PermittedIp::Any];
    wire.record("create_device_server", "DeviceServerResponse", installed.create_device_server(&request)).await;
    let request = SessionServerRequest::new(api_key(&sandbox).into());
    wire.record("create_session", "SessionServerResponseCompany", installed.create_session(&request)).await;

    let client = client(&sandbox);
    client.open_session().await.unwrap();
    provisions(&wire, &client.api()).await;
    let api = client.api();
    wire.record("get_installation", "InstallationIdResponse", api.get_installation()).await;
    let installation = InstallationId::try_from(4711_u64).unwrap();
    let by_id = api.get_installation_by_id(installation);
    wire.record("get_installation_by_id", "InstallationIdResponse", by_id).await;
    let key = api.get_server_public_key(installation);
    wire.record("get_server_public_key", "ServerPublicKeyResponse", key).await;
    wire.record("list_device_servers", "DeviceServerList", api.list_device_servers()).await;
    wire.record("get_device_server", "DeviceServerActive", api.get_device_server(4712_u64.try_into().unwrap())).await;
    oauth(&wire, &api).await;
    attachments(&wire, &api).await;
    notifications(&wire, &api).await;
    wire.record("delete_session", "EmptyResponse", api.delete_session(0)).await;
    credentials(&wire, &api).await;

    let recorded = |operation: &&Operation| sandbox.call_log().iter().any(|call| is_of(operation, call));
    assert_eq!(Operation::ALL.iter().filter(recorded).count(), Operation::ALL.len());
}

async fn oauth(wire: &Wire, api: &Api) {
    let (client, url) = (|| "6001".parse().unwrap(), || "7001".parse().unwrap());
    wire.record("list_oauth_clients", "OauthClientListCancelled", api.list_oauth_clients()).await;
    let new = CreateOauthClientRequest::new();
    wire.record("create_oauth_client", "OauthClientIdResponse", api.create_oauth_client(&new)).await;
    wire.record("get_oauth_client", "OauthClientActive", api.get_oauth_client(client())).await;
    let cancel = UpdateOauthClientRequest::new(RequestedOauthClientStatus::Cancelled);
    wire.record("update_oauth_client", "OauthClientIdResponse", api.update_oauth_client(client(), &cancel)).await;

    let callback = || "https://partner.example.com/callback".parse().unwrap();
    let read = api.list_oauth_callback_urls(client());
    wire.record("list_oauth_callback_urls", "OauthCallbackUrlList", read).await;
    let new = CreateOauthCallbackUrlRequest::new(callback());
    let created = api.create_oauth_callback_url(client(), &new);
    wire.record("create_oauth_callback_url", "OauthCallbackUrlIdResponse", created).await;
    let read = api.get_oauth_callback_url(client(), url());
    wire.record("get_oauth_callback_url", "OauthCallbackUrlRead", read).await;
    let other = UpdateOauthCallbackUrlRequest::new(callback());
    let updated = api.update_oauth_callback_url(client(), url(), &other);
    wire.record("update_oauth_callback_url", "OauthCallbackUrlIdResponse", updated).await;
    let deleted = api.delete_oauth_callback_url(client(), url());
    wire.record("delete_oauth_callback_url", "EmptyResponse", deleted).await;
}

async fn provisions(wire: &Wire, api: &Api) {
    let id = ProvisionId::try_from(123_u64).unwrap();
    let (email, phone) = (|| "user@example.com".parse().unwrap(), || "+31600000000".parse().unwrap());
    let name = || "Example Person".parse().unwrap();
    let person = NewProvision::person(UUID, email(), phone())
        .with_transaction_audit(date(1990, 1, 31), "NL".parse().unwrap())
        .into();
    wire.record("create_provision_person", "ProvisionPendingUser", api.create_provision(&person)).await;
    let company = NewProvision::company(Uuid::from_u128(1), email(), phone(), id).into();
    wire.record("create_provision_company", "IdResponse", api.create_provision(&company)).await;
    let by_email = NewProvisionByPointer::email(Uuid::from_u128(2), email(), name()).into();
    wire.record("create_provision_by_email", "IdResponse", api.create_provision(&by_email)).await;
    let by_phone = NewProvisionByPointer::phone_number(Uuid::from_u128(3), phone(), name()).into();
    wire.record("create_provision_by_phone_number", "IdResponse", api.create_provision(&by_phone)).await;

    wire.record("get_provision", "ProvisionReady", api.get_provision(id)).await;
    let close = UpdateProvisionRequest::new(RequestedStatus::Cancelled);
    wire.record("update_provision_close", "IdResponse", api.update_provision(id, &close)).await;
    let reset = UpdateProvisionRequest::new(RequestedStatus::TokenResetRequested);
    wire.record("update_provision_reset_token", "IdResponse", api.update_provision(id, &reset)).await;

    let query = ListProvisionsQuery::default()
        .status([ProvisionStatus::Created, ProvisionStatus::Active])
        .external_uuid(UUID)
        .count(PageSize::new(50).unwrap());
    wire.record("list_provisions", "ProvisionListPage", api.list_provisions(query)).await;
    let from = |cursor| api.list_provisions(ListProvisionsQuery::default().cursor(cursor));
    wire.record("list_provisions_older", "ProvisionListLastPage", from(Cursor::OlderThan(42))).await;
    wire.record("list_provisions_newer", "ProvisionListEmpty", from(Cursor::NewerThan(42))).await;
}

async fn attachments(wire: &Wire, api: &Api) {
    let id = 6001_u64.try_into().unwrap();
    let (png, description) = (&b"\x89PNG\r\n\x1a\n\x00"[..], "Passport".parse().unwrap());
    let upload = api.create_attachment(AttachmentContentType::ImagePng, png, Some(&description));
    wire.record("create_attachment", "AttachmentIdResponse", upload).await;
    let gif = b"GIF89a".to_vec();
    let upload = api.create_attachment(AttachmentContentType::ImageGif, gif, None);
    wire.record("create_attachment_without_description", "AttachmentIdResponse", upload).await;
    wire.record("get_attachment", "AttachmentDocument", api.get_attachment(id)).await;
    wire.record("get_attachment_content", "(a file)", api.get_attachment_content(id)).await;
}

async fn notifications(wire: &Wire, api: &Api) {
    let read =
        wire.examples["NotificationFiltersUnknown"]["value"].pointer("/Response/0/NotificationFilterUrl").unwrap();
    let read: NotificationFilter = serde_json::from_value(read.clone()).unwrap();
    let target = "https://partner.example.com/bunq".parse().unwrap();
    let mut new = NotificationFilter::new(NotificationCategory::PartnerUserProvision, target);
    new.all_verification_type = vec![NotificationVerificationType::BunqCertificate];
    let listed = api.list_notification_filters();
    wire.record("list_notification_filters", "NotificationFiltersUnknown", listed).await;
    let request = ReplaceNotificationFiltersRequest::new(vec![read, new]);
    let replaced = api.replace_notification_filters(&request);
    wire.record("replace_notification_filters", "NotificationFilters", replaced).await;

    let query = ListNotificationFilterFailuresQuery::default().count(PageSize::new(2).unwrap());
    let failures = api.list_notification_filter_failures(None, query);
    wire.record("list_notification_filter_failures", "NotificationFilterFailures", failures).await;
    let request = RetryNotificationFilterFailuresRequest::new("9001,9002,9003".parse().unwrap());
    let retried = api.retry_notification_filter_failures(None, &request);
    wire.record("retry_notification_filter_failures", "RetriedIds", retried).await;

    let pinned = CertificatePinnedId::try_from(9501_u64).unwrap();
    wire.record("list_pinned_certificates", "CertificatePinned", api.list_pinned_certificates()).await;
    let pem = "-----BEGIN CERTIFICATE-----\nTm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n";
    let request = CreatePinnedCertificateRequest::new(vec![PinnedCertificate::new(pem.parse().unwrap())]);
    let created = api.create_pinned_certificate(&request);
    wire.record("create_pinned_certificate", "CertificatePinnedCreated", created).await;
    wire.record("get_pinned_certificate", "CertificatePinned", api.get_pinned_certificate(pinned)).await;
    wire.record("delete_pinned_certificate", "EmptyResponse", api.delete_pinned_certificate(pinned)).await;
}

async fn credentials(wire: &Wire, api: &Api) {
    let id = CredentialId::try_from(789_u64).unwrap();
    let ip = CredentialIpId::try_from(4801_u64).unwrap();
    wire.record("list_credentials", "CredentialActive", api.list_credentials()).await;
    wire.record("get_credential", "CredentialPending", api.get_credential(id)).await;
    wire.record("list_credential_ips", "CredentialIpList", api.list_credential_ips(id)).await;
    let permit = CreateCredentialIpRequest::new("192.0.2.10".parse().unwrap());
    let created = api.create_credential_ip(id, &permit);
    wire.record("create_credential_ip", "CredentialIpIdResponse", created).await;
    wire.record("get_credential_ip", "CredentialIpActive", api.get_credential_ip(id, ip)).await;
    let forbid = UpdateCredentialIpRequest::new(RequestedCredentialIpStatus::Inactive);
    let updated = api.update_credential_ip(id, ip, &forbid);
    wire.record("update_credential_ip", "CredentialIpIdResponse", updated).await;
}

fn is_of(operation: &Operation, call: &CallLogEntry) -> bool {
    let path: Vec<_> = call.path.trim_start_matches("/v1").split('/').collect();
    let template: Vec<_> = operation.path.split('/').collect();
    operation.method == call.method
        && template.len() == path.len()
        && template.iter().zip(path).all(|(part, actual)| part.starts_with('{') || *part == actual)
}

/// A source that provides a dead token first.
#[derive(Debug)]
struct Renewing {
    good: Credentials,
    refused: Mutex<Vec<Secret>>,
}

impl ProvideCredentials for Renewing {
    fn credentials<'a>(&'a self, _with_user: bool, _trouble: &'a Trouble) -> BoxFuture<'a, Result<Credentials, Error>> {
        let mut credentials = self.good.clone();
        if self.refused.lock().unwrap().is_empty() {
            credentials.token = Some("dead".into());
        }
        Box::pin(async { Ok(credentials) })
    }

    fn refuse<'a>(
        &'a self,
        credentials: &'a Credentials,
        refusal: &'a Error,
        is_again: bool,
    ) -> BoxFuture<'a, Renewal> {
        assert!(!is_again);
        assert!(refusal.refuses_token());
        self.refused.lock().unwrap().extend(credentials.token.clone());
        Box::pin(async { Renewal::Renewed })
    }

    fn reread<'a>(&'a self, _credentials: &'a Credentials) -> BoxFuture<'a, bool> {
        unreachable!("the other token is accepted")
    }
}

/// The transport asks for credentials and knows no session.
#[tokio::test]
async fn a_call_is_made_with_any_source_of_credentials() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = client(&sandbox);
    let good = client.api().source.credentials(false, &Trouble::default()).await.unwrap();
    let source = Arc::new(Renewing { good, refused: Mutex::default() });
    let before = sandbox.call_log().len();
    let api = Api { source: source.clone(), ..client.api() };
    api.get_installation().await.unwrap();
    assert_eq!(*source.refused.lock().unwrap(), [Secret::from("dead")]);
    assert_eq!(sandbox.call_log().len(), before + 2);
}
