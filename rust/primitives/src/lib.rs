//! Canonical JSON, signatures and key derivation from vetted crates, under the names the rest of Atoll uses.

pub mod canonical;
pub mod refusal;
pub mod sign;
pub mod stream;
