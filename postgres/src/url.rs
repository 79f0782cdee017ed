//! The URL of a database: what of it is the driver's, and how the server is verified.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use bunq_partner::{Error, Secret};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::tls::Trust;

/// What a connection is made with.
pub(crate) struct Target {
    /// One for each host, in the order of the URL. The driver would try all of them in this order each time.
    pub(crate) hosts: Vec<TargetHost>,
    pub(crate) trust: Trust,
    /// Names the database in errors: `the database acme at db.example.com:5432`.
    pub(crate) place: String,
}

/// One of the hosts that may have the database.
pub(crate) struct TargetHost {
    pub(crate) config: Config,
    /// Names the database at this host in errors.
    pub(crate) place: String,
}

/// A connection that is not there after this time is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The same for each of several hosts: the next one must be reached before a lease ends.
const CONNECT_TIMEOUT_OF_EACH: Duration = Duration::from_secs(3);

/// A server that is not heard for this long is taken to be gone.
const SILENCE: Duration = Duration::from_secs(20);

/// The URL without the secrets that it may have.
fn refused(problem: &str) -> Error {
    Error::context(format_args!("the URL of the database {problem}"))
}

impl Target {
    pub(crate) fn parse(url: &Secret) -> Result<Self, Error> {
        let url = url.expose().trim();
        let rest = ["postgres://", "postgresql://"].into_iter().find_map(|scheme| url.strip_prefix(scheme));
        let rest =
            rest.ok_or_else(|| refused("is not one of PostgreSQL: give postgres://USER:PASSWORD@HOST:PORT/DATABASE"))?;
        let (address, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        // Otherwise a part of the password would be taken for a host, and told in errors.
        let authority = address.split('/').next().unwrap_or_default();
        if rest.matches('@').count() > authority.matches('@').count().min(1) {
            return Err(refused("has an @, / or ? in its user or password: write them as %40, %2F and %3F"));
        }
        let (mut sslmode, mut sslrootcert, mut others) = (None, None, Vec::new());
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", mode)) => sslmode = Some(mode),
                Some(("sslrootcert", path)) => sslrootcert = Some(decoded(path)?),
                // A part of it after an & would be told in errors.
                Some(("password", _)) => {
                    return Err(refused("has its password as a parameter: write it before the host"));
                }
                Some((_, _)) => others.push(parameter),
                None => return Err(refused("has a parameter without a value: write NAME=VALUE")),
            }
        }
        let parsed = |address: &str| {
            let text = format!("postgres://{address}?{}", others.join("&"));
            text.parse::<Config>().map_err(|error| {
                let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                refused(&format!("cannot be used ({cause})"))
            })
        };
        let config = parsed(address)?;
        let place = place(&config)?;
        // Otherwise a password would be taken for a port, where the host is missing, and told in errors.
        if config.get_user().is_none() && !is_local(&config) {
            return Err(refused(
                "names no user: write it before the host, as in postgres://USER:PASSWORD@HOST/DATABASE",
            ));
        }
        let trust = trust(is_local(&config), sslmode, sslrootcert)?;
        let start = authority.find('@').map_or(0, |at| at + 1);
        let (user, hosts, path) = (&address[..start], &authority[start..], &address[authority.len()..]);
        let is_one = !hosts.contains(',');
        let hosts = hosts.split(',').map(|host| {
            let mut config = parsed(&format!("{user}{host}{path}"))?;
            let mode = if trust == Trust::WithoutTls { SslMode::Disable } else { SslMode::Require };
            config.ssl_mode(mode).target_session_attrs(TargetSessionAttrs::ReadWrite).tcp_user_timeout(SILENCE);
            config.keepalives(true).keepalives_idle(SILENCE / 2).keepalives_interval(SILENCE / 4).keepalives_retries(2);
            if config.get_connect_timeout().is_none() {
                config.connect_timeout(if is_one { CONNECT_TIMEOUT } else { CONNECT_TIMEOUT_OF_EACH });
            }
            if config.get_application_name().is_none() {
                config.application_name("bunq-partner");
            }
            Ok(TargetHost { place: self::place(&config)?, config })
        });
        Ok(Self { hosts: hosts.collect::<Result<_, Error>>()?, trust, place })
    }
}
/// Decodes the `%` escapes of a parameter.
fn decoded(text: &str) -> Result<String, Error> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| refused("has a parameter that is not UTF-8"))
}

