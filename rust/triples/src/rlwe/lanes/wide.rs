//! The same with AVX-512 IFMA.

use std::arch::x86_64::*;

use super::super::transform::Roots;
use super::{LANES, Lane, MASK, Packed, SLOTS, Short, ShortFactor, TOGETHER, Transform};

pub(super) fn has() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("avx512vbmi")
}

macro_rules! wide {
    ($($item:item)*) => {
        $(#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512ifma,avx512vbmi")] #[inline] $item)*
    };
}

/// Where the bytes of eight numbers of 48 bits stand, and where they go.
const SPREAD: [u8; 64] = {
    let mut places = [0; 64];
    let mut at = 0;
    while at < 48 {
        places[at / 6 * 8 + at % 6] = at as u8;
        at += 1;
    }
    places
};
const GATHERED: [u8; 64] = {
    let mut places = [0; 64];
    let mut at = 0;
    while at < 48 {
        places[at] = (at / 6 * 8 + at % 6) as u8;
        at += 1;
    }
    places
};
const PACKED_BYTES: u64 = (1 << 48) - 1;

// How two lanes of 16 values in their order become pairs of butterflies at distances 4, 2 and 1, and back.
const HALVES: [i64; 8] = [0, 1, 2, 3, 8, 9, 10, 11];
const HALVES_HIGH: [i64; 8] = [4, 5, 6, 7, 12, 13, 14, 15];
const QUARTERS: [i64; 8] = [0, 1, 8, 9, 4, 5, 12, 13];
const QUARTERS_HIGH: [i64; 8] = [2, 3, 10, 11, 6, 7, 14, 15];
const PAIRS: [i64; 8] = [0, 8, 2, 10, 4, 12, 6, 14];
const PAIRS_HIGH: [i64; 8] = [1, 9, 3, 11, 5, 13, 7, 15];
const ORDER: [i64; 8] = [0, 8, 1, 9, 2, 10, 3, 11];
const ORDER_HIGH: [i64; 8] = [4, 12, 5, 13, 6, 14, 7, 15];
const EVEN: [i64; 8] = [0, 2, 4, 6, 8, 10, 12, 14];
const ODD: [i64; 8] = [1, 3, 5, 7, 9, 11, 13, 15];
const BY_FOUR: [i64; 8] = [0, 0, 0, 0, 1, 1, 1, 1];
const BY_TWO: [i64; 8] = [0, 0, 1, 1, 2, 2, 3, 3];

/// A modulus in all lanes.
#[derive(Clone, Copy)]
struct Wide {
    q: __m512i,
    two: __m512i,
    /// 2^52 - q.
    negative: __m512i,
    mask: __m512i,
    one: __m512i,
    inverse: __m512i,
}

/// Factors of all lanes.
#[derive(Clone, Copy)]
struct Factors {
    value: __m512i,
    quotient: __m512i,
}

wide! {
    fn load(values: &Lane) -> __m512i {
        // SAFETY: eight u64 are 64 readable bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
    }

    fn store(values: &mut Lane, x: __m512i) {
        // SAFETY: eight u64 are 64 writable bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(values.as_mut_ptr().cast(), x) }
    }

    fn places(of: &[i64; 8]) -> __m512i {
        // SAFETY: eight i64 are 64 readable bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(of.as_ptr().cast()) }
    }

    fn bytes(of: &[u8; 64]) -> __m512i {
        // SAFETY: these are 64 readable bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(of.as_ptr().cast()) }
    }

    fn unpacked(values: &Packed, spread: __m512i) -> __m512i {
        // SAFETY: the 48 bytes that the mask names are those of six u64.
        let raw = unsafe { _mm512_maskz_loadu_epi8(PACKED_BYTES, values.as_ptr().cast()) };
        _mm512_maskz_permutexvar_epi8(0x3f3f_3f3f_3f3f_3f3f, spread, raw)
    }

    fn packed(values: &mut Packed, x: __m512i, gathered: __m512i) {
        let raw = _mm512_permutexvar_epi8(gathered, x);
        // SAFETY: the 48 bytes that the mask names are those of six u64.
        unsafe { _mm512_mask_storeu_epi8(values.as_mut_ptr().cast(), PACKED_BYTES, raw) }
    }

    fn all(x: u64) -> __m512i {
        _mm512_set1_epi64(x as i64)
    }

    fn modulus(m: Short) -> Wide {
        Wide {
            q: all(m.q),
            two: all(2 * m.q),
            negative: all((MASK + 1) - m.q),
            mask: all(MASK),
            one: all(m.one),
            inverse: all(m.negative_inverse),
        }
    }

    fn factors(of: ShortFactor) -> Factors {
        Factors { value: all(of.value), quotient: all(of.quotient) }
    }

    /// Eight roots from a place on.
    fn eight(roots: &Roots, place: usize) -> Factors {
        let from = |table: &[u64]| *table[place..].first_chunk::<LANES>().expect("a table goes on");
        Factors { value: load(&from(&roots.values)), quotient: load(&from(&roots.quotients)) }
    }

    fn moved(of: Factors, order: __m512i) -> Factors {
        Factors {
            value: _mm512_permutexvar_epi64(order, of.value),
            quotient: _mm512_permutexvar_epi64(order, of.quotient),
        }
    }

    /// `x` or `x - by`, whichever is the smaller when it wraps.
    fn once(x: __m512i, by: __m512i) -> __m512i {
        _mm512_min_epu64(x, _mm512_sub_epi64(x, by))
    }

    fn scale_lazy(x: __m512i, by: Factors, m: Wide) -> __m512i {
        let zero = _mm512_setzero_si512();
        let quotient = _mm512_madd52hi_epu64(zero, x, by.quotient);
        let product = _mm512_madd52lo_epu64(zero, x, by.value);
        _mm512_and_si512(_mm512_madd52lo_epu64(product, quotient, m.negative), m.mask)
    }

    fn reduce(x: __m512i, m: Wide) -> __m512i {
        let quotient = _mm512_madd52hi_epu64(_mm512_setzero_si512(), x, m.one);
        // Only the low 52 bits of the sum are right, and there are no others.
        once(_mm512_and_si512(_mm512_madd52lo_epu64(x, quotient, m.negative), m.mask), m.q)
    }

    /// As [`Short::fold`].
    fn fold(low: __m512i, high: __m512i, m: Wide) -> __m512i {
        let zero = _mm512_setzero_si512();
        let high = _mm512_add_epi64(high, _mm512_srli_epi64::<52>(low));
        let low = _mm512_and_si512(low, m.mask);
        let factor = _mm512_madd52lo_epu64(zero, low, m.inverse);
        let sum = _mm512_madd52hi_epu64(high, factor, m.q);
        let carried = _mm512_cmpneq_epu64_mask(low, zero);
        reduce(_mm512_mask_add_epi64(sum, carried, sum, all(1)), m)
    }

    fn there(a: &mut __m512i, b: &mut __m512i, root: Factors, m: Wide) {
        let product = scale_lazy(*b, root, m);
        *b = _mm512_sub_epi64(_mm512_add_epi64(*a, m.two), product);
        *a = _mm512_add_epi64(*a, product);
    }

    fn back(a: &mut __m512i, b: &mut __m512i, root: Factors, m: Wide) {
        let difference = _mm512_sub_epi64(_mm512_add_epi64(*a, m.two), *b);
        *a = once(_mm512_add_epi64(*a, *b), m.two);
        *b = scale_lazy(difference, root, m);
    }

    fn exchanged(a: &mut __m512i, b: &mut __m512i, order: &[i64; 8], order_high: &[i64; 8]) {
        let (x, y) = (*a, *b);
        *a = _mm512_permutex2var_epi64(x, places(order), y);
        *b = _mm512_permutex2var_epi64(x, places(order_high), y);
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512ifma,avx512vbmi")]
pub(super) fn forward(t: &Transform, values: &mut [u64; SLOTS]) {
    let m = modulus(t.modulus);
    let roots = &t.there;
    let lanes = values.as_chunks_mut::<LANES>().0;
    let (low, high) = lanes.split_at_mut(SLOTS / LANES / 2);
    let root = factors(roots.at(1));
    for (a, b) in low.iter_mut().zip(high) {
        let (mut x, mut y) = (load(a), load(b));
        there(&mut x, &mut y, root, m);
        store(a, x);
        store(b, y);
    }
    // Two layers at once, of distances `half` and half of that.
    let (mut groups, mut half) = (2, SLOTS / LANES / 4);
    while half > 2 {
        for (i, chunk) in lanes.chunks_exact_mut(2 * half).enumerate() {
            let upper = factors(roots.at(groups + i));
            let first = factors(roots.at(2 * groups + 2 * i));
            let second = factors(roots.at(2 * groups + 2 * i + 1));
            let (low, high) = chunk.split_at_mut(half);
            let (a, b) = low.split_at_mut(half / 2);
            let (c, d) = high.split_at_mut(half / 2);
            for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                let (mut w, mut x, mut y, mut z) = (load(a), load(b), load(c), load(d));
                there(&mut w, &mut y, upper, m);
                there(&mut x, &mut z, upper, m);
                there(&mut w, &mut x, first, m);
                there(&mut y, &mut z, second, m);
                store(a, w);
                store(b, x);
                store(c, y);
                store(d, z);
            }
        }
        groups *= 4;
        half /= 4;
    }
    let (by_four, by_two) = (places(&BY_FOUR), places(&BY_TWO));
    for (i, [a, b]) in lanes.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let (mut x, mut y) = (load(a), load(b));
        there(&mut x, &mut y, factors(roots.at(groups + i)), m);
        exchanged(&mut x, &mut y, &HALVES, &HALVES_HIGH);
        let root = moved(eight(roots, 2 * (groups + i)), by_four);
        there(&mut x, &mut y, root, m);
        exchanged(&mut x, &mut y, &QUARTERS, &QUARTERS_HIGH);
        let root = moved(eight(roots, 4 * (groups + i)), by_two);
        there(&mut x, &mut y, root, m);
        exchanged(&mut x, &mut y, &PAIRS, &PAIRS_HIGH);
        there(&mut x, &mut y, eight(roots, 8 * (groups + i)), m);
        exchanged(&mut x, &mut y, &ORDER, &ORDER_HIGH);
        store(a, reduce(x, m));
        store(b, reduce(y, m));
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512ifma,avx512vbmi")]
pub(super) fn backward(t: &Transform, values: &mut [u64; SLOTS], shrink: ShortFactor) {
    let m = modulus(t.modulus);
    let roots = &t.back;
    let lanes = values.as_chunks_mut::<LANES>().0;
    let mut groups = SLOTS / 2;
    let (by_four, by_two) = (places(&BY_FOUR), places(&BY_TWO));
    for (i, [a, b]) in lanes.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let (mut x, mut y) = (load(a), load(b));
        exchanged(&mut x, &mut y, &EVEN, &ODD);
        back(&mut x, &mut y, eight(roots, groups + 8 * i), m);
        exchanged(&mut x, &mut y, &PAIRS, &PAIRS_HIGH);
        let root = moved(eight(roots, groups / 2 + 4 * i), by_two);
        back(&mut x, &mut y, root, m);
        exchanged(&mut x, &mut y, &QUARTERS, &QUARTERS_HIGH);
        let root = moved(eight(roots, groups / 4 + 2 * i), by_four);
        back(&mut x, &mut y, root, m);
        exchanged(&mut x, &mut y, &HALVES, &HALVES_HIGH);
        back(&mut x, &mut y, factors(roots.at(groups / 8 + i)), m);
        store(a, x);
        store(b, y);
    }
    groups /= 16;
    let mut half = 2;
    while half < SLOTS / LANES / 2 {
        for (i, chunk) in lanes.chunks_exact_mut(4 * half).enumerate() {
            let first = factors(roots.at(groups + 2 * i));
            let second = factors(roots.at(groups + 2 * i + 1));
            let upper = factors(roots.at(groups / 2 + i));
            let (low, high) = chunk.split_at_mut(2 * half);
            let (a, b) = low.split_at_mut(half);
            let (c, d) = high.split_at_mut(half);
            for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                let (mut w, mut x, mut y, mut z) = (load(a), load(b), load(c), load(d));
                back(&mut w, &mut x, first, m);
                back(&mut y, &mut z, second, m);
                back(&mut w, &mut y, upper, m);
                back(&mut x, &mut z, upper, m);
                store(a, w);
                store(b, x);
                store(c, y);
                store(d, z);
            }
        }
        groups /= 4;
        half *= 4;
    }
    let (low, high) = lanes.split_at_mut(SLOTS / LANES / 2);
    let (root, shrink) = (factors(roots.at(1)), factors(shrink));
    for (a, b) in low.iter_mut().zip(high) {
        let (mut x, mut y) = (load(a), load(b));
        back(&mut x, &mut y, root, m);
        store(a, once(scale_lazy(x, shrink, m), m.q));
        store(b, once(scale_lazy(y, shrink, m), m.q));
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512ifma,avx512vbmi")]
pub(super) fn words(m: Short, values: &mut [u64]) {
    let (wide, cut) = (modulus(m), factors(m.cut));
    let (top, low, lift) = (all(1 << 63), all((1 << 40) - 1), all(m.lift));
    for lane in values.as_chunks_mut::<LANES>().0 {
        let x = _mm512_xor_si512(load(lane), top);
        let high = scale_lazy(_mm512_srli_epi64::<40>(x), cut, wide);
        let sum = _mm512_add_epi64(_mm512_and_si512(x, low), lift);
        store(lane, _mm512_add_epi64(sum, high));
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512ifma,avx512vbmi")]
pub(super) fn pack(values: &[u64], out: &mut [Packed]) {
    let gathered = bytes(&GATHERED);
    for (lane, out) in values.as_chunks::<LANES>().0.iter().zip(out) {
        packed(out, load(lane), gathered);
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512ifma,avx512vbmi")]
pub(super) fn add_products(m: Short, values: &mut [u64], x: &[u64], y: &[u64]) {
    let m = modulus(m);
    let zero = _mm512_setzero_si512();
    let factors = x
        .as_chunks::<LANES>()
        .0
        .iter()
        .zip(y.as_chunks::<LANES>().0);
    for (value, (x, y)) in values.as_chunks_mut::<LANES>().0.iter_mut().zip(factors) {
        let (x, y) = (load(x), load(y));
        let (low, high) = (
            _mm512_madd52lo_epu64(zero, x, y),
            _mm512_madd52hi_epu64(zero, x, y),
        );
        let sum = _mm512_add_epi64(load(value), fold(low, high, m));
        store(value, once(sum, m.q));
    }
}

/// Sums of `ROWS` rows with `COLUMNS` columns from one on.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512ifma,avx512vbmi")]
#[inline]
fn block<const ROWS: usize, const COLUMNS: usize>(
    m: Wide,
    left: &[Packed],
    right: &[[Lane; 2]],
    [inner, columns, column]: [usize; 3],
    out: &mut [Lane],
) {
    let (zero, spread) = (_mm512_setzero_si512(), bytes(&SPREAD));
    let rows: [&[Packed]; ROWS] = std::array::from_fn(|row| &left[row * inner..(row + 1) * inner]);
    for start in (0..inner).step_by(TOGETHER) {
        let mut low = [[[zero; 2]; COLUMNS]; ROWS];
        let mut high = low;
        for i in start..inner.min(start + TOGETHER) {
            let x: [__m512i; ROWS] = std::array::from_fn(|row| unpacked(&rows[row][i], spread));
            for c in 0..COLUMNS {
                for part in 0..2 {
                    let y = load(&right[(column + c) * inner + i][part]);
                    for row in 0..ROWS {
                        let (low, high) = (&mut low[row][c][part], &mut high[row][c][part]);
                        *low = _mm512_madd52lo_epu64(*low, x[row], y);
                        *high = _mm512_madd52hi_epu64(*high, x[row], y);
                    }
                }
            }
        }
        for row in 0..ROWS {
            for c in 0..COLUMNS {
                for part in 0..2 {
                    let out = &mut out[(row * columns + column + c) * 2 + part];
                    let sum = fold(low[row][c][part], high[row][c][part], m);
                    store(out, once(_mm512_add_epi64(load(out), sum), m.q));
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512ifma,avx512vbmi")]
pub(super) fn sums(
    m: Short,
    left: &[Packed],
    right: &[[Lane; 2]],
    sizes: [usize; 2],
    out: &mut [Lane],
) {
    let (m, [inner, columns]) = (modulus(m), sizes);
    // What is loaded serves for several products, and 16 sums fit the registers.
    for column in (0..columns - columns % 2).step_by(2) {
        let at = [inner, columns, column];
        let pairs = left.chunks_exact(2 * inner);
        let last = pairs.remainder();
        let mut outs = out.chunks_exact_mut(4 * columns);
        for (left, out) in pairs.zip(&mut outs) {
            block::<2, 2>(m, left, right, at, out);
        }
        if !last.is_empty() {
            block::<1, 2>(m, last, right, at, outs.into_remainder());
        }
    }
    if columns % 2 == 1 {
        let at = [inner, columns, columns - 1];
        let fours = left.chunks_exact(4 * inner);
        let rest = fours.remainder();
        let mut outs = out.chunks_exact_mut(8 * columns);
        for (left, out) in fours.zip(&mut outs) {
            block::<4, 1>(m, left, right, at, out);
        }
        let ones = outs.into_remainder().chunks_exact_mut(2 * columns);
        for (left, out) in rest.chunks_exact(inner).zip(ones) {
            block::<1, 1>(m, left, right, at, out);
        }
    }
}
