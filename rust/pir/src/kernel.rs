//! Products of a tile of cells with a query, by the widest path of the processor. Nothing else here is unsafe.
//!
//! The rows of a tile stand in the lanes of registers: cells are read once, from the first to the last, and no
//! register is ever summed across.
#![allow(unsafe_code)]

/// Rows of a tile.
pub const TILE_ROWS: usize = 32;
/// Most columns of a tile: its 8 KiB stay in the first cache beside its part of the queries.
pub const TILE_COLUMNS: usize = 256;
/// Columns side by side: a lane of 32 bits holds so many cells of one row.
const STEP: usize = 4;
/// Cells of `STEP` columns of a tile.
const BLOCK: usize = STEP * TILE_ROWS;

/// Where a tile has the cell in its row `row` and column `column`.
pub fn place(row: usize, column: usize) -> usize {
    column / STEP * BLOCK + row * STEP + column % STEP
}

/// How products are computed; the result is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// One cell at a time, as the compiler sees fit.
    Portable,
    /// Two cells of eight rows at a time, against the halves of the query's words.
    Avx2,
    /// Four cells of sixteen rows at a time, against the bytes of the query's words.
    Avx512,
}

impl Path {
    /// All paths, the widest first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// Whether this processor has the path.
    pub fn available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The fastest path of this processor.
    pub fn best() -> Self {
        let mut paths = Self::ALL.into_iter();
        paths
            .find(|path| path.available())
            .unwrap_or(Self::Portable)
    }
}

/// A query, also cut up as the paths need it.
#[derive(Debug)]
pub struct Split {
    words: Vec<[u32; STEP]>,
    #[cfg(target_arch = "x86_64")]
    halves: Vec<[u32; STEP]>,
    #[cfg(target_arch = "x86_64")]
    bytes: Vec<[u32; STEP]>,
}

impl Split {
    /// Cuts `words` up.
    ///
    /// # Panics
    /// If their number is not a multiple of 4.
    pub fn new(words: Vec<u32>) -> Self {
        let (words, rest) = words.as_chunks::<STEP>();
        assert!(rest.is_empty());
        Self {
            #[cfg(target_arch = "x86_64")]
            halves: words.iter().map(avx2::halves).collect(),
            #[cfg(target_arch = "x86_64")]
            bytes: words.iter().map(avx512::bytes).collect(),
            words: words.to_vec(),
        }
    }

    /// Words of the query.
    pub fn len(&self) -> usize {
        self.words.len() * STEP
    }

