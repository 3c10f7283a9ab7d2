//! The same modulo 2^128. A number is two words, the low one first; matrices stand row by row.

use rayon::prelude::*;

use crate::product::Shares;
use crate::streams::Pair;
use crate::{MOST_WORDS, Refusal, same};

/// Columns of a tile of a product of matrices.
const WIDTH: usize = 256;

/// The number of two words.
#[inline(always)]
pub fn number(words: [u64; 2]) -> u128 {
    u128::from(words[0]) | u128::from(words[1]) << 64
}

/// The words of a number.
#[inline(always)]
pub fn words(number: u128) -> [u64; 2] {
    [number as u64, (number >> 64) as u64]
}

fn numbers(words: &[u64]) -> Result<&[[u64; 2]], Refusal> {
    match words.as_chunks() {
        (numbers, []) => Ok(numbers),
        _ => Err(Refusal::new("E_FORMAT", "a wide number has two words")),
    }
}

/// The masked parts of products modulo 2^128, element by element, into `out`.
///
/// # Errors
/// `E_FORMAT` if operands and result differ in length, or have half a number.
pub fn products(pair: &mut Pair, x: Shares, y: Shares, out: &mut [u64]) -> Result<(), Refusal> {
    same(&[x[0].len(), x[1].len(), y[0].len(), y[1].len(), out.len()])?;
    let (x, y) = (
        [numbers(x[0])?, numbers(x[1])?],
        [numbers(y[0])?, numbers(y[1])?],
    );
    let x = x[0].iter().zip(x[1]);
    let y = y[0].iter().zip(y[1]);
    for (slot, ((x0, x1), (y0, y1))) in out.as_chunks_mut().0.iter_mut().zip(x.zip(y)) {
        let [x0, x1, y0, y1] = [x0, x1, y0, y1].map(|w| number(*w));
        *slot = words(
            x0.wrapping_mul(y0.wrapping_add(y1))
                .wrapping_add(x1.wrapping_mul(y0)),
        );
    }
    pair.add_wide_zero(out);
    Ok(())
}

/// What is done with two plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// Their sum.
    Sum,
    /// The first less the second.
    Difference,
    /// Their product.
    Product,
}

/// The same done to each pair of numbers; either operand may be one number for all.
///
/// # Errors
/// `E_FORMAT` if operands and result differ in length, or have half a number.
pub fn plain(what: Plain, x: &[u64], y: &[u64], out: &mut [u64]) -> Result<(), Refusal> {
    match what {
        Plain::Sum => each(x, y, out, u128::wrapping_add),
        Plain::Difference => each(x, y, out, u128::wrapping_sub),
        Plain::Product => each(x, y, out, u128::wrapping_mul),
    }
}

fn each(
    x: &[u64],
    y: &[u64],
    out: &mut [u64],
    of: impl Fn(u128, u128) -> u128,
) -> Result<(), Refusal> {
    let (x, y) = (numbers(x)?, numbers(y)?);
    let (out, []) = out.as_chunks_mut() else {
        return Err(Refusal::new("E_FORMAT", "a wide number has two words"));
    };
    match (x, y) {
        ([one], _) if y.len() == out.len() => {
            let one = number(*one);
            for (slot, y) in out.iter_mut().zip(y) {
                *slot = words(of(one, number(*y)));
            }
        }
        (_, [one]) if x.len() == out.len() => {
            let one = number(*one);
            for (slot, x) in out.iter_mut().zip(x) {
                *slot = words(of(number(*x), one));
            }
        }
        _ => {
            same(&[x.len(), y.len(), out.len()])?;
            for (slot, (x, y)) in out.iter_mut().zip(x.iter().zip(y)) {
                *slot = words(of(number(*x), number(*y)));
            }
        }
    }
    Ok(())
}

