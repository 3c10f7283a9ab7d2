//! Correlated randomness that two parties make ahead of need, without a dealer: bit triples and random transfers of words
//! from oblivious transfer, and products of words from RLWE. Semi-honest: each side follows the protocol, and may look at all that it sees.

pub mod bits;
mod machine;
pub mod matrices;
mod rich;
mod rlwe;
mod runs;
mod session;
mod soft;
mod thin;
pub mod transfers;
pub mod words;

pub use atoll_primitives::refusal::Refusal;
pub use machine::{Machine, Work};
pub use session::{Outgoing, Role, Session};
