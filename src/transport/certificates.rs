//! The certificates that connections trust where they are files, as on Linux; what is wrong if there are none, and what
//! must be changed if a connection cannot be made.
//!
//! rustls-platform-verifier reads them: those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, or the system's. It takes an
//! empty `SSL_CERT_FILE` for a file, and does not say why it has found none. Both are made up for here.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::error::Error;
use crate::variables::environment_variable;

/// Whether the platform's certificates are files, and the variables name them.
const ARE_FILES: bool = cfg!(all(unix, not(any(target_vendor = "apple", target_os = "android"))));

/// The variables for a file, and for folders as in `PATH`.
const FILE: &str = "SSL_CERT_FILE";
const FOLDERS: &str = "SSL_CERT_DIR";

/// How many bytes of a file are looked at to find out what is wrong with it.
const MAX_LOOK: u64 = 1024 * 1024;

/// Whether the variable for the file is set to nothing, which the platform takes for a file.
fn is_file_empty() -> bool {
    ARE_FILES && std::env::var_os(FILE).is_some_and(|file| file.is_empty())
}

fn folders() -> Vec<PathBuf> {
    let folders = environment_variable(FOLDERS).unwrap_or_default();
    std::env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty()).collect()
}

/// Refuses a device and a pipe, which the platform would read to an end that there may not be, and for each HTTP client again.
pub(super) fn check_file() -> Result<(), Error> {
    let file = environment_variable(FILE).map(PathBuf::from).filter(|_| ARE_FILES);
    match file.map(|file| (fs::metadata(&file), file)) {
        Some((Ok(found), file)) if !found.is_file() && !found.is_dir() => Err(Error::invalid_input(
            FILE,
            format_args!("{}: it is not a regular file: give the path of one", file.display()),
        )),
        _ => Ok(()),
    }
}

/// The certificates of the system's store, if the platform does not read them although no variable names others.
pub(super) fn unread_by_platform() -> Vec<CertificateDer<'static>> {
    if !is_file_empty() || !folders().is_empty() {
        return Vec::new();
    }
    let store = openssl_probe::probe();
    // The folders have the certificates of the file once more.
    let of_file = store.cert_file.map(|file| read(&file)).filter(|certificates| !certificates.is_empty());
    of_file.unwrap_or_else(|| store.cert_dir.iter().flat_map(|folder| read_folder(folder)).collect())
}

fn read_folder(folder: &Path) -> Vec<CertificateDer<'static>> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|file| file.is_file()).flat_map(|file| read(&file)).collect()
}

fn read(file: &Path) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_file_iter(file).into_iter().flatten().flatten();
    // reqwest fails for all of them if it cannot use one.
    certificates.filter(|certificate| rustls::RootCertStore::empty().add(certificate.clone()).is_ok()).collect()
}

/// Why there are no certificates, after the platform has found none. `None` if the platform has no files of them.
pub(super) fn problem() -> Option<Error> {
    if !ARE_FILES {
        return None;
    }
    let (file, folders) = (environment_variable(FILE).map(PathBuf::from), folders());
    let of_file = file.map(|file| (FILE, format!("{}: {}", file.display(), problem_of_file(&file))));
    let of_folders =
        folders.iter().map(|folder| (FOLDERS, format!("{}: {}", folder.display(), problem_of_folder(folder))));
    let mut problems = of_file.into_iter().chain(of_folders);
    Some(match problems.next() {
        Some((name, first)) => {
            let others: String = problems.map(|(name, problem)| format!("; {name}: {problem}")).collect();
            Error::invalid_input(name, first + &others)
        }
        None if is_file_empty() => Error::invalid_input(FILE, "it is empty: unset it"),
        None => Error::internal(format_args!(
            "this machine has no certificates to check a server's with: install them, as with the package ca-certificates, or \
             name a file of them with {FILE}"
        )),
    })
}

fn problem_of_file(path: &Path) -> String {
    if path.is_dir() {
        return format!("it is a folder: name it with {FOLDERS}");
    }
    let mut start = Vec::new();
    if let Err(error) = File::open(path).and_then(|file| file.take(MAX_LOOK).read_to_end(&mut start)) {
        return unreadable(&error);
    }
    problem_of_text(&start, path.as_os_str())
}

