//! The client: where it is built, and the checks that come before anything is sent.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::redirect::Policy;
use reqwest::{Url, retry};

use crate::call::call;
use crate::error::{Error, ErrorKind};
use crate::operation::Operation;
use crate::pipeline::{CONNECT_TIMEOUT, Credentials, EXCHANGE_TIMEOUT, Pipeline};
use crate::provisions::Provisions;
use crate::secret::Secret;
use crate::session::{Device, PermittedIps, Session};

/// The environment variables that bunq's partners already use.
const API_KEY_VARIABLE: &str = "BUNQ_API_KEY";
const ENVIRONMENT_VARIABLE: &str = "BUNQ_ENV";

/// What every API key of bunq's sandbox starts with, and no other.
const SANDBOX_KEY_PREFIX: &str = "sandbox_";

/// bunq's number for "the session that this call is made with".
const CURRENT_SESSION: i64 = 0;

/// One of bunq's two worlds. An API key belongs to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Environment {
    /// For trying out: its keys start with `sandbox_`.
    Sandbox,
    /// Where users and money are real.
    Production,
}

impl Environment {
    /// Where bunq answers in this environment.
    pub const fn base_url(self) -> &'static str {
        match self {
            Self::Sandbox => "https://partner-api.sandbox.bunq.com/v1",
            Self::Production => "https://api.partner.bunq.com/v1",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Production => "production",
        })
    }
}

impl std::str::FromStr for Environment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "sandbox" => Ok(Self::Sandbox),
            "production" => Ok(Self::Production),
            other => Err(Error::invalid_input(
                "environment",
                format_args!("`{other}` is neither `sandbox` nor `production`"),
            )),
        }
    }
}

/// A client of bunq's Partner API, for one API key.
///
/// Cheap to clone: all clones share the connections and the one session, which is opened by the first call that
/// needs it. Must be used within a Tokio runtime.
///
/// ```no_run
/// # async fn example() -> Result<(), bunq_partner::Error> {
/// use bunq_partner::{Client, Environment, ProvisionId};
///
/// let client = Client::builder(Environment::Sandbox).api_key("sandbox_…").build()?;
/// let provision = client.provisions().get(ProvisionId::try_from(123_u64)?).await?;
/// println!("{}", provision.status);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pipeline: Arc<Pipeline>,
}

impl Client {
    /// Starts to build a client for `environment`.
    pub fn builder(environment: Environment) -> ClientBuilder {
        ClientBuilder {
            environment,
            api_key: None,
            base_url: None,
            device_description: env!("CARGO_PKG_NAME").to_string(),
            permitted_ips: PermittedIps::default(),
        }
    }

    /// Starts to build a client from the process's environment: the API key from `BUNQ_API_KEY`, and from
    /// `BUNQ_ENV` either `sandbox`, which is also meant where it is not set, or `production`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if `BUNQ_API_KEY` is not set or not text, or `BUNQ_ENV` is something else.
    pub fn builder_from_env() -> Result<ClientBuilder, Error> {
        builder_from(|name| std::env::var_os(name).map(std::ffi::OsString::into_string))
    }

    /// The verbs on provisions.
    pub fn provisions(&self) -> Provisions {
        Provisions::new(Arc::clone(&self.pipeline))
    }

    /// Ends the session at bunq, if there is one. The next call opens a new one.
    ///
    /// Worth calling when a process has done its work: a session that is not ended lives on for a week, and with
    /// it its token.
    ///
    /// # Errors
    ///
    /// As any call; a session that bunq has already forgotten is no error.
    pub async fn end_session(&self) -> Result<(), Error> {
        let Some(access) = self.pipeline.session().take().await else { return Ok(()) };
        let ended = call(&self.pipeline, &Operation::DELETE_SESSION, Credentials::Given(access), async |api| {
            api.delete_session(CURRENT_SESSION).await
        });
        match ended.await {
            Err(error) if error.kind() != ErrorKind::Unauthorized => Err(error),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.pipeline.base_url()).finish_non_exhaustive()
    }
}

/// Builds a [`Client`]; what contradicts itself is found here, before anything is sent.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    environment: Environment,
    api_key: Option<Secret>,
    base_url: Option<String>,
    device_description: String,
    permitted_ips: PermittedIps,
}

impl ClientBuilder {
    /// The API key that bunq has given out.
    pub fn api_key(mut self, api_key: impl Into<Secret>) -> Self {
        self.api_key = Some(api_key.into());
        self
    }

    /// Where bunq answers, if not where the environment says: a gateway of your own, or a
    /// [sandbox on loopback](crate#a-bunq-on-loopback). Ends in `/v1`, as bunq's own do.
    ///
    /// It must be HTTPS, but for loopback.
    pub fn base_url(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = Some(base_url.into());
        self
    }

    /// What the device is called that bunq registers for this client. The default is `bunq-partner`.
    pub fn device_description(mut self, description: impl Into<String>) -> Self {
        self.device_description = description.into();
        self
    }

    /// From where bunq shall accept the API key. The default is the address that the client first calls from.
    pub fn permitted_ips(mut self, permitted_ips: PermittedIps) -> Self {
        self.permitted_ips = permitted_ips;
        self
    }