fn place(config: &Config) -> Result<String, Error> {
    let database =
        config.get_dbname().ok_or_else(|| refused("names no database: write it after the host, as in /acme"))?;
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(host) => format!("{host}:{port}"),
            #[cfg(unix)]
            Host::Unix(folder) => format!("{}:{port}", folder.display()),
        }
    });
    let hosts = hosts.collect::<Vec<_>>().join(",");
    if hosts.is_empty() {
        return Err(refused("names no host: write it after the @, or host=/FOLDER for a socket"));
    }
    Ok(format!("the database {database} at {hosts}"))
}

/// Whether nothing leaves this machine.
fn is_local(config: &Config) -> bool {
    let hosts = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(host) => host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    });
    hosts && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

fn trust(is_local: bool, sslmode: Option<&str>, sslrootcert: Option<String>) -> Result<Trust, Error> {
    let certificates = sslrootcert.filter(|path| path != "system");
    match sslmode {
        Some("verify-full") => Ok(Trust::of(certificates.as_deref().map(Path::new))),
        Some("disable") | None if is_local && certificates.is_none() => Ok(Trust::WithoutTls),
        None => Ok(Trust::of(certificates.as_deref().map(Path::new))),
        Some(mode @ ("disable" | "allow" | "prefer" | "require" | "verify-ca")) => {
            let problem = format!(
                "has sslmode={mode}, with which others could pass for the server: use verify-full, with sslrootcert=FILE for a CA of your own"
            );
            Err(refused(&problem))
        }
        Some(_) => Err(refused("has an unknown sslmode: use verify-full")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place and the trust, or what is wrong. A password is in neither.
    fn parsed(url: &str) -> Result<(String, Trust), String> {
        let parsed = Target::parse(&url.into()).map(|target| (target.place, target.trust));
        assert!(!format!("{parsed:?}").contains("planted"), "{parsed:?}");
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn a_server_is_verified_unless_it_is_on_this_machine() {
        test_timeout::start();
        let there = "the database acme at db.example.com:5432";
        let file = || Trust::File("/etc/a ca.pem".into());
        for (url, place, trust) in [
            ("postgres://acme:planted@db.example.com/acme", there, Trust::System),
            ("postgresql://acme@db.example.com/acme?sslmode=verify-full", there, Trust::System),
            ("postgres://acme@db.example.com/acme?sslrootcert=system", there, Trust::System),
            ("postgres://acme@db.example.com/acme?connect_timeout=3&sslrootcert=%2Fetc%2Fa%20ca.pem", there, file()),
            (" postgres://acme:planted%40%2F@db.example.com/acme\n", there, Trust::System),
            ("postgres://localhost/acme", "the database acme at localhost:5432", Trust::WithoutTls),
            ("postgres://[::1]:5433/acme?sslmode=disable", "the database acme at ::1:5433", Trust::WithoutTls),
            ("postgres://127.0.0.1/acme?sslmode=verify-full", "the database acme at 127.0.0.1:5432", Trust::System),
            ("postgres://127.0.0.1/acme?sslrootcert=/etc/a%20ca.pem", "the database acme at 127.0.0.1:5432", file()),
            ("postgres:///acme?host=/run/postgresql", "the database acme at /run/postgresql:5432", Trust::WithoutTls),
            ("postgres://acme@a,localhost:7/acme", "the database acme at a:5432,localhost:7", Trust::System),
            ("postgres://acme@localhost/acme?hostaddr=192.0.2.1", "the database acme at localhost:5432", Trust::System),
        ] {
            assert_eq!(parsed(url), Ok((place.to_owned(), trust)), "{url}");
        }
    }

    #[test]
    fn a_host_that_is_gone_leaves_time_for_the_next() {
        test_timeout::start();
        for (url, seconds) in [
            ("postgres://acme@a/acme", 10),
            ("postgres://acme@a,b/acme", 3),
            ("postgres://acme@a/acme?connect_timeout=5", 5),
            ("postgres://acme@a,b/acme?connect_timeout=5", 5),
        ] {
            let target = Target::parse(&url.into()).unwrap_or_else(|error| panic!("{error}"));
            for host in target.hosts {
                assert_eq!(host.config.get_connect_timeout(), Some(&Duration::from_secs(seconds)), "{url}");
            }
        }
    }

    #[test]
    fn each_host_has_the_settings_of_all() {
        test_timeout::start();
        let url = "postgres://acme:planted@a:7,[::1],b/acme?application_name=one&sslmode=verify-full";
        let target = Target::parse(&url.into()).unwrap_or_else(|error| panic!("{error}"));
        let places: Vec<_> = target.hosts.iter().map(|host| &*host.place).collect();
        let expected = ["the database acme at a:7", "the database acme at ::1:5432", "the database acme at b:5432"];
        assert_eq!(places, expected);
        assert_eq!(target.place, "the database acme at a:7,::1:5432,b:5432");
        for TargetHost { config, .. } in &target.hosts {
            assert_eq!((config.get_user(), config.get_password()), (Some("acme"), Some(&b"planted"[..])));
            assert_eq!((config.get_application_name(), config.get_ssl_mode()), (Some("one"), SslMode::Require));
            assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_the_password() {
        test_timeout::start();
        let weak = |mode: &str| {
            format!(
                "has sslmode={mode}, with which others could pass for the server: use verify-full, with sslrootcert=FILE for a CA of your own"
            )
        };
        let escapes = "has an @, / or ? in its user or password: write them as %40, %2F and %3F";
        let not_one = "is not one of PostgreSQL: give postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        for (url, problem) in [
            ("", not_one),
            ("mysql://acme:planted@db.example.com/acme", not_one),
            ("host=db.example.com password=planted", not_one),
            ("postgres://acme:planted@db.example.com", "names no database: write it after the host, as in /acme"),
            (
                "postgres://acme:12345/acme",
                "names no user: write it before the host, as in postgres://USER:PASSWORD@HOST/DATABASE",
            ),
            (
                "postgres://acme@db.example.com/acme?password=a&planted=1",
                "has its password as a parameter: write it before the host",
            ),
            ("postgres:///acme", "names no host: write it after the @, or host=/FOLDER for a socket"),
            ("postgres://acme:a@planted@db.example.com/acme", escapes),
            ("postgres://acme:12/planted@db.example.com/acme", escapes),
            ("postgres://acme:12?planted@db.example.com/acme", escapes),
            ("postgres://db.example.com/acme?sslmode", "has a parameter without a value: write NAME=VALUE"),
            ("postgres://acme@db.example.com/acme?sslmode=planted", "has an unknown sslmode: use verify-full"),
            ("postgres://db.example.com/acme?sslcert=a", "cannot be used (unknown option `sslcert`)"),
            ("postgres://db.example.com:five/acme", "cannot be used (invalid value for option `port`)"),
            ("postgres://acme@db.example.com/acme?sslmode=disable", &weak("disable")),
            ("postgres://acme@db.example.com/acme?sslmode=require", &weak("require")),
            ("postgres://localhost/acme?sslmode=prefer", &weak("prefer")),
            ("postgres://acme@localhost,db.example.com/acme?sslmode=disable", &weak("disable")),
            ("postgres://acme@localhost/acme?hostaddr=192.0.2.1&sslmode=disable", &weak("disable")),
        ] {
            assert_eq!(parsed(url), Err(format!("the URL of the database {problem}")), "{url}");
        }
    }
}
