//! Hashes, signatures and key derivation from vetted crates, under the names the rest of Atoll uses.

pub mod sign;
pub mod stream;
