//! The certificates that a server shows, whether they are trusted or not. Nothing is sent to it.

use std::sync::{Arc, OnceLock};

use rustls_platform_verifier::Verifier;
use tokio::time::timeout;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, DigitallySignedStruct, SignatureScheme};

use super::super::examination::network::{ByteStream, PATIENCE, connector, verifier};

/// What a server has shown.
#[derive(Debug)]
pub(super) struct Served {
    /// Its own certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Why it is not trusted, if it is not.
    pub(super) problem: Option<String>,
    /// Why TLS has not begun, if it has not. A server may refuse whoever shows no certificate.
    pub(super) refusal: Option<String>,
}

impl Served {
    /// Begins TLS, and ends it; an error says why the server has shown nothing.
    pub(super) async fn look(connection: Box<dyn ByteStream>, host: &str) -> Result<Self, String> {
        let text = |error: rustls::Error| error.to_string();
        let recorder = Arc::new(Recorder { verifier: verifier().map_err(text)?, served: OnceLock::new() });
        let connector = connector(Arc::<Recorder>::clone(&recorder)).map_err(text)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let begun = match timeout(PATIENCE, connector.connect(name, connection)).await {
            Ok(begun) => begun.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("the handshake did not end in time".to_owned()),
        };
        match (recorder.served.get().cloned(), begun) {
            (Some((chain, problem)), begun) => Ok(Self { chain, problem, refusal: begun.err() }),
            (None, Err(refusal)) => Err(refusal),
            (None, Ok(())) => Err("it has shown no certificate".to_owned()),
        }
    }
}

/// Takes every certificate whose key the server has, and notes what a client's verifier says of it.
#[derive(Debug)]
struct Recorder {
    verifier: Verifier,
    served: OnceLock<(Vec<CertificateDer<'static>>, Option<String>)>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let chain = [end_entity].into_iter().chain(intermediates).map(|one| one.clone().into_owned()).collect();
        // A handshake has one chain.
        let _ = self.served.set((chain, verdict.err().map(|error| error.to_string())));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
