//! Sizes of a run, all of them public: they follow from what both sides declared.

use crate::Refusal;

/// Statistical security in bits.
const STATISTICAL: u32 = 40;
/// Bits that one leaf of the equality test compares.
pub(crate) const LEAF: usize = 4;
/// Bins whose leaves share one correlation.
const CHUNK: usize = 1 << 16;
/// Most entries of a store.
const MOST_ITEMS: u64 = 1 << 22;
/// Most payload words of a side.
const MOST_WORDS: usize = 256;

/// Entries and bins: the ratio of a row holds from its number of entries to that of the next. Printed by
/// `scripts/cuckoo_parameters.py`, which proves a bound of 2^-40 on the chance that there is no placement.
const BINS: [(u64, u64); 24] = [
    (1, 3),
    (3, 3),
    (4, 41),
    (6, 56),
    (8, 67),
    (12, 84),
    (16, 97),
    (24, 118),
    (32, 136),
    (48, 164),
    (64, 188),
    (96, 226),
    (128, 258),
    (192, 310),
    (256, 371),
    (384, 535),
    (512, 700),
    (768, 1032),
    (1024, 1364),
    (1536, 2027),
    (2048, 2691),
    (4096, 5345),
    (8192, 10654),
    (16384, 21300),
];

/// Bins for `entries` cuckoo entries.
pub fn bins(entries: usize) -> usize {
    let row = BINS.partition_point(|(least, _)| *least <= entries as u64);
    match row.checked_sub(1) {
        Some(row) => (entries as u64 * BINS[row].1).div_ceil(BINS[row].0) as usize,
        None => 0,
    }
}

/// Bits of strings of which none is equal to another by chance in any of `bins` bins, but for 2^-40.
pub(crate) fn string_bits(bins: usize) -> u32 {
    let width = STATISTICAL + usize::BITS - bins.saturating_sub(1).leading_zeros();
    width.next_multiple_of(LEAF as u32)
}

/// Leaves of each level of an equality test of `bits` bits; the last has one.
pub(crate) fn levels(bits: u32) -> Vec<usize> {
    let mut levels = vec![(bits as usize).div_ceil(LEAF)];
    while levels[levels.len() - 1] > 1 {
        levels.push(levels[levels.len() - 1].div_ceil(LEAF));
    }
    levels
}

/// Who a party is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Holds different keys, and places each into a bin of its own.
    Placer,
    /// Holds keys that may repeat up to the declared multiplicity.
    Mapper,
}

impl Role {
    /// The peer's role.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Placer => Self::Mapper,
            Self::Mapper => Self::Placer,
        }
    }

    /// Reads `placer` or `mapper`.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        match name {
            "placer" => Ok(Self::Placer),
            "mapper" => Ok(Self::Mapper),
            _ => Err(Refusal::new(
                "E_FORMAT",
                format!("a role is placer or mapper, not {name:?}"),
            )),
        }
    }
}

/// Parameters of one run; both sides agree on all but role and threads.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Number of the attempt: a new one draws fresh randomness.
    pub attempt: u32,
    /// Name of the channel, a label of the randomness.
    pub channel: String,
    /// Bytes that name the job; bound into every hash.
    pub context: Vec<u8>,
    /// What this party is.
    pub role: Role,
    /// Keys of the placer.
    pub placer_items: u64,
    /// Rows of the mapper.
    pub mapper_items: u64,
    /// Most rows of the mapper with one key, at least 1.
    pub multiplicity: u32,
    /// Payload words of 64 bits a row of the placer.
    pub placer_words: usize,
    /// Payload words of 64 bits a row of the mapper.
    pub mapper_words: usize,
    /// Worker threads.
    pub threads: usize,
}

/// Sizes that follow from the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Entries of the placer: each key once for every copy.
    pub(crate) entries: usize,
    /// Rows of the mapper.
    pub(crate) rows: usize,
    pub(crate) copies: u32,
    pub(crate) bins: usize,
    /// Bits of the strings that are compared, at most 64.
    pub(crate) bits: u32,
    /// Leaves of each level of the equality test; the last has one.
    pub(crate) levels: Vec<usize>,
    pub(crate) placer_words: usize,
    pub(crate) mapper_words: usize,
}

