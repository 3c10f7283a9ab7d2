//! Butterflies and sums of products, eight at a time where the processor has AVX-512. Nothing else in this crate is unsafe.
#![allow(unsafe_code)]

use super::modulus::{Factor, Modulus};

/// Values of a tile.
pub(super) const TILE: usize = 256;
/// Most products that are added before they are reduced: 15 q^2 is below 2^128.
pub(super) const TOGETHER: usize = 15;

type Tile = [u64; TILE];

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    use super::{Factor, Modulus, TILE, Tile};

    pub(super) fn has() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq")
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    #[inline]
    fn load(values: &[u64; 8]) -> __m512i {
        // SAFETY: eight u64 are 64 readable bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    #[inline]
    fn store(values: &mut [u64; 8], x: __m512i) {
        // SAFETY: eight u64 are 64 writable bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(values.as_mut_ptr().cast(), x) }
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    #[inline]
    fn all(x: u64) -> __m512i {
        _mm512_set1_epi64(x as i64)
    }

    /// `x` or `x - by`, whichever is the smaller when it wraps.
    #[target_feature(enable = "avx512f,avx512dq")]
    #[inline]
    fn once(x: __m512i, by: __m512i) -> __m512i {
        _mm512_min_epu64(x, _mm512_sub_epi64(x, by))
    }

    /// The high halves of the products.
    #[target_feature(enable = "avx512f,avx512dq")]
    #[inline]
    fn high(x: __m512i, y: __m512i) -> __m512i {
        let low = all(0xffff_ffff);
        let (x1, y1) = (_mm512_srli_epi64::<32>(x), _mm512_srli_epi64::<32>(y));
        let p00 = _mm512_mul_epu32(x, y);
        let p01 = _mm512_mul_epu32(x, y1);
        let p10 = _mm512_mul_epu32(x1, y);
        let p11 = _mm512_mul_epu32(x1, y1);
        let middle = _mm512_add_epi64(p10, _mm512_srli_epi64::<32>(p00));
        let rest = _mm512_add_epi64(p01, _mm512_and_si512(middle, low));
        let top = _mm512_add_epi64(p11, _mm512_srli_epi64::<32>(middle));
        _mm512_add_epi64(top, _mm512_srli_epi64::<32>(rest))
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    #[inline]
    fn scale_lazy(x: __m512i, by: Factor, q: __m512i) -> __m512i {
        let quotient = high(x, all(by.quotient));
        _mm512_sub_epi64(
            _mm512_mullo_epi64(x, all(by.value)),
            _mm512_mullo_epi64(quotient, q),
        )
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn forward(m: Modulus, low: &mut [u64], high: &mut [u64], root: Factor) {
        let (q, two) = (all(m.q), all(2 * m.q));
        let high = high.as_chunks_mut::<8>().0;
        for (a, b) in low.as_chunks_mut::<8>().0.iter_mut().zip(high) {
            let sum = once(load(a), two);
            let product = scale_lazy(load(b), root, q);
            store(a, _mm512_add_epi64(sum, product));
            store(b, _mm512_sub_epi64(_mm512_add_epi64(sum, two), product));
        }
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn backward(m: Modulus, low: &mut [u64], high: &mut [u64], root: Factor) {
        let (q, two) = (all(m.q), all(2 * m.q));
        let high = high.as_chunks_mut::<8>().0;
        for (a, b) in low.as_chunks_mut::<8>().0.iter_mut().zip(high) {
            let (x, y) = (load(a), load(b));
            store(a, once(_mm512_add_epi64(x, y), two));
            let difference = _mm512_sub_epi64(_mm512_add_epi64(x, two), y);
            store(b, scale_lazy(difference, root, q));
        }
    }

    /// Adds to a sum of 64 bits, and counts what it carries.
    #[target_feature(enable = "avx512f,avx512dq")]
    #[inline]
    fn carry(sum: &mut __m512i, more: __m512i, top: &mut __m512i) {
        *sum = _mm512_add_epi64(*sum, more);
        let carried = _mm512_cmplt_epu64_mask(*sum, more);
        *top = _mm512_mask_add_epi64(*top, carried, *top, all(1));
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn add_products(m: Modulus, pairs: &[(&Tile, &Tile)], out: &mut Tile) {
        let (q, two, inverse) = (all(m.q), all(2 * m.q), all(m.negative_inverse));
        let (half, word) = (all((1 << 31) - 1), all(0xffff_ffff));
        let zero = _mm512_setzero_si512();
        let out = out.as_chunks_mut::<8>().0;
        for (at, out) in out.iter_mut().enumerate().take(TILE / 8) {
            // Sums of low and of high words of the three parts of all products, at 2^0, 2^31 and 2^62.
            let mut sums = [zero; 6];
            for pairs in pairs.chunks(4) {
                // Four products of 62 bits are below 2^64.
                let (mut low, mut one, mut other, mut top) = (zero, zero, zero, zero);
                for (x, y) in pairs {
                    let (x, y) = (
                        load(&x.as_chunks::<8>().0[at]),
                        load(&y.as_chunks::<8>().0[at]),
                    );
                    let (x0, y0) = (_mm512_and_si512(x, half), _mm512_and_si512(y, half));
                    let (x1, y1) = (_mm512_srli_epi64::<31>(x), _mm512_srli_epi64::<31>(y));
                    low = _mm512_add_epi64(low, _mm512_mul_epu32(x0, y0));
                    one = _mm512_add_epi64(one, _mm512_mul_epu32(x0, y1));
                    other = _mm512_add_epi64(other, _mm512_mul_epu32(x1, y0));
                    top = _mm512_add_epi64(top, _mm512_mul_epu32(x1, y1));
                }
                for (part, place) in [(low, 0), (one, 2), (other, 2), (top, 4)] {
                    sums[place] = _mm512_add_epi64(sums[place], _mm512_and_si512(part, word));
                    sums[place + 1] =
                        _mm512_add_epi64(sums[place + 1], _mm512_srli_epi64::<32>(part));
                }
            }
            let [l0, l1, m0, m1, h0, h1] = sums;
            let mut top = _mm512_srli_epi64::<32>(l1);
            for part in [
                _mm512_srli_epi64::<33>(m0),
                _mm512_srli_epi64::<1>(m1),
                _mm512_srli_epi64::<2>(h0),
                _mm512_slli_epi64::<30>(h1),
            ] {
                top = _mm512_add_epi64(top, part);
            }
            let mut low = l0;
            for part in [
                _mm512_slli_epi64::<32>(l1),
                _mm512_slli_epi64::<31>(m0),
                _mm512_slli_epi64::<63>(m1),
                _mm512_slli_epi64::<62>(h0),
            ] {
                carry(&mut low, part, &mut top);
            }
            // As `Modulus::fold_many`.
            let top = once(once(top, two), q);
            let product = high(_mm512_mullo_epi64(low, inverse), q);
            let carried = _mm512_cmpneq_epu64_mask(low, zero);
            let sum = _mm512_add_epi64(top, product);
            let sum = once(_mm512_mask_add_epi64(sum, carried, sum, all(1)), q);
            store(out, once(_mm512_add_epi64(load(out), sum), q));
        }
    }
}

fn forward_plain(m: Modulus, low: &mut [u64], high: &mut [u64], root: Factor) {
    let two = 2 * m.q;
    for (a, b) in low.iter_mut().zip(high) {
        let sum = (*a).min(a.wrapping_sub(two));
        let product = m.scale_lazy(*b, root);
        *a = sum + product;
        *b = sum + two - product;
    }
}

fn backward_plain(m: Modulus, low: &mut [u64], high: &mut [u64], root: Factor) {
    let two = 2 * m.q;
    for (a, b) in low.iter_mut().zip(high) {
        let sum = *a + *b;
        let difference = *a + two - *b;
        *a = sum.min(sum.wrapping_sub(two));
        *b = m.scale_lazy(difference, root);
    }
}

fn add_products_plain(m: Modulus, pairs: &[(&Tile, &Tile)], out: &mut Tile) {
    for (at, out) in out.iter_mut().enumerate() {
        let sum = (pairs.iter()).map(|(x, y)| u128::from(x[at]) * u128::from(y[at]));
        *out = m.add(*out, m.fold_many(sum.sum()));
    }
}

/// Butterflies of values below 4q, of one root, to values below 4q.
#[inline]
pub(super) fn forward(m: Modulus, low: &mut [u64], high: &mut [u64], root: Factor) {
    #[cfg(target_arch = "x86_64")]
    if low.len() >= 8 && wide::has() {
        // SAFETY: the features were found.
        return unsafe { wide::forward(m, low, high, root) };
    }
    forward_plain(m, low, high, root);
}

/// Butterflies of values below 2q, of one root, to values below 2q.
#[inline]
pub(super) fn backward(m: Modulus, low: &mut [u64], high: &mut [u64], root: Factor) {
    #[cfg(target_arch = "x86_64")]
    if low.len() >= 8 && wide::has() {
        // SAFETY: the features were found.
        return unsafe { wide::backward(m, low, high, root) };
    }
    backward_plain(m, low, high, root);
}

/// Adds the sum of up to [`TOGETHER`] products of residues, divided by 2^64.
pub(super) fn add_products(m: Modulus, pairs: &[(&Tile, &Tile)], out: &mut Tile) {
    debug_assert!(pairs.len() <= TOGETHER);
    #[cfg(target_arch = "x86_64")]
    if wide::has() {
        // SAFETY: the features were found.
        return unsafe { wide::add_products(m, pairs, out) };
    }
    add_products_plain(m, pairs, out);
}

#[cfg(test)]
mod tests {
    use super::super::PRIMES;
    use super::*;
    use proptest::prelude::*;

    /// Below `times` q, with many at the edges.
    fn tile(m: Modulus, times: u64, seed: u64) -> Tile {
        let mut state = seed;
        std::array::from_fn(|_| {
            state = (state ^ state >> 29)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9)
                .wrapping_add(seed | 1);
            match state >> 60 {
                0 => 0,
                1..4 => times * m.q - 1,
                _ => ((u128::from(state) * u128::from(times * m.q)) >> 64) as u64,
            }
        })
    }

    proptest! {
        #[test]
        fn every_path_gives_the_same(which in 0usize..5, seed: u64, count in 0usize..=TOGETHER, root: u64) {
            let m = PRIMES[which];
            let root = m.factor(root % m.q);
            let (mut low, mut high) = (tile(m, 4, seed), tile(m, 4, !seed));
            let (mut low2, mut high2) = (low, high);
            forward(m, &mut low, &mut high, root);
            forward_plain(m, &mut low2, &mut high2, root);
            prop_assert_eq!((low, high), (low2, high2));
            let (mut low, mut high) = (tile(m, 2, seed), tile(m, 2, !seed));
            let (mut low2, mut high2) = (low, high);
            backward(m, &mut low, &mut high, root);
            backward_plain(m, &mut low2, &mut high2, root);
            prop_assert_eq!((low, high), (low2, high2));
            let factors: Vec<[Tile; 2]> = (0..count as u64)
                .map(|i| [tile(m, 1, seed ^ i), tile(m, 1, !seed ^ i << 9)])
                .collect();
            let pairs: Vec<(&Tile, &Tile)> = factors.iter().map(|[x, y]| (x, y)).collect();
            let (mut out, mut out2) = (tile(m, 1, seed / 3), tile(m, 1, seed / 3));
            add_products(m, &pairs, &mut out);
            add_products_plain(m, &pairs, &mut out2);
            prop_assert_eq!(out, out2);
        }
    }

    /// `cargo test --release -p atoll-triples --lib simd::tests::cost -- --ignored --nocapture`
    #[test]
    #[ignore = "takes a second"]
    fn cost() {
        let m = PRIMES[0];
        let factors: Vec<[Tile; 2]> = (0..12).map(|i| [tile(m, 1, i), tile(m, 1, !i)]).collect();
        let pairs: Vec<(&Tile, &Tile)> = factors.iter().map(|[x, y]| (x, y)).collect();
        let time = |name: &str, work: &mut dyn FnMut()| {
            let least = (0..40)
                .map(|_| {
                    let begun = std::time::Instant::now();
                    (0..200).for_each(|_| work());
                    begun.elapsed().as_secs_f64()
                })
                .fold(f64::MAX, f64::min);
            println!("{name}: {:.2} ns", least / 200.0 / TILE as f64 * 1e9);
        };
        let mut out = tile(m, 1, 5);
        time("12 products", &mut || add_products(m, &pairs, &mut out));
        time("plain", &mut || add_products_plain(m, &pairs, &mut out));
        let (mut low, mut high) = (tile(m, 2, 1), tile(m, 2, 2));
        let root = m.factor(12345 << 40);
        time("butterfly", &mut || forward(m, &mut low, &mut high, root));
        time("plain", &mut || forward_plain(m, &mut low, &mut high, root));
        time("backward", &mut || backward(m, &mut low, &mut high, root));
        time("plain", &mut || {
            backward_plain(m, &mut low, &mut high, root)
        });
    }
}
