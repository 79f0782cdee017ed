//! Profiles: named settings in one file, in the platform's configuration folder.
//!
//! With `api_key_command` the file is code that runs with the rights of whoever starts the program, so nobody else may be able to
//! change it. It holds no keys, so others may read it. Messages do not quote its values, in case somebody writes a key into it by
//! mistake.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use bunq_partner::{Environment, LimitScope, UserInstallation, files};
use clap::ValueEnum as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::arguments::OutputFormat;
use super::exit::Failure;
use super::folders;

/// No file of profiles is larger.
const MAX_LEN: usize = 64 * 1024;

const MEMBERS: &str = "environment, base_url, api_key_file, api_key_command, context, custody, user_installation, limits_are_per, \
                       postgres and output";

/// The words for whose installation users take, and for what bunq counts calls by.
pub(super) const USER_INSTALLATIONS: [(&str, UserInstallation); 2] =
    [("own", UserInstallation::Own), ("partner", UserInstallation::Partner)];
pub(super) const LIMIT_SCOPES: [(&str, LimitScope); 2] =
    [("address", LimitScope::Address), ("session", LimitScope::Session)];

/// The words for what all machines count calls by.
pub(super) const COUNTED_BY: [(&str, CountedByKind); 3] = [
    ("address", CountedByKind::Address),
    ("key", CountedByKind::Key),
    ("address_and_key", CountedByKind::AddressAndKey),
];

/// The word for a value.
pub(super) fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("unknown", |(word, _)| word)
}

/// What one profile says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) environment: Option<Environment>,
    pub(super) base_url: Option<String>,
    pub(super) api_key: Option<ProfileKey>,
    pub(super) context: Option<PathBuf>,
    /// The folder with what is kept of users.
    pub(super) custody: Option<PathBuf>,
    pub(super) user_installation: Option<UserInstallation>,
    pub(super) limits_are_per: Option<LimitScope>,
    pub(super) postgres: Option<PostgresProfile>,
    pub(super) output: Option<OutputFormat>,
}

/// What a profile says of the database that machines share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PostgresProfile {
    /// The file with its URL.
    pub(super) url_file: Option<PathBuf>,
    /// The name of the context and of the custody there.
    pub(super) name: Option<String>,
    pub(super) counted_by: Option<CountedByKind>,
    /// The name of the address that this machine calls from.
    pub(super) address: Option<String>,
}

/// What all machines count calls by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CountedByKind {
    #[default]
    Address,
    Key,
    AddressAndKey,
}

/// Where a profile's API key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProfileKey {
    File(PathBuf),
    /// A program and its arguments, which writes the key to its standard output.
    Command(Vec<String>),
}

/// A profile that the file has, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedProfile {
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) profile: Profile,
}

impl fmt::Display for NamedProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "profile {} in {}", self.name, self.file.display())
    }
}

/// Where the file of profiles is looked for.
pub(super) fn path() -> Result<PathBuf, Failure> {
    let folder = folders::config();
    let folder = folder.map_err(|problem| Failure::usage(format!("the file of profiles has no folder: {problem}")))?;
    Ok(folder.join("bunq-partner").join("config.toml"))
}

/// The profiles of the file.
pub(super) struct Profiles {
    /// Why it cannot be looked for, if it cannot.
    path: Result<PathBuf, Failure>,
    profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// Reads the file, if there is one.
    pub(super) fn load() -> Result<Self, Failure> {
        let path = path();
        let profiles = path.as_deref().map_or(Ok(BTreeMap::new()), read)?;
        Ok(Self { path, profiles })
    }

