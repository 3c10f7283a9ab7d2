//! Distinct keys of a table, in order of first appearance.

use hashbrown::HashTable;
use rayon::prelude::*;

use crate::keys::KeyDigest;
use crate::{Refusal, pool};

/// Row index of a row without key.
pub const NO_KEY: u32 = u32::MAX;

/// Digests in blocks, to be handed on and freed one by one: a large table's digests are never in memory twice.
#[derive(Debug, Default)]
pub struct Digests(Vec<Vec<KeyDigest>>);

impl Digests {
    /// Blocks of 32 MiB, which allocators give back to the system.
    const BLOCK: usize = 1 << 20;

    /// Number of digests.
    pub fn len(&self) -> usize {
        self.0
            .last()
            .map_or(0, |last| (self.0.len() - 1) * Self::BLOCK + last.len())
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, index: u32) -> &KeyDigest {
        let index = index as usize;
        &self.0[index / Self::BLOCK][index % Self::BLOCK]
    }

    fn extend(&mut self, mut digests: &[KeyDigest]) {
        while !digests.is_empty() {
            match self.0.last_mut() {
                Some(last) if last.len() < Self::BLOCK => {
                    let (now, later) =
                        digests.split_at(digests.len().min(Self::BLOCK - last.len()));
                    last.extend_from_slice(now);
                    digests = later;
                }
                _ => self.0.push(Vec::with_capacity(Self::BLOCK)),
            }
        }
    }

    /// The blocks in order, each freed when its owner drops it.
    pub fn into_blocks(self) -> std::vec::IntoIter<Vec<KeyDigest>> {
        self.0.into_iter()
    }
}

/// The distinct keys seen so far; grows batch by batch, so that a table need not be in memory at once.
///
/// Rows wait until `STAGE` of them can be looked up together. They are dealt out by the first byte of their digest,
/// so that the lookups of a stage stay within one small table at a time: most of the cost of a hash table larger
/// than the cache is waiting for memory.
#[derive(Debug)]
pub struct Distinct {
    digests: Digests,
    rows: Vec<u32>,
    multiplicity: Vec<u32>,
    nulls: u64,
    /// By first byte: the next four bytes of a key's digest, and the first row that has the key.
    tables: Vec<HashTable<Entry>>,
    waiting: Vec<KeyDigest>,
    keyed: Vec<bool>,
    /// The waiting rows by table; kept, since memory that is new costs more than the work done in it.
    dealt: Vec<Entry>,
}

/// What is known of all rows at the end.
#[derive(Debug)]
pub struct Found {
    /// Unique digests in order of first appearance.
    pub digests: Digests,
    /// For every row the index of its digest, `NO_KEY` where it has none.
    pub rows: Vec<u32>,
    /// For every unique digest the number of rows that have it.
    pub multiplicity: Vec<u32>,
    /// Rows without key.
    pub nulls: u64,
}

impl Found {
    /// Number of distinct keys that stand on more than one row.
    pub fn duplicates(&self) -> u64 {
        self.multiplicity.iter().filter(|m| **m > 1).count() as u64
    }
}

type Entry = (u32, u32);

/// Fewest rows that are looked up together: 8 MiB of digests. Of a large table it is a quarter of what is known already,
/// so that a lookup finds its part of the table in the cache.
const STAGE: usize = 1 << 18;
const TABLES: usize = 256;

fn tag(digest: &KeyDigest) -> u32 {
    // The digest is already uniform, and its first byte has chosen the table.
    u32::from_le_bytes([digest[1], digest[2], digest[3], digest[4]])
}

fn hash(tag: u32) -> u64 {
    // The table takes a place from the low bits, and the highest seven to tell neighbours apart.
    u64::from(tag) << 32 | u64::from(tag)
}

impl Default for Distinct {
    fn default() -> Self {
        Self {
            digests: Digests::default(),
            rows: Vec::new(),
            multiplicity: Vec::new(),
            nulls: 0,
            tables: vec![HashTable::new(); TABLES],
            waiting: Vec::new(),
            keyed: Vec::new(),
            dealt: Vec::new(),
        }
    }
}

impl Distinct {
    /// Number of rows so far.
    pub fn len(&self) -> usize {
        self.rows.len() + self.waiting.len()
    }

    /// True if there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `rows` rows. `fill` writes their digests, and true beside each that has a key; what it refuses leaves
    /// nothing behind.
    ///
    /// Runs on the current rayon pool; the result does not depend on its size, nor on how rows are cut into
    /// batches.
    pub fn push(
        &mut self,
        rows: usize,
        fill: impl FnOnce(&mut [KeyDigest], &mut [bool]) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if (self.len() as u64).saturating_add(rows as u64) > u64::from(NO_KEY) {
            return Err(Refusal::new(
                "E_TOO_LARGE",
                "a table has at most 2^32 - 1 rows",
            ));
        }
        let from = self.waiting.len();
        self.waiting.resize(from + rows, [0; 32]);
        self.keyed.resize(from + rows, false);
        let filled = fill(&mut self.waiting[from..], &mut self.keyed[from..]);
        if filled.is_err() {
            self.waiting.truncate(from);
            self.keyed.truncate(from);
        } else if self.waiting.len() >= STAGE.max(self.digests.len() / 4) {
            self.settle();
        }
        filled
    }

