//! Transforms and sums of products modulo short primes, eight at a time where the processor multiplies numbers of 52
//! bits (AVX-512 IFMA). Nothing else in this crate but [`super::simd`] is unsafe.
#![allow(unsafe_code)]

use super::SLOTS;
use super::short::{MASK, RADIX_BITS, Short, ShortFactor};
use super::transform::Transform;

/// Values that are worked at together.
pub(super) const LANES: usize = 8;
/// Most products that are added before they are reduced: the high halves of 2^9 are below 2^51.
const TOGETHER: usize = 1 << 9;

pub(super) type Lane = [u64; LANES];
/// The same in 48 bits each.
pub(super) type Packed = [u64; 6];

const LOW: u64 = (1 << 48) - 1;

#[cfg(target_arch = "x86_64")]
mod wide;

fn forward_plain(t: &Transform, values: &mut [u64; SLOTS]) {
    let m = t.modulus;
    let (mut groups, mut half) = (1, SLOTS / 2);
    while half > 0 {
        for (i, chunk) in values.chunks_exact_mut(2 * half).enumerate() {
            let root = t.there.at(groups + i);
            let (low, high) = chunk.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                let product = m.scale_lazy(*b, root);
                (*a, *b) = (*a + product, *a + 2 * m.q - product);
            }
        }
        groups *= 2;
        half /= 2;
    }
    values.iter_mut().for_each(|x| *x = m.reduce(*x));
}

fn backward_plain(t: &Transform, values: &mut [u64; SLOTS], shrink: ShortFactor) {
    let m = t.modulus;
    let two = 2 * m.q;
    let (mut groups, mut half) = (SLOTS / 2, 1);
    while groups > 0 {
        for (i, chunk) in values.chunks_exact_mut(2 * half).enumerate() {
            let root = t.back.at(groups + i);
            let (low, high) = chunk.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                let (sum, difference) = (*a + *b, *a + two - *b);
                *a = sum.min(sum.wrapping_sub(two));
                *b = m.scale_lazy(difference, root);
            }
        }
        groups /= 2;
        half *= 2;
    }
    values.iter_mut().for_each(|x| *x = m.scale(*x, shrink));
}

fn words_plain(m: Short, values: &mut [u64]) {
    values.iter_mut().for_each(|x| *x = m.word_lazy(*x));
}

fn pack_plain(values: &[u64], out: &mut [Packed]) {
    for (lane, out) in values.as_chunks::<LANES>().0.iter().zip(out) {
        for (four, out) in (lane.as_chunks::<4>().0.iter()).zip(out.as_chunks_mut::<3>().0) {
            *out = [
                four[0] | four[1] << 48,
                four[1] >> 16 | four[2] << 32,
                four[2] >> 32 | four[3] << 16,
            ];
        }
    }
}

fn unpacked_plain(packed: &Packed) -> Lane {
    let [a, b, c, d, e, f] = *packed;
    [
        a & LOW,
        (a >> 48 | b << 16) & LOW,
        (b >> 32 | c << 32) & LOW,
        c >> 16,
        d & LOW,
        (d >> 48 | e << 16) & LOW,
        (e >> 32 | f << 32) & LOW,
        f >> 16,
    ]
}

fn add_products_plain(m: Short, values: &mut [u64], x: &[u64], y: &[u64]) {
    for ((value, x), y) in values.iter_mut().zip(x).zip(y) {
        *value = m.add(*value, m.fold_product(*x, *y));
    }
}

fn sums_plain(m: Short, left: &[Packed], right: &[[Lane; 2]], sizes: [usize; 2], out: &mut [Lane]) {
    let [inner, columns] = sizes;
    let rows = left.chunks_exact(inner);
    for (left, out) in rows.zip(out.chunks_exact_mut(2 * columns)) {
        let left: Vec<Lane> = left.iter().map(unpacked_plain).collect();
        for (at, out) in out.iter_mut().enumerate() {
            let (column, part) = (at / 2, at % 2);
            let right = &right[column * inner..(column + 1) * inner];
            for (left, right) in left.chunks(TOGETHER).zip(right.chunks(TOGETHER)) {
                let mut sums = [0u128; LANES];
                for (x, y) in left.iter().zip(right) {
                    for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(&y[part])) {
                        *sum += u128::from(*x) * u128::from(*y);
                    }
                }
                for (out, sum) in out.iter_mut().zip(sums) {
                    let folded = m.fold(sum as u64 & MASK, (sum >> RADIX_BITS) as u64);
                    *out = m.add(*out, folded);
                }
            }
        }
    }
}

