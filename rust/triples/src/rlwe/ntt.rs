//! Negacyclic number-theoretic transforms: from the coefficients of a polynomial modulo X^n + 1 to its values at all
//! primitive 2n-th roots of one, and back, in place. Values stand in bit-reversed order.
//!
//! Butterflies with lazy reduction (Harvey 2014) and with the roots of the twist merged (Longa & Naehrig, eprint 2016/504).

use super::modulus::{Factor, Modulus};
use super::simd;

/// The roots of one modulus and one length.
#[derive(Debug, Clone)]
pub(crate) struct Ntt {
    pub(crate) modulus: Modulus,
    forward: Vec<Factor>,
    backward: Vec<Factor>,
    /// 1/n.
    shrink: Factor,
    /// 2^64/n.
    shrink_folded: Factor,
}

impl Ntt {
    /// For polynomials of `n` coefficients, a power of two whose double divides q - 1.
    pub(crate) fn new(modulus: Modulus, n: usize) -> Self {
        let bits = n.trailing_zeros();
        let root = (2..)
            .map(|x| modulus.power(x, (modulus.q - 1) / (2 * n as u64)))
            .find(|root| modulus.power(*root, n as u64) == modulus.q - 1)
            .expect("a prime has primitive roots of every order that divides q - 1");
        let table = |root: u64| {
            let mut power = 1;
            let mut table = vec![Factor::default(); n];
            for i in 0..n {
                table[i.reverse_bits() >> (usize::BITS - bits)] = modulus.factor(power);
                power = modulus.mul(power, root);
            }
            table
        };
        let shrink = modulus.inverse(n as u64);
        Self {
            modulus,
            forward: table(root),
            backward: table(modulus.inverse(root)),
            shrink: modulus.factor(shrink),
            shrink_folded: modulus.factor(modulus.mul(shrink, modulus.radix())),
        }
    }

    /// Values of a polynomial with coefficients below 4q.
    pub(crate) fn forward(&self, values: &mut [u64]) {
        let n = self.forward.len();
        assert_eq!(values.len(), n);
        let m = self.modulus;
        let two = 2 * m.q;
        let (mut groups, mut half) = (1, n / 2);
        while half > 0 {
            let roots = &self.forward[groups..2 * groups];
            for (chunk, root) in values.chunks_exact_mut(2 * half).zip(roots) {
                let (low, high) = chunk.split_at_mut(half);
                simd::forward(m, low, high, *root);
            }
            groups *= 2;
            half /= 2;
        }
        for value in values {
            *value = m.once((*value).min(value.wrapping_sub(two)));
        }
    }

    /// The polynomial of these values.
    pub(crate) fn backward(&self, values: &mut [u64]) {
        self.backward_by(values, self.shrink);
    }

    /// The polynomial of these values times 2^64: undoes a [`Modulus::fold`].
    pub(crate) fn backward_folded(&self, values: &mut [u64]) {
        self.backward_by(values, self.shrink_folded);
    }

    fn backward_by(&self, values: &mut [u64], shrink: Factor) {
        let n = self.backward.len();
        assert_eq!(values.len(), n);
        let m = self.modulus;
        let (mut groups, mut half) = (n / 2, 1);
        while groups > 0 {
            let roots = &self.backward[groups..2 * groups];
            for (chunk, root) in values.chunks_exact_mut(2 * half).zip(roots) {
                let (low, high) = chunk.split_at_mut(half);
                simd::backward(m, low, high, *root);
            }
            groups /= 2;
            half *= 2;
        }
        for value in values {
            *value = m.scale(*value, shrink);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PRIMES;
    use super::*;
    use proptest::prelude::*;

    /// The product modulo X^n + 1 by the school's method.
    fn schoolbook(m: Modulus, a: &[u64], b: &[u64]) -> Vec<u64> {
        let n = a.len();
        let mut out = vec![0; n];
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                let product = m.mul(*x, *y);
                let at = &mut out[(i + j) % n];
                *at = if i + j < n {
                    m.add(*at, product)
                } else {
                    m.sub(*at, product)
                };
            }
        }
        out
    }

    fn polynomial(n: usize) -> impl Strategy<Value = Vec<u64>> {
        proptest::collection::vec(prop_oneof![any::<u64>(), Just(u64::MAX)], n)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn products_are_the_schoolbooks(
            which in 0usize..5,
            (mut a, mut b) in (1u32..9).prop_flat_map(|bits| (polynomial(1 << bits), polynomial(1 << bits))),
        ) {
            let m = PRIMES[which];
            let ntt = Ntt::new(m, a.len());
            for x in a.iter_mut().chain(&mut b) {
                *x %= m.q;
            }
            let expected = schoolbook(m, &a, &b);
            let before = a.clone();
            ntt.forward(&mut a);
            ntt.forward(&mut b);
            let mut back = a.clone();
            ntt.backward(&mut back);
            prop_assert_eq!(back, before);
            let mut plain: Vec<u64> = a.iter().zip(&b).map(|(x, y)| m.mul(*x, *y)).collect();
            ntt.backward(&mut plain);
            prop_assert_eq!(&plain, &expected);
            let mut folded: Vec<u64> =
                a.iter().zip(&b).map(|(x, y)| m.fold(u128::from(*x) * u128::from(*y))).collect();
            ntt.backward_folded(&mut folded);
            prop_assert_eq!(&folded, &expected);
        }
    }

    /// `cargo test --release -p atoll-triples --lib cost -- --ignored --nocapture`
    #[test]
    #[ignore = "takes a second"]
    fn cost() {
        let ntt = Ntt::new(PRIMES[0], 8192);
        let mut values: Vec<u64> = (0..8192).collect();
        let begun = std::time::Instant::now();
        for _ in 0..2000 {
            ntt.forward(&mut values);
        }
        println!("forward {:.1} us", begun.elapsed().as_secs_f64() * 500.0);
        let begun = std::time::Instant::now();
        for _ in 0..2000 {
            ntt.backward(&mut values);
        }
        println!("backward {:.1} us", begun.elapsed().as_secs_f64() * 500.0);
    }
}
