//! Distinct keys of a table, in order of first appearance.

use hashbrown::HashTable;

use crate::Refusal;
use crate::keys::KeyDigest;

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

    fn push(&mut self, digest: KeyDigest) {
        match self.0.last_mut() {
            Some(last) if last.len() < Self::BLOCK => last.push(digest),
            _ => {
                let mut block = Vec::with_capacity(Self::BLOCK);
                block.push(digest);
                self.0.push(block);
            }
        }
    }

    /// The blocks in order, each freed when its owner drops it.
    pub fn into_blocks(self) -> std::vec::IntoIter<Vec<KeyDigest>> {
        self.0.into_iter()
    }
}

/// The distinct keys seen so far; grows row by row, so that a table need not be in memory at once.
#[derive(Debug, Default)]
pub struct Distinct {
    /// Unique digests in order of first appearance.
    pub digests: Digests,
    /// For every row the index of its digest, `NO_KEY` where it has none.
    pub rows: Vec<u32>,
    /// For every unique digest the number of rows that have it.
    pub multiplicity: Vec<u32>,
    /// Rows without key.
    pub nulls: u64,
    index: HashTable<u32>,
}

fn hash(digest: &KeyDigest) -> u64 {
    // The digest is already uniform.
    u64::from_le_bytes(digest[..8].try_into().expect("eight bytes"))
}

impl Distinct {
    /// Adds one row.
    pub fn push(&mut self, key: Option<&KeyDigest>) -> Result<(), Refusal> {
        if self.rows.len() as u64 >= u64::from(NO_KEY) {
            return Err(Refusal::new(
                "E_TOO_LARGE",
                "a table has at most 2^32 - 1 rows",
            ));
        }
        let Some(key) = key else {
            self.nulls += 1;
            self.rows.push(NO_KEY);
            return Ok(());
        };
        let digests = &self.digests;
        let found = self
            .index
            .find(hash(key), |i| digests.get(*i) == key)
            .copied();
        let at = match found {
            Some(at) => at,
            None => {
                let at = self.digests.len() as u32;
                self.digests.push(*key);
                self.multiplicity.push(0);
                let digests = &self.digests;
                self.index
                    .insert_unique(hash(key), at, |i| hash(digests.get(*i)));
                at
            }
        };
        self.multiplicity[at as usize] += 1;
        self.rows.push(at);
        Ok(())
    }

    /// Frees what only `push` needs.
    pub fn into_parts(self) -> (Digests, Vec<u32>, Vec<u32>, u64) {
        (self.digests, self.rows, self.multiplicity, self.nulls)
    }

    /// Number of distinct keys that stand on more than one row.
    pub fn duplicates(&self) -> u64 {
        self.multiplicity.iter().filter(|m| **m > 1).count() as u64
    }
}

/// Distinct keys of a whole column: (unique digests, row to unique index, rows per unique digest).
pub fn distinct(keys: &[Option<KeyDigest>]) -> Result<Distinct, Refusal> {
    let mut out = Distinct::default();
    for key in keys {
        out.push(key.as_ref())?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn many_blocks_copy_out_in_order() {
        let mut all = Distinct::default();
        let key = |i: u32| {
            let mut key = [0u8; 32];
            key[..4].copy_from_slice(&i.to_le_bytes());
            key
        };
        let n = Digests::BLOCK as u32 * 2;
        (0..=n)
            .chain(0..=n)
            .for_each(|i| all.push(Some(&key(i))).unwrap());
        assert_eq!(
            (all.digests.len(), all.duplicates()),
            (n as usize + 1, u64::from(n) + 1)
        );
        let out = all
            .into_parts()
            .0
            .into_blocks()
            .collect::<Vec<_>>()
            .concat();
        assert!(out.iter().zip(0..).all(|(found, i)| *found == key(i)));
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list(keys in proptest::collection::vec(proptest::option::of(0u8..6), 0..60)) {
            let keys: Vec<_> = keys.into_iter().map(|k| k.map(|k| [k; 32])).collect();
            let out = distinct(&keys).unwrap();
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
            prop_assert_eq!(out.nulls as usize, keys.iter().filter(|k| k.is_none()).count());
            prop_assert_eq!(out.duplicates() as usize, unique.iter().filter(|k| count(k) > 1).count());
        }
    }
}
