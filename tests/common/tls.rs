//! TLS in front of the sandbox, with an authority that only the tests know. Tests that use this module name it by its
//! path: linking rcgen breaks type inference in some other tests.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use bunq_partner_sandbox::Sandbox;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

/// An authority that only these tests trust.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A file with its certificate.
    pub fn file(&self) -> PathBuf {
        let file = std::env::temp_dir().join(format!("bunq-partner-{}.pem", bunq_partner::Uuid::new_v4()));
        std::fs::write(&file, self.pem()).unwrap();
        file
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.as_ref().der().clone()).unwrap();
        roots
    }

    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        (CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap(), key)
    }

    /// A certificate for a client, with its key.
    pub fn client_pem(&self) -> String {
        let (certificate, key) = self.issue(&["client"]);
        certificate.pem() + &key.serialize_pem()
    }

    /// The server's side of TLS for these names. If `is_mutual`, it asks for a client certificate.
    pub fn server(
        &self,
        names: &[&str],
        is_mutual: bool,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> TlsAcceptor {
        let (certificate, key) = self.issue(names);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
        let config = if is_mutual {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        } else {
            config.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap()))
    }
}

pub async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub fn address_of(sandbox: &Sandbox) -> SocketAddr {
    sandbox.base_url().trim_start_matches("http://").trim_end_matches("/v1").parse().unwrap()
}

/// Terminates TLS in front of the sandbox.
pub async fn terminate_tls(sandbox: &Sandbox, acceptor: TlsAcceptor) -> SocketAddr {
    terminate_each(sandbox, move || acceptor.clone()).await
}

/// Terminates TLS in front of the sandbox, with an acceptor of its own for each connection.
pub async fn terminate_each(
    sandbox: &Sandbox,
    mut acceptor: impl FnMut() -> TlsAcceptor + Send + 'static,
) -> SocketAddr {
    let (listener, address) = listener().await;
    let bank = address_of(sandbox);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut bank = TcpStream::connect(bank).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut bank).await;
            });
        }
    });
    address
}
