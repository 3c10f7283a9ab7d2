//! Polynomials modulo X^2048 + 1 and a prime of 44 bits, and the transform in which products are word by word.
//!
//! Twenty bits of a machine word are free above the modulus, so that sums are reduced late (Harvey, arXiv:1205.2926).
//! Nothing branches on words: some are secret.

use std::sync::OnceLock;

use zeroize::Zeroize;

use crate::parameters::{DEGREE, Q};

/// 2048 words; whether coefficients or a transform follows from where it stands.
pub type Poly = Box<[u64; DEGREE]>;

/// A polynomial of zeros.
pub fn zero() -> Poly {
    Box::new([0; DEGREE])
}

/// A polynomial that is erased when dropped, and never printed.
pub struct Private(Poly);

impl Private {
    /// A polynomial of zeros.
    pub fn zero() -> Self {
        Self(zero())
    }
}

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Private")
    }
}

impl std::ops::Deref for Private {
    type Target = [u64; DEGREE];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Private {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

/// A factor with floor(2^64 factor / Q), which makes products with it cheap (Shoup).
#[derive(Debug, Clone, Copy)]
pub struct Factor {
    word: u64,
    quotient: u64,
}

impl Factor {
    /// For a word below Q.
    pub fn new(word: u64) -> Self {
        let quotient = ((u128::from(word) << 64) / u128::from(Q)) as u64;
        Self { word, quotient }
    }

    /// The product with any word, below 2Q.
    #[inline(always)]
    pub fn times(self, other: u64) -> u64 {
        let whole = ((u128::from(other) * u128::from(self.quotient)) >> 64) as u64;
        other
            .wrapping_mul(self.word)
            .wrapping_sub(whole.wrapping_mul(Q))
    }
}

/// A transform that many others are multiplied with.
#[derive(Debug, Clone)]
pub struct Factors(Vec<Factor>);

impl Factors {
    /// For words below Q.
    pub fn new(words: &[u64; DEGREE]) -> Self {
        Self(words.iter().map(|word| Factor::new(*word)).collect())
    }

    /// Adds the products with any words, below 2Q each.
    pub fn add_products(&self, words: &[u64; DEGREE], sums: &mut [u64; DEGREE]) {
        for ((sum, word), factor) in sums.iter_mut().zip(words).zip(&self.0) {
            *sum += factor.times(*word);
        }
    }
}

/// A word below `2 bound` below `bound`.
#[inline(always)]
pub fn below(word: u64, bound: u64) -> u64 {
    word.min(word.wrapping_sub(bound))
}

/// Any word below 2Q.
#[inline(always)]
fn folded(word: u64) -> u64 {
    // The quotient of 1: floor(2^64 / Q).
    const ONE: Factor = Factor {
        word: 1,
        quotient: ((1u128 << 64) / Q as u128) as u64,
    };
    ONE.times(word)
}

/// A signed word, far below Q, modulo Q.
#[inline(always)]
pub fn residue(signed: i64) -> u64 {
    (signed as u64).wrapping_add(Q & ((signed >> 63) as u64))
}

/// Product modulo Q.
pub fn times(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(Q)) as u64
}

fn power(base: u64, mut exponent: u64) -> u64 {
    let (mut found, mut square) = (1, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            found = times(found, square);
        }
        square = times(square, square);
        exponent >>= 1;
    }
    found
}

/// 1 / a modulo Q.
pub fn inverse(a: u64) -> u64 {
    power(a, Q - 2)
}

/// What transforms take.
#[derive(Debug)]
pub struct Ring {
    forward: Vec<Factor>,
    backward: Vec<Factor>,
    degree_inverse: Factor,
    /// A transform's word `i` is the polynomial's value at the root to this power.
    exponents: Vec<usize>,
    root: u64,
}

/// The ring, made once.
pub fn ring() -> &'static Ring {
    static RING: OnceLock<Ring> = OnceLock::new();
    RING.get_or_init(Ring::new)
}

impl Ring {
    fn new() -> Self {
        let order = 2 * DEGREE as u64;
        // An element to this power has order 4096 if its 2048th power is -1.
        let root = (2..)
            .map(|base| power(base, (Q - 1) / order))
            .find(|root| power(*root, DEGREE as u64) == Q - 1)
            .expect("Q is 1 modulo 4096");
        let reversed = |i: usize| i.reverse_bits() >> (usize::BITS - DEGREE.ilog2());
        let table = |root: u64| -> Vec<Factor> {
            (0..DEGREE)
                .map(|i| Factor::new(power(root, reversed(i) as u64)))
                .collect()
        };
        Self {
            forward: table(root),
            backward: table(inverse(root)),
            degree_inverse: Factor::new(inverse(DEGREE as u64)),
            exponents: (0..DEGREE).map(|i| 2 * reversed(i) + 1).collect(),
            root,
        }
    }

    /// Coefficients (below 2Q) into their transform, in words below 24 Q.
    pub fn forward_lazy(&self, words: &mut [u64; DEGREE]) {
        let (mut half, mut groups) = (DEGREE, 1);
        while groups < DEGREE {
            half /= 2;
            for (group, factor) in words
                .chunks_exact_mut(2 * half)
                .zip(&self.forward[groups..])
            {
                let (low, high) = group.split_at_mut(half);
                for (a, b) in low.iter_mut().zip(high) {
                    let product = factor.times(*b);
                    *b = *a + (2 * Q - product);
                    *a += product;
                }
            }
            groups *= 2;
        }
    }

