//! A column's cell for one id, as shares of its words: the asker knows the id and the column, the holder sealed the
//! table, and neither learns whether a cell was the id's (`docs/protocols/lookup-totals.md`).
//!
//! One query. 1. The holder garbles its pseudorandom function (Yao; half gates, eprint 2014/756), ahead of need if it
//! likes; the asker evaluates it at the id: both have shares of the id's tag and of the pads of its words. 2. An
//! equality test shares for every cell whether its tag is that tag. 3. Transfers multiply the shared bits with the
//! asker's words, and their sum with the holder's. What does not depend on ids is prepared for many queries at once.

mod aes;
mod asker;
mod garble;
mod holder;
mod parameters;
mod prepare;
mod query;
mod seal;
mod sizes;
mod tower;

pub use asker::Asker;
pub use holder::Holder;
pub use parameters::{MOST_CELLS, MOST_WORDS, Parameters, Role, Shape};
pub use prepare::Preparation;
pub use query::Query;
pub use seal::{Sealing, column};
pub use sizes::{Sizes, sizes};
