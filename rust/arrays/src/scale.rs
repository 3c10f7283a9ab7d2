//! Division by a power of two, of sums of three parties' parts (docs/protocols/replicated-shares.md, step 4).
//!
//! Party 2 knows a mask, of which each of the others draws one half with it; they open the masked sum to each other. Streams are
//! drawn piece by piece: with party 0 mask, quotient, highest bit and result, with party 1 mask and result.

use crate::streams::{Pair, Stream};
use crate::{Refusal, same};

/// Words of a piece.
const PIECE: usize = 1 << 10;
/// Added before, so that numbers from -2^62 are not below zero.
const BIAS_BITS: u32 = 62;

fn check(shift: u32) -> Result<(), Refusal> {
    if (1..=BIAS_BITS).contains(&shift) {
        Ok(())
    } else {
        Err(Refusal::new("E_FORMAT", "a shift is by 1 to 62 bits"))
    }
}

/// What party 2 sends to party 1 after its part, and its shares of the result.
pub struct Dealt<'a> {
    /// Quotients of the mask, less what party 0 draws of them.
    pub high: &'a mut [u64],
    /// Highest bits of the mask, less what party 0 draws of them.
    pub top: &'a mut [u64],
    /// Its own share of the result.
    pub own: &'a mut [u64],
    /// The share of the party after it.
    pub after: &'a mut [u64],
}

/// Party 2: masks are drawn, and what the others need of them is shared.
///
/// # Errors
/// `E_FORMAT` for a shift out of range, or arrays of different lengths.
pub fn deal(pair: &mut Pair, shift: u32, out: Dealt) -> Result<(), Refusal> {
    check(shift)?;
    same(&[
        out.high.len(),
        out.top.len(),
        out.own.len(),
        out.after.len(),
    ])?;
    let (mut first, mut second) = ([0u64; PIECE], [0u64; PIECE]);
    let pieces = out.high.chunks_mut(PIECE).zip(out.top.chunks_mut(PIECE));
    let results = out.own.chunks_mut(PIECE).zip(out.after.chunks_mut(PIECE));
    for ((high, top), (own, after)) in pieces.zip(results) {
        let (first, second) = (&mut first[..high.len()], &mut second[..high.len()]);
        pair.after.fill(first);
        pair.before.fill(second);
        for (mask, half) in first.iter_mut().zip(second.iter()) {
            *mask = mask.wrapping_add(*half);
        }
        pair.after.fill(high);
        pair.after.fill(top);
        for ((h, t), mask) in high.iter_mut().zip(top.iter_mut()).zip(first.iter()) {
            *h = (mask >> shift).wrapping_sub(*h);
            *t = (mask >> 63).wrapping_sub(*t);
        }
        pair.after.fill(after);
        pair.before.fill(own);
    }
    Ok(())
}

/// What party 0 or 1 draws: the masked part that it sends, its share of the result, and party 0 its shares of the mask's.
pub struct Drawn<'a> {
    /// The masked part.
    pub masked: &'a mut [u64],
    /// The share of the result that party 2 draws too.
    pub result: &'a mut [u64],
    /// Party 0's shares of the mask's quotients and highest bits.
    pub mask: Option<(&'a mut [u64], &'a mut [u64])>,
}

/// Party 0 (with shares of the mask) or 1: masks its part. Party 0 adds the constant.
///
/// # Errors
/// `E_FORMAT` for arrays of different lengths.
pub fn mask(stream: &mut Stream, part: &[u64], out: Drawn) -> Result<(), Refusal> {
    same(&[part.len(), out.masked.len(), out.result.len()])?;
    let mut of_mask = match out.mask {
        Some((high, top)) => {
            same(&[part.len(), high.len(), top.len()])?;
            Some(high.chunks_mut(PIECE).zip(top.chunks_mut(PIECE)))
        }
        None => None,
    };
    let bias = if of_mask.is_some() { 1 << BIAS_BITS } else { 0 };
    let pieces = out
        .masked
        .chunks_mut(PIECE)
        .zip(out.result.chunks_mut(PIECE));
    for ((masked, result), part) in pieces.zip(part.chunks(PIECE)) {
        stream.fill(masked);
        for (slot, word) in masked.iter_mut().zip(part) {
            *slot = slot.wrapping_add(*word).wrapping_add(bias);
        }
        if let Some((high, top)) = of_mask.as_mut().and_then(Iterator::next) {
            stream.fill(high);
            stream.fill(top);
        }
        stream.fill(result);
    }
    Ok(())
}

