//! How the server's certificate is verified.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bunq_partner::Error;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// There is no TLS: nothing leaves this machine.
    WithoutTls,
    /// Those that the system trusts.
    System,
    /// Those in a PEM file.
    File(PathBuf),
}

impl Trust {
    pub(crate) fn of(file: Option<&Path>) -> Self {
        file.map_or(Self::System, |file| Self::File(file.to_owned()))
    }

    /// Makes the connector. It reads the certificates, and blocks for that.
    pub(crate) fn connector(&self) -> Result<MakeRustlsConnect, Error> {
        let refused =
            |error: rustls::Error| Error::context(format_args!("TLS for the database cannot be set up: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(refused)?;
        let builder = match self {
            // The connector is not used.
            Self::WithoutTls => builder.with_root_certificates(RootCertStore::empty()),
            Self::System => builder.with_platform_verifier().map_err(refused)?,
            Self::File(file) => builder.with_root_certificates(read(file)?),
        };
        Ok(MakeRustlsConnect::new(builder.with_no_client_auth()))
    }
}

fn read(file: &Path) -> Result<RootCertStore, Error> {
    let problem = |problem: &str| Error::context(format_args!("sslrootcert {}: {problem}", file.display()));
    let unreadable = |error: rustls::pki_types::pem::Error| problem(&format!("it cannot be read as PEM: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        roots.add(certificate.map_err(unreadable)?).map_err(|error| problem(&error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(problem("it has no certificate")),
        false => Ok(roots),
    }
}
