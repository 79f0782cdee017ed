use super::*;
use crate::connection::{BankConnection, Needs};
use crate::profile::Profile;

/// The bank of these settings: `env=`, `url=`, `key=`, `context=` and `sandbox` are options; with `$` before them, variables;
/// with `p.` members of the profile of --profile, with `b.` of that of BUNQ_PROFILE, with `d.` of the profile `default`.
fn bank(said: &str) -> String {
    let mut typed = ConnectionOptions::default();
    let mut variables = Variables::default();
    let mut layers = Layers::default();
    for word in said.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let text = || Some(value.to_owned());
        let (layer, member) = match name.split_once('.') {
            Some(("p", member)) => (&mut layers.explicit, member),
            Some(("b", member)) => (&mut layers.ambient, member),
            Some((_, member)) => (&mut layers.default, member),
            None => {
                match name {
                    "sandbox" => typed.sandbox = true,
                    "env" => typed.env = Some(value.parse().unwrap()),
                    "url" => typed.base_url = text(),
                    "key" => typed.api_key_file = Some(value.into()),
                    "context" => typed.context = Some(value.into()),
                    "$env" => variables.environment = Some(value.into()),
                    "$url" => variables.base_url = Some(value.into()),
                    "$key" => variables.api_key = Some(value.into()),
                    "$postgres" => variables.database_url = Some(value.into()),
                    _ => panic!("{name}"),
                }
                continue;
            }
        };
        let file = PathBuf::from("FILE");
        let new = || NamedProfile { name: name[..1].to_owned(), file, profile: Profile::default() };
        let profile = &mut layer.get_or_insert_with(new).profile;
        match member {
            "env" => profile.environment = Some(value.parse().unwrap()),
            "url" => profile.base_url = text(),
            "key" => profile.api_key = Some(ProfileKey::File(value.into())),
            "context" => profile.context = Some(value.into()),
            "custody" => profile.custody = Some(value.into()),
            "installation" => profile.user_installation = Some(UserInstallation::Partner),
            "postgres" => profile.postgres.get_or_insert_default().url_file = (!value.is_empty()).then(|| value.into()),
            "name" => profile.postgres.get_or_insert_default().name = text(),
            "limits" => profile.limits_are_per = Some(LimitScope::Session),
            "" => {}
            _ => panic!("{member}"),
        }
    }
    match (Settings { typed: &typed, variables, layers }).bank() {
        Ok(Bank::Internal) => "internal".to_owned(),
        Ok(Bank::At(bank)) => {
            let BankSettings { environment, base_url, api_key, context, custody, .. } = &*bank;
            let of_users = [
                (bank.user_installation.value != UserInstallation::Own).then_some(" installation"),
                (bank.limits_are_per.value != LimitScope::Address).then_some(" limits"),
            ];
            let of_users: String = of_users.into_iter().flatten().collect();
            let key = match &api_key.value {
                KeyPlace::File(file) => file.display().to_string(),
                KeyPlace::Variable(key) => key.expose().to_owned(),
                KeyPlace::Command(words) => words.join(" "),
                KeyPlace::Asked => "asked".to_owned(),
                KeyPlace::Elsewhere(other) => format!("not of {other}"),
            };
            let url = if base_url.source == Source::Default { "-" } else { &base_url.value };
            let context = context.value.as_ref().map(|file| format!(" context {}", file.display())).unwrap_or_default();
            let custody =
                custody.value.as_ref().map(|folder| format!(" custody {}", folder.display())).unwrap_or_default();
            let postgres = bank.postgres.as_ref().map(|postgres| {
                let url = match &postgres.url.value {
                    UrlPlace::File(file) => file.display().to_string(),
                    UrlPlace::Variable(url) => format!("${}", url.expose()),
                };
                format!(" postgres {url} {}", postgres.name)
            });
            let postgres = postgres.unwrap_or_default();
            format!("{} {url} key {key}{context}{custody}{postgres}{of_users}", environment.value)
        }
        Err(failure) => format!("refused: {}", failure.message()),
    }
}

#[test]
fn production_is_known_by_its_host_too() {
    test_timeout::start();
    for (url, expected) in [
        ("https://api.partner.bunq.com/v1", true),
        ("https://API.partner.bunq.com:443/v2", true),
        ("https://api.partner.bunq.com./v1", true),
        ("https://partner-api.sandbox.bunq.com/v1", false),
        ("http://127.0.0.1:1/v1", false),
        ("nonsense", false),
    ] {
        let typed = ConnectionOptions { base_url: Some(url.to_owned()), ..ConnectionOptions::default() };
        let (variables, layers) = Default::default();
        let bank = Settings { typed: &typed, variables, layers }.bank().unwrap();
        assert_eq!(bank.is_production(), expected, "{url}");
    }
}

