//! Oblivious key-value stores: linear encodings of a map that say nothing of its keys.

pub use atoll_primitives::refusal::Refusal;