/// The masked part of (rows x inner) times (inner x columns); `threads` has no effect on any word.
///
/// # Errors
/// `E_FORMAT` if shares are not of these sizes, `E_TOO_LARGE` for a matrix beyond [`MOST_WORDS`], `E_MEMORY` if threads
/// cannot start.
pub fn matrix(
    pair: &mut Pair,
    x: Shares,
    y: Shares,
    [rows, inner, columns]: [usize; 3],
    threads: usize,
    out: &mut [u64],
) -> Result<(), Refusal> {
    let size = |a: usize, b: usize| {
        a.checked_mul(b)
            .and_then(|n| n.checked_mul(2))
            .filter(|n| *n <= MOST_WORDS)
    };
    let (Some(left), Some(right), Some(made)) =
        (size(rows, inner), size(inner, columns), size(rows, columns))
    else {
        return Err(Refusal::new("E_TOO_LARGE", "a matrix is too large"));
    };
    same(&[x[0].len(), x[1].len(), left])?;
    same(&[y[0].len(), y[1].len(), right])?;
    same(&[out.len(), made])?;
    let (x, y) = (
        [numbers(x[0])?, numbers(x[1])?],
        [numbers(y[0])?, numbers(y[1])?],
    );
    let own: Vec<u128> = y[0].iter().map(|w| number(*w)).collect();
    let both: Vec<u128> = (own.iter().zip(y[1]))
        .map(|(a, b)| a.wrapping_add(number(*b)))
        .collect();
    if made > 0 {
        let row = |(row, out): (usize, &mut [[u64; 2]])| {
            let of_row = row * inner..(row + 1) * inner;
            let pairs = [(&x[0][of_row.clone()], &both), (&x[1][of_row], &own)];
            multiply(&pairs, columns, out);
        };
        let out = out.as_chunks_mut().0;
        if threads <= 1 {
            out.chunks_mut(columns).enumerate().for_each(row);
        } else {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .map_err(|e| {
                    Refusal::new("E_MEMORY", format!("cannot start {threads} threads: {e}"))
                })?
                .install(|| out.par_chunks_mut(columns).enumerate().for_each(row));
        }
    }
    pair.add_wide_zero(out);
    Ok(())
}