    /// The profile of this name, if there is one.
    pub(super) fn get(&self, name: &str) -> Option<NamedProfile> {
        let (path, profile) = (self.path.as_ref().ok()?, self.profiles.get(name)?);
        Some(NamedProfile { name: name.to_owned(), file: path.clone(), profile: profile.clone() })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    /// The profile of this name, which `asked` asks for.
    pub(super) fn find(&self, name: &str, asked: &str) -> Result<NamedProfile, Failure> {
        self.get(name).ok_or_else(|| match &self.path {
            Ok(path) => {
                let names: Vec<_> = self.names().collect();
                let hint = match names[..] {
                    [] => format!("the file has no profile, or does not exist: [profiles.{name}] begins one"),
                    _ => format!("there are {}", names.join(", ")),
                };
                Failure::usage(format!("{asked} {name}: there is no such profile in {}", path.display()))
                    .with_hint(hint)
            }
            Err(failure) => Failure::usage(format!("{asked} {name}: {}", failure.message())),
        })
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Profile>, Failure> {
    let failed = |error: io::Error| Failure::usage(format!("{}: {error}", path.display()));
    // A link that leads nowhere is no missing file: another bank would be taken.
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(BTreeMap::new());
    }
    // Every command would wait for the other end of a pipe.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let file = files::open_public(path).map_err(failed)?;
    check_folders(path)?;
    let text = files::read_text(file, MAX_LEN).map_err(failed)?;
    Document { path, text: text.expose() }.profiles()
}

/// Checks the folder of the file, and if that is a symbolic link, those of what it leads to: who may replace one of them may change
/// what is read.
fn check_folders(path: &Path) -> Result<(), Failure> {
    let mut path = path.to_owned();
    loop {
        if let Some(folder) = path.parent() {
            files::check_folder(folder)
                .map_err(|error| Failure::usage(format!("the folder {}: {error}", folder.display())))?;
        }
        let Ok(target) = fs::read_link(&path) else { return Ok(()) };
        path = path.with_file_name("").join(target);
    }
}

/// A file of profiles, whose mistakes have a place in it.
struct Document<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Document<'_> {
    fn mistake(&self, span: &Range<usize>, problem: impl fmt::Display) -> Failure {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Failure::usage(format!("{}: line {line}, column {column}: {problem}", self.path.display()))
    }

    fn profiles(&self) -> Result<BTreeMap<String, Profile>, Failure> {
        // This message is about the syntax of TOML, and quotes nothing.
        let document = DeTable::parse(self.text)
            .map_err(|error| self.mistake(&error.span().unwrap_or_default(), error.message()))?;
        let mut profiles = BTreeMap::new();
        for (name, value) in document.get_ref() {
            if name.get_ref() != "profiles" {
                let problem = format!("unknown member {}: a profile begins with [profiles.NAME]", name.get_ref());
                return Err(self.mistake(&name.span(), problem));
            }
            for (name, value) in self.table(value, "profiles", "[profiles.NAME]")? {
                profiles.insert(
                    name.get_ref().to_string(),
                    self.profile(self.table(value, name.get_ref(), "[profiles.NAME]")?)?,
                );
            }
        }
        Ok(profiles)
    }

    fn profile(&self, members: &DeTable<'_>) -> Result<Profile, Failure> {
        let mut profile = Profile::default();
        for (name, value) in members {
            let name_span = name.span();
            let refused = |problem: &str| Err(self.mistake(&value.span(), problem));
            let set_key = |profile: &mut Profile, key| match profile.api_key.replace(key) {
                None => Ok(()),
                Some(_) => Err(self.mistake(&name_span, "api_key_file and api_key_command: a profile has one of them")),
            };
            match &**name.get_ref() {
                "environment" => match self.text(value)?.parse() {
                    Ok(environment) => profile.environment = Some(environment),
                    Err(_) => return refused("environment is \"sandbox\" or \"production\""),
                },
                "base_url" => profile.base_url = Some(self.text(value)?.to_owned()),
                "api_key_file" => set_key(&mut profile, ProfileKey::File(self.file(value)?))?,
                "api_key_command" => set_key(&mut profile, ProfileKey::Command(self.words(value)?))?,
                "context" => profile.context = Some(self.file(value)?),
                "custody" => profile.custody = Some(self.file(value)?),
                "user_installation" => {
                    let problem = "user_installation is \"own\" or \"partner\"";
                    profile.user_installation = Some(self.one_of(value, &USER_INSTALLATIONS, problem)?);
                }
                "limits_are_per" => {
                    let problem = "limits_are_per is \"address\" or \"session\"";
                    profile.limits_are_per = Some(self.one_of(value, &LIMIT_SCOPES, problem)?);
                }
                "postgres" => {
                    profile.postgres =
                        Some(self.postgres(self.table(value, "postgres", "[profiles.NAME.postgres]")?)?)
                }
                "output" => match OutputFormat::from_str(self.text(value)?, false) {
                    Ok(output) => profile.output = Some(output),
                    Err(_) => return refused("output is \"table\", \"json\", \"jsonl\" or \"csv\""),
                },
                "api_key" => {
                    let problem = "an API key does not belong here: keep it in a file of its own (api_key_file), or in a password \
                                   manager (api_key_command)";
                    return Err(self.mistake(&name_span, problem));
                }
                unknown => {
                    return Err(self.mistake(&name_span, format!("unknown member {unknown}: a profile has {MEMBERS}")));
                }
            }
        }
        Ok(profile)
    }

    fn postgres(&self, members: &DeTable<'_>) -> Result<PostgresProfile, Failure> {
        let mut postgres = PostgresProfile::default();
        for (name, value) in members {
            match &**name.get_ref() {
                "url_file" => postgres.url_file = Some(self.file(value)?),
                "name" => postgres.name = Some(self.text(value)?.to_owned()),
                "counted_by" => {
                    let problem = "counted_by is \"address\", \"key\" or \"address_and_key\"";
                    postgres.counted_by = Some(self.one_of(value, &COUNTED_BY, problem)?);
                }
                "address" => postgres.address = Some(self.text(value)?.to_owned()),
                "url" => {
                    let problem = "a URL with a password does not belong here: keep it in a file of its own (url_file)";
                    return Err(self.mistake(&name.span(), problem));
                }
                unknown => {
                    let problem =
                        format!("unknown member {unknown}: postgres has url_file, name, counted_by and address");
                    return Err(self.mistake(&name.span(), problem));
                }
            }
        }
        Ok(postgres)
    }

    fn table<'t>(
        &self,
        value: &'t Spanned<DeValue<'t>>,
        name: &str,
        written: &str,
    ) -> Result<&'t DeTable<'t>, Failure> {
        let problem = || self.mistake(&value.span(), format!("{name} is not a table: write {written}"));
        value.get_ref().as_table().ok_or_else(problem)
    }

