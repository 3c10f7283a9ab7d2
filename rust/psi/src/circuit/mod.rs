//! Circuit-PSI, semi-honest: both sides end with shares of "this bin matched" and of payload words, and learn
//! nothing but sizes (Pinkas, Schneider, Tkachenko and Yanai, eprint 2019/241; Rindal and Schoppmann, eprint 2021/266;
//! Chandran, Gupta and Shah, eprint 2021/034).
//!
//! One bucket. 1. The placer puts its keys into bins by cuckoo hashing, the mapper each of its rows into three. 2. The
//! placer evaluates a pseudorandom function at what stands in its bins, by a vector correlation and a key-value store.
//! 3. The mapper's store programs the function: at a key of the mapper's it gives a random string of the bin, and the
//! row's words under masks of the bin. 4. An equality test shares whether both strings of a bin agree. 5. Transfers
//! multiply the words with the shared bit.

mod cuckoo;
mod entries;
pub(crate) mod equality;
pub(crate) mod hash;
mod machine;
mod mapper;
pub(crate) mod parameters;
mod placer;
pub(crate) mod products;
mod schedule;
mod side;
mod sizes;
pub(crate) mod turns;

pub use machine::{Machine, Output};
pub use parameters::{Parameters, Role, bins};
pub use sizes::{Sizes, sizes};