#[test]
fn the_bank_and_its_key_come_from_one_place() {
    test_timeout::start();
    let refused_variable = "refused: BUNQ_BASE_URL is set, and the environment is production";
    for (said, expected) in [
        ("", "sandbox - key asked"),
        // Option, variable, default, one by one.
        ("$env=production", "production - key asked"),
        ("env=sandbox $env=production", "sandbox - key asked"),
        ("env=sandbox $env=nonsense", "sandbox - key asked"),
        ("$env=nonsense", "refused: BUNQ_ENV: environment: `nonsense` is neither"),
        ("$url=u $key=k", "sandbox u key k"),
        ("url=t $url=u $key=k", "sandbox t key k"),
        ("key=f $key=k", "sandbox - key f"),
        ("key=f url=t context=c", "sandbox t key f context c"),
        ("env=production url=t key=f", "production t key f"),
        // A profile is used as a whole.
        ("d.env=production d.url=u d.key=f d.context=c", "production u key f context c"),
        ("d.url=u d.key=f d.context=c context=t", "sandbox u key f context t"),
        ("d.url=u d.key=f d.custody=c", "sandbox u key f custody c"),
        ("url=t key=f d.key=g d.custody=c d.installation= d.limits=", "sandbox t key f"),
        ("d.key=f d.installation=", "sandbox - key f installation"),
        ("b.key=f b.limits= d.installation=", "sandbox - key f limits"),
        // A database is no bank: the variable names it for each, and a profile says the rest.
        ("$postgres=u", "sandbox - key asked postgres $u sandbox"),
        ("$postgres=u d.env=production d.key=f", "production - key f postgres $u production"),
        ("p.key=f p.postgres=f p.name=n", "sandbox - key f postgres f n"),
        ("p.key=f p.postgres=f p.name=n $postgres=u", "sandbox - key f postgres $u n"),
        ("p.key=f p.name=n $postgres=u", "sandbox - key f postgres $u n"),
        ("$key=k d.postgres=f d.name=n", "sandbox - key k"),
        ("p.name=n", "refused: profile p in FILE has `postgres`, and there is no URL of a database"),
        ("sandbox $postgres=u", "internal"),
        ("b.key=f d.env=production d.url=u d.key=g d.context=c", "sandbox - key f"),
        ("p.url=u p.key=f b.key=g b.url=v d.key=h d.url=w", "sandbox u key f"),
        ("b.=", "sandbox - key asked"),
        // An explicit one wins over variables, whatever it says.
        ("p.url=u p.key=f $url=v $key=k $env=production", "sandbox u key f"),
        ("p.= $url=v $key=k", "sandbox - key not of variable BUNQ_API_KEY"),
        ("p.url=u $key=k", "sandbox u key not of variable BUNQ_API_KEY"),
        ("p.= d.env=production d.key=f", "sandbox - key asked"),
        // Others lose to variables and options, also as a whole.
        ("$key=k b.env=production b.url=u b.key=f b.context=c", "sandbox - key k"),
        ("key=k d.env=production d.url=u d.key=f", "sandbox - key k"),
        ("$url=v d.key=f", "sandbox v key not of profile d in FILE"),
        ("$env=sandbox b.key=f d.key=g", "sandbox - key not of profile b in FILE"),
        ("env=production d.env=sandbox d.key=f", "production - key not of profile d in FILE"),
        ("url=t d.url=u d.key=f", "sandbox t key not of profile d in FILE"),
        ("url=t d.url=u", "sandbox t key asked"),
        // A variable does not redirect a key.
        ("$url=u $env=production", refused_variable),
        ("$url=u env=production $key=k", refused_variable),
        ("$url=u env=production url=t $key=k", "production t key k"),
        (
            "$url=u key=f",
            "refused: the key is from option --api-key-file, and the base URL from variable BUNQ_BASE_URL",
        ),
        ("$url=u key=f url=t", "sandbox t key f"),
        ("$url=u p.env=production p.key=f", "production - key f"),
        // The sandbox inside the program wins over everything.
        ("sandbox $env=production $url=u $key=k d.key=f", "internal"),
    ] {
        let bank = bank(said);
        assert!(bank.starts_with(expected), "{said}: {bank}");
        assert!(bank.starts_with("refused: ") || bank == expected, "{said}: {bank}");
    }
}

#[tokio::test]
async fn the_client_has_what_the_profile_says_of_users() {
    test_timeout::start();
    let profile = Profile {
        user_installation: Some(UserInstallation::Partner),
        limits_are_per: Some(LimitScope::Session),
        ..Profile::default()
    };
    let default = Some(NamedProfile { name: "default".to_owned(), file: PathBuf::new(), profile });
    let (typed, variables) = (ConnectionOptions::default(), Variables::default());
    let bank = Settings { typed: &typed, variables, layers: Layers { default, ..Layers::default() } }.bank().unwrap();
    let connection = BankConnection::new(&bank, 1, Needs::default()).await.unwrap();
    let builder = format!("{:?}", connection.builder());
    assert!(builder.contains("user_installation: Partner") && builder.contains("scope: Session"), "{builder}");
}
