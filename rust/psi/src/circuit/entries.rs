//! What is placed and looked up: keys under the run's coin, one entry for every copy of a key.

use hashbrown::HashTable;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::cuckoo::POSITIONS;
use super::hash::{BATCH, Masks};
use crate::Refusal;
use crate::keys::KeyDigest;

/// One entry: a uniform name, and a uniform word that its bins come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: u128,
    pub(crate) word: u128,
}

/// The entry of the `copy`-th row with `digest`, under `coin`.
pub(crate) fn entry(coin: &[u8; 16], digest: &KeyDigest, copy: u32) -> Entry {
    // One block of SHA-256.
    let mut input = [0u8; 52];
    input[..16].copy_from_slice(coin);
    input[16..48].copy_from_slice(digest);
    input[48..].copy_from_slice(&copy.to_le_bytes());
    let hash: [u8; 32] = Sha256::digest(input).into();
    let half = |at: usize| u128::from_le_bytes(hash[at..at + 16].try_into().expect("sixteen"));
    Entry {
        name: half(0),
        word: half(16),
    }
}

/// For every row how many rows with the same digest stand before it. `E_DUPLICATE` if one reaches `copies`.
pub(crate) fn copies(digests: &[KeyDigest], copies: u32) -> Result<Vec<u32>, Refusal> {
    let hash =
        |digest: &KeyDigest| u64::from_le_bytes(digest[..8].try_into().expect("eight bytes"));
    // Of every digest the last row so far.
    let mut last: HashTable<u32> = HashTable::with_capacity(digests.len());
    let mut out = vec![0u32; digests.len()];
    for (row, digest) in digests.iter().enumerate() {
        let same = |at: &u32| digests[*at as usize] == *digest;
        if let Some(at) = last.find_mut(hash(digest), same) {
            out[row] = out[*at as usize] + 1;
            *at = row as u32;
            if out[row] >= copies {
                return Err(Refusal::new(
                    "E_DUPLICATE",
                    format!("row {row} has a key that stands on more than {copies} rows"),
                ));
            }
        } else {
            last.insert_unique(hash(digest), row as u32, |at| hash(&digests[*at as usize]));
        }
    }
    Ok(out)
}

/// Keys of the stores: each entry's name and the number of the position it is looked up at.
pub(crate) fn keys(
    masks: &Masks,
    of: impl IndexedParallelIterator<Item = (u128, usize)>,
) -> Vec<u128> {
    let mut keys: Vec<u128> = of.map(|(name, position)| name ^ position as u128).collect();
    keys.par_chunks_mut(BATCH)
        .for_each(|part| masks.compress(part));
    keys
}

/// Keys of every entry at every position, entry by entry.
pub(crate) fn all_keys(masks: &Masks, entries: &[Entry]) -> Vec<u128> {
    let every = (0..entries.len() * POSITIONS)
        .into_par_iter()
        .map(|k| (entries[k / POSITIONS].name, k % POSITIONS));
    keys(masks, every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_count_up_to_the_declared_number() {
        let digests = [1u8, 2, 1, 1, 3, 2].map(|k| [k; 32]);
        assert_eq!(copies(&digests, 3).unwrap(), [0, 0, 1, 2, 0, 1]);
        let refusal = copies(&digests, 2).unwrap_err();
        assert_eq!(refusal.code, "E_DUPLICATE");
        assert!(refusal.text.contains("row 3"));
    }

    #[test]
    fn entries_differ_by_coin_digest_and_copy() {
        let base = entry(&[1; 16], &[2; 32], 0);
        for other in [
            entry(&[2; 16], &[2; 32], 0),
            entry(&[1; 16], &[3; 32], 0),
            entry(&[1; 16], &[2; 32], 1),
        ] {
            assert!(base.name != other.name && base.word != other.word);
        }
    }
}
