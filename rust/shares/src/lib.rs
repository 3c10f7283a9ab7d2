//! Shares of numbers: so far pairwise masks for sums over a fixed set of holders.

pub mod masks;

pub use atoll_primitives::refusal::Refusal;