macro_rules! either {
    ($name:ident, $plain:ident, $($argument:expr),*) => {{
        #[cfg(target_arch = "x86_64")]
        if wide::has() {
            // SAFETY: the features were found.
            return unsafe { wide::$name($($argument),*) };
        }
        $plain($($argument),*)
    }};
}

/// Values of a polynomial with coefficients below 4q.
pub(super) fn forward(t: &Transform, values: &mut [u64; SLOTS]) {
    either!(forward, forward_plain, t, values)
}

/// The polynomial of values below 2q, times a factor.
pub(super) fn backward(t: &Transform, values: &mut [u64; SLOTS], shrink: ShortFactor) {
    either!(backward, backward_plain, t, values, shrink)
}

/// Signed words as numbers below 4q, in place; a multiple of [`LANES`].
pub(super) fn words(m: Short, values: &mut [u64]) {
    either!(words, words_plain, m, values)
}

/// Residues in 48 bits each.
pub(super) fn pack(values: &[u64], out: &mut [Packed]) {
    either!(pack, pack_plain, values, out)
}

/// Adds products of residues, divided by 2^52, to residues.
pub(super) fn add_products(m: Short, values: &mut [u64], x: &[u64], y: &[u64]) {
    either!(add_products, add_products_plain, m, values, x, y)
}

/// Adds sums of products, divided by 2^52, in each lane.
///
/// `left` has rows of `inner`, `right` columns of as many with two parts each, `out` two for each row and column.
pub(super) fn sums(
    m: Short,
    left: &[Packed],
    right: &[[Lane; 2]],
    sizes: [usize; 2],
    out: &mut [Lane],
) {
    either!(sums, sums_plain, m, left, right, sizes, out)
}

#[cfg(test)]
mod tests {
    use super::super::matrix::LIMBS;
    use super::*;
    use proptest::prelude::*;

