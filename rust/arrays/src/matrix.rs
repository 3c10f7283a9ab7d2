//! A party's part of a product of matrices, modulo 2^64: x0 (y0 + y1) + x1 y0.

use rayon::prelude::*;

use crate::product::Shares;
use crate::streams::Pair;
use crate::{MOST_WORDS, Refusal};

/// Rows of the right matrix that stay in the cache while rows of the left one pass.
const DEPTH: usize = 64;
/// Columns of a tile.
const WIDTH: usize = 512;

/// The masked part of (rows x inner) times (inner x columns), both row by row; `threads` has no effect on any word.
///
/// # Errors
/// `E_FORMAT` if shares are not of these sizes, `E_TOO_LARGE` for a matrix beyond [`MOST_WORDS`], `E_MEMORY` if threads
/// cannot start.
pub fn product(
    pair: &mut Pair,
    x: Shares,
    y: Shares,
    sizes: [usize; 3],
    threads: usize,
    result: &mut [u64],
) -> Result<(), Refusal> {
    if y[0].len() != y[1].len() {
        return Err(Refusal::new("E_FORMAT", "a matrix has another size"));
    }
    let both: Vec<u64> = y[0]
        .iter()
        .zip(y[1])
        .map(|(a, b)| a.wrapping_add(*b))
        .collect();
    sum_of_products(&[(x[0], &both), (x[1], y[0])], sizes, threads, result)?;
    pair.add_zero(result);
    Ok(())
}

/// The sum of products of matrices of the same sizes, row by row.
///
/// # Errors
/// As [`product`].
pub fn sum_of_products(
    pairs: &[(&[u64], &[u64])],
    [rows, inner, columns]: [usize; 3],
    threads: usize,
    result: &mut [u64],
) -> Result<(), Refusal> {
    let size = |a: usize, b: usize| a.checked_mul(b).filter(|n| *n <= MOST_WORDS);
    let (Some(left), Some(right), Some(out)) =
        (size(rows, inner), size(inner, columns), size(rows, columns))
    else {
        return Err(Refusal::new("E_TOO_LARGE", "a matrix is too large"));
    };
    if pairs
        .iter()
        .any(|(x, y)| x.len() != left || y.len() != right)
        || result.len() != out
    {
        return Err(Refusal::new("E_FORMAT", "a matrix has another size"));
    }
    result.fill(0);
    if out == 0 || inner == 0 {
        return Ok(());
    }
    let work = |result: &mut [u64], first: usize| {
        let rows = first * inner..(first + result.len() / columns) * inner;
        for (x, y) in pairs {
            multiply(result, &x[rows.clone()], y, inner, columns);
        }
    };
    if threads <= 1 {
        work(result, 0);
        return Ok(());
    }
    let share = rows.div_ceil(threads);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|_| Refusal::new("E_MEMORY", "threads cannot start"))?;
    pool.install(|| {
        result
            .par_chunks_mut(share * columns)
            .enumerate()
            .for_each(|(i, piece)| work(piece, i * share));
    });
    Ok(())
}

/// Adds the product of `a` and `b` to `out`.
fn multiply(out: &mut [u64], a: &[u64], b: &[u64], inner: usize, columns: usize) {
    if columns == 1 {
        for (slot, row) in out.iter_mut().zip(a.chunks_exact(inner)) {
            let sum = row
                .iter()
                .zip(b)
                .fold(0u64, |s, (x, y)| s.wrapping_add(x.wrapping_mul(*y)));
            *slot = slot.wrapping_add(sum);
        }
        return;
    }
    for from in (0..columns).step_by(WIDTH) {
        let to = columns.min(from + WIDTH);
        for start in (0..inner).step_by(DEPTH) {
            let end = inner.min(start + DEPTH);
            for (out, a) in out.chunks_exact_mut(columns).zip(a.chunks_exact(inner)) {
                let out = &mut out[from..to];
                let mut k = start;
                // Four rows at a time: the sums stay in registers for four products.
                while k + 4 <= end {
                    let row = |i: usize| &b[(k + i) * columns + from..(k + i) * columns + to];
                    let (b0, b1, b2, b3) = (row(0), row(1), row(2), row(3));
                    let [a0, a1, a2, a3] = [a[k], a[k + 1], a[k + 2], a[k + 3]];
                    for ((((slot, y0), y1), y2), y3) in
                        out.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3)
                    {
                        *slot = slot
                            .wrapping_add(a0.wrapping_mul(*y0))
                            .wrapping_add(a1.wrapping_mul(*y1))
                            .wrapping_add(a2.wrapping_mul(*y2))
                            .wrapping_add(a3.wrapping_mul(*y3));
                    }
                    k += 4;
                }
                for k in k..end {
                    let row = &b[k * columns + from..k * columns + to];
                    for (slot, y) in out.iter_mut().zip(row) {
                        *slot = slot.wrapping_add(a[k].wrapping_mul(*y));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Stream;
    use proptest::prelude::*;

    fn pair(i: u8) -> Pair {
        Pair {
            before: Stream::new(&[i; 16]),
            after: Stream::new(&[(i + 1) % 3; 16]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn parts_add_up_to_the_product(
            rows in 0usize..9, inner in 0usize..70, columns in prop_oneof![0usize..9, 510usize..520],
            seed: u64, threads in 1usize..4,
        ) {
            let word = |i: usize| (i as u64 + 1).wrapping_mul(seed | 1).rotate_left(31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let make = |size: usize, tag: usize| -> [Vec<u64>; 3] {
                std::array::from_fn(|s| (0..size).map(|i| word(3 * i + s + tag)).collect())
            };
            let (x, y) = (make(rows * inner, 0), make(inner * columns, 7));
            let mut sum = vec![0u64; rows * columns];
            for i in 0..3 {
                let next = (i + 1) % 3;
                let mut part = vec![1; rows * columns];
                product(
                    &mut pair(i as u8), [&x[i], &x[next]], [&y[i], &y[next]], [rows, inner, columns], threads, &mut part,
                ).unwrap();
                for (s, p) in sum.iter_mut().zip(part) {
                    *s = s.wrapping_add(p);
                }
            }
            let value = |m: &[Vec<u64>; 3], i: usize| m.iter().fold(0u64, |a, s| a.wrapping_add(s[i]));
            for r in 0..rows {
                for c in 0..columns {
                    let expected = (0..inner).fold(0u64, |a, k| {
                        a.wrapping_add(value(&x, r * inner + k).wrapping_mul(value(&y, k * columns + c)))
                    });
                    prop_assert_eq!(sum[r * columns + c], expected);
                }
            }
        }
    }

    #[test]
    fn wrong_sizes_are_refused() {
        let mut pair = pair(0);
        let x: [&[u64]; 2] = [&[1, 2], &[3, 4]];
        assert!(product(&mut pair, x, x, [1, 2, 1], 1, &mut [0]).is_ok());
        assert!(product(&mut pair, x, x, [1, 2, 2], 1, &mut [0; 2]).is_err());
        assert!(product(&mut pair, x, x, [usize::MAX, 2, 1], 1, &mut [0]).is_err());
    }
}