    fn text<'t>(&self, value: &'t Spanned<DeValue<'_>>) -> Result<&'t str, Failure> {
        match value.get_ref().as_str() {
            None => Err(self.mistake(&value.span(), "this is no text: write it in quotes")),
            Some("") => Err(self.mistake(&value.span(), "this text is empty: leave the member out")),
            Some(text) => Ok(text),
        }
    }

    fn one_of<T: Copy>(
        &self,
        value: &Spanned<DeValue<'_>>,
        words: &[(&'static str, T)],
        problem: &str,
    ) -> Result<T, Failure> {
        let text = self.text(value)?;
        let known = words.iter().find(|(word, _)| *word == text).map(|(_, known)| *known);
        known.ok_or_else(|| self.mistake(&value.span(), problem))
    }

    /// A path, which is relative to the folder of the file.
    fn file(&self, value: &Spanned<DeValue<'_>>) -> Result<PathBuf, Failure> {
        Ok(self.path.with_file_name("").join(self.text(value)?))
    }

    fn words(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Failure> {
        let problem = || {
            let problem =
                "api_key_command is a list of words, as in [\"pass\", \"show\", \"bunq/sandbox\"]: no shell reads it";
            self.mistake(&value.span(), problem)
        };
        let words = value.get_ref().as_array().ok_or_else(problem)?.iter();
        let words: Option<Vec<_>> = words.map(|word| word.get_ref().as_str().map(str::to_owned)).collect();
        let words = words.ok_or_else(problem)?;
        let program = words.first().filter(|program| !program.is_empty()).ok_or_else(problem)?;
        // A path from the current folder would run what happens to be there.
        if program.contains(['/', MAIN_SEPARATOR]) && !Path::new(program).is_absolute() {
            let problem = "the program of api_key_command is a name, which PATH finds, or an absolute path";
            return Err(self.mistake(&value.span(), problem));
        }
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<BTreeMap<String, Profile>, String> {
        let document = Document { path: Path::new("/c/config.toml"), text };
        document.profiles().map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn a_profile_has_its_members() {
        test_timeout::start();
        let text = "[profiles.a]\nenvironment = \"production\"\nbase_url = \"https://localhost\"\napi_key_command = [\"pass\", \"x\"]\n\
                    [profiles.b]\napi_key_file = \"b.key\"\ncontext = \"/k/b\"\ncustody = \"users\"\n\
                    user_installation = \"partner\"\nlimits_are_per = \"session\"\noutput = \"jsonl\"\n\
                    [profiles.b.postgres]\nurl_file = \"url\"\nname = \"n\"\ncounted_by = \"key\"\naddress = \"nat\"\n";
        let a = Profile {
            environment: Some(Environment::Production),
            base_url: Some("https://localhost".into()),
            api_key: Some(ProfileKey::Command(vec!["pass".into(), "x".into()])),
            ..Profile::default()
        };
        let b = Profile {
            api_key: Some(ProfileKey::File("/c/b.key".into())),
            context: Some("/k/b".into()),
            custody: Some("/c/users".into()),
            user_installation: Some(UserInstallation::Partner),
            limits_are_per: Some(LimitScope::Session),
            postgres: Some(PostgresProfile {
                url_file: Some("/c/url".into()),
                name: Some("n".to_owned()),
                counted_by: Some(CountedByKind::Key),
                address: Some("nat".to_owned()),
            }),
            output: Some(OutputFormat::Jsonl),
            ..Profile::default()
        };
        assert_eq!(parsed(text), Ok([("a".to_owned(), a), ("b".to_owned(), b)].into()));
        assert_eq!(parsed(""), Ok(BTreeMap::new()));
    }

    #[test]
    fn a_mistake_has_a_place_and_quotes_no_text() {
        test_timeout::start();
        for (text, expected) in [
            (
                "[profiles.a]\n\n  enviroment = \"planted\"",
                "line 3, column 3: unknown member enviroment: a profile has env",
            ),
            ("[profiles.a]\napi_key = \"planted\"", "line 2, column 1: an API key does not belong here: "),
            ("[profiles.a]\nenvironment = \"planted\"", "line 2, column 15: environment is \"sandbox\" or"),
            ("[profiles.a]\noutput = \"planted\"", "line 2, column 10: output is \"table\","),
            (
                "[profiles.a]\nuser_installation = \"planted\"",
                "line 2, column 21: user_installation is \"own\" or \"partner\"",
            ),
            (
                "[profiles.a]\nlimits_are_per = \"planted\"",
                "line 2, column 18: limits_are_per is \"address\" or \"session\"",
            ),
            (
                "[profiles.a.postgres]\nurl = \"planted\"",
                "line 2, column 1: a URL with a password does not belong here",
            ),
            (
                "[profiles.a.postgres]\ncounted_by = \"planted\"",
                "line 2, column 14: counted_by is \"address\", \"key\" or",
            ),
            ("[profiles.a.postgres]\nlease = 1", "line 2, column 1: unknown member lease: postgres has url_file,"),
            ("[profiles.a]\npostgres = \"planted\"", "line 2, column 12: postgres is not a table"),
            ("[profiles.a]\noutput = 1", "line 2, column 10: this is no text: write it in quotes"),
            ("[profiles.a]\nenvironment = \"\"", "line 2, column 15: this text is empty: leave the member out"),
            ("[profiles.a]\nbase_url = \"\"", "line 2, column 12: this text is empty"),
            ("[profiles.a]\napi_key_file = \"\"", "line 2, column 16: this text is empty"),
            ("[profiles.a]\ncontext = \"\"", "line 2, column 11: this text is empty"),
            ("[profiles.a]\napi_key_command = \"planted\"", "line 2, column 19: api_key_command is a list of words"),
            ("[profiles.a]\napi_key_command = []", "line 2, column 19: api_key_command is a list of words"),
            ("[profiles.a]\napi_key_command = [\"\"]", "line 2, column 19: api_key_command is a list"),
            ("[profiles.a]\napi_key_command = [\"x\", 1]", "line 2, column 19: api_key_command is a list"),
            ("[profiles.a]\napi_key_command = [\"./planted\"]", "line 2, column 19: the program of api_key_command is"),
            ("[profiles.a]\napi_key_command = [\"a/planted\"]", "line 2, column 19: the program of api_key_command is"),
            ("[profiles.a]\napi_key_command = [\"x\"]\napi_key_file = \"planted\"", "a profile has one of them"),
            ("profiles = \"planted\"", "line 1, column 12: profiles is not a table"),
            ("[profiles]\na = \"planted\"", "line 2, column 5: a is not a table"),
            (
                "[a]\napi_key_file = \"planted\"",
                "line 1, column 2: unknown member a: a profile begins with [profiles.NAME]",
            ),
            ("[profiles.a]\nplanted", "line 2, column "),
            ("[profiles.a]\noutput = \"planted", "line 2, column "),
            ("[profiles.a]\noutput = planted", "line 2, column "),
            ("[profiles.a]\n[profiles.a]", "line 2, column "),
        ] {
            let problem = parsed(text).unwrap_err();
            assert!(problem.starts_with("/c/config.toml: line ") && problem.contains(expected), "{text}: {problem}");
            assert!(!problem.contains("planted"), "{text}: {problem}");
        }
    }
}
