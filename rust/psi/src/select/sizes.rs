//! What a preparation and a query send, from public sizes alone.

use super::parameters::{Parameters, Role, correlations};
use super::prepare::{self, lengths};
use super::query::{self, schedule};
use crate::Refusal;

/// Payload bytes of messages, headers and all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// Of the preparation: the asker's, then the holder's.
    pub preparation: [u64; 2],
    /// Of one query: the asker's, then the holder's.
    pub query: [u64; 2],
    /// How often the direction changes in a query.
    pub rounds: u64,
}

/// The sizes of one preparation and of each of its queries; errors as for [`super::Preparation::new`].
pub fn sizes(p: &Parameters) -> Result<Sizes, Refusal> {
    let of = |role: Role| usize::from(role == Role::Holder);
    let coin = (prepare::HEADER + 32) as u64;
    let mut preparation = [coin, 2 * coin];
    let mut from = Role::Holder;
    for turn in lengths(&correlations(p)?)? {
        let pieces = turn.div_ceil(prepare::PIECE).max(1);
        preparation[of(from)] += (turn + pieces * prepare::HEADER) as u64;
        from = from.other();
    }
    let steps = schedule(&p.shape);
    let mut sent = [0; 2];
    for step in &steps {
        sent[of(step.from)] += (query::HEADER + step.length) as u64;
    }
    let turned = steps.windows(2).filter(|pair| pair[0].from != pair[1].from);
    Ok(Sizes {
        preparation,
        query: sent,
        rounds: turned.count() as u64,
    })
}
