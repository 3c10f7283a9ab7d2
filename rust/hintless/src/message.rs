//! What travels: keys, questions, answers. A polynomial that is uniform anyway travels as the seed that gives it.

use atoll_primitives::stream::Stream;

use crate::Refusal;
use crate::parameters::{BLOCK_ROWS, CHUNKS, DEGREE, KEY_PARTS, MASK_BITS, Q, Q_BITS, ROW_BITS};
use crate::ring::{Poly, zero};

/// Bytes of a seed.
pub const SEED_BYTES: usize = 32;
const POLY_BYTES: usize = DEGREE * Q_BITS / 8;
/// Bytes of an asker's keys, which it sends once.
pub const KEYS_BYTES: usize = SEED_BYTES + KEY_PARTS * POLY_BYTES;
/// Bytes of an encrypted secret.
pub const QUESTION_BYTES: usize = SEED_BYTES + CHUNKS * POLY_BYTES;
/// Bytes that take the mask off 2048 rows.
pub const ANSWER_BLOCK_BYTES: usize = DEGREE * MASK_BITS as usize / 8;
const ROW_BYTES: usize = ROW_BITS as usize / 8;

/// Bytes of an answer of so many rows.
pub const fn answer_bytes(rows: usize) -> usize {
    rows.div_ceil(BLOCK_ROWS) * ANSWER_BLOCK_BYTES + rows * ROW_BYTES
}

/// Words of `bits` bits, at most 56, one after the other from the lowest bit on.
fn pack(words: &[u64], bits: u32, bytes: &mut Vec<u8>) {
    let (mut waiting, mut count) = (0u128, 0);
    for &word in words {
        waiting |= u128::from(word) << count;
        count += bits;
        while count >= 8 {
            bytes.push(waiting as u8);
            waiting >>= 8;
            count -= 8;
        }
    }
    debug_assert_eq!(count, 0, "2048 words of any length fill bytes");
}

/// What `pack` made.
fn unpack(bytes: &[u8], bits: u32, words: &mut [u64]) {
    let (mut waiting, mut count) = (0u128, 0);
    let mut bytes = bytes.iter();
    for word in words {
        while count < bits {
            waiting |= u128::from(*bytes.next().expect("the length was checked")) << count;
            count += 8;
        }
        *word = waiting as u64 & ((1 << bits) - 1);
        waiting >>= bits;
        count -= bits;
    }
}

/// Uniform polynomials of a public seed, as transforms.
pub fn expand(seed: &[u8; SEED_BYTES], label: &[u8], count: usize) -> Vec<Poly> {
    let mut stream = Stream::derive(seed, &[label]);
    let mut draw = || {
        loop {
            let word = u64::from_le_bytes(stream.bytes()) >> (u64::BITS as usize - Q_BITS);
            if word < Q {
                return word;
            }
        }
    };
    let mut poly = || {
        let mut words = zero();
        words.fill_with(&mut draw);
        words
    };
    (0..count).map(|_| poly()).collect()
}

/// A seed and polynomials below Q.
pub fn encode(seed: &[u8; SEED_BYTES], polys: &[Poly]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for poly in polys {
        pack(poly.as_slice(), Q_BITS as u32, &mut bytes);
    }
    bytes
}

/// What `encode` made of so many polynomials; `E_FORMAT` for a wrong length, or a word that is not below Q.
pub fn parse(
    bytes: &[u8],
    count: usize,
    what: &str,
) -> Result<([u8; SEED_BYTES], Vec<Poly>), Refusal> {
    let length = SEED_BYTES + count * POLY_BYTES;
    let wrong = || {
        Refusal::new(
            "E_FORMAT",
            format!("{what} have {length} bytes, got {}", bytes.len()),
        )
    };
    let (seed, body) = bytes
        .split_first_chunk::<SEED_BYTES>()
        .filter(|(_, body)| body.len() == count * POLY_BYTES)
        .ok_or_else(wrong)?;
    let poly = |part: &[u8]| {
        let mut words = zero();
        unpack(part, Q_BITS as u32, words.as_mut_slice());
        if words.iter().any(|word| *word >= Q) {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("{what}: a word is not below the modulus"),
            ));
        }
        Ok(words)
    };
    let polys = body.chunks_exact(POLY_BYTES).map(poly);
    Ok((*seed, polys.collect::<Result<_, _>>()?))
}

/// For each 2048 rows what takes the mask off, then the rows.
pub fn encode_answer(masks: &[Poly], rows: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(answer_bytes(rows.len()));
    for mask in masks {
        pack(mask.as_slice(), MASK_BITS, &mut bytes);
    }
    bytes.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
    bytes
}

/// What `encode_answer` made of so many rows; `E_FORMAT` for a wrong length.
pub fn parse_answer(bytes: &[u8], rows: usize) -> Result<(Vec<Poly>, Vec<u16>), Refusal> {
    if bytes.len() != answer_bytes(rows) {
        return Err(Refusal::new(
            "E_FORMAT",
            format!(
                "an answer of {rows} rows has {} bytes, got {}",
                answer_bytes(rows),
                bytes.len()
            ),
        ));
    }
    let (masks, rows) = bytes.split_at(rows.div_ceil(BLOCK_ROWS) * ANSWER_BLOCK_BYTES);
    let poly = |part: &[u8]| {
        let mut words = zero();
        unpack(part, MASK_BITS, words.as_mut_slice());
        words
    };
    let (rows, _) = rows.as_chunks::<2>();
    Ok((
        masks.chunks_exact(ANSWER_BLOCK_BYTES).map(poly).collect(),
        rows.iter().map(|row| u16::from_le_bytes(*row)).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_come_back(seed: [u8; 32], bits in 1u32..=56) {
            let mut stream = Stream::derive(&seed, &[b"words"]);
            let words: Vec<u64> = (0..DEGREE).map(|_| stream.below(1 << bits)).collect();
            let (mut bytes, mut found) = (Vec::new(), vec![0; DEGREE]);
            pack(&words, bits, &mut bytes);
            prop_assert_eq!(bytes.len(), DEGREE * bits as usize / 8);
            unpack(&bytes, bits, &mut found);
            prop_assert_eq!(found, words);
        }
    }

    #[test]
    fn polynomials_have_one_form() {
        let polys = expand(&[3; 32], b"test", 2);
        assert_ne!(polys[0], polys[1]);
        let bytes = encode(&[3; 32], &polys);
        assert_eq!(parse(&bytes, 2, "keys").unwrap(), ([3; 32], polys));
        for (count, bytes) in [
            (1, &bytes[..]),
            (2, &bytes[1..]),
            (2, &[]),
            (0, &bytes[..31]),
        ] {
            assert_eq!(parse(bytes, count, "keys").unwrap_err().code, "E_FORMAT");
        }
        for at in [32, 32 + POLY_BYTES, bytes.len() - 11] {
            let mut large = bytes.clone();
            large[at..at + 11].fill(0xff);
            assert_eq!(parse(&large, 2, "keys").unwrap_err().code, "E_FORMAT");
        }
    }

    #[test]
    fn answers_have_one_length() {
        let masks = vec![zero(), zero()];
        let rows = vec![7; BLOCK_ROWS + 1];
        let bytes = encode_answer(&masks, &rows);
        assert_eq!(parse_answer(&bytes, rows.len()).unwrap(), (masks, rows));
        for length in [0, 1, bytes.len() - 1, answer_bytes(BLOCK_ROWS)] {
            let found = parse_answer(&bytes[..length], BLOCK_ROWS + 1);
            assert_eq!(found.unwrap_err().code, "E_FORMAT");
        }
    }
}