    /// Coefficients (below 2Q) into their transform, below Q.
    pub fn forward(&self, words: &mut [u64; DEGREE]) {
        self.forward_lazy(words);
        for word in words {
            *word = below(folded(*word), Q);
        }
    }

    /// A transform (below 2Q) into its coefficients, below Q.
    pub fn backward(&self, words: &mut [u64; DEGREE]) {
        let (mut half, mut groups) = (1, DEGREE / 2);
        while groups > 0 {
            for (group, factor) in words
                .chunks_exact_mut(2 * half)
                .zip(&self.backward[groups..])
            {
                let (low, high) = group.split_at_mut(half);
                for (a, b) in low.iter_mut().zip(high) {
                    let (sum, difference) = (*a + *b, *a + 2 * Q - *b);
                    *a = below(sum, 2 * Q);
                    *b = factor.times(difference);
                }
            }
            half *= 2;
            groups /= 2;
        }
        for word in words {
            *word = below(self.degree_inverse.times(*word), Q);
        }
    }

    /// From where a transform takes its words when X becomes X to an odd power.
    pub fn automorphism(&self, power: usize) -> Vec<u16> {
        let mut places = vec![0u16; DEGREE];
        for (place, exponent) in self.exponents.iter().enumerate() {
            places[exponent / 2] = place as u16;
        }
        self.exponents
            .iter()
            .map(|exponent| places[exponent * power % (2 * DEGREE) / 2])
            .collect()
    }

    /// The transform of X to a power.
    pub fn monomial(&self, power_of_x: usize) -> Factors {
        let words = self
            .exponents
            .iter()
            .map(|exponent| power(self.root, (exponent * power_of_x % (2 * DEGREE)) as u64));
        let mut poly = zero();
        for (to, word) in poly.iter_mut().zip(words) {
            *to = word;
        }
        Factors::new(&poly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_primitives::stream::Stream;
    use proptest::prelude::*;

    fn drawn(seed: u64, label: &[u8]) -> Poly {
        let mut stream = Stream::derive(&seed.to_le_bytes(), &[label]);
        let mut poly = zero();
        poly.fill_with(|| stream.below(Q));
        poly
    }

    /// The product by definition.
    fn slow(a: &Poly, b: &Poly) -> Poly {
        let mut out = zero();
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                let product = times(*x, *y);
                let at = (i + j) % DEGREE;
                out[at] = if i + j < DEGREE {
                    (out[at] + product) % Q
                } else {
                    (out[at] + Q - product) % Q
                };
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3))]

        #[test]
        fn products_are_those_by_definition(seed: u64) {
            let (a, b) = (drawn(seed, b"a"), drawn(seed, b"b"));
            let (mut x, mut y, mut sums) = (a.clone(), b.clone(), zero());
            ring().forward(&mut x);
            ring().forward_lazy(&mut y);
            Factors::new(&x).add_products(&y, &mut sums);
            ring().backward(&mut sums);
            prop_assert_eq!(sums, slow(&a, &b));
        }
    }

    proptest! {
        #[test]
        fn a_transform_goes_back(seed: u64) {
            let a = drawn(seed, b"a");
            let mut there = a.clone();
            ring().forward(&mut there);
            prop_assert!(there.iter().all(|word| *word < Q));
            prop_assert_ne!(&there, &a);
            ring().backward(&mut there);
            prop_assert_eq!(there, a);
        }

        #[test]
        fn powers_of_x_move_coefficients(seed: u64, shift in 0..DEGREE, half in 0..DEGREE) {
            let a = drawn(seed, b"a");
            let odd = 2 * half + 1;
            let (mut moved, mut spread) = (zero(), zero());
            for (i, &word) in a.iter().enumerate() {
                for (to, at) in [(&mut moved, i + shift), (&mut spread, i * odd)] {
                    let minus = at / DEGREE % 2 == 1;
                    to[at % DEGREE] = if minus { (Q - word) % Q } else { word };
                }
            }
            let (mut there, mut sums) = (a.clone(), zero());
            ring().forward(&mut there);
            ring().monomial(shift).add_products(&there, &mut sums);
            ring().backward(&mut sums);
            prop_assert_eq!(sums, moved);
            let mut taken = zero();
            for (to, from) in taken.iter_mut().zip(ring().automorphism(odd)) {
                *to = there[usize::from(from)];
            }
            ring().backward(&mut taken);
            prop_assert_eq!(taken, spread);
        }

        #[test]
        fn products_with_a_factor_are_exact(a in 0..Q, b: u64) {
            let found = Factor::new(a).times(b);
            prop_assert!(found < 2 * Q);
            prop_assert_eq!(u128::from(found) % u128::from(Q), u128::from(a) * u128::from(b) % u128::from(Q));
            prop_assert_eq!(below(folded(b), Q), b % Q);
        }
    }

    #[test]
    fn signs_are_residues() {
        assert_eq!([residue(0), residue(5), residue(-1)], [0, 5, Q - 1]);
        assert_eq!(times(inverse(512), 512), 1);
    }
}
