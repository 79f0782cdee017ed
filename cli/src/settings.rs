//! Which of the command line, the environment variables and the profiles decides each setting.
//!
//! Environment, base URL, API key, context, custody and what the bank takes of users come from one place, so that no key is sent to an
//! address from elsewhere. It is the first of these that there is: `--sandbox`; `--profile`; the command line with the variables; `BUNQ_PROFILE`; the profile
//! `default`. A setting that this place does not have takes its default.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use bunq_partner::reqwest::Url;
use bunq_partner::{Environment, LimitScope, Secret, UserInstallation, environment_variable};

use super::arguments::{ConnectionOptions, OutputFormat};
use super::exit::Failure;
pub(super) use super::profile::CountedByKind;
use super::profile::{NamedProfile, ProfileKey, Profiles};

const API_KEY: &str = "BUNQ_API_KEY";
const BASE_URL: &str = "BUNQ_BASE_URL";
const ENVIRONMENT: &str = "BUNQ_ENV";
const PROFILE: &str = "BUNQ_PROFILE";
pub(super) const DATABASE_URL: &str = "BUNQ_PARTNER_POSTGRES";

/// The profile that is used if no other is named.
const DEFAULT_PROFILE: &str = "default";

/// The environment variables that are settings.
#[derive(Default)]
pub(super) struct Variables {
    api_key: Option<OsString>,
    base_url: Option<OsString>,
    environment: Option<OsString>,
    profile: Option<OsString>,
    database_url: Option<OsString>,
}

impl Variables {
    pub(super) fn read() -> Self {
        Self {
            api_key: environment_variable(API_KEY),
            base_url: environment_variable(BASE_URL),
            environment: environment_variable(ENVIRONMENT),
            profile: environment_variable(PROFILE),
            database_url: environment_variable(DATABASE_URL),
        }
    }
}

fn text(name: &str, value: &Option<OsString>) -> Result<Option<String>, Failure> {
    let text = value.clone().map(OsString::into_string).transpose();
    text.map_err(|_| Failure::usage(format!("{name} is not text")))
}

/// Where a setting is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Option(&'static str),
    Variable(&'static str),
    Profile(String),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(name) => write!(f, "option {name}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Profile(profile) => f.write_str(profile),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) source: Source,
}

/// The first value that there is, or the default.
fn first<const N: usize, T>(values: [(Option<T>, Source); N], default: T) -> Setting<T> {
    let found = values.into_iter().find_map(|(value, source)| value.map(|value| Setting { value, source }));
    found.unwrap_or(Setting { value: default, source: Source::Default })
}

/// Where the API key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyPlace {
    File(PathBuf),
    Variable(Secret),
    Command(Vec<String>),
    /// There is none: the program asks for it.
    Asked,
    /// There is none here, and that of this source is not used, because it belongs to another place.
    Elsewhere(Source),
}

/// Where the URL of a database comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UrlPlace {
    File(PathBuf),
    Variable(Secret),
}

/// The database that machines share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PostgresSettings {
    pub(super) url: Setting<UrlPlace>,
    /// The name of the context and of the custody there.
    pub(super) name: String,
    pub(super) counted_by: CountedByKind,
    /// The name of the address that this machine calls from.
    pub(super) address: String,
}

/// A bank, its key, and where the session is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BankSettings {
    pub(super) environment: Setting<Environment>,
    pub(super) base_url: Setting<String>,
    /// The host that plain HTTP is allowed to. Neither a variable nor a profile says it.
    pub(super) plain_http: Option<String>,
    pub(super) api_key: Setting<KeyPlace>,
    /// `None`: a file of the state folder, one for each key.
    pub(super) context: Setting<Option<PathBuf>>,
    /// The folder with what is kept of users, if the profile names one. An option of a command may name another.
    pub(super) custody: Setting<Option<PathBuf>>,
    /// Whose installation the sessions of users belong to. Only a profile says it, as what bunq counts calls by.
    pub(super) user_installation: Setting<UserInstallation>,
    pub(super) limits_are_per: Setting<LimitScope>,
    /// Where context and custody are kept if no file and no folder is named, and where permits of the rate limits come from.
    pub(super) postgres: Option<PostgresSettings>,
    /// The profile that this comes from, if it does, and what has chosen it.
    pub(super) profile: Option<Setting<NamedProfile>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bank {
    /// The sandbox inside this program.
    Internal,
    At(Box<BankSettings>),
}

impl Bank {
    /// Whether it is production, by its environment or by its host.
    pub(super) fn is_production(&self) -> bool {
        let Self::At(settings) = self else { return false };
        // With a dot at its end it is the same host.
        let host = |url: &str| Some(url.parse::<Url>().ok()?.host_str()?.trim_end_matches('.').to_owned());
        settings.environment.value == Environment::Production
            || host(&settings.base_url.value) == host(Environment::Production.base_url())
    }
}

