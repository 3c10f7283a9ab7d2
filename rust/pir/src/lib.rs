//! Index PIR: who asks reads one column of the holder's table, and the holder learns nothing of which.
//!
//! SimplePIR (Henzinger et al., eprint 2022/949) over q = 2^32 with cells of one byte. The steps are pure; the
//! asker gets the whole column, so the privacy of the table needs sealed records above this crate.
//! `docs/protocols/index-pir.md` has the parameters, what they reveal, and what they cost.

pub mod client;
pub mod hint;
pub mod kernel;
pub mod layout;
pub mod message;
pub mod noise;
pub mod parameters;
pub mod products;
pub mod table;

pub use atoll_primitives::refusal::Refusal;
pub use client::{Client, Masked, Prepared, QueryState};
pub use hint::{Hint, Matrix};
pub use kernel::Path;
pub use layout::Layout;
pub use message::{Change, Delta, Version};
pub use table::Table;
