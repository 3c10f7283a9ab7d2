//! The random oracles of one run: SHA-256 whose first block names oracle and run, so that an item costs one block.
//!
//! The state after the first block is kept and the last block is filled here, since a copy of the library's own hasher
//! takes up to twice as long for an item.

use atoll_primitives::stream::Secret;
use rayon::prelude::*;
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

/// The state of SHA-256 (FIPS 180-4, 5.3.3) before the first block.
const INITIAL: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];
const BLOCK: usize = 64;
/// Items that one thread hashes at a time.
const ITEMS: usize = 4096;
/// Bytes with which the receiver shows that it holds a match.
pub(crate) const PROOF: usize = 12;

/// A proof of a match.
pub(crate) type Proof = [u8; PROOF];

/// SHA-256 after a block of 32 bytes of label and the run's 32-byte name.
#[derive(Clone, Copy)]
pub(crate) struct Oracle([u32; 8]);

impl Zeroize for Oracle {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl Oracle {
    /// The oracle of a label of at most 32 bytes.
    pub(crate) fn new(label: &[u8], run: &[u8; 32]) -> Self {
        let mut block = [0u8; BLOCK];
        block[..label.len()].copy_from_slice(label);
        block[32..].copy_from_slice(run);
        let mut state = INITIAL;
        compress256(&mut state, &[block]);
        Self(state)
    }

    /// SHA-256 of the first block and `tail`, whose length is at most 55 bytes.
    #[inline]
    fn hash<const N: usize>(&self, tail: &[u8; N]) -> [u8; 32] {
        const { assert!(N <= BLOCK - 9) };
        let mut block = [0u8; BLOCK];
        block[..N].copy_from_slice(tail);
        block[N] = 0x80;
        block[BLOCK - 8..].copy_from_slice(&(8 * (BLOCK + N) as u64).to_be_bytes());
        let mut state = self.0;
        compress256(&mut state, &[block]);
        let mut out = [0u8; 32];
        for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
            *bytes = word.to_be_bytes();
        }
        out
    }

    /// Key of the store and value, cut by `mask`, of every item.
    pub(crate) fn items(&self, digests: &[[u8; 32]], mask: u128) -> (Vec<u128>, Vec<u128>) {
        let mut keys = vec![0; digests.len()];
        let mut values = vec![0; digests.len()];
        keys.par_chunks_mut(ITEMS)
            .zip(values.par_chunks_mut(ITEMS))
            .zip(digests.par_chunks(ITEMS))
            .for_each(|((keys, values), digests)| {
                for ((key, value), digest) in keys.iter_mut().zip(values).zip(digests) {
                    let hash = self.hash(digest);
                    *key = half(&hash, 0);
                    *value = half(&hash, 1) & mask;
                }
            });
        (keys, values)
    }

    /// Tag and proof of every item: `outputs` are the field elements, each hashed with `added` and its whole digest.
    pub(crate) fn tags(
        &self,
        digests: &[[u8; 32]],
        outputs: &[u128],
        added: u128,
        proofs: bool,
    ) -> (Vec<u128>, Vec<Proof>) {
        let mut tags = vec![0; digests.len()];
        let mut shown = vec![[0; PROOF]; if proofs { digests.len() } else { 0 }];
        let one = |digest: &[u8; 32], output: u128| {
            let mut tail = [0u8; 48];
            tail[..16].copy_from_slice(&(output ^ added).to_le_bytes());
            tail[16..].copy_from_slice(digest);
            self.hash(&tail)
        };
        let work = tags
            .par_chunks_mut(ITEMS)
            .zip(digests.par_chunks(ITEMS))
            .zip(outputs.par_chunks(ITEMS));
        if proofs {
            work.zip(shown.par_chunks_mut(ITEMS)).for_each(
                |(((tags, digests), outputs), shown)| {
                    for (i, tag) in tags.iter_mut().enumerate() {
                        let hash = one(&digests[i], outputs[i]);
                        *tag = u128::from_be_bytes(*hash.first_chunk().expect("32 bytes"));
                        shown[i] = *hash.last_chunk().expect("32 bytes");
                    }
                },
            );
        } else {
            work.for_each(|((tags, digests), outputs)| {
                for (i, tag) in tags.iter_mut().enumerate() {
                    let hash = one(&digests[i], outputs[i]);
                    *tag = u128::from_be_bytes(*hash.first_chunk().expect("32 bytes"));
                }
            });
        }
        (tags, shown)
    }

    /// Adds to every `out` the oracle's first 16 bytes at the item.
    pub(crate) fn add_words(&self, digests: &[[u8; 32]], out: &mut [u128]) {
        out.par_chunks_mut(ITEMS)
            .zip(digests.par_chunks(ITEMS))
            .for_each(|(out, digests)| {
                for (out, digest) in out.iter_mut().zip(digests) {
                    *out ^= half(&self.hash(digest), 0);
                }
            });
    }

    /// Bucket of an item, below `buckets`, which is at most 2^16.
    pub(crate) fn bucket(&self, digest: &[u8; 32], buckets: usize) -> u16 {
        let hash = self.hash(digest);
        let uniform = u64::from_be_bytes(*hash.first_chunk().expect("32 bytes"));
        ((u128::from(uniform) * buckets as u128) >> 64) as u16
    }

    /// The sender's commitment to its share of the offset and a 16-byte opening.
    pub(crate) fn commitment(&self, opening: &Secret<32>) -> [u8; 32] {
        self.hash(opening.expose())
    }
}

fn half(hash: &[u8; 32], which: usize) -> u128 {
    u128::from_le_bytes(hash.as_chunks::<16>().0[which])
}

/// SHA-256 of length-prefixed fields (u64, little-endian).
pub(crate) fn digest(fields: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oracle_is_sha_256_of_its_first_block_and_the_rest() {
        let run = [7; 32];
        let mut label = [0u8; 32];
        label[..4].copy_from_slice(b"name");
        let first = [label, run].concat();
        let oracle = Oracle::new(b"name", &run);
        let tail: [u8; 48] = std::array::from_fn(|i| i as u8);
        let want: [u8; 32] = Sha256::digest([&first[..], &tail].concat()).into();
        assert_eq!(oracle.hash(&tail), want);

        let want: [u8; 32] = Sha256::digest([&first[..], &[3; 32]].concat()).into();
        let (keys, values) = oracle.items(&[[3; 32]], 0xffff);
        assert_eq!(keys, [u128::from_le_bytes(want[..16].try_into().unwrap())]);
        let value = u128::from_le_bytes(want[16..].try_into().unwrap());
        assert_eq!(values, [value & 0xffff]);
        assert_eq!(oracle.commitment(&Secret::new([3; 32])), want);
    }

    #[test]
    fn tags_depend_on_field_element_offset_and_digest_alone() {
        let oracle = Oracle::new(b"tags", &[1; 32]);
        let (tags, proofs) = oracle.tags(&[[1; 32], [1; 32], [2; 32]], &[5, 5 ^ 9, 5], 9, true);
        let (shifted, none) =
            oracle.tags(&[[1; 32], [1; 32], [2; 32]], &[5 ^ 9, 5, 5 ^ 9], 0, false);
        assert_eq!(tags, shifted);
        assert!(none.is_empty());
        assert!(tags[0] != tags[1] && tags[0] != tags[2] && proofs[0] != proofs[1]);
        let (other, _) = Oracle::new(b"tags", &[2; 32]).tags(&[[1; 32]], &[5], 9, false);
        assert_ne!(tags[0], other[0]);
    }
}