/// The profiles that may say something, by rank.
#[derive(Default)]
pub(super) struct Layers {
    /// That of `--profile`.
    explicit: Option<NamedProfile>,
    /// That of `BUNQ_PROFILE`.
    ambient: Option<NamedProfile>,
    default: Option<NamedProfile>,
}

/// All settings, before it is decided which apply.
pub(super) struct Settings<'a> {
    typed: &'a ConnectionOptions,
    variables: Variables,
    layers: Layers,
}

impl<'a> Settings<'a> {
    /// Reads the variables and the file of profiles, which `--sandbox` does not need.
    pub(super) fn load(typed: &'a ConnectionOptions) -> Result<Self, Failure> {
        if let Some((one, other)) = typed.conflict() {
            let problem = format!("{one} and {other} cannot be given together");
            return Err(Failure::usage(problem).with_hint("leave out one of them"));
        }
        let (variables, layers) = if typed.sandbox {
            Default::default()
        } else {
            let (variables, profiles) = (Variables::read(), Profiles::load()?);
            let named = |name: Option<String>, asked| name.map(|name| profiles.find(&name, asked)).transpose();
            let explicit = named(typed.profile.clone(), "--profile")?;
            let ambient = text(PROFILE, &variables.profile).and_then(|name| named(name, PROFILE));
            // What was typed wins over a variable that names no profile.
            let ambient = if explicit.is_some() { ambient.ok().flatten() } else { ambient? };
            (variables, Layers { explicit, ambient, default: profiles.get(DEFAULT_PROFILE) })
        };
        Ok(Self { typed, variables, layers })
    }

    /// The format of results. It is not the bank's, so each profile may say it.
    pub(super) fn output(&self, typed: Option<OutputFormat>) -> Setting<OutputFormat> {
        let Layers { explicit, ambient, default } = &self.layers;
        let of = |layer: &Option<NamedProfile>| match layer {
            Some(layer) => (layer.profile.output, Source::Profile(layer.to_string())),
            None => (None, Source::Default),
        };
        first([(typed, Source::Option("--output")), of(explicit), of(ambient), of(default)], OutputFormat::Table)
    }

    /// Which bank it is.
    pub(super) fn bank(&self) -> Result<Bank, Failure> {
        if self.typed.sandbox {
            return Ok(Bank::Internal);
        }
        let Layers { explicit, ambient, default } = &self.layers;
        let explicit = explicit.as_ref().map(|profile| (profile, Source::Option("--profile")));
        let ambient = ambient.as_ref().map(|profile| (profile, Source::Variable(PROFILE)));
        let lower = ambient.or(default.as_ref().map(|profile| (profile, Source::Default)));
        let settings = match (explicit, lower) {
            (Some((profile, chosen)), _) => self.of_profile(profile, chosen)?,
            (None, Some((profile, chosen))) if !self.is_said_directly() => self.of_profile(profile, chosen)?,
            (None, unused) => self.said_directly(unused.map(|(profile, _)| profile))?,
        };
        Ok(Bank::At(Box::new(settings)))
    }

    /// Whether an option or a variable sets something of the bank.
    fn is_said_directly(&self) -> bool {
        let ConnectionOptions { env, base_url, api_key_file, .. } = self.typed;
        let Variables { environment, base_url: base_url_variable, api_key, .. } = &self.variables;
        let is_typed = env.is_some() || base_url.is_some() || api_key_file.is_some();
        is_typed || environment.is_some() || base_url_variable.is_some() || api_key.is_some()
    }

    fn of_profile(&self, named: &NamedProfile, chosen: Source) -> Result<BankSettings, Failure> {
        let (profile, source) = (named.profile.clone(), Source::Profile(named.to_string()));
        let environment = first([(profile.environment, source.clone())], Environment::Sandbox);
        let key = profile.api_key.map(|key| match key {
            ProfileKey::File(file) => KeyPlace::File(file),
            ProfileKey::Command(words) => KeyPlace::Command(words),
        });
        let none = match self.variables.api_key {
            Some(_) => KeyPlace::Elsewhere(Source::Variable(API_KEY)),
            None => KeyPlace::Asked,
        };
        Ok(BankSettings {
            base_url: first([(profile.base_url, source.clone())], environment.value.base_url().to_owned()),
            postgres: self.postgres(Some(named), environment.value)?,
            environment,
            plain_http: self.typed.plain_http.clone(),
            api_key: first([(key, source.clone())], none),
            context: first(
                [(self.typed_context(), Source::Option("--context")), (profile.context.map(Some), source.clone())],
                None,
            ),
            custody: first([(profile.custody.map(Some), source.clone())], None),
            user_installation: first([(profile.user_installation, source.clone())], UserInstallation::default()),
            limits_are_per: first([(profile.limits_are_per, source)], LimitScope::default()),
            profile: Some(Setting { value: named.clone(), source: chosen }),
        })
    }

