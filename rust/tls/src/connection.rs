//! One TLS connection: what arrived goes in, what must be sent comes out.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, ServerConfig,
    ServerConnection,
};

use crate::verify::{Fingerprint, Pins, Verifier, fingerprint};
use crate::{ALPN, TlsError};

/// Which side of the handshake, and the server name that a client sends.
#[derive(Debug, Clone)]
pub enum Role {
    /// The side that dialed.
    Client {
        /// Name sent in the clear (SNI); it selects a route, it identifies nobody.
        server_name: String,
    },
    /// The side that accepted.
    Server,
}

/// The own side of a connection.
pub struct Config {
    /// Certificate, DER.
    pub certificate: Vec<u8>,
    /// Its private key, PKCS#8 DER.
    pub private_key: Vec<u8>,
    /// Which peers are accepted.
    pub pins: Pins,
    /// Time at which certificates must be valid, seconds since 1970.
    pub now: u64,
}

#[derive(Debug)]
struct Fixed(UnixTime);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// A connection in any state.
pub struct Connection {
    inner: rustls::Connection,
    failed: Option<TlsError>,
    greeted: bool,
    peer_closed: bool,
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..default_provider()
    }
}

fn config_error(what: &str, error: impl std::fmt::Display) -> TlsError {
    TlsError::Config(format!("{what}: {error}"))
}

fn named(error: &Error) -> TlsError {
    match error {
        Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            TlsError::PeerKey("the peer's certificate is not the one that was pinned".to_owned())
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::NotValidYet) => {
            TlsError::PeerExpired("the peer's certificate is outside its dates".to_owned())
        }
        Error::AlertReceived(AlertDescription::AccessDenied) => {
            TlsError::PeerKey("the peer does not accept this side's certificate".to_owned())
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => TlsError::PeerExpired(
            "the peer says that this side's certificate is outside its dates".to_owned(),
        ),
        other => TlsError::Wire(format!("TLS: {other}")),
    }
}

impl Connection {
    /// Starts a connection in the given role.
    pub fn new(role: &Role, config: Config) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let now = UnixTime::since_unix_epoch(Duration::from_secs(config.now));
        let verifier = Arc::new(Verifier {
            pins: config.pins,
            now,
            algorithms: provider.signature_verification_algorithms,
        });
        let chain = vec![CertificateDer::from(config.certificate)];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(config.private_key));
        let time = Arc::new(Fixed(now));
        let mut inner: rustls::Connection = match role {
            Role::Client { server_name } => {
                let name = ServerName::try_from(server_name.clone())
                    .map_err(|e| config_error("server name", e))?;
                let mut tls = ClientConfig::builder_with_details(provider, time)
                    .with_protocol_versions(&[&rustls::version::TLS13])
                    .map_err(|e| config_error("TLS versions", e))?
                    .dangerous()
                    .with_custom_certificate_verifier(verifier)
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| config_error("own certificate", e))?;
                tls.alpn_protocols = vec![ALPN.to_vec()];
                tls.resumption = Resumption::disabled();
                ClientConnection::new(Arc::new(tls), name)
                    .map_err(|e| config_error("TLS client", e))?
                    .into()
            }
            Role::Server => {
                let mut tls = ServerConfig::builder_with_details(provider, time)
                    .with_protocol_versions(&[&rustls::version::TLS13])
                    .map_err(|e| config_error("TLS versions", e))?
                    .with_client_cert_verifier(verifier)
                    .with_single_cert(chain, key)
                    .map_err(|e| config_error("own certificate", e))?;
                tls.alpn_protocols = vec![ALPN.to_vec()];
                tls.session_storage = Arc::new(NoServerSessionStorage {});
                tls.send_tls13_tickets = 0;
                tls.max_early_data_size = 0;
                ServerConnection::new(Arc::new(tls))
                    .map_err(|e| config_error("TLS server", e))?
                    .into()
            }
        };
        inner.set_buffer_limit(None);
        Ok(Self {
            inner,
            failed: None,
            greeted: false,
            peer_closed: false,
        })
    }

    fn fail(&mut self, error: TlsError) -> TlsError {
        self.failed = Some(error.clone());
        error
    }

    /// Takes bytes from the peer and hands every piece of plaintext to `sink`.
    ///
    /// After an error an alert may wait in [`Connection::outgoing`]; the connection stays failed.
    pub fn receive<E: From<TlsError>>(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        while !bytes.is_empty() && !self.peer_closed {
            let before = bytes.len();
            if let Err(error) = self.inner.read_tls(&mut bytes) {
                return Err(self.fail(TlsError::Wire(format!("TLS: {error}"))).into());
            }
            let state = match self.inner.process_new_packets() {
                Ok(state) => state,
                Err(error) => return Err(self.fail(named(&error)).into()),
            };
            if !self.greeted && !self.inner.is_handshaking() {
                if self.inner.alpn_protocol() != Some(ALPN) {
                    let text = "the peer does not speak atoll/1".to_owned();
                    return Err(self.fail(TlsError::Wire(text)).into());
                }
                self.greeted = true;
            }
            let mut left = state.plaintext_bytes_to_read();
            let mut piece = [0u8; 16 << 10];
            while left > 0 {
                match self.inner.reader().read(&mut piece) {
                    Ok(0) => break,
                    Ok(n) => {
                        sink(&piece[..n])?;
                        left -= n;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => {
                        return Err(self.fail(TlsError::Wire(format!("TLS: {error}"))).into());
                    }
                }
            }
            self.peer_closed |= state.peer_has_closed();
            if bytes.len() == before {
                return Err(self
                    .fail(TlsError::Wire("TLS takes no more bytes".to_owned()))
                    .into());
            }
        }
        Ok(())
    }

    /// Encrypts `pieces`, one behind the other, once the handshake is over.
    pub fn write(&mut self, pieces: &[&[u8]]) -> Result<(), TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.inner.is_handshaking() {
            return Err(TlsError::Wire(
                "nothing is sent before the handshake is over".to_owned(),
            ));
        }
        for piece in pieces {
            self.inner
                .writer()
                .write_all(piece)
                .map_err(|e| TlsError::Wire(format!("TLS: {e}")))?;
        }
        Ok(())
    }

    /// The bytes that must be sent to the peer now.
    pub fn outgoing(&mut self, into: &mut Vec<u8>) -> Result<(), TlsError> {
        while self.inner.wants_write() {
            self.inner
                .write_tls(into)
                .map_err(|e| TlsError::Wire(format!("TLS: {e}")))?;
        }
        Ok(())
    }

    /// True until both sides have finished the handshake.
    pub fn handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    /// True once the peer has closed in good order.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// The peer's certificate, once it was verified.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.inner
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(AsRef::as_ref)
    }

    /// The peer's fingerprint, once it was verified.
    pub fn peer_fingerprint(&self) -> Option<Fingerprint> {
        self.peer_certificate().map(fingerprint)
    }

    /// A value that only the two ends of this connection can compute (RFC 8446, section 7.5).
    pub fn exporter(
        &self,
        label: &[u8],
        context: &[u8],
        length: usize,
    ) -> Result<Vec<u8>, TlsError> {
        if length == 0 || length > 255 {
            return Err(TlsError::Config(
                "an exporter value has 1 to 255 bytes".to_owned(),
            ));
        }
        self.inner
            .export_keying_material(vec![0u8; length], label, Some(context))
            .map_err(|e| TlsError::Wire(format!("TLS: {e}")))
    }

    /// Says to the peer that nothing follows.
    pub fn close_notify(&mut self) {
        self.inner.send_close_notify();
    }
}
