//! A party's part of products: of x = x0 + x1 + x2 and y alike it holds the first two, and x0 y0 + x0 y1 + x1 y0 is its
//! part of x y. The part is masked with a part of zero before anybody sees it.

use crate::streams::Pair;
use crate::{Refusal, same};

/// The shares of a party: its own, and that of the party after it.
pub type Shares<'a> = [&'a [u64]; 2];

/// The masked parts of products modulo 2^64, element by element, into `out`.
///
/// # Errors
/// `E_FORMAT` if operands and result differ in length.
pub fn words(pair: &mut Pair, x: Shares, y: Shares, out: &mut [u64]) -> Result<(), Refusal> {
    parts(x, y, out, |x0, x1, y0, y1| {
        x0.wrapping_mul(y0.wrapping_add(y1))
            .wrapping_add(x1.wrapping_mul(y0))
    })?;
    pair.add_zero(out);
    Ok(())
}

/// The masked parts of products of bits, 64 in a word, into `out`.
///
/// # Errors
/// `E_FORMAT` if operands and result differ in length.
pub fn bits(pair: &mut Pair, x: Shares, y: Shares, out: &mut [u64]) -> Result<(), Refusal> {
    parts(x, y, out, |x0, x1, y0, y1| x0 & (y0 ^ y1) ^ x1 & y0)?;
    pair.flip_zero(out);
    Ok(())
}

fn parts(
    x: Shares,
    y: Shares,
    out: &mut [u64],
    part: impl Fn(u64, u64, u64, u64) -> u64,
) -> Result<(), Refusal> {
    same(&[x[0].len(), x[1].len(), y[0].len(), y[1].len(), out.len()])?;
    let x = x[0].iter().zip(x[1]);
    let y = y[0].iter().zip(y[1]);
    for (slot, ((x0, x1), (y0, y1))) in out.iter_mut().zip(x.zip(y)) {
        *slot = part(*x0, *x1, *y0, *y1);
    }
    Ok(())
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

    proptest! {
        #[test]
        fn parts_add_up_to_the_product(
            x in prop::collection::vec(any::<[u64; 3]>(), 1..200), seed: u64
        ) {
            let y: Vec<[u64; 3]> = x.iter().map(|v| v.map(|w| w.rotate_left(7) ^ seed)).collect();
            let share = |v: &[[u64; 3]], i: usize| v.iter().map(|s| s[i % 3]).collect::<Vec<_>>();
            let (mut sums, mut flips) = (vec![0u64; x.len()], vec![0u64; x.len()]);
            for (i, pair) in parties().iter_mut().enumerate() {
                let (x0, x1, y0, y1) = (share(&x, i), share(&x, i + 1), share(&y, i), share(&y, i + 1));
                let mut out = vec![0u64; x.len()];
                words(pair, [&x0, &x1], [&y0, &y1], &mut out).unwrap();
                sums.iter_mut().zip(&out).for_each(|(s, p)| *s = s.wrapping_add(*p));
                bits(pair, [&x0, &x1], [&y0, &y1], &mut out).unwrap();
                flips.iter_mut().zip(&out).for_each(|(s, p)| *s ^= p);
            }
            let sum = |v: &[u64; 3]| v.iter().fold(0u64, |a, b| a.wrapping_add(*b));
            let flip = |v: &[u64; 3]| v[0] ^ v[1] ^ v[2];
            for ((x, y), (s, f)) in x.iter().zip(&y).zip(sums.iter().zip(&flips)) {
                prop_assert_eq!(*s, sum(x).wrapping_mul(sum(y)));
                prop_assert_eq!(*f, flip(x) & flip(y));
            }
        }
    }

    #[test]
    fn operands_of_different_length_are_refused() {
        let mut pair = parties().into_iter().next().unwrap();
        let error = words(&mut pair, [&[1], &[2]], [&[1], &[2, 3]], &mut [0]).unwrap_err();
        assert_eq!(error.code, "E_FORMAT");
    }
}
