//! The row tree of a table: one leaf a row, in order of a keyed tag of the row's id, so that its owner can show
//! that a row is, or that no row of an id is, in the version that was committed to.
//!
//! H is SHA-256, PRF is HMAC-SHA256 (RFC 2104), integers are little-endian. From one 32-byte secret per version:
//!
//! ```text
//! tag key  = HKDF-Expand(secret, "atoll row tag key v1", 32)      (RFC 5869, 2.3)
//! salt key = HKDF-Expand(secret, "atoll row salt key v1", 32)
//! tag      = PRF(tag key, 0x01 || key digest of the id)           (a row without id: 0x02 || u64 row number)
//! salt     = first 16 bytes of PRF(salt key, u64 row number)
//! inner    = H("atoll row v1\0" || salt || row bytes)             (see `cells`)
//! leaf     = H(0x00 || "atoll row leaf v1\0" || tag || inner)
//! node     = H(0x01 || left || right)                             (shape of RFC 6962, 2.1)
//! ```
//!
//! Leaves stand in order of their tags, those of one tag in order of their rows. Pure: no file, no clock, no
//! randomness; where the records of a large table wait to be sorted is the caller's affair.

pub mod cells;
pub mod records;
pub mod tree;

pub use atoll_psi::Refusal;

pub(crate) fn refusal(code: &'static str, text: impl Into<String>) -> Refusal {
    Refusal {
        code,
        text: text.into(),
    }
}
