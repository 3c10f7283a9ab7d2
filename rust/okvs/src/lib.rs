//! Oblivious key-value stores: linear encodings of a map that say nothing of its keys.
//!
//! A store of `m` slots over GF(2)^128 holds the value of a key as the exclusive or of a few slots and of those of 64
//! dense columns that the key chooses. The sparse columns form a spatially coupled hypergraph, which peels close to
//! the load where it stops having full rank (Walzer, "Peeling close to the orientability threshold", SODA 2021;
//! Graf and Lemire, "Binary fuse filters", JEA 2022). Rows that do not peel are solved in the dense columns (Garimella,
//! Pinkas, Rosulek, Trieu, Yanai, eprint 2021/883; Raghuraman and Rindal, eprint 2022/320).

mod layout;
mod peel;
mod solve;
mod store;
mod table;

pub use atoll_primitives::refusal::Refusal;
pub use layout::{MOST_ITEMS, slots};
pub use store::{Kind, Store};
