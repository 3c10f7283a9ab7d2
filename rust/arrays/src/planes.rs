//! Numbers as planes of bits: plane b holds bit b of every number, 64 numbers in a word, so that one instruction works on
//! 64 of them.

use crate::Refusal;

const LANES: usize = 64;

/// Transposes 64 words of 64 bits in place (Warren, Hacker's Delight, section 7-3, for 64 bits).
fn transpose(block: &mut [u64; LANES]) {
    let mut width = 32;
    let mut mask = 0x0000_0000_ffff_ffffu64;
    while width > 0 {
        let mut k = 0;
        while k < LANES {
            for i in k..k + width {
                let swapped = ((block[i] >> width) ^ block[i + width]) & mask;
                block[i] ^= swapped << width;
                block[i + width] ^= swapped;
            }
            k += 2 * width;
        }
        width /= 2;
        mask ^= mask << width;
    }
}

/// Words of one plane of so many numbers.
pub fn plane_words(numbers: usize) -> usize {
    numbers.div_ceil(LANES)
}

/// The lowest `bits` (1 to 64) planes of numbers, one plane after the other; bits past the last number are zero.
///
/// # Errors
/// `E_FORMAT` for another number of bits.
pub fn split(numbers: &[u64], bits: usize) -> Result<Vec<u64>, Refusal> {
    check(bits)?;
    let words = plane_words(numbers.len());
    let mut planes = vec![0u64; bits * words];
    let mut block = [0u64; LANES];
    for (word, piece) in numbers.chunks(LANES).enumerate() {
        block[..piece.len()].copy_from_slice(piece);
        block[piece.len()..].fill(0);
        transpose(&mut block);
        for (bit, lane) in block[..bits].iter().enumerate() {
            planes[bit * words + word] = *lane;
        }
    }
    Ok(planes)
}

/// The numbers of planes, as `split` made them.
///
/// # Errors
/// `E_FORMAT` if the planes are not those of so many numbers.
pub fn join(planes: &[u64], bits: usize, numbers: usize) -> Result<Vec<u64>, Refusal> {
    check(bits)?;
    let words = plane_words(numbers);
    if planes.len() != bits * words {
        return Err(Refusal::new("E_FORMAT", "planes have another length"));
    }
    let mut out = vec![0u64; numbers];
    for (word, piece) in out.chunks_mut(LANES).enumerate() {
        let mut block = [0u64; LANES];
        for (bit, lane) in block[..bits].iter_mut().enumerate() {
            *lane = planes[bit * words + word];
        }
        transpose(&mut block);
        piece.copy_from_slice(&block[..piece.len()]);
    }
    Ok(out)
}

fn check(bits: usize) -> Result<(), Refusal> {
    if (1..=LANES).contains(&bits) {
        Ok(())
    } else {
        Err(Refusal::new("E_FORMAT", "a number has 1 to 64 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn planes_hold_the_bits_and_come_back(
            numbers in prop::collection::vec(any::<u64>(), 0..300), bits in 1usize..=64
        ) {
            let planes = split(&numbers, bits).unwrap();
            let words = plane_words(numbers.len());
            for bit in 0..bits {
                for at in 0..64 * words {
                    let expected = numbers.get(at).map_or(0, |n| n >> bit & 1);
                    prop_assert_eq!(planes[bit * words + at / 64] >> (at % 64) & 1, expected);
                }
            }
            let kept = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
            let expected: Vec<u64> = numbers.iter().map(|n| n & kept).collect();
            prop_assert_eq!(join(&planes, bits, numbers.len()).unwrap(), expected);
        }
    }

    #[test]
    fn wrong_sizes_are_refused() {
        assert!(split(&[1], 0).is_err() && split(&[1], 65).is_err());
        assert!(join(&[1, 2], 1, 64).is_err() && join(&[1], 1, 65).is_err());
    }
}