/// One row of the sum of products of matrices.
fn multiply(pairs: &[(&[[u64; 2]], &Vec<u128>); 2], columns: usize, out: &mut [[u64; 2]]) {
    for (tile, out) in out.chunks_mut(WIDTH).enumerate() {
        let mut sums = [0u128; WIDTH];
        let sums = &mut sums[..out.len()];
        for (x, y) in pairs {
            for (at, x) in x.iter().enumerate() {
                let (x, first) = (number(*x), at * columns + tile * WIDTH);
                for (sum, y) in sums.iter_mut().zip(&y[first..first + out.len()]) {
                    *sum = sum.wrapping_add(x.wrapping_mul(*y));
                }
            }
        }
        for (slot, sum) in out.iter_mut().zip(sums.iter()) {
            *slot = words(*sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Stream;
    use proptest::prelude::*;

    fn parties() -> [Pair; 3] {
        let keys = [[1u8; 16], [2; 16], [3; 16]];
        std::array::from_fn(|i| Pair {
            before: Stream::new(&keys[i]),
            after: Stream::new(&keys[(i + 1) % 3]),
        })
    }

    fn flat(numbers: impl IntoIterator<Item = u128>) -> Vec<u64> {
        numbers.into_iter().flat_map(words).collect()
    }

    fn sum(v: &[u128; 3]) -> u128 {
        v.iter().fold(0u128, |a, b| a.wrapping_add(*b))
    }

    fn add(sums: &mut [u128], part: &[u64]) {
        for (sum, part) in sums.iter_mut().zip(numbers(part).unwrap()) {
            *sum = sum.wrapping_add(number(*part));
        }
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_product(x in prop::collection::vec(any::<[u128; 3]>(), 1..200), seed: u128) {
            let y: Vec<[u128; 3]> = x.iter().map(|v| v.map(|w| w.rotate_left(7) ^ seed)).collect();
            let share = |v: &[[u128; 3]], i: usize| flat(v.iter().map(|s| s[i % 3]));
            let mut sums = vec![0u128; x.len()];
            for (i, pair) in parties().iter_mut().enumerate() {
                let (x0, x1, y0, y1) = (share(&x, i), share(&x, i + 1), share(&y, i), share(&y, i + 1));
                let mut out = vec![0u64; 2 * x.len()];
                products(pair, [&x0, &x1], [&y0, &y1], &mut out).unwrap();
                add(&mut sums, &out);
            }
            for ((x, y), s) in x.iter().zip(&y).zip(&sums) {
                prop_assert_eq!(*s, sum(x).wrapping_mul(sum(y)));
            }
            let (left, right) = (flat(x.iter().map(sum)), flat(y.iter().map(sum)));
            let mut out = vec![0; left.len()];
            plain(Plain::Product, &left, &right, &mut out).unwrap();
            prop_assert_eq!(&out, &flat(sums));
            let one = sum(&y[0]);
            for (what, of) in [
                (Plain::Sum, u128::wrapping_add as fn(u128, u128) -> u128),
                (Plain::Difference, u128::wrapping_sub),
                (Plain::Product, u128::wrapping_mul),
            ] {
                plain(what, &left, &right, &mut out).unwrap();
                prop_assert_eq!(&out, &flat(x.iter().zip(&y).map(|(x, y)| of(sum(x), sum(y)))));
                plain(what, &left, &right[..2], &mut out).unwrap();
                prop_assert_eq!(&out, &flat(x.iter().map(|v| of(sum(v), one))));
                plain(what, &right[..2], &left, &mut out).unwrap();
                prop_assert_eq!(&out, &flat(x.iter().map(|v| of(one, sum(v)))));
            }
        }

        #[test]
        fn parts_add_up_to_the_product_of_matrices(
            (rows, inner, columns) in (0usize..5, 0usize..5, prop_oneof![0usize..5, 250usize..600]), seed: u128
        ) {
            let fill = |n: usize, by: u128| (0..n as u128)
                .map(|i| [i.wrapping_mul(by) ^ seed, seed.rotate_left(i as u32 % 128), by.wrapping_mul(seed)])
                .collect::<Vec<[u128; 3]>>();
            let (x, y) = (fill(rows * inner, 0x9e37_79b9_7f4a_7c15 << 60), fill(inner * columns, 0xdead_beef << 90));
            let share = |v: &[[u128; 3]], i: usize| flat(v.iter().map(|s| s[i % 3]));
            let mut sums = vec![0u128; rows * columns];
            for (i, pair) in parties().iter_mut().enumerate() {
                let (x0, x1, y0, y1) = (share(&x, i), share(&x, i + 1), share(&y, i), share(&y, i + 1));
                let mut out = vec![0u64; 2 * rows * columns];
                matrix(pair, [&x0, &x1], [&y0, &y1], [rows, inner, columns], 1 + i, &mut out).unwrap();
                add(&mut sums, &out);
            }
            for row in 0..rows {
                for column in 0..columns {
                    let expected = (0..inner).fold(0u128, |total, at| {
                        let product = sum(&x[row * inner + at]).wrapping_mul(sum(&y[at * columns + column]));
                        total.wrapping_add(product)
                    });
                    prop_assert_eq!(sums[row * columns + column], expected);
                }
            }
        }
    }

    #[test]
    fn one_part_of_zero_is_uniform_in_both_words() {
        let mut pair = parties().into_iter().next().unwrap();
        let mut parts = vec![0u64; 20_000];
        pair.add_wide_zero(&mut parts);
        for word in 0..2 {
            let ones: u32 = (parts.iter().skip(word).step_by(2))
                .map(|w| w.count_ones())
                .sum();
            assert!((f64::from(ones) - 320_000.0).abs() < 2.5 * 640_000f64.sqrt());
        }
    }

    #[test]
    fn operands_of_different_length_are_refused() {
        let mut pair = parties().into_iter().next().unwrap();
        let two = &[1u64, 2][..];
        let refused = [
            products(&mut pair, [two, two], [two, &[1]], &mut [0; 2]),
            products(&mut pair, [&[1], &[1]], [&[1], &[1]], &mut [0; 1]),
            plain(Plain::Product, two, &[1, 2, 3, 4], &mut [0; 2]),
            plain(Plain::Sum, two, &[1], &mut [0; 2]),
            plain(Plain::Sum, two, two, &mut [0; 4]),
            plain(Plain::Difference, two, two, &mut [0; 3]),
            matrix(&mut pair, [two, two], [two, two], [1, 1, 2], 1, &mut [0; 4]),
        ];
        assert!(
            refused
                .into_iter()
                .all(|r| r.unwrap_err().code == "E_FORMAT")
        );
        let huge = matrix(
            &mut pair,
            [two, two],
            [two, two],
            [1 << 40, 1, 1],
            1,
            &mut [0; 2],
        );
        assert_eq!(huge.unwrap_err().code, "E_TOO_LARGE");
    }
}