/// What is wrong with a file in which no certificate was found.
fn problem_of_text(bytes: &[u8], path: &OsStr) -> String {
    let text = String::from_utf8_lossy(bytes);
    let has_line = |start: &str| text.lines().any(|line| line.starts_with(start));
    match bytes {
        [] => "it is empty".into(),
        [0xef, 0xbb, 0xbf, ..] | [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            "it begins with a byte order mark, so it is not PEM: save it as UTF-8 without one".into()
        }
        // A sequence in DER, longer than 127 bytes.
        [0x30, 0x81..=0x84, ..] => {
            let shown = crate::text::quoted(&path.to_string_lossy());
            format!("it is DER and not PEM: `openssl x509 -inform DER -in {shown} -out {shown}.pem` writes it as PEM")
        }
        _ if has_line("-----BEGIN CERTIFICATE-----") => "its certificate is damaged".into(),
        _ if has_line("-----BEGIN ") => "it holds something else than certificates".into(),
        _ if text.lines().any(|line| line.trim_start().starts_with("-----BEGIN ")) => {
            "its lines are indented, so it is not PEM: remove the white space in front of them".into()
        }
        _ => "it is not PEM: `-----BEGIN CERTIFICATE-----` and so on".into(),
    }
}

fn problem_of_folder(path: &Path) -> String {
    match fs::read_dir(path) {
        Ok(_) => "no file in it has a certificate in PEM".into(),
        Err(_) if path.is_file() => format!("it is a file: name it with {FILE}"),
        Err(error) => unreadable(&error),
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".into(),
        _ => format!("it cannot be read: {error}"),
    }
}

/// If a connection failed because of TLS or of a proxy setting: what must be changed, if that is known.
pub(super) fn wrong_setting(error: &(dyn std::error::Error + 'static)) -> Option<Option<&'static str>> {
    // An `io::Error` that wraps another does not return it as its source.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let inner = inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    match error.downcast_ref() {
        Some(error) => change(error),
        None if is_about_the_proxy(&error.to_string()) => Some(None),
        None => inner.and_then(wrong_setting),
    }
}

/// Whether hyper says that a proxy refuses the password or does not speak HTTP. hyper has no public type for either.
fn is_about_the_proxy(problem: &str) -> bool {
    problem == "tunnel error: proxy authorization required" || problem.starts_with("unsupported scheme ")
}

/// What TLS says of a setting.
fn change(error: &rustls::Error) -> Option<Option<&'static str>> {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))
            // The type is that of rustls-webpki.
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            Some(Some(OWN_AUTHORITY))
        }
        rustls::Error::InvalidCertificate(_) => Some(None),
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => Some(Some(NO_TLS)),
        _ => None,
    }
}

/// For a certificate that may only sign others, as `openssl req -x509` makes it.
const OWN_AUTHORITY: &str = "the server's certificate is that of an authority (CA:TRUE), which no server may have: give the server one that is made with \
     `openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 365 -subj /CN=HOST -addext \
     subjectAltName=DNS:HOST -addext basicConstraints=critical,CA:FALSE`, and trust cert.pem";

const NO_TLS: &str = "what answers there does not speak TLS: is it the port for plain HTTP, or a proxy's?";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_told_by_its_bytes() {
        test_timeout::start();
        let pem = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n";
        let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(pem.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        for (bytes, problem) in [
            (&b""[..], "it is empty"),
            (b"\x30\x82\x03", "it is DER and not PEM"),
            (b"\xef\xbb\xbf-----BEGIN", "it begins with a byte order mark"),
            (&utf16, "it begins with a byte order mark"),
            (b"\t-----BEGIN CERTIFICATE-----", "its lines are indented"),
            (pem.as_bytes(), "its certificate is damaged"),
            (b"-----BEGIN PRIVATE KEY-----", "it holds something else"),
            (b"-----BEGIN TRUSTED CERTIFICATE-----", "it holds something else"),
            (b"0 is no certificate", "it is not PEM"),
        ] {
            let told = problem_of_text(bytes, OsStr::new("a file"));
            assert!(told.starts_with(problem), "{told}");
        }
        assert!(problem_of_text(b"\x30\x82", OsStr::new("a file")).contains("-in 'a file' -out 'a file'.pem"));
    }
}
