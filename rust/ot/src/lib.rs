//! Correlated randomness of two parties: oblivious transfer and vector oblivious linear evaluation, as pure steps.

pub mod base;
mod code;
pub mod cot;
mod extend;
pub mod field;
mod ggm;
pub mod lpn;
pub mod prg;
mod rows;
mod silent;
mod simd;
pub mod soft;
pub mod vole;
pub mod wire;

pub use atoll_primitives::refusal::Refusal;
pub use prg::Counter;

/// What a protocol step withstands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// The peer follows the protocol.
    SemiHonest,
    /// The peer does what it likes; a cheat is found, or gains nothing.
    Malicious,
}

/// One party's half of a protocol that is a part of another.
pub trait Party {
    /// The next message, or `None` while the peer's must come first and at the end.
    fn next_message(&mut self) -> Result<Option<Vec<u8>>, Refusal>;

    /// Takes the peer's next message. After a refusal the party is of no more use.
    fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal>;

    /// True when nothing is left to send or to receive.
    fn done(&self) -> bool;
}