    /// Gives the waiting rows their indices.
    fn settle(&mut self) {
        let (first, count) = (self.rows.len(), self.waiting.len());
        let repeats = self.repeats(first);
        let next = self.digests.len() as u32;
        if repeats.is_empty() && self.keyed.iter().all(|keyed| *keyed) {
            self.digests.extend(&self.waiting);
            self.rows.extend(next..next + count as u32);
            self.multiplicity.resize(next as usize + count, 1);
        } else {
            self.number(first, &repeats);
        }
        self.waiting.clear();
        self.keyed.clear();
    }

    /// The waiting rows whose key an earlier row has, each with the first row that has it.
    fn repeats(&mut self, first: usize) -> Vec<Vec<(u32, u32)>> {
        let mut ends = [0usize; TABLES];
        let having = || self.waiting.iter().zip(&self.keyed).enumerate();
        for (_, (digest, _)) in having().filter(|(_, (_, keyed))| **keyed) {
            ends[usize::from(digest[0])] += 1;
        }
        let mut total = 0;
        let sizes = ends;
        for end in &mut ends {
            total += std::mem::replace(end, total);
        }
        let mut dealt = std::mem::take(&mut self.dealt);
        dealt.resize(total, (0, 0));
        for (row, (digest, _)) in having().filter(|(_, (_, keyed))| **keyed) {
            let at = &mut ends[usize::from(digest[0])];
            dealt[*at] = (tag(digest), (first + row) as u32);
            *at += 1;
        }
        let mut parts = Vec::with_capacity(TABLES);
        let mut rest = dealt.as_slice();
        for size in sizes {
            let (part, later) = rest.split_at(size);
            parts.push(part);
            rest = later;
        }
        let digest_of = |row: u32| match (row as usize).checked_sub(first) {
            Some(at) => &self.waiting[at],
            None => self.digests.get(self.rows[row as usize]),
        };
        let repeats = self
            .tables
            .par_iter_mut()
            .zip(parts)
            .map(|(table, part)| {
                let mut repeats = Vec::new();
                table.reserve(part.len(), |(tag, _)| hash(*tag));
                for entry @ (tag, row) in part {
                    let same =
                        |(other, at): &Entry| other == tag && digest_of(*at) == digest_of(*row);
                    match table.find(hash(*tag), same) {
                        Some((_, at)) => repeats.push((*row, *at)),
                        None => {
                            table.insert_unique(hash(*tag), *entry, |(tag, _)| hash(*tag));
                        }
                    }
                }
                repeats
            })
            .filter(|repeats| !repeats.is_empty())
            .collect();
        self.dealt = dealt;
        repeats
    }

    /// Numbers the waiting rows where some repeat a key or have none.
    fn number(&mut self, first: usize, repeats: &[Vec<(u32, u32)>]) {
        let mut firsts: Vec<u32> = (0..self.waiting.len())
            .map(|i| (first + i) as u32)
            .collect();
        for (row, at) in repeats.iter().flatten() {
            firsts[*row as usize - first] = *at;
        }
        let mut fresh = Vec::new();
        let mut next = self.digests.len() as u32;
        for (i, (digest, keyed)) in self.waiting.iter().zip(&self.keyed).enumerate() {
            if !keyed {
                self.nulls += 1;
                self.rows.push(NO_KEY);
            } else if firsts[i] as usize == first + i {
                fresh.push(*digest);
                self.rows.push(next);
                self.multiplicity.push(1);
                next += 1;
            } else {
                let key = self.rows[firsts[i] as usize];
                self.rows.push(key);
                self.multiplicity[key as usize] += 1;
            }
        }
        self.digests.extend(&fresh);
    }

    /// Numbers what is left, and frees what only `push` needs. Runs on the current rayon pool.
    pub fn finish(mut self) -> Found {
        self.settle();
        Found {
            digests: self.digests,
            rows: self.rows,
            multiplicity: self.multiplicity,
            nulls: self.nulls,
        }
    }
}

