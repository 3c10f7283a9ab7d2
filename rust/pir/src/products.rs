//! Inner products of one row of words with several vectors, modulo 2^32: a row is read once for all of them.
#![allow(unsafe_code)]

/// Words side by side.
const LANES: usize = 16;
/// Vectors that one reading of a row takes: their sums fit into registers.
const TOGETHER: usize = 4;

/// For each of `rows` (each as long as the vectors) its inner products with all vectors, by vector.
///
/// # Panics
/// If lengths do not fit, or are no multiples of 16.
pub fn products(rows: &[u32], vectors: &[&[u32]]) -> Vec<Vec<u32>> {
    let width = vectors.first().map_or(LANES, |vector| vector.len());
    assert!(width.is_multiple_of(LANES) && rows.len().is_multiple_of(width));
    assert!(vectors.iter().all(|vector| vector.len() == width));
    let mut found = vec![vec![0; rows.len() / width]; vectors.len()];
    for (at, row) in rows.chunks_exact(width).enumerate() {
        let (groups, rest) = vectors.as_chunks::<TOGETHER>();
        let (filled, last) = found.as_chunks_mut::<TOGETHER>();
        for (group, found) in groups.iter().zip(filled) {
            for (sum, found) in inner(row, group).into_iter().zip(found) {
                found[at] = sum;
            }
        }
        for (vector, found) in rest.iter().zip(last) {
            [found[at]] = inner(row, &[vector]);
        }
    }
    found
}

fn inner<const K: usize>(row: &[u32], vectors: &[&[u32]; K]) -> [u32; K] {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512 F.
            return unsafe { avx512(row, vectors) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { avx2(row, vectors) };
        }
    }
    plain(row, vectors)
}

/// As `plain`, compiled for wider registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512<const K: usize>(row: &[u32], vectors: &[&[u32]; K]) -> [u32; K] {
    plain(row, vectors)
}

/// As `plain`, compiled for wider registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<const K: usize>(row: &[u32], vectors: &[&[u32]; K]) -> [u32; K] {
    plain(row, vectors)
}

#[inline(always)]
fn plain<const K: usize>(row: &[u32], vectors: &[&[u32]; K]) -> [u32; K] {
    let vectors = vectors.map(|vector| vector.as_chunks::<LANES>().0);
    let mut sums = [[0u32; LANES]; K];
    for (at, words) in row.as_chunks::<LANES>().0.iter().enumerate() {
        for (sums, vector) in sums.iter_mut().zip(&vectors) {
            for ((sum, word), factor) in sums.iter_mut().zip(words).zip(&vector[at]) {
                *sum = sum.wrapping_add(word.wrapping_mul(*factor));
            }
        }
    }
    sums.map(|lanes| lanes.into_iter().fold(0, u32::wrapping_add))
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_primitives::stream::Stream;
    use proptest::prelude::*;

    fn words(stream: &mut Stream, count: usize) -> Vec<u32> {
        (0..count)
            .map(|_| u32::from_le_bytes(stream.bytes()))
            .collect()
    }

    proptest! {
        #[test]
        fn sums_are_those_of_wide_integers(
            rows in 0usize..5,
            chunks in 1usize..7,
            count in 0usize..11,
            seed in any::<[u8; 32]>(),
        ) {
            let mut stream = Stream::derive(&seed, &[b"products"]);
            let width = chunks * LANES;
            let matrix = words(&mut stream, rows * width);
            let vectors: Vec<Vec<u32>> = (0..count).map(|_| words(&mut stream, width)).collect();
            let views: Vec<&[u32]> = vectors.iter().map(Vec::as_slice).collect();
            let found = products(&matrix, &views);
            prop_assert_eq!(found.len(), count);
            for (vector, found) in vectors.iter().zip(&found) {
                let slow: Vec<u32> = matrix
                    .chunks_exact(width)
                    .map(|row| {
                        let terms = row.iter().zip(vector).map(|(&x, &y)| u128::from(x) * u128::from(y));
                        terms.sum::<u128>() as u32
                    })
                    .collect();
                prop_assert_eq!(found, &slow);
            }
            let row = words(&mut stream, width);
            if let [first, second, ..] = &views[..] {
                prop_assert_eq!(inner(&row, &[first, second]), plain(&row, &[first, second]));
            }
        }
    }

    #[test]
    #[should_panic(expected = "all(")]
    fn vectors_of_two_lengths_panic() {
        products(&[0; 32], &[&[0; 16], &[0; 32]]);
    }
}
