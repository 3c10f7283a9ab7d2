//! Residues of 62 bits without gaps: little-endian, the first in the lowest bits.

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
