//! Products of a tile of cells with a query, by the widest path of the processor. Nothing else here is unsafe.
#![allow(unsafe_code)]

/// Rows of a tile.
pub const TILE_ROWS: usize = 4;
/// Most columns of a tile: its cells fill a page, its part of a query stays in the first cache.
pub const TILE_COLUMNS: usize = 1024;

/// How products are computed; the result is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// One cell at a time, as the compiler sees fit.
    Portable,
    /// Sixteen cells at a time, against the halves of the query's words.
    Avx2,
}

impl Path {
    /// The fastest path of this processor.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        Self::Portable
    }
}

/// A query, also cut into signed halves: word = low + 2^16 high modulo 2^32.
#[derive(Debug)]
pub struct Split {
    words: Vec<u32>,
    low: Vec<i16>,
    high: Vec<i16>,
}

impl Split {
    /// Cuts `words` up.
    pub fn new(words: Vec<u32>) -> Self {
        let low: Vec<i16> = words.iter().map(|&word| word as i16).collect();
        let high = words
            .iter()
            .zip(&low)
            .map(|(&word, &low)| (word.wrapping_sub(low as u32) >> 16) as i16)
            .collect();
        Self { words, low, high }
    }

    /// Words of the query.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether the query has no words.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Adds the products of a tile (`TILE_ROWS` rows of `width` cells) with the words from `first` on to `sums`.
    ///
    /// # Panics
    /// If the tile, its width (a multiple of 16) or the query do not fit each other.
    pub fn add_tile(
        &self,
        path: Path,
        cells: &[u8],
        first: usize,
        width: usize,
        sums: &mut [u32; TILE_ROWS],
    ) {
        assert!(cells.len() == width * TILE_ROWS && width.is_multiple_of(16));
        let range = first..first + width;
        #[cfg(target_arch = "x86_64")]
        if path == Path::Avx2 && is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            unsafe { avx2::add_tile(cells, &self.low[range.clone()], &self.high[range], sums) };
            return;
        }
        let _ = path;
        portable(cells, &self.words[range], sums);
    }
}

fn portable(cells: &[u8], words: &[u32], sums: &mut [u32; TILE_ROWS]) {
    for (sum, row) in sums.iter_mut().zip(cells.chunks_exact(words.len())) {
        *sum = row.iter().zip(words).fold(*sum, |sum, (&cell, &word)| {
            sum.wrapping_add((cell as i8 as u32).wrapping_mul(word))
        });
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::TILE_ROWS;

    const LANES: usize = 16;

    #[target_feature(enable = "avx2")]
    fn total(lanes: __m256i) -> u32 {
        // SAFETY: both types are 32 plain bytes.
        let lanes: [u32; 8] = unsafe { std::mem::transmute(lanes) };
        lanes.into_iter().fold(0, u32::wrapping_add)
    }

    /// As `portable`; a pair of products of a cell and a half is below 2^24, so only sums wrap.
    #[target_feature(enable = "avx2")]
    pub(super) fn add_tile(cells: &[u8], low: &[i16], high: &[i16], sums: &mut [u32; TILE_ROWS]) {
        let width = low.len();
        assert!(
            high.len() == width && cells.len() == width * TILE_ROWS && width.is_multiple_of(LANES)
        );
        let mut low_sums = [_mm256_setzero_si256(); TILE_ROWS];
        let mut high_sums = low_sums;
        for at in (0..width).step_by(LANES) {
            // SAFETY: `at + LANES <= width`, the length of both halves.
            let (l, h) = unsafe {
                (
                    _mm256_loadu_si256(low.as_ptr().add(at).cast()),
                    _mm256_loadu_si256(high.as_ptr().add(at).cast()),
                )
            };
            for row in 0..TILE_ROWS {
                // SAFETY: `row * width + at + LANES <= TILE_ROWS * width`, the length of the cells.
                let bytes = unsafe { _mm_loadu_si128(cells.as_ptr().add(row * width + at).cast()) };
                let wide = _mm256_cvtepi8_epi16(bytes);
                low_sums[row] = _mm256_add_epi32(low_sums[row], _mm256_madd_epi16(wide, l));
                high_sums[row] = _mm256_add_epi32(high_sums[row], _mm256_madd_epi16(wide, h));
            }
        }
        for row in 0..TILE_ROWS {
            let product = total(low_sums[row]).wrapping_add(total(high_sums[row]) << 16);
            sums[row] = sums[row].wrapping_add(product);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn paths_agree(
            blocks in 1usize..8,
            first in 0usize..3,
            extreme: bool,
            seed in any::<[u8; 32]>(),
        ) {
            let width = blocks * 16;
            let mut stream = atoll_primitives::stream::Stream::derive(&seed, &[b"tile"]);
            let mut cells = vec![0x80; width * TILE_ROWS];
            let mut words = vec![0x8000_8000u32; width + first];
            if !extreme {
                stream.fill_bytes(&mut cells);
                words.fill_with(|| u32::from_le_bytes(stream.bytes()));
            }
            let query = Split::new(words);
            let mut sums = [[1, 2, 3, u32::MAX]; 2];
            query.add_tile(Path::Portable, &cells, first, width, &mut sums[0]);
            query.add_tile(Path::best(), &cells, first, width, &mut sums[1]);
            prop_assert_eq!(sums[0], sums[1]);
        }
    }
}
