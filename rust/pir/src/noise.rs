//! The noise of queries: a discrete Gaussian of standard deviation 6.4, by a table, in constant time.

use atoll_primitives::stream::Stream;
use subtle::ConditionallyNegatable;

/// floor(2^63 P(|X| <= k)) for k = 0, 1, ...; printed by `scripts/lwe_parameters.py`.
const THRESHOLDS: [u64; 58] = [
    0x07fa95a03250f92c,
    0x17be30539febe8c4,
    0x26f0ad9d6ed2ef4e,
    0x353ccff6628a4f77,
    0x425d2e4078712c9e,
    0x4e1fecc7357ed7af,
    0x58685c9a11dca355,
    0x612e838742ad3abb,
    0x687cd7259248791f,
    0x6e6ca9b545fbce61,
    0x7321e15c77ccb267,
    0x76c690bc595a5e1b,
    0x7986efd4a4ec9093,
    0x7b8e0de3546cfd85,
    0x7d0369c6477df558,
    0x7e0976a467d9e792,
    0x7ebcf407bed31eef,
    0x7f34edb88312c300,
    0x7f83305a74fb91b3,
    0x7fb501cf0c923ff3,
    0x7fd3f47a156bde76,
    0x7fe6b778e322e20c,
    0x7ff1d0fcc299fcac,
    0x7ff8398520ed2eea,
    0x7ffbd5d415e7d918,
    0x7ffdd20ab1f9d99b,
    0x7ffee2bbd417e932,
    0x7fff7185e2d47854,
    0x7fffba7cfd7fc99a,
    0x7fffdedfcaaee4fb,
    0x7ffff094d18139be,
    0x7ffff8fd99b04026,
    0x7ffffce35227ff8e,
    0x7ffffea6918ba8af,
    0x7fffff6dbc5f3c36,
    0x7fffffc385addd02,
    0x7fffffe794d29314,
    0x7ffffff65f6d428e,
    0x7ffffffc4b39a64d,
    0x7ffffffe9b5f78b5,
    0x7fffffff7d1de1f4,
    0x7fffffffd119e424,
    0x7fffffffef97b652,
    0x7ffffffffa655a2b,
    0x7ffffffffe219941,
    0x7fffffffff644172,
    0x7fffffffffce803b,
    0x7ffffffffff0a44d,
    0x7ffffffffffb591a,
    0x7ffffffffffe9fdc,
    0x7fffffffffff9a5a,
    0x7fffffffffffe35b,
    0x7ffffffffffff81f,
    0x7ffffffffffffde2,
    0x7fffffffffffff72,
    0x7fffffffffffffdb,
    0x7ffffffffffffff6,
    0x7ffffffffffffffd,
];

/// The magnitude counts the thresholds not above the lower 63 bits of `draw`; the top bit is the sign.
pub fn from_draw(draw: u64) -> i32 {
    let point = draw & (u64::MAX >> 1);
    // Both are below 2^63: the top bit of the difference says which is less, without a branch.
    let above: u64 = THRESHOLDS
        .iter()
        .map(|threshold| point.wrapping_sub(*threshold) >> 63)
        .sum();
    let mut magnitude = THRESHOLDS.len() as i32 - above as i32;
    magnitude.conditional_negate(((draw >> 63) as u8).into());
    magnitude
}

/// Fills `out` with noise modulo 2^32; takes 8 bytes of the stream for each.
pub fn fill(stream: &mut Stream, out: &mut [u32]) {
    for word in out {
        *word = from_draw(u64::from_le_bytes(stream.bytes())) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_rise_and_edges_hold() {
        assert!(THRESHOLDS.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(from_draw(0), 0);
        assert_eq!(from_draw(THRESHOLDS[0] - 1), 0);
        assert_eq!(from_draw(THRESHOLDS[0]), 1);
        assert_eq!(from_draw(u64::MAX >> 1), THRESHOLDS.len() as i32);
        assert_eq!(from_draw(u64::MAX), -(THRESHOLDS.len() as i32));
    }

    #[test]
    fn moments_are_those_of_the_gaussian() {
        let mut words = vec![0; 1 << 16];
        fill(&mut Stream::derive(&[5; 32], &[b"noise"]), &mut words);
        let draws: Vec<f64> = words.iter().map(|&word| f64::from(word as i32)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.15, "{mean}");
        assert!((variance - 40.96).abs() < 1.5, "{variance}");
    }
}
