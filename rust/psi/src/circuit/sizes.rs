//! What a run sends, from its public sizes alone.

use atoll_okvs::{Kind, slots};

use super::parameters::{Parameters, Role, Shape};
use super::schedule::{self, HEADER, TURN_PIECE, schedule};
use super::side::{Use, correlations, groups};
use super::turns::lengths;
use crate::Refusal;

/// Sizes of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// Number of bins.
    pub bins: usize,
    /// Payload bytes of the placer's messages.
    pub placer_bytes: u64,
    /// Payload bytes of the mapper's messages.
    pub mapper_bytes: u64,
    /// How often the direction changes.
    pub rounds: u64,
    /// Values of all correlations together.
    pub values: u64,
}

impl Sizes {
    /// Counts what one side says before the other speaks.
    fn add(&mut self, last: &mut Role, from: Role, bytes: usize) {
        match from {
            Role::Placer => self.placer_bytes += bytes as u64,
            Role::Mapper => self.mapper_bytes += bytes as u64,
        }
        self.rounds += u64::from(from != std::mem::replace(last, from));
    }
}

/// Bytes of a turn and of the headers of its pieces.
fn spoken(turn: usize) -> usize {
    turn + turn.div_ceil(TURN_PIECE).max(1) * HEADER
}

/// Bytes of the turns in which one group of correlations is made, the placer's first, without headers of pieces.
pub(crate) fn turns(group: &[(Use, usize, u32)]) -> Result<Vec<usize>, Refusal> {
    lengths(group.iter().map(|(purpose, size, bits)| {
        let first = matches!(purpose, Use::Leaves | Use::PlacerWords);
        (first, *size, *bits)
    }))
}

/// The sizes of a run; of the parameters only numbers of items and words are looked at. Errors as for the machine.
pub fn sizes(p: &Parameters) -> Result<Sizes, Refusal> {
    let shape = Shape::new(p)?;
    let entry_slots = slots(shape.entries, Kind::Fast);
    let steps = schedule(&shape, entry_slots, slots(3 * shape.rows, Kind::Fast));
    let mut out = Sizes {
        bins: shape.bins,
        placer_bytes: 0,
        mapper_bytes: 0,
        rounds: 0,
        values: 0,
    };
    let mut last = Role::Mapper;
    for step in &steps {
        if step.kind == schedule::Kind::Turn {
            let all = correlations(&shape, entry_slots);
            out.values = all.iter().map(|(_, size, _)| *size as u64).sum();
            for group in groups(&all) {
                let mut from = Role::Placer;
                for bytes in turns(&all[group])? {
                    out.add(&mut last, from, spoken(bytes));
                    from = from.other();
                }
            }
        } else {
            let messages = step.units.div_ceil((schedule::PIECE / step.unit).max(1));
            out.add(
                &mut last,
                step.from,
                step.units * step.unit + messages * HEADER,
            );
        }
    }
    Ok(out)
}
