//! The tweakable correlation-robust hash that turns correlations into masks (eprint 2019/074, section 7.4):
//! `H(i, x) = p(p(x) ^ i) ^ p(x)` with a fixed permutation p, AES under a key that names the job and the step.

use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use aes::{Aes128Enc, Block};
use sha2::{Digest, Sha256};

/// Blocks that are encrypted at a time: enough for wide instructions, few enough for the first cache.
pub(crate) const BATCH: usize = 256;

/// The hash of one step of one job.
pub(crate) struct Masks {
    cipher: Aes128Enc,
}

impl Masks {
    /// The hash that belongs to `context` and `label`.
    pub(crate) fn new(context: &[u8; 16], label: &[u8]) -> Self {
        let digest = Sha256::new()
            .chain_update(b"atoll circuit-psi masks v1")
            .chain_update(context)
            .chain_update(label)
            .finalize();
        let (key, _) = digest.split_at(16);
        Self {
            cipher: Aes128Enc::new(&Array::try_from(key).expect("sixteen bytes")),
        }
    }

    /// p of every block, in place.
    fn permute(&self, blocks: &mut [u128]) {
        let mut buffer = [Block::default(); BATCH];
        for part in blocks.chunks_mut(BATCH) {
            let buffer = &mut buffer[..part.len()];
            for (block, x) in buffer.iter_mut().zip(part.iter()) {
                *block = x.to_le_bytes().into();
            }
            self.cipher.encrypt_blocks(buffer);
            for (x, block) in part.iter_mut().zip(buffer.iter()) {
                *x = u128::from_le_bytes((*block).into());
            }
        }
    }

    /// Replaces every `x` at `k` by `H(tweak(k), x)`.
    pub(crate) fn hash(&self, blocks: &mut [u128], tweak: impl Fn(usize) -> u128) {
        let mut once = [0u128; BATCH];
        for (at, part) in blocks.chunks_mut(BATCH).enumerate() {
            self.permute(part);
            let once = &mut once[..part.len()];
            once.copy_from_slice(part);
            for (k, x) in part.iter_mut().enumerate() {
                *x ^= tweak(at * BATCH + k);
            }
            self.permute(part);
            for (x, once) in part.iter_mut().zip(once.iter()) {
                *x ^= once;
            }
        }
    }

    /// Replaces every `x` by `p(x) ^ x`: keys of a store from distinct uniform inputs.
    pub(crate) fn compress(&self, blocks: &mut [u128]) {
        let mut before = [0u128; BATCH];
        for part in blocks.chunks_mut(BATCH) {
            let before = &mut before[..part.len()];
            before.copy_from_slice(part);
            self.permute(part);
            for (x, before) in part.iter_mut().zip(before.iter()) {
                *x ^= before;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cost of a hash on one core: `cargo test --release -p atoll-psi cost -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement, not a check"]
    fn cost_of_a_mask() {
        let masks = Masks::new(&[1; 16], b"cost");
        let mut blocks: Vec<u128> = (0..256).collect();
        let start = std::time::Instant::now();
        const N: usize = 1 << 14;
        (0..N).for_each(|_| masks.hash(&mut blocks, |k| k as u128));
        println!(
            "mask: {:.2} ns",
            start.elapsed().as_secs_f64() * 1e9 / (N * 256) as f64
        );
    }

    #[test]
    fn masks_follow_from_context_label_tweak_and_block() {
        let hash = |context: u8, label: &[u8], tweak: u128, block: u128| {
            let mut blocks = [block; 3];
            Masks::new(&[context; 16], label).hash(&mut blocks, |k| tweak + (k / 2) as u128);
            blocks
        };
        let base = hash(0, b"a", 5, 7);
        assert_eq!(base, hash(0, b"a", 5, 7));
        assert_eq!(base[0], base[1]);
        assert_ne!(base[1], base[2]);
        assert_eq!(base[2], hash(0, b"a", 6, 7)[0]);
        for other in [
            hash(1, b"a", 5, 7),
            hash(0, b"b", 5, 7),
            hash(0, b"a", 4, 7),
            hash(0, b"a", 5, 6),
        ] {
            assert_ne!(base[0], other[0]);
        }
    }

    #[test]
    fn long_inputs_agree_with_single_blocks() {
        let masks = Masks::new(&[1; 16], b"l");
        let mut all: Vec<u128> = (0..1000).map(|i| i * 77).collect();
        let single: Vec<u128> = (0..1000)
            .map(|i| {
                let mut one = [all[i]];
                masks.hash(&mut one, |_| i as u128);
                one[0]
            })
            .collect();
        masks.hash(&mut all, |k| k as u128);
        assert_eq!(all, single);
    }
}
