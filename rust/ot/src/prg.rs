//! AES-128 as a pseudo-random generator, as a random permutation under a public key, and as a hash.
//!
//! Fixed keys come from the run's context, so that no work on one run helps against another
//! (Guo, Katz, Wang & Yu, eprint 2019/074, on many instances).

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit, consts::U16};
use aes::{Aes128, Block};
use sha2::{Digest, Sha256};

/// Blocks that the cipher takes at once.
const BATCH: usize = 64;

/// A 16-byte key for a purpose under a context, from SHA-256.
pub(crate) fn key(label: &str, context: &[u8; 16]) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update([label.len() as u8])
        .chain_update(label)
        .chain_update(context)
        .finalize();
    std::array::from_fn(|i| digest[i])
}

/// The permutation of one key, many blocks at a time.
#[derive(Clone)]
pub(crate) struct Permutation(Aes128);

impl Permutation {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self(Aes128::new(&Array::<u8, U16>::from(*key)))
    }

    /// `output[i] = AES(input[i])`.
    #[inline]
    pub(crate) fn apply(&self, input: &[Block], output: &mut [Block]) {
        self.0
            .encrypt_blocks_b2b(input, output)
            .expect("input and output are equally long");
    }
}

/// The generator of the trees: `s` to `(P0(s) + s, P1(s) + s)` with two fixed permutations.
pub(crate) struct Doubling([Permutation; 2]);

impl Doubling {
    pub(crate) fn new(context: &[u8; 16]) -> Self {
        Self(
            ["atoll ot tree left", "atoll ot tree right"]
                .map(|l| Permutation::new(&key(l, context))),
        )
    }

    /// The children of all parents: `children[2i]` and `children[2i + 1]` of `parents[i]`; returns the sums of the
    /// left and of the right ones that are there. `children` may lack the last right child.
    pub(crate) fn children(&self, parents: &[u128], children: &mut [u128]) {
        let mut input = [Block::default(); BATCH];
        let mut output = [[Block::default(); BATCH]; 2];
        for (parents, children) in parents.chunks(BATCH).zip(children.chunks_mut(2 * BATCH)) {
            let n = parents.len();
            for (block, parent) in input.iter_mut().zip(parents) {
                *block = parent.to_le_bytes().into();
            }
            for (side, out) in output.iter_mut().enumerate() {
                self.0[side].apply(&input[..n], &mut out[..n]);
            }
            let (pairs, last) = children.as_chunks_mut::<2>();
            for (i, pair) in pairs.iter_mut().enumerate() {
                pair[0] = u128::from_le_bytes(output[0][i].into()) ^ parents[i];
                pair[1] = u128::from_le_bytes(output[1][i].into()) ^ parents[i];
            }
            if let [last] = last {
                *last = u128::from_le_bytes(output[0][n - 1].into()) ^ parents[n - 1];
            }
        }
    }
}

/// AES-128 in counter mode: the bytes that belong to a secret seed, or public coefficients of a public key.
pub struct Counter {
    cipher: Permutation,
    next: u128,
}

impl Counter {
    /// The stream of a key, from block 0 on.
    pub fn new(key: &[u8; 16]) -> Self {
        Self {
            cipher: Permutation::new(key),
            next: 0,
        }
    }

    /// Goes to block `next`.
    pub fn seek(&mut self, next: u128) {
        self.next = next;
    }

    /// The next blocks, little-endian. Every call starts at a new block.
    pub fn blocks(&mut self, out: &mut [u128]) {
        let mut buffer = [Block::default(); BATCH];
        let mut encrypted = [Block::default(); BATCH];
        for piece in out.chunks_mut(BATCH) {
            for block in &mut buffer[..piece.len()] {
                *block = self.next.to_le_bytes().into();
                self.next += 1;
            }
            self.cipher
                .apply(&buffer[..piece.len()], &mut encrypted[..piece.len()]);
            for (value, block) in piece.iter_mut().zip(&encrypted) {
                *value = u128::from_le_bytes((*block).into());
            }
        }
    }

    /// The next bytes. Every call starts at a new block.
    pub fn bytes(&mut self, out: &mut [u8]) {
        let mut values = [0u128; BATCH];
        for piece in out.chunks_mut(16 * BATCH) {
            let values = &mut values[..piece.len().div_ceil(16)];
            self.blocks(values);
            for (bytes, value) in piece.chunks_mut(16).zip(values) {
                bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
            }
        }
    }
}

/// The tweakable circular correlation-robust hash of eprint 2019/074, section 7.4: `P(P(x) + i) + P(x)`, with the
/// index of the first value and 1 more for each that follows.
pub(crate) fn hash(
    label: &str,
    context: &[u8; 16],
    first_index: u64,
    values: &[u128],
) -> Vec<u128> {
    let permutation = Permutation::new(&key(label, context));
    let mut inside = [Block::default(); BATCH];
    let mut outside = [Block::default(); BATCH];
    let mut hashes = Vec::with_capacity(values.len());
    let mut index = first_index as u128;
    for piece in values.chunks(BATCH) {
        let n = piece.len();
        for (block, value) in outside.iter_mut().zip(piece) {
            *block = value.to_le_bytes().into();
        }
        permutation.apply(&outside[..n], &mut inside[..n]);
        let masks: Vec<u128> = inside[..n]
            .iter()
            .map(|b| u128::from_le_bytes((*b).into()))
            .collect();
        for (block, mask) in outside.iter_mut().zip(&masks) {
            *block = (mask ^ index).to_le_bytes().into();
            index += 1;
        }
        permutation.apply(&outside[..n], &mut inside[..n]);
        hashes.extend(
            masks
                .iter()
                .zip(&inside)
                .map(|(m, b)| m ^ u128::from_le_bytes((*b).into())),
        );
    }
    hashes
}
