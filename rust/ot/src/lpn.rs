//! How many noisy positions: derived by `scripts/lpn_parameters.py`, explained in `docs/protocols/vole.md`.

use crate::Refusal;
use crate::ggm::Shape;

/// Most correlations of one run.
pub const MAX_SIZE: usize = 1 << 25;
/// Fewer outputs are cut from so many, so that no code is short.
pub(crate) const MIN_ROWS: usize = 1 << 13;

/// Widths of noise values in bits, up to and with, and the weight that each needs.
pub const WEIGHTS: [(u32, usize); 2] = [(1, 249), (128, 555)];

/// The noise of one run: one noisy position in each of `weight` blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noise {
    /// Rows of the code.
    pub(crate) rows: usize,
    /// Blocks; each has a tree.
    pub(crate) weight: usize,
    /// The tree of each block.
    pub(crate) shape: Shape,
}

impl Noise {
    /// The parameters for `size` outputs of `bits` bits.
    ///
    /// # Errors
    /// `E_STATE` if the size is not 1 to 2^25 or the bits are not 1 to 128.
    pub(crate) fn new(size: usize, bits: u32) -> Result<Self, Refusal> {
        if !(1..=MAX_SIZE).contains(&size) {
            return Err(Refusal::new(
                "E_STATE",
                format!("{size} correlations are not 1 to 2^25"),
            ));
        }
        let Some((_, weight)) = WEIGHTS
            .iter()
            .find(|(most, _)| bits <= *most)
            .filter(|_| bits > 0)
        else {
            return Err(Refusal::new(
                "E_STATE",
                format!("{bits} bits are not 1 to 128"),
            ));
        };
        let rows = size.max(MIN_ROWS);
        Ok(Self {
            rows,
            weight: *weight,
            shape: Shape::new((2 * rows).div_ceil(*weight)),
        })
    }

    /// Length of the sparse vector: all blocks.
    pub(crate) fn length(&self) -> usize {
        self.weight * self.shape.leaves
    }

    /// Oblivious transfers of one run: one for each level of each tree.
    pub(crate) fn transfers(&self) -> usize {
        self.weight * self.shape.depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_covered() {
        for bits in [1, 2, 80, 128] {
            for size in [
                1,
                2,
                MIN_ROWS - 1,
                MIN_ROWS,
                MIN_ROWS + 1,
                1 << 20,
                MAX_SIZE,
            ] {
                let noise = Noise::new(size, bits).unwrap();
                assert!(noise.rows >= size && noise.length() >= 2 * noise.rows);
                assert!(noise.length() < 2 * noise.rows + noise.weight);
            }
        }
        for (size, bits) in [(0, 1), (MAX_SIZE + 1, 1), (5, 0), (5, 129)] {
            assert_eq!(Noise::new(size, bits).unwrap_err().code, "E_STATE");
        }
    }
}
