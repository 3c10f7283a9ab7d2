//! Correlated randomness that two parties make ahead of need, without a dealer: bit triples from oblivious transfer and
//! products of words from RLWE. Semi-honest: each side follows the protocol, and may look at all that it sees.

pub mod bits;
pub mod matrices;
mod rich;
mod rlwe;
mod session;
mod thin;
pub mod words;

pub use atoll_primitives::refusal::Refusal;
pub use session::{Outgoing, Role, Session};
