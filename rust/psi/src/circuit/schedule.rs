//! The order of messages: the same list on both sides, whatever the timing.

use super::parameters::{Role, Shape};
use crate::Refusal;

/// Most bytes of a message's body.
pub(crate) const PIECE: usize = 1 << 19;
/// Bytes before the body: kind and level.
pub(crate) const HEADER: usize = 2;

/// What a message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Commitment of the placer to its share of the coin.
    Commitment = 1,
    /// The mapper's share of the coin.
    Share,
    /// The placer's share of the coin.
    Opening,
    /// A piece of a turn of the correlations.
    Turn,
    /// Encoding of the placer's entries under the correlation of the pseudorandom function.
    Entries,
    /// The mapper's store.
    Store,
    /// The chooser's corrections of one level.
    Corrections,
    /// The holder's tables of one level.
    Tables,
    /// Choice bits of the placer.
    PlacerFlips,
    /// Choice bits of the mapper.
    MapperFlips,
    /// Words of the mapper, masked.
    MapperWords,
    /// Words of the placer, masked.
    PlacerWords,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Commitment => "commitment",
            Self::Share => "share",
            Self::Opening => "opening",
            Self::Turn => "turn",
            Self::Entries => "entries",
            Self::Store => "store",
            Self::Corrections => "corrections",
            Self::Tables => "tables",
            Self::PlacerFlips => "placer-flips",
            Self::MapperFlips => "mapper-flips",
            Self::MapperWords => "mapper-words",
            Self::PlacerWords => "placer-words",
        }
    }
}

/// One part of the protocol: so many units of so many bytes, from one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) from: Role,
    pub(crate) kind: Kind,
    pub(crate) level: usize,
    pub(crate) unit: usize,
    pub(crate) units: usize,
}

impl Step {
    /// End of the piece that begins at unit `from`.
    pub(crate) fn until(&self, from: usize) -> usize {
        self.units.min(from + (PIECE / self.unit).max(1))
    }

    /// The first bytes of its messages.
    pub(crate) fn header(&self) -> [u8; HEADER] {
        [self.kind as u8, self.level as u8]
    }

    /// Label of the message that begins at unit `from`.
    pub(crate) fn label(&self, from: usize) -> String {
        let piece = from / (PIECE / self.unit).max(1);
        format!("circuit-psi/{}/{}/{piece}", self.kind.name(), self.level)
    }

    /// The body of a message that must hold the units from `from` to `to`.
    pub(crate) fn body<'a>(
        &self,
        bytes: &'a [u8],
        from: usize,
        to: usize,
    ) -> Result<&'a [u8], Refusal> {
        let body = bytes.strip_prefix(&self.header()).ok_or_else(|| {
            Refusal::protocol("a message is of another kind than the one that comes next")
        })?;
        if body.len() != (to - from) * self.unit {
            return Err(Refusal::protocol(
                "the length of a message does not fit the agreed sizes",
            ));
        }
        Ok(body)
    }
}

/// Length of a piece of a turn.
pub(crate) const TURN_PIECE: usize = PIECE;

/// All steps. That of the turns stands for however many they are.
pub(crate) fn schedule(shape: &Shape, entry_slots: usize, store_slots: usize) -> Vec<Step> {
    use Kind::*;
    use Role::{Mapper, Placer};
    let mut steps = Vec::new();
    let mut add = |from, kind, level, unit, units| {
        steps.push(Step {
            from,
            kind,
            level,
            unit,
            units,
        });
    };
    add(Placer, Commitment, 0, 32, 1);
    add(Mapper, Share, 0, 32, 1);
    add(Placer, Opening, 0, 32, 1);
    if shape.empty() {
        return steps;
    }
    add(Placer, Turn, 0, 1, 0);
    add(Placer, Entries, 0, 16, entry_slots);
    add(Mapper, Store, 0, shape.store_bytes(), store_slots);
    for (level, leaves) in shape.levels.iter().enumerate() {
        add(Mapper, Corrections, level, leaves.div_ceil(2), shape.bins);
        add(Placer, Tables, level, 2 * leaves, shape.bins);
    }
    let flips = shape.bins.div_ceil(64);
    if shape.mapper_words > 0 {
        add(Placer, PlacerFlips, 0, 8, flips);
    }
    if shape.words() > 0 {
        add(Mapper, MapperFlips, 0, 8, flips);
    }
    if shape.mapper_words > 0 {
        add(Mapper, MapperWords, 0, 8 * shape.mapper_words, shape.bins);
    }
    if shape.words() > 0 {
        add(Placer, PlacerWords, 0, 8 * shape.words(), shape.bins);
    }
    steps
}