    /// Makes the client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the API key is missing, empty, surrounded by white space or of the other
    /// environment, if the base URL is none, or neither HTTPS nor loopback, or if the list of permitted
    /// addresses is empty.
    pub fn build(self) -> Result<Client, Error> {
        let api_key = check_api_key(self.api_key, self.environment)?;
        let base_url = check_base_url(self.base_url.as_deref().unwrap_or(self.environment.base_url()))?;
        if self.permitted_ips == PermittedIps::Only(Vec::new()) {
            return Err(Error::invalid_input(
                "permitted_ips",
                "the list is empty, so that no address could use the key",
            ));
        }
        let device = Device { api_key, description: self.device_description, permitted_ips: self.permitted_ips };
        let http = http_client(&base_url)?;
        let base_url = base_url.as_str().trim_end_matches('/').to_string();
        let pipeline = Pipeline::new(http, base_url, Session::new(device));
        Ok(Client { pipeline: Arc::new(pipeline) })
    }
}

fn builder_from(variable: impl Fn(&str) -> Option<Result<String, std::ffi::OsString>>) -> Result<ClientBuilder, Error> {
    let text = |name: &str| {
        variable(name).transpose().map_err(|_| Error::invalid_input(name, "the environment variable is not text"))
    };
    let environment = match text(ENVIRONMENT_VARIABLE)? {
        Some(environment) => environment.parse()?,
        None => Environment::Sandbox,
    };
    let api_key = text(API_KEY_VARIABLE)?
        .ok_or_else(|| Error::invalid_input(API_KEY_VARIABLE, "set the environment variable to your API key"))?;
    Ok(Client::builder(environment).api_key(api_key))
}

fn check_api_key(api_key: Option<Secret>, environment: Environment) -> Result<Secret, Error> {
    let refused = |problem: String| Error::invalid_input("api_key", problem);
    let api_key = api_key.ok_or_else(|| refused("there is none: give the builder one".into()))?;
    let text = api_key.expose();
    if text.is_empty() {
        return Err(refused("it is empty".into()));
    }
    if text.trim() != text {
        return Err(refused("it begins or ends with white space".into()));
    }
    let of_sandbox = text.starts_with(SANDBOX_KEY_PREFIX);
    if of_sandbox != (environment == Environment::Sandbox) {
        let belongs = if of_sandbox { Environment::Sandbox } else { Environment::Production };
        return Err(refused(format!(
            "it is a key of the {belongs} environment (keys of the sandbox, and only they, start with \
             `{SANDBOX_KEY_PREFIX}`), but the client is for {environment}"
        )));
    }
    Ok(api_key)
}

fn check_base_url(text: &str) -> Result<Url, Error> {
    let refused = |problem: &str| Error::invalid_input("base_url", format_args!("`{text}` {problem}"));
    // A URL with a password in it is not shown.
    let url: Url = text.parse().map_err(|_| Error::invalid_input("base_url", "it is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid_input("base_url", "it holds a user name or a password, which bunq does not take"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::invalid_input("base_url", "it has a query or a fragment, to which no path can be added"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err(refused("is neither HTTPS nor on loopback")),
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

fn http_client(base_url: &Url) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(EXCHANGE_TIMEOUT)
        // A redirect would carry the token elsewhere, and a repeated request would go out under a used id.
        .redirect(Policy::none())
        .retry(retry::never())
        .referer(false);
    if base_url.scheme() == "https" {
        builder = builder.https_only(true);
    } else {
        // Plain HTTP stays on this machine, whatever the proxy settings or the name service say.
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        builder = builder.no_proxy().resolve_to_addrs("localhost", &loopback.map(|ip| SocketAddr::new(ip, 0)));
    }
    builder.build().map_err(|error| Error::invalid_input("http client", "it could not be set up").caused_by(error))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Client, String> {
        let find =
            |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| Ok(value.to_string()));
        builder_from(find).and_then(ClientBuilder::build).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environments_variables_are_those_that_partners_use() {
        let base_url = |variables: &[(&str, &str)]| from(variables).unwrap().pipeline.base_url().to_string();
        assert_eq!(base_url(&[("BUNQ_API_KEY", "sandbox_1")]), Environment::Sandbox.base_url());
        assert_eq!(
            base_url(&[("BUNQ_API_KEY", "sandbox_1"), ("BUNQ_ENV", "sandbox")]),
            Environment::Sandbox.base_url()
        );
        assert_eq!(base_url(&[("BUNQ_API_KEY", "1"), ("BUNQ_ENV", "production")]), Environment::Production.base_url());
    }

    #[test]
    fn what_is_wrong_with_a_variable_is_told() {
        let refusal = |variables: &[(&str, &str)]| from(variables).unwrap_err();
        assert_eq!(refusal(&[]), "BUNQ_API_KEY: set the environment variable to your API key");
        assert_eq!(
            refusal(&[("BUNQ_API_KEY", "1"), ("BUNQ_ENV", "Production")]),
            "environment: `Production` is neither `sandbox` nor `production`"
        );
        assert!(refusal(&[("BUNQ_API_KEY", "1")]).starts_with("api_key: it is a key of the production environment"));
        let error = builder_from(|_| Some(Err(OsString::new()))).unwrap_err();
        assert_eq!(error.to_string(), "BUNQ_ENV: the environment variable is not text");
    }

    #[test]
    fn a_slash_at_the_end_of_the_base_url_is_not_doubled() {
        let client =
            Client::builder(Environment::Sandbox).api_key("sandbox_1").base_url("http://localhost:1/v1//").build();
        assert_eq!(client.unwrap().pipeline.base_url(), "http://localhost:1/v1");
    }
}
