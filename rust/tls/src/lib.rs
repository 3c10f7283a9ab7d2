//! TLS 1.3 (RFC 8446) between two known keys, as a pure state machine over rustls: bytes in, bytes out.
//!
//! Both sides present a self-signed certificate and prove possession of its key. A peer is known by the SHA-256
//! fingerprint of that certificate, never by a name or an authority. No resumption, no early data, one
//! application protocol (`atoll/1`). No sockets and no clock: the caller passes the time of the connection.

mod connection;
mod hello;
mod verify;

pub use connection::{Config, Connection, Role};
pub use hello::{Sni, sni_of_client_hello};
pub use verify::{Fingerprint, Pins, fingerprint};

/// The application protocol that both sides must name (RFC 7301).
pub const ALPN: &[u8] = b"atoll/1";

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsError {
    /// The certificate is not one of those that were pinned; or the other side said so of ours.
    PeerKey(String),
    /// The certificate is outside its dates; or the other side said so of ours.
    PeerExpired(String),
    /// The bytes are not the TLS that was expected.
    Wire(String),
    /// The own key, certificate or server name cannot be used.
    Config(String),
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::PeerKey(text) | Self::PeerExpired(text) | Self::Wire(text) | Self::Config(text)) =
            self;
        f.write_str(text)
    }
}

impl std::error::Error for TlsError {}