    /// Whether the query has no words.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Adds the products of a tile (`TILE_ROWS` rows of `width` cells) with the words from `first` on to `sums`.
    ///
    /// # Panics
    /// If the tile, its width, `first` (multiples of 4) or the query do not fit each other, or if the processor
    /// does not have the path.
    pub fn add_tile(
        &self,
        path: Path,
        cells: &[u8],
        first: usize,
        width: usize,
        sums: &mut [u32; TILE_ROWS],
    ) {
        assert!(cells.len() == width * TILE_ROWS);
        assert!(width.is_multiple_of(STEP) && first.is_multiple_of(STEP));
        assert!(path.available());
        let (blocks, _) = cells.as_chunks::<BLOCK>();
        let range = first / STEP..(first + width) / STEP;
        match path {
            Path::Portable => portable(blocks, &self.words[range], sums),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has AVX2, as `available` found.
            Path::Avx2 => unsafe { avx2::add_tile(blocks, &self.halves[range], sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has AVX-512 F and VNNI, as `available` found.
            Path::Avx512 => unsafe { avx512::add_tile(blocks, &self.bytes[range], sums) },
            #[cfg(not(target_arch = "x86_64"))]
            Path::Avx2 | Path::Avx512 => unreachable!("such a path is never available"),
        }
    }
}

fn portable(blocks: &[[u8; BLOCK]], words: &[[u32; STEP]], sums: &mut [u32; TILE_ROWS]) {
    for (block, words) in blocks.iter().zip(words) {
        let (rows, _) = block.as_chunks::<STEP>();
        for (sum, cells) in sums.iter_mut().zip(rows) {
            *sum = cells.iter().zip(words).fold(*sum, |sum, (&cell, &word)| {
                sum.wrapping_add((cell as i8 as u32).wrapping_mul(word))
            });
        }
    }
}

/// A pass reads this many bytes ahead: the processor does so by itself only within a page.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 4096;

/// Fetches the block that stands `AHEAD` after this one, which may be none of ours.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch(block: &[u8; BLOCK]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let ahead = block.as_ptr().wrapping_add(AHEAD);
    for line in [0, 64] {
        // SAFETY: a prefetch reads nothing as the program sees it, and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line).cast()) };
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{BLOCK, STEP, TILE_ROWS, fetch};

    const ROWS: usize = 8;
    const GROUPS: usize = TILE_ROWS / ROWS;

    /// Signed halves, word = low + 2^16 high modulo 2^32: two low ones of even words, of odd words, then high ones.
    pub(super) fn halves(words: &[u32; STEP]) -> [u32; STEP] {
        let low = words.map(|word| word & 0xffff);
        let high = words.map(|word| word.wrapping_sub(word as i16 as u32) >> 16);
        let pair = |halves: [u32; STEP], first: usize| halves[first] | halves[first + 2] << 16;
        [pair(low, 0), pair(low, 1), pair(high, 0), pair(high, 1)]
    }

    /// As `portable`, with `halves`. Sums of two products of a cell and a half stay below 2^24; only totals wrap.
    #[target_feature(enable = "avx2")]
    pub(super) fn add_tile(
        blocks: &[[u8; BLOCK]],
        halves: &[[u32; STEP]],
        sums: &mut [u32; TILE_ROWS],
    ) {
        let even_bytes = _mm256_set1_epi16(1);
        let mut low = [_mm256_setzero_si256(); GROUPS];
        let mut high = low;
        for (block, halves) in blocks.iter().zip(halves) {
            fetch(block);
            let [low_even, low_odd, high_even, high_odd] =
                halves.map(|pair| _mm256_set1_epi32(pair as i32));
            for group in 0..GROUPS {
                // SAFETY: `32 * group + 32 <= 32 * GROUPS`, the length of a block.
                let cells = unsafe { _mm256_loadu_si256(block.as_ptr().add(32 * group).cast()) };
                let even = _mm256_maddubs_epi16(even_bytes, cells);
                let odd = _mm256_srai_epi16::<8>(cells);
                let add = |sums: &mut __m256i, cells, halves| {
                    *sums = _mm256_add_epi32(*sums, _mm256_madd_epi16(cells, halves));
                };
                add(&mut low[group], even, low_even);
                add(&mut low[group], odd, low_odd);
                add(&mut high[group], even, high_even);
                add(&mut high[group], odd, high_odd);
            }
        }
        for (group, sums) in sums.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
            let total = _mm256_add_epi32(low[group], _mm256_slli_epi32::<16>(high[group]));
            // SAFETY: both types are 32 plain bytes.
            let total: [u32; ROWS] = unsafe { std::mem::transmute(total) };
            for (sum, total) in sums.iter_mut().zip(total) {
                *sum = sum.wrapping_add(total);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{BLOCK, STEP, TILE_ROWS, fetch};

    const ROWS: usize = 16;
    const GROUPS: usize = TILE_ROWS / ROWS;

    /// Unsigned bytes: the lowest of all words, then the next.
    pub(super) fn bytes(words: &[u32; STEP]) -> [u32; STEP] {
        let bytes = words.map(u32::to_le_bytes);
        std::array::from_fn(|i| u32::from_le_bytes(bytes.map(|word| word[i])))
    }

    /// As `portable`, with `bytes`. Sums of four products of a cell and a byte stay below 2^17; only totals wrap.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn add_tile(
        blocks: &[[u8; BLOCK]],
        bytes: &[[u32; STEP]],
        sums: &mut [u32; TILE_ROWS],
    ) {
        let mut lanes = [[_mm512_setzero_si512(); STEP]; GROUPS];
        for (block, bytes) in blocks.iter().zip(bytes) {
            fetch(block);
            let bytes = bytes.map(|bytes| _mm512_set1_epi32(bytes as i32));
            for (group, lanes) in lanes.iter_mut().enumerate() {
                // SAFETY: `64 * group + 64 <= 64 * GROUPS`, the length of a block.
                let cells = unsafe { _mm512_loadu_si512(block.as_ptr().add(64 * group).cast()) };
                for (lanes, bytes) in lanes.iter_mut().zip(bytes) {
                    *lanes = _mm512_dpbusd_epi32(*lanes, bytes, cells);
                }
            }
        }
        for (sums, [a, b, c, d]) in sums.as_chunks_mut::<ROWS>().0.iter_mut().zip(lanes) {
            let low = _mm512_add_epi32(a, _mm512_slli_epi32::<8>(b));
            let high = _mm512_add_epi32(c, _mm512_slli_epi32::<8>(d));
            let total = _mm512_add_epi32(low, _mm512_slli_epi32::<16>(high));
            // SAFETY: both types are 64 plain bytes.
            let total: [u32; ROWS] = unsafe { std::mem::transmute(total) };
            for (sum, total) in sums.iter_mut().zip(total) {
                *sum = sum.wrapping_add(total);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The sums by every path of this processor, from sums that are not zero.
    fn sums(cells: &[u8], words: &[u32], first: usize) -> Vec<[u32; TILE_ROWS]> {
        let query = Split::new(words.to_vec());
        assert_eq!(query.len(), words.len());
        let paths = Path::ALL.into_iter().filter(|path| path.available());
        let sums = paths.map(|path| {
            let mut sums = std::array::from_fn(|row| u32::MAX - row as u32);
            query.add_tile(path, cells, first, words.len() - first, &mut sums);
            sums
        });
        sums.collect()
    }

    /// What `sums` should be, cell by cell.
    fn slow(cells: &[u8], words: &[u32], first: usize) -> [u32; TILE_ROWS] {
        std::array::from_fn(|row| {
            let products = (first..words.len()).map(|column| {
                let cell = i64::from(cells[place(row, column - first)] as i8);
                cell * i64::from(words[column])
            });
            (i64::from(u32::MAX - row as u32) + products.sum::<i64>()) as u32
        })
    }

    #[test]
    fn extreme_cells_and_words() {
        for cell in [0x7f, 0x80, 0xff] {
            for word in [0x7fff_7fff, 0x8000_8000, 0x7f7f_7f7f, u32::MAX] {
                let (cells, words) = ([cell; 8 * TILE_ROWS], [word; 8]);
                let right = slow(&cells, &words, 0);
                for sums in sums(&cells, &words, 0) {
                    assert_eq!(sums, right);
                }
            }
        }
    }

    #[test]
    fn every_cell_of_a_tile_has_its_place() {
        let mut seen = vec![false; TILE_COLUMNS * TILE_ROWS];
        for column in 0..TILE_COLUMNS {
            for row in 0..TILE_ROWS {
                assert!(!std::mem::replace(&mut seen[place(row, column)], true));
            }
        }
    }

    #[test]
    #[should_panic(expected = "cells.len()")]
    fn a_tile_of_another_width_panics() {
        Split::new(vec![0; 8]).add_tile(
            Path::best(),
            &[0; 4 * TILE_ROWS],
            0,
            8,
            &mut [0; TILE_ROWS],
        );
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_tile_beyond_the_query_panics() {
        Split::new(vec![0; 8]).add_tile(
            Path::best(),
            &[0; 8 * TILE_ROWS],
            4,
            8,
            &mut [0; TILE_ROWS],
        );
    }

    proptest! {
        #[test]
        fn paths_agree(steps in 1usize..80, skipped in 0usize..3, seed in any::<[u8; 32]>()) {
            let (width, first) = (steps * STEP, skipped * STEP);
            let mut stream = atoll_primitives::stream::Stream::derive(&seed, &[b"tile"]);
            let mut cells = vec![0; width * TILE_ROWS];
            stream.fill_bytes(&mut cells);
            let mut words = vec![0; first + width];
            words.fill_with(|| u32::from_le_bytes(stream.bytes()));
            let right = slow(&cells, &words, first);
            for sums in sums(&cells, &words, first) {
                prop_assert_eq!(sums, right);
            }
        }
    }
}
