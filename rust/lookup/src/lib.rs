//! Sealed lookup: who asks reads one record by its key, and nothing else; the holder does not learn which key.
//!
//! A record stands in a cell, sealed under the value of an oblivious pseudorandom function (RFC 9497, verifiable) at its
//! key. That value also names the cell's column, and the column is fetched by index PIR. So the whole table may be known
//! to who asks: a cell can be read with the holder's help only, one key at a time.
//! `docs/protocols/sealed-lookup.md` has the steps, what they reveal, and what they cost.

pub mod asker;
pub mod holder;
pub mod kept;
pub mod one_shot;
pub mod seal;
pub mod shape;

pub use asker::{Blinded, Key};
pub use atoll_primitives::refusal::Refusal;
pub use holder::Holder;
pub use kept::Kept;
pub use one_shot::{OneShot, Products, answer_bytes, question_bytes};
pub use shape::Shape;