    /// The settings of options and variables; `unused` is the profile that is not used because of them.
    fn said_directly(&self, unused: Option<&NamedProfile>) -> Result<BankSettings, Failure> {
        let ConnectionOptions { env, base_url, api_key_file, .. } = self.typed;
        let parsed = match env {
            Some(_) => None,
            None => text(ENVIRONMENT, &self.variables.environment)?
                .map(|text| text.parse().map_err(|error| Failure::from(error).of(ENVIRONMENT)))
                .transpose()?,
        };
        let environment =
            first([(*env, Source::Option("--env")), (parsed, Source::Variable(ENVIRONMENT))], Environment::Sandbox);
        let base_url_variable = text(BASE_URL, &self.variables.base_url)?;
        let base_url = first(
            [(base_url.clone(), Source::Option("--base-url")), (base_url_variable, Source::Variable(BASE_URL))],
            environment.value.base_url().to_owned(),
        );
        let key_variable = text(API_KEY, &self.variables.api_key)?.map(|key| KeyPlace::Variable(key.trim().into()));
        let none = match unused.filter(|unused| unused.profile.api_key.is_some()) {
            Some(unused) => KeyPlace::Elsewhere(Source::Profile(unused.to_string())),
            None => KeyPlace::Asked,
        };
        let api_key = first(
            [
                (api_key_file.clone().map(KeyPlace::File), Source::Option("--api-key-file")),
                (key_variable, Source::Variable(API_KEY)),
            ],
            none,
        );
        if base_url.source == Source::Variable(BASE_URL) {
            if environment.value == Environment::Production {
                let problem = format!(
                    "{BASE_URL} is set, and the environment is production ({}): a variable does not decide where a production key \
                     is sent",
                    environment.source
                );
                return Err(Failure::usage(problem).with_hint(format!("unset {BASE_URL}, or give --base-url")));
            }
            if api_key.source == Source::Option("--api-key-file") {
                let problem = format!(
                    "the key is from option --api-key-file, and the base URL from variable {BASE_URL}: both must be from one place"
                );
                let hint = format!("give --base-url, or unset {BASE_URL}");
                return Err(Failure::usage(problem).with_hint(hint));
            }
        }
        let context = first([(self.typed_context(), Source::Option("--context"))], None);
        Ok(BankSettings {
            postgres: self.postgres(None, environment.value)?,
            environment,
            base_url,
            plain_http: self.typed.plain_http.clone(),
            api_key,
            context,
            custody: first([], None),
            user_installation: first([], UserInstallation::default()),
            limits_are_per: first([], LimitScope::default()),
            profile: None,
        })
    }

    /// The database that a profile or the variable names. The variable decides which: it gives the owner's URL to a migration, too.
    fn postgres(
        &self,
        named: Option<&NamedProfile>,
        environment: Environment,
    ) -> Result<Option<PostgresSettings>, Failure> {
        let profile = named.and_then(|named| named.profile.postgres.as_ref());
        let variable = text(DATABASE_URL, &self.variables.database_url)?.map(|url| UrlPlace::Variable(url.into()));
        let url = match (variable, profile.and_then(|postgres| postgres.url_file.clone()), named) {
            (Some(value), ..) => Setting { value, source: Source::Variable(DATABASE_URL) },
            (None, Some(file), Some(named)) => {
                Setting { value: UrlPlace::File(file), source: Source::Profile(named.to_string()) }
            }
            (None, _, Some(named)) if profile.is_some() => {
                let failure = Failure::usage(format!("{named} has `postgres`, and there is no URL of a database"));
                return Err(failure.with_hint(format!("set {DATABASE_URL}, or `url_file` in `postgres`")));
            }
            (None, ..) => return Ok(None),
        };
        let said = profile.cloned().unwrap_or_default();
        Ok(Some(PostgresSettings {
            url,
            name: said.name.unwrap_or_else(|| environment.to_string()),
            counted_by: said.counted_by.unwrap_or_default(),
            address: said.address.unwrap_or_else(|| "all".to_owned()),
        }))
    }

    fn typed_context(&self) -> Option<Option<PathBuf>> {
        self.typed.context.clone().map(Some)
    }
}

impl BankSettings {
    /// The base URL without a password, which no client takes.
    pub(super) fn shown_base_url(&self) -> &str {
        if self.base_url.value.contains('@') { "[redacted]" } else { &self.base_url.value }
    }

    /// Why there is no key, although `other` has one.
    pub(super) fn key_is_elsewhere(&self, other: &Source) -> Failure {
        match &self.profile {
            Some(Setting { value: profile, .. }) => {
                Failure::usage(format!("{profile} has no API key, and the one from {other} is not sent to its bank"))
                    .with_hint("give the profile api_key_file or api_key_command, or leave it out")
            }
            None => {
                let said = [&self.environment.source, &self.base_url.source];
                let said = said.into_iter().find(|source| **source != Source::Default).unwrap_or(&Source::Default);
                Failure::usage(format!("the bank is from {said}, so the API key from {other} is not sent to it"))
                    .with_hint(format!("give that bank's key with {API_KEY}, or leave out what names the bank"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
