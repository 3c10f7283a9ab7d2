//! The asker: a key of the ring, its secret of index PIR under that key, and the column out of an answer.

use atoll_pir::noise::from_draw;
use atoll_pir::parameters::{N as SECRET_WORDS, SCALE_BITS};
use atoll_primitives::stream::Stream;

use crate::Refusal;
use crate::message::{encode, expand, parse_answer};
use crate::parameters::{
    BLOCK_ROWS, CHUNKS, DEGREE, HINT_DROPPED, KEY_PARTS, LEVELS, MASK_BITS, Q, ROW_BITS, WIDTH,
    digits,
};
use crate::ring::{Factor, Factors, Poly, Private, below, residue, ring, zero};

/// Labels of what seeds give.
pub(crate) const KEYS: &[u8] = b"hintless/v1/keys";
pub(crate) const QUESTION: &[u8] = b"hintless/v1/question";

/// What a word of a secret is multiplied by: Q / 2^21, rounded, where the hint has 21 bits.
const UNIT: i64 = ((Q + (1 << (31 - HINT_DROPPED))) >> (32 - HINT_DROPPED)) as i64;

/// The automorphism that packs at a level, as the power to which it takes X.
pub(crate) fn power(level: usize) -> usize {
    ((DEGREE / WIDTH) << level) + 1
}

/// One of -1, 0, 1, each as likely. What is thrown away says nothing of what is not.
fn ternary(stream: &mut Stream) -> i64 {
    loop {
        let [byte] = stream.bytes();
        if byte < 255 {
            // byte % 3, without a division.
            let third = (u32::from(byte) * 171) >> 9;
            return i64::from(byte) - 3 * i64::from(third) - 1;
        }
    }
}

fn noise(stream: &mut Stream) -> i64 {
    i64::from(from_draw(u64::from_le_bytes(stream.bytes())))
}

/// Who asks, for as long as its keys serve.
pub struct Asker {
    /// A polynomial of -1, 0 and 1, as transform.
    secret: Private,
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hintless::Asker")
    }
}

impl Asker {
    /// Draws a key, and what a holder packs with: `KEYS_BYTES`, sent once.
    pub fn new(stream: &mut Stream) -> (Self, Vec<u8>) {
        let mut secret = Private::zero();
        secret.fill_with(|| residue(ternary(stream)));
        ring().forward(&mut secret);
        let asker = Self { secret };
        let seed = stream.bytes();
        let mut uniform = expand(&seed, KEYS, KEY_PARTS).into_iter();
        let mut parts = Vec::with_capacity(KEY_PARTS);
        for level in 1..=LEVELS {
            let from = ring().automorphism(power(level));
            let cut = digits(level);
            for digit in 0..cut.count {
                let worth = 1u64 << (cut.dropped + cut.bits * digit as u32);
                let mut wanted = Private::zero();
                for (to, &from) in wanted.iter_mut().zip(&from) {
                    *to = asker.secret[usize::from(from)];
                }
                let factor = Factor::new(worth);
                for word in wanted.iter_mut() {
                    *word = below(factor.times(*word), Q);
                }
                let uniform = uniform.next().expect("one for each part");
                parts.push(asker.encrypt(&uniform, &wanted, stream));
            }
        }
        (asker, encode(&seed, &parts))
    }

    /// What, with `uniform`, encrypts a transform: noise and the transform, less `uniform` times the key.
    fn encrypt(&self, uniform: &Poly, wanted: &Private, stream: &mut Stream) -> Poly {
        let mut fresh = Private::zero();
        fresh.fill_with(|| residue(noise(stream)));
        ring().forward(&mut fresh);
        let mut product = Private::zero();
        // The key is the word that varies, so that no factor of it is left behind.
        Factors::new(uniform).add_products(&self.secret, &mut product);
        let mut out = zero();
        for (((to, product), wanted), fresh) in out
            .iter_mut()
            .zip(product.iter())
            .zip(wanted.iter())
            .zip(fresh.iter())
        {
            *to = below(below(wanted + fresh, Q) + Q - below(*product, Q), Q);
        }
        out
    }

    /// A short secret of index PIR (1408 words modulo 2^32, as of `Masked::prepare`) under the key: `QUESTION_BYTES`.
    /// Its noise is the next of `stream`, which must never be begun again.
    ///
    /// # Panics
    /// If the secret has another length.
    pub fn question(&self, secret: &[u32], stream: &mut Stream) -> Vec<u8> {
        assert_eq!(secret.len(), SECRET_WORDS);
        let seed = stream.bytes();
        let uniform = expand(&seed, QUESTION, CHUNKS);
        let parts: Vec<Poly> = secret
            .chunks(WIDTH)
            .zip(&uniform)
            .map(|(words, uniform)| {
                let mut wanted = Private::zero();
                for (to, &word) in wanted.iter_mut().zip(words) {
                    *to = residue(i64::from(word as i32) * UNIT);
                }
                ring().forward(&mut wanted);
                self.encrypt(uniform, &wanted, stream)
            })
            .collect();
        encode(&seed, &parts)
    }

    /// The bytes of a column of `rows` bytes out of its answer; `E_FORMAT` for a wrong length.
    pub fn open(&self, answer: &[u8], rows: usize) -> Result<Vec<u8>, Refusal> {
        let (masks, words) = parse_answer(answer, rows)?;
        let mut cells = Vec::with_capacity(rows);
        for (mut mask, words) in masks.into_iter().zip(words.chunks(BLOCK_ROWS)) {
            ring().forward(&mut mask);
            let mask = Factors::new(&mask);
            let mut products = Private::zero();
            mask.add_products(&self.secret, &mut products);
            ring().backward(&mut products);
            for (product, &word) in products.iter().zip(words) {
                // Below 2^31 in magnitude: the upper half of the residues are negative ones.
                let negative = (Q / 2).wrapping_sub(*product) >> 63;
                let product = product.wrapping_sub(Q & negative.wrapping_neg()) as u32;
                let sum = (u32::from(word) << (32 - ROW_BITS))
                    .wrapping_add(product << (32 - MASK_BITS))
                    .wrapping_add(1 << (SCALE_BITS - 1));
                cells.push((sum >> SCALE_BITS) as u8);
            }
        }
        Ok(cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirds_are_even() {
        let mut stream = Stream::derive(&[1; 32], &[b"thirds"]);
        let mut counts = [0f64; 3];
        for _ in 0..30_000 {
            counts[(ternary(&mut stream) + 1) as usize] += 1.0;
        }
        // Chi-square with 2 degrees of freedom; 18.4 is passed by chance once in 10,000 seeds.
        let chi: f64 = counts.iter().map(|c| (c - 1e4).powi(2) / 1e4).sum();
        assert!(chi < 18.4, "{counts:?}");
    }

    #[test]
    fn powers_are_those_of_the_levels() {
        assert_eq!((power(1), power(LEVELS)), (9, DEGREE + 1));
    }
}
