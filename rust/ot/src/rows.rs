//! Hashes of rows of correlations that stand in the columns of a tile, 128 rows to a block.

use aes::Block;

use crate::prg::Permutation;
use crate::simd::{self, LANES};

/// Blocks of 128 transfers that are made together; what each thread works on.
pub const TILE: usize = 64;
/// Blocks of 128 transfers that are transposed together.
const TURN: usize = LANES / 2;
/// Rows of each lane that are hashed together.
const GROUP: usize = 4;

/// The words of 128 transfers.
pub type WordBlock = [u64; 128];

/// The low and the high halves of 64 rows in each lane.
type Halves = [[[u64; LANES]; 64]; 2];

/// The rows of [`TURN`] blocks from `first` on.
fn turn(columns: &[[u128; TILE]], first: usize, halves: &mut Halves) {
    for (half, columns) in halves.iter_mut().zip(columns.chunks_exact(64)) {
        for (lanes, column) in half.iter_mut().zip(columns) {
            let pairs = lanes.as_chunks_mut::<2>().0;
            for (pair, value) in pairs.iter_mut().zip(&column[first..first + TURN]) {
                *pair = [*value as u64, (*value >> 64) as u64];
            }
        }
        simd::transpose(half);
    }
}

/// Bit 0 of `P(x) + x` for every row with each of the shifts added.
///
/// Bits of 128 rows stand in one value, the first in the lowest place.
pub(crate) fn bits<const N: usize>(
    permutation: &Permutation,
    columns: &[[u128; TILE]],
    shifts: [u128; N],
    mut out: [&mut [u128]; N],
) {
    let blocks = out[0].len();
    let mut halves = [[[0u64; LANES]; 64]; 2];
    let mut found = [[0u64; LANES]; N];
    let mut input = [Block::default(); GROUP * LANES];
    let mut hashed = [Block::default(); GROUP * LANES];
    for first in (0..blocks).step_by(TURN) {
        let count = TURN.min(blocks - first);
        turn(columns, first, &mut halves);
        found.iter_mut().for_each(|words| words.fill(0));
        for bit in (0..64).step_by(GROUP) {
            for (shift, found) in shifts.iter().zip(&mut found) {
                let lows = &halves[0][bit..bit + GROUP];
                let highs = &halves[1][bit..bit + GROUP];
                simd::join(lows, highs, *shift, &mut input);
                permutation.apply(&input, &mut hashed);
                simd::collect(&input, &hashed, bit, found);
            }
        }
        for (out, found) in out.iter_mut().zip(&found) {
            let pairs = found.as_chunks::<2>().0;
            for (value, pair) in out[first..first + count].iter_mut().zip(pairs) {
                *value = u128::from(pair[0]) | u128::from(pair[1]) << 64;
            }
        }
    }
}

/// The low 64 bits of `P(P(x) + i) + P(x)` for every row with each of the shifts added, under the indices from
/// `index` on: the hash of [`crate::prg::hash`].
pub(crate) fn words<const N: usize>(
    permutation: &Permutation,
    columns: &[[u128; TILE]],
    index: u64,
    shifts: [u128; N],
    mut out: [&mut [WordBlock]; N],
) {
    let blocks = out[0].len();
    let mut halves = [[[0u64; LANES]; 64]; 2];
    let mut found = [[[0u64; LANES]; 64]; N];
    let mut input = [Block::default(); GROUP * LANES];
    let mut masks = [Block::default(); GROUP * LANES];
    let mut hashed = [Block::default(); GROUP * LANES];
    for first in (0..blocks).step_by(TURN) {
        let count = TURN.min(blocks - first);
        turn(columns, first, &mut halves);
        for bit in (0..64).step_by(GROUP) {
            let index = index + (128 * first + bit) as u64;
            for (shift, found) in shifts.iter().zip(&mut found) {
                let lows = &halves[0][bit..bit + GROUP];
                let highs = &halves[1][bit..bit + GROUP];
                simd::join(lows, highs, *shift, &mut input);
                permutation.apply(&input, &mut masks);
                // A lane's rows are 64 behind those of the lane before.
                simd::tweak(&masks, index, &mut input);
                permutation.apply(&input, &mut hashed);
                simd::lows(&masks, &hashed, &mut found[bit..bit + GROUP]);
            }
        }
        for (out, found) in out.iter_mut().zip(&found) {
            let words = out[first..first + count].as_flattened_mut();
            for (lane, out) in words.as_chunks_mut::<64>().0.iter_mut().enumerate() {
                for (out, found) in out.iter_mut().zip(found) {
                    *out = found[lane];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prg::{hash, key};

    #[test]
    fn words_are_the_low_halves_of_the_hash_of_rows() {
        let mut value = 1u128;
        let mut draw = || {
            value = value.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645) + 3;
            value ^ value >> 67
        };
        let columns: Vec<[u128; TILE]> =
            (0..128).map(|_| std::array::from_fn(|_| draw())).collect();
        let context = [5; 16];
        let permutation = Permutation::new(&key("label", &context));
        let delta = 77 << 100 | 12345;
        for blocks in [1, 8, 9, 63, TILE] {
            let index = 128 * ((1 << 32) - 5);
            let [mut zeros, mut ones] = [0; 2].map(|zero| vec![[zero; 128]; blocks]);
            words(
                &permutation,
                &columns,
                index,
                [0, delta],
                [&mut zeros, &mut ones],
            );
            let rows: Vec<u128> = (0..128 * blocks)
                .map(|row| {
                    (columns.iter().enumerate())
                        .map(|(bit, column)| (column[row / 128] >> (row % 128) & 1) << bit)
                        .sum()
                })
                .collect();
            for (shift, out) in [(0, zeros), (delta, ones)] {
                let out = out.as_flattened();
                let shifted: Vec<u128> = rows.iter().map(|row| row ^ shift).collect();
                let hashes = hash("label", &context, index, &shifted);
                assert!(
                    out.iter()
                        .zip(&hashes)
                        .all(|(out, hash)| *out == *hash as u64)
                );
                assert_eq!(out.len(), hashes.len());
            }
        }
    }
}