impl Shape {
    /// The sizes of `p`; `E_TOO_LARGE` and `E_FORMAT` for parameters out of range.
    pub(crate) fn new(p: &Parameters) -> Result<Self, Refusal> {
        let format = |text: &str| Err(Refusal::new("E_FORMAT", text));
        if p.multiplicity == 0 {
            return format("a multiplicity is at least one");
        }
        if p.placer_words > MOST_WORDS || p.mapper_words > MOST_WORDS {
            return format("a side has at most 256 payload words");
        }
        let entries = p.placer_items.saturating_mul(p.multiplicity.into());
        let mapped = p.mapper_items.saturating_mul(3);
        if entries > MOST_ITEMS || mapped > MOST_ITEMS {
            return Err(Refusal::new(
                "E_TOO_LARGE",
                "one bucket takes 4,194,304 keys times copies of the placer and 1,398,101 rows of the mapper",
            ));
        }
        let empty = entries == 0 || mapped == 0;
        let bins = bins(entries as usize);
        let bits = string_bits(bins);
        Ok(Self {
            entries: entries as usize,
            rows: p.mapper_items as usize,
            copies: p.multiplicity,
            bins,
            bits,
            levels: if empty { Vec::new() } else { levels(bits) },
            placer_words: p.placer_words,
            mapper_words: p.mapper_words,
        })
    }

    /// True if nothing can match: then there is no protocol.
    pub(crate) fn empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// Leaves of a bin, all levels together.
    pub(crate) fn leaves(&self) -> usize {
        self.levels.iter().sum()
    }

    /// Bins of each correlation of the equality test, in order.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = usize> + use<> {
        let bins = self.bins;
        (0..bins.div_ceil(CHUNK)).map(move |k| CHUNK.min(bins - k * CHUNK))
    }

    /// Columns of one value of the mapper's store, 128 bits each: the string and the payload words.
    pub(crate) fn lanes(&self) -> usize {
        (1 + self.mapper_words).div_ceil(2)
    }

    /// Bytes of one value of the mapper's store on the wire.
    pub(crate) fn store_bytes(&self) -> usize {
        match self.mapper_words {
            0 => self.bits.div_ceil(8) as usize,
            words => 8 * (1 + words),
        }
    }

    /// Words that the placer multiplies with the mapper's half of the bit.
    pub(crate) fn words(&self) -> usize {
        self.placer_words + self.mapper_words
    }

    /// Mask of the strings that are compared.
    pub(crate) fn string_mask(&self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(placer: u64, mapper: u64, copies: u32) -> Result<Shape, Refusal> {
        Shape::new(&Parameters {
            attempt: 0,
            channel: String::new(),
            context: Vec::new(),
            role: Role::Placer,
            placer_items: placer,
            mapper_items: mapper,
            multiplicity: copies,
            placer_words: 1,
            mapper_words: 1,
            threads: 1,
        })
    }

    #[test]
    fn bins_follow_the_table() {
        let expected = [(0, 0), (1, 3), (2, 6), (3, 3), (4, 41), (5, 52), (7, 66)];
        for (entries, count) in expected {
            assert_eq!(bins(entries), count);
        }
        assert_eq!(bins(1 << 20), 1_363_200);
    }

    #[test]
    fn strings_are_long_enough_for_every_number_of_bins() {
        for entries in [1, 2, 10, 1000, 1 << 16, 1 << 22] {
            let shape = shape(entries, 5, 1).unwrap();
            assert!(shape.bits <= 64 && shape.bits.is_multiple_of(4));
            assert!((shape.bins as f64).log2() + 40.0 <= shape.bits.into());
            assert_eq!(shape.chunks().sum::<usize>(), shape.bins);
            assert_eq!(shape.levels.last(), Some(&1));
        }
        assert_eq!(shape(1 << 20, 1, 1).unwrap().levels, [16, 4, 1]);
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        let code = |r: Result<Shape, Refusal>| r.unwrap_err().code;
        assert_eq!(code(shape(1, 1, 0)), "E_FORMAT");
        assert_eq!(code(shape((1 << 22) + 1, 1, 1)), "E_TOO_LARGE");
        assert_eq!(code(shape(1 << 21, 1, 3)), "E_TOO_LARGE");
        assert_eq!(code(shape(1, 1_398_102, 1)), "E_TOO_LARGE");
        assert_eq!(code(shape(u64::MAX, u64::MAX, u32::MAX)), "E_TOO_LARGE");
        assert!(shape(0, 1_398_101, 1).unwrap().empty());
    }
}
