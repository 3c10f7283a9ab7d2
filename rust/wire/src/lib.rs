//! Message frames: a length, a header in deterministic CBOR (RFC 8949, section 4.2), a payload.
//!
//! ```text
//! frame  = length:u32 (big endian, bytes that follow) || header || payload
//! header = [version, kind, name, sequence, piece, last, step]
//! ```
//!
//! Pure: no I/O. Every limit is checked before anything is allocated; a header that does not re-encode to the
//! same bytes is refused, so that one message has one form.

mod body;
mod frame;
mod reader;

pub use body::{MAX_DEPTH, check_body};
pub use frame::{Frame, Header, Kind, VERSION, encode_prefix};
pub use reader::FrameReader;

/// Longest channel name or verb, bytes of UTF-8.
pub const MAX_NAME: usize = 64;
/// Longest step label, bytes of UTF-8.
pub const MAX_STEP: usize = 128;
/// Longest encoded header, bytes.
pub const MAX_HEADER: usize = 256;

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireError {
    /// The stated length is over the reader's limit.
    TooLarge {
        /// Stated length, bytes.
        length: usize,
        /// The reader's limit, bytes.
        limit: usize,
    },
    /// The version is not one this build knows.
    Version(u8),
    /// The bytes do not follow the format; the text says where.
    Malformed(&'static str),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { length, limit } => {
                write!(f, "a frame of {length} bytes is over the limit of {limit}")
            }
            Self::Version(version) => write!(f, "frame version {version} is not known"),
            Self::Malformed(what) => write!(f, "not a frame: {what}"),
        }
    }
}

impl std::error::Error for WireError {}
