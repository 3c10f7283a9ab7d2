//! Residues without gaps: little-endian, the first in the lowest bits.

use super::RESIDUE_BITS;
use super::modulus::Modulus;
use crate::Refusal;

/// Writes an even number of values below 2^62.
pub(crate) fn pack(values: &[u64], out: &mut [u8]) {
    // Four values are 31 bytes.
    for (four, out) in values.chunks_exact(4).zip(out.chunks_exact_mut(31)) {
        let low = u128::from(four[0]) | u128::from(four[1]) << RESIDUE_BITS;
        let high = u128::from(four[2]) | u128::from(four[3]) << RESIDUE_BITS;
        // 124 bits each: the last nibble of the first sixteen bytes is the first of the next.
        out[..16].copy_from_slice(&(low | high << 124).to_le_bytes());
        out[16..].copy_from_slice(&(high >> 4).to_le_bytes()[..15]);
    }
}

/// Reads residues; each must be one.
pub(crate) fn unpack(bytes: &[u8], modulus: Modulus, out: &mut [u64]) -> Result<(), Refusal> {
    const LOW: u128 = (1 << RESIDUE_BITS) - 1;
    let mut most = 0;
    for (four, bytes) in out.chunks_exact_mut(4).zip(bytes.chunks_exact(31)) {
        let mut parts = [[0u8; 16]; 2];
        parts[0].copy_from_slice(&bytes[..16]);
        parts[1][..15].copy_from_slice(&bytes[16..]);
        let [low, high] = parts.map(u128::from_le_bytes);
        let high = high << 4 | low >> 124;
        four[0] = (low & LOW) as u64;
        four[1] = (low >> RESIDUE_BITS & LOW) as u64;
        four[2] = (high & LOW) as u64;
        four[3] = (high >> RESIDUE_BITS & LOW) as u64;
        most = four
            .iter()
            .fold(most, |most, value| value.max(&most).to_owned());
    }
    if most >= modulus.q {
        return Err(Refusal::protocol("a ciphertext holds what is no residue"));
    }
    Ok(())
}

/// Writes values of `bits` bits, at most 63, that fill whole words of 64.
pub(super) fn pack_short(values: &[u64], bits: u32, out: &mut [u8]) {
    let (mut rest, mut used) = (0u128, 0);
    let mut words = out.as_chunks_mut::<8>().0.iter_mut();
    for value in values {
        rest |= u128::from(*value) << used;
        used += bits;
        if used >= 64 {
            if let Some(word) = words.next() {
                *word = (rest as u64).to_le_bytes();
            }
            rest >>= 64;
            used -= 64;
        }
    }
}

/// Reads residues of so many bits; each must be below `q`.
pub(super) fn unpack_short(
    bytes: &[u8],
    bits: u32,
    q: u64,
    out: &mut [u64],
) -> Result<(), Refusal> {
    let (mut rest, mut have, mut most) = (0u128, 0, 0);
    let mut words = bytes.as_chunks::<8>().0.iter();
    for value in out {
        if have < bits {
            let word = words.next().map_or(0, |word| u64::from_le_bytes(*word));
            rest |= u128::from(word) << have;
            have += 64;
        }
        *value = rest as u64 & ((1 << bits) - 1);
        most = most.max(*value);
        rest >>= bits;
        have -= bits;
    }
    if most >= q {
        return Err(Refusal::protocol("a ciphertext holds what is no residue"));
    }
    Ok(())
}

/// Writes numbers of 74 bits, four in 37 bytes.
pub(super) fn pack_long(values: &[u128], out: &mut [u8]) {
    for ([a, b, c, d], out) in (values.as_chunks::<4>().0.iter()).zip(out.chunks_exact_mut(37)) {
        out[..16].copy_from_slice(&(a | b << 74).to_le_bytes());
        out[16..32].copy_from_slice(&(b >> 54 | c << 20 | d << 94).to_le_bytes());
        out[32..].copy_from_slice(&(d >> 34).to_le_bytes()[..5]);
    }
}

/// Reads numbers of 74 bits.
pub(super) fn unpack_long(bytes: &[u8], out: &mut [u128]) {
    const LOW: u128 = (1 << 74) - 1;
    for (out, bytes) in (out.as_chunks_mut::<4>().0.iter_mut()).zip(bytes.chunks_exact(37)) {
        let mut parts = [[0u8; 16]; 3];
        parts[0].copy_from_slice(&bytes[..16]);
        parts[1].copy_from_slice(&bytes[16..32]);
        parts[2][..5].copy_from_slice(&bytes[32..]);
        let [x, y, z] = parts.map(u128::from_le_bytes);
        *out = [
            x & LOW,
            (x >> 74 | y << 54) & LOW,
            y >> 20 & LOW,
            y >> 94 | z << 34,
        ];
    }
}

#[cfg(test)]
mod tests {
    use super::super::PRIMES;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn residues_come_back(values in proptest::collection::vec(0..PRIMES[4].q, 40)) {
            let mut bytes = vec![0; 310];
            pack(&values, &mut bytes);
            let mut out = vec![0; 40];
            unpack(&bytes, PRIMES[4], &mut out).unwrap();
            prop_assert_eq!(&out, &values);
            let mut again = vec![0; 310];
            pack(&out, &mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    proptest! {
        #[test]
        fn numbers_of_any_size_come_back(bits in 1u32..64, seeds in proptest::collection::vec(any::<u64>(), 64)) {
            let values: Vec<u64> = seeds.iter().map(|x| x >> (64 - bits)).collect();
            let mut bytes = vec![0; 8 * bits as usize];
            pack_short(&values, bits, &mut bytes);
            let expected = values.iter().enumerate().all(|(i, x)| {
                (0..bits as usize).all(|k| {
                    let at = i * bits as usize + k;
                    u64::from(bytes[at / 8] >> (at % 8) & 1) == x >> k & 1
                })
            });
            prop_assert!(expected);
            let mut out = vec![0; 64];
            unpack_short(&bytes, bits, 1 << bits, &mut out).unwrap();
            prop_assert_eq!(&out, &values);
            let most = values.iter().max().copied().unwrap();
            prop_assert!(unpack_short(&bytes, bits, most, &mut out).is_err());
        }

        #[test]
        fn long_numbers_come_back(seeds in proptest::collection::vec(any::<u128>(), 8)) {
            let values: Vec<u128> = seeds.iter().map(|x| x >> 54).collect();
            let mut bytes = vec![0; 74];
            pack_long(&values, &mut bytes);
            let whole = bytes.iter().rev().flat_map(|byte| (0..8).rev().map(move |k| byte >> k & 1));
            let expected = values.iter().rev().flat_map(|x| (0..74).rev().map(move |k| (x >> k & 1) as u8));
            prop_assert!(whole.eq(expected));
            let mut out = vec![0; 8];
            unpack_long(&bytes, &mut out);
            prop_assert_eq!(out, values);
        }
    }

    #[test]
    fn what_is_no_residue_is_refused() {
        for at in 0..8 {
            let mut values = [5; 8];
            let mut bytes = [0; 62];
            values[at] = PRIMES[3].q - 1;
            pack(&values, &mut bytes);
            assert!(unpack(&bytes, PRIMES[3], &mut [0; 8]).is_ok());
            values[at] = PRIMES[3].q;
            pack(&values, &mut bytes);
            let refused = unpack(&bytes, PRIMES[3], &mut [0; 8]);
            assert_eq!(refused.unwrap_err().code, "E_PROTOCOL");
        }
    }
}