/// For each digest (32 bytes) the number of its key, in order of first appearance.
///
/// `E_FORMAT` for bytes that are not whole digests, `E_TOO_LARGE` beyond 2^32 - 1 of them.
pub fn numbered(digests: &[u8], threads: usize) -> Result<Vec<u32>, Refusal> {
    let (digests, []) = digests.as_chunks::<32>() else {
        return Err(Refusal::new("E_FORMAT", "digests have 32 bytes each"));
    };
    pool(threads)?.install(|| {
        let mut all = Distinct::default();
        for part in digests.chunks(STAGE) {
            all.push(part.len(), |waiting, keyed| {
                waiting.copy_from_slice(part);
                keyed.fill(true);
                Ok(())
            })?;
        }
        Ok(all.finish().rows)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(i: u32) -> KeyDigest {
        // Spread over the tables, with few tags, so that different keys meet in one place.
        let mut key = [0u8; 32];
        key[0] = (i % 7) as u8;
        key[1] = (i % 11) as u8;
        key[28..].copy_from_slice(&i.to_le_bytes());
        key
    }

    fn batch(all: &mut Distinct, keys: &[Option<KeyDigest>]) {
        all.push(keys.len(), |digests, keyed| {
            for (i, key) in keys.iter().enumerate() {
                digests[i] = key.unwrap_or([0; 32]);
                keyed[i] = key.is_some();
            }
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn many_blocks_copy_out_in_order() {
        let mut all = Distinct::default();
        let spread = |i: u32| {
            let mut key = [0u8; 32];
            key[..4].copy_from_slice(&i.wrapping_mul(0x9e37_79b1).to_le_bytes());
            key[28..].copy_from_slice(&i.to_le_bytes());
            key
        };
        let n = Digests::BLOCK as u32 * 2;
        let keys: Vec<_> = (0..=n).chain(0..=n).map(|i| Some(spread(i))).collect();
        keys.chunks(100_000).for_each(|part| batch(&mut all, part));
        assert_eq!(all.len(), keys.len());
        let found = all.finish();
        assert_eq!(
            (found.digests.len(), found.duplicates()),
            (n as usize + 1, u64::from(n) + 1)
        );
        assert!(found.rows.iter().copied().eq((0..=n).chain(0..=n)));
        let out = found.digests.into_blocks().collect::<Vec<_>>().concat();
        assert!(out.iter().zip(0..).all(|(found, i)| *found == spread(i)));
    }

    #[test]
    fn equal_tags_do_not_make_keys_equal() {
        let mut all = Distinct::default();
        let keys: Vec<_> = (0..1000).chain(0..1000).map(|i| Some(key(i))).collect();
        batch(&mut all, &keys);
        assert_eq!(all.finish().digests.len(), 1000);
    }

    #[test]
    fn a_refused_batch_leaves_nothing() {
        let mut all = Distinct::default();
        batch(&mut all, &[Some(key(1))]);
        let refused = all.push(3, |_, _| Err(Refusal::new("E_DATA", "no")));
        assert_eq!(refused.unwrap_err().code, "E_DATA");
        batch(&mut all, &[Some(key(1)), None]);
        let too_many = all.push(NO_KEY as usize, |_, _| Ok(()));
        assert_eq!(too_many.unwrap_err().code, "E_TOO_LARGE");
        let found = all.finish();
        assert_eq!(
            (found.rows, found.multiplicity, found.nulls),
            (vec![0, 0, NO_KEY], vec![2], 1)
        );
    }

    #[test]
    fn bytes_that_are_no_digests_have_no_numbers() {
        assert_eq!(numbered(&[0; 33], 1).unwrap_err().code, "E_FORMAT");
        assert_eq!(numbered(&[0; 32], 0).unwrap_err().code, "E_FORMAT");
        assert!(numbered(&[], 1).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(
            keys in proptest::collection::vec(proptest::option::of(0u32..12), 0..60),
            cuts in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let keys: Vec<_> = keys.into_iter().map(|k| k.map(key)).collect();
            let mut all = Distinct::default();
            let mut from = 0;
            for (at, cut) in cuts.iter().enumerate().take(keys.len()) {
                if *cut {
                    batch(&mut all, &keys[from..at]);
                    // As if a stage were full.
                    all.settle();
                    from = at;
                }
            }
            batch(&mut all, &keys[from..]);
            let out = all.finish();
            let mut unique: Vec<KeyDigest> = Vec::new();
            for key in keys.iter().flatten() {
                if !unique.contains(key) {
                    unique.push(*key);
                }
            }
            let found: Vec<_> = (0..out.digests.len() as u32).map(|i| *out.digests.get(i)).collect();
            prop_assert_eq!(&found, &unique);
            for (key, row) in keys.iter().zip(&out.rows) {
                match key {
                    Some(key) => prop_assert_eq!(&unique[*row as usize], key),
                    None => prop_assert_eq!(*row, NO_KEY),
                }
            }
            let count = |k: &KeyDigest| keys.iter().flatten().filter(|x| *x == k).count() as u32;
            prop_assert_eq!(out.multiplicity.clone(), unique.iter().map(count).collect::<Vec<_>>());
            let having: Vec<u8> = keys.iter().flatten().flatten().copied().collect();
            let rows: Vec<_> = out.rows.iter().copied().filter(|row| *row != NO_KEY).collect();
            prop_assert_eq!(numbered(&having, 2).unwrap(), rows);
            prop_assert_eq!(out.nulls as usize, keys.iter().filter(|k| k.is_none()).count());
            prop_assert_eq!(out.duplicates() as usize, unique.iter().filter(|k| count(k) > 1).count());
        }
    }
}
