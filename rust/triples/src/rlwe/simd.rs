//! Butterflies, eight at a time where the processor has AVX-512. Nothing else in this crate but
//! [`super::lanes`] is unsafe.
#![allow(unsafe_code)]

use super::modulus::{Factor, Modulus};

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::*;

    use super::{Factor, Modulus};

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

#[cfg(test)]
mod tests {
    use super::super::PRIMES;
    use super::*;
    use proptest::prelude::*;

    const TILE: usize = 256;
    type Tile = [u64; TILE];

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
        fn every_path_gives_the_same(which in 0usize..5, seed: u64, root: u64) {
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
        }
    }

    /// `cargo test --release -p atoll-triples --lib simd::tests::cost -- --ignored --nocapture`
    #[test]
    #[ignore = "takes a second"]
    fn cost() {
        let m = PRIMES[0];
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