    /// Below `times` q, with many at the edges.
    fn values(m: Short, times: u64, seed: u64, count: usize) -> Vec<u64> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = (state ^ state >> 29)
                    .wrapping_mul(0xbf58_476d_1ce4_e5b9)
                    .wrapping_add(seed | 1);
                match state >> 60 {
                    0 => 0,
                    1..4 => times * m.q - 1,
                    _ => ((u128::from(state) * u128::from(times * m.q)) >> 64) as u64,
                }
            })
            .collect()
    }

    fn whole(m: Short, times: u64, seed: u64) -> [u64; SLOTS] {
        values(m, times, seed, SLOTS).try_into().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_path_gives_the_same(which in 0usize..4, seed: u64, root: u64) {
            let m = LIMBS[which];
            let t = Transform::new(m);
            let (mut one, mut other) = (whole(m, 4, seed), whole(m, 4, seed));
            forward(&t, &mut one);
            forward_plain(&t, &mut other);
            prop_assert!(one == other);
            let (mut one, mut other) = (whole(m, 2, seed), whole(m, 2, seed));
            let factor = m.factor(root % m.q);
            backward(&t, &mut one, factor);
            backward_plain(&t, &mut other, factor);
            prop_assert!(one == other);
            let edges = [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, 1 << 40, seed, root];
            let (mut one, mut other) = (edges, edges);
            words(m, &mut one);
            words_plain(m, &mut other);
            prop_assert_eq!(one, other);
            let (x, y) = (values(m, 1, seed, 64), values(m, 1, root, 64));
            let (mut one, mut other) = (x.clone(), x.clone());
            add_products(m, &mut one, &x, &y);
            add_products_plain(m, &mut other, &x, &y);
            prop_assert_eq!(one, other);
            let (mut one, mut other) = ([[0; 6]; 8], [[0; 6]; 8]);
            pack(&x, &mut one);
            pack_plain(&x, &mut other);
            prop_assert_eq!(one, other);
            let back = one.map(|packed| unpacked_plain(&packed));
            prop_assert_eq!(back.as_flattened(), &x[..]);
        }

        #[test]
        fn every_path_adds_up_the_same(
            which in 0usize..4, seed: u64, rows in 1usize..10, columns in 1usize..6,
            inner in prop_oneof![1usize..30, 510usize..515, Just(1030usize)],
        ) {
            let m = LIMBS[which];
            let mut left = vec![[0; 6]; rows * inner];
            let plain = values(m, 1, seed, rows * inner * LANES);
            pack_plain(&plain, &mut left);
            let right = values(m, 1, !seed, 2 * columns * inner * LANES);
            let before = values(m, 1, seed ^ 77, 2 * columns * rows * LANES);
            let before = before.as_chunks::<LANES>().0;
            let (mut one, mut other) = (before.to_vec(), before.to_vec());
            sums(m, &left, right.as_chunks::<LANES>().0.as_chunks::<2>().0, [inner, columns], &mut one);
            sums_plain(m, &left, right.as_chunks::<LANES>().0.as_chunks::<2>().0, [inner, columns], &mut other);
            prop_assert!(one == other);
            // And both are the sums of integers.
            let at = |row: usize, part: usize, lane: usize| {
                let products = (0..inner).map(|i| {
                    let x = u128::from(plain[(row * inner + i) * LANES + lane]);
                    let place = 2 * (part / 2 * inner + i) + part % 2;
                    x * u128::from(right[place * LANES + lane]) % u128::from(m.q)
                });
                let folded = u128::from(m.inverse(m.radix()));
                products.sum::<u128>() % u128::from(m.q) * folded % u128::from(m.q)
            };
            for (row, part, lane) in [(0, 0, 0), (rows - 1, 2 * columns - 1, 7)] {
                let place = row * 2 * columns + part;
                let expected = u128::from(before[place][lane]) + at(row, part, lane);
                prop_assert_eq!(u128::from(one[place][lane]), expected % u128::from(m.q));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]
        #[test]
        fn products_are_the_schoolbooks(
            which in 0usize..4, seed: u64, terms in proptest::collection::vec((0..SLOTS, any::<u64>()), 1..12),
        ) {
            let m = LIMBS[which];
            let t = Transform::new(m);
            let before = whole(m, 1, seed);
            let (mut a, mut b, mut expected) = (before, [0; SLOTS], [0; SLOTS]);
            for (place, word) in terms {
                let factor = word % m.q;
                b[place] = m.add(b[place], factor);
                for (i, x) in before.iter().enumerate() {
                    let product = m.public_product(*x, factor);
                    let at = &mut expected[(i + place) % SLOTS];
                    *at = if i + place < SLOTS { m.add(*at, product) } else { m.sub(*at, product) };
                }
            }
            t.forward(&mut a);
            t.forward(&mut b);
            let mut back = a;
            t.backward(&mut back);
            prop_assert!(back == before);
            let mut folded = [0; SLOTS];
            add_products(m, &mut folded, &a, &b);
            t.backward_folded(&mut folded);
            prop_assert!(folded == expected);
        }
    }

    /// `cargo test --release -p atoll-triples --lib lanes::tests::cost -- --ignored --nocapture`
    #[test]
    #[ignore = "takes a second"]
    fn cost() {
        let m = LIMBS[0];
        let t = Transform::new(m);
        let time = |name: &str, count: usize, work: &mut dyn FnMut()| {
            let least = (0..10)
                .map(|_| {
                    let begun = std::time::Instant::now();
                    (0..20).for_each(|_| work());
                    begun.elapsed().as_secs_f64()
                })
                .fold(f64::MAX, f64::min);
            println!("{name}: {:.3} ns", least / 20.0 / count as f64 * 1e9);
        };
        let mut x = whole(m, 1, 5);
        let butterflies = 13 * SLOTS / 2;
        time("there", butterflies, &mut || forward(&t, &mut x));
        time("plain", butterflies, &mut || forward_plain(&t, &mut x));
        time("back", butterflies, &mut || {
            backward(&t, &mut x, t.modulus.cut)
        });
        time("plain", butterflies, &mut || {
            backward_plain(&t, &mut x, t.modulus.cut)
        });
        for (rows, inner, columns) in [(16, 42, 4), (49, 25, 1)] {
            let left = vec![[77; 6]; rows * inner];
            let right = vec![[[99; LANES]; 2]; columns * inner];
            let mut out = vec![[0; LANES]; 2 * columns * rows];
            let count = rows * inner * columns * 2 * LANES;
            let sizes = [inner, columns];
            time("product", count, &mut || {
                sums(m, &left, &right, sizes, &mut out)
            });
            time("plain", count, &mut || {
                sums_plain(m, &left, &right, sizes, &mut out)
            });
        }
    }
}