/// Everything from which party 0 or 1 works out its part of the result.
pub struct Opened<'a> {
    /// The masked sum: own, the other's, and party 2's part of it.
    pub sum: [&'a [u64]; 3],
    /// Shares of the mask's quotients and highest bits.
    pub mask: [&'a [u64]; 2],
    /// The share of the result that party 2 draws too.
    pub result: &'a [u64],
}

/// Party 0 (`first`) or 1: its part of the result less the drawn share.
///
/// # Errors
/// `E_FORMAT` for a shift out of range, or arrays of different lengths.
pub fn part(opened: Opened, shift: u32, first: bool, out: &mut [u64]) -> Result<(), Refusal> {
    check(shift)?;
    let [mine, other, third] = opened.sum;
    let [high, top] = opened.mask;
    same(&[
        mine.len(),
        other.len(),
        third.len(),
        high.len(),
        top.len(),
        opened.result.len(),
        out.len(),
    ])?;
    let sums = mine.iter().zip(other).zip(third);
    let masks = high.iter().zip(top).zip(opened.result);
    for (slot, (((a, b), c), ((h, t), r))) in out.iter_mut().zip(sums.zip(masks)) {
        let sum = a.wrapping_add(*b).wrapping_add(*c);
        // The sum passed 2^64 just if the mask's highest bit is set and that of the sum is not.
        let passed = (!sum >> 63) << (64 - shift);
        let known = if first {
            (sum >> shift).wrapping_sub(1 << (BIAS_BITS - shift))
        } else {
            0
        };
        *slot = known
            .wrapping_sub(*h)
            .wrapping_add(t.wrapping_mul(passed))
            .wrapping_sub(*r);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs() -> [Pair; 3] {
        let keys = [[1u8; 16], [2; 16], [3; 16]];
        std::array::from_fn(|i| Pair {
            before: Stream::new(&keys[i]),
            after: Stream::new(&keys[(i + 1) % 3]),
        })
    }

    proptest! {
        #[test]
        fn quotients_are_rounded_down_or_up(
            numbers in prop::collection::vec(-(1i64 << 62)..(1 << 62), 1..2100), shift in 1u32..=62, seed: u64,
        ) {
            let n = numbers.len();
            let word = |i: usize| (i as u64 + 1).wrapping_mul(seed | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
            let one: Vec<u64> = (0..n).map(word).collect();
            let two: Vec<u64> = (n..2 * n).map(word).collect();
            let zero: Vec<u64> = numbers.iter().zip(one.iter().zip(&two)).map(|(x, (a, b))| (*x as u64).wrapping_sub(*a).wrapping_sub(*b)).collect();
            let [mut p0, mut p1, mut p2] = pairs();
            let mut v = vec![vec![0u64; n]; 12];
            let [m0, r0, h0, t0, m1, r1, h1, t1, own, after, o0, o1] = &mut v[..] else { unreachable!() };
            deal(&mut p2, shift, Dealt { high: h1, top: t1, own, after }).unwrap();
            mask(&mut p0.before, &zero, Drawn { masked: m0, result: r0, mask: Some((h0, t0)) }).unwrap();
            mask(&mut p1.after, &one, Drawn { masked: m1, result: r1, mask: None }).unwrap();
            prop_assert_eq!(&*r0, &*after);
            prop_assert_eq!(&*r1, &*own);
            part(Opened { sum: [m0, m1, &two], mask: [h0, t0], result: r0 }, shift, true, o0).unwrap();
            part(Opened { sum: [m1, m0, &two], mask: [h1, t1], result: r1 }, shift, false, o1).unwrap();
            for i in 0..n {
                let got = [o0[i], o1[i], r0[i], r1[i]].iter().fold(0u64, |s, w| s.wrapping_add(*w)) as i64;
                let floor = numbers[i] >> shift;
                prop_assert!(got == floor || got == floor + 1, "{} >> {} gives {}", numbers[i], shift, got);
            }
        }
    }

    #[test]
    fn shifts_and_lengths_that_do_not_belong_are_refused() {
        let mut p = pairs().into_iter().next().unwrap();
        let mut v = vec![vec![0u64; 2]; 4];
        let [a, b, c, d] = &mut v[..] else {
            unreachable!()
        };
        for shift in [0, 63, 64] {
            let out = Dealt {
                high: a,
                top: b,
                own: c,
                after: d,
            };
            assert!(deal(&mut p, shift, out).is_err());
        }
        let out = Dealt {
            high: a,
            top: b,
            own: c,
            after: &mut [0],
        };
        assert!(deal(&mut p, 3, out).is_err());
        let drawn = Drawn {
            masked: a,
            result: b,
            mask: None,
        };
        assert!(mask(&mut p.before, &[1], drawn).is_err());
    }
}
