//! Negacyclic transforms of 8192 values modulo short primes, as in [`super::ntt`]; values stand in bit-reversed order.
//!
//! Sums are not reduced on the way there: values grow by 2q a layer, and 4q + 13 * 2q is below 2^52.

use super::SLOTS;
use super::lanes;
use super::short::{Short, ShortFactor};

/// Powers of a root in bit-reversed order, and what multiplies with them.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    pub(super) values: Vec<u64>,
    pub(super) quotients: Vec<u64>,
}

impl Roots {
    fn new(m: Short, root: u64) -> Self {
        let mut power = 1;
        let (mut values, mut quotients) = (vec![0; SLOTS], vec![0; SLOTS]);
        for i in 0..SLOTS {
            let place = i.reverse_bits() >> (usize::BITS - SLOTS.trailing_zeros());
            let factor = m.factor(power);
            (values[place], quotients[place]) = (factor.value, factor.quotient);
            power = m.public_product(power, root);
        }
        Self { values, quotients }
    }

    #[inline(always)]
    pub(super) fn at(&self, place: usize) -> ShortFactor {
        ShortFactor {
            value: self.values[place],
            quotient: self.quotients[place],
        }
    }
}

/// The roots of one modulus.
#[derive(Debug, Clone)]
pub(crate) struct Transform {
    pub(super) modulus: Short,
    pub(super) there: Roots,
    pub(super) back: Roots,
    /// 1/8192, and 2^52/8192.
    shrink: ShortFactor,
    shrink_folded: ShortFactor,
}

impl Transform {
    /// Of a prime that is 1 modulo 2^14.
    pub(super) fn new(modulus: Short) -> Self {
        let root = (2..)
            .map(|x| modulus.power(x, (modulus.q - 1) / (2 * SLOTS as u64)))
            .find(|root| modulus.power(*root, SLOTS as u64) == modulus.q - 1)
            .expect("a prime has primitive roots of every order that divides q - 1");
        let shrink = modulus.inverse(SLOTS as u64);
        Self {
            modulus,
            there: Roots::new(modulus, root),
            back: Roots::new(modulus, modulus.inverse(root)),
            shrink: modulus.factor(shrink),
            shrink_folded: modulus.factor(modulus.public_product(shrink, modulus.radix())),
        }
    }

    /// Values of a polynomial with coefficients below 4q.
    pub(super) fn forward(&self, values: &mut [u64; SLOTS]) {
        lanes::forward(self, values);
    }

    /// The polynomial of these values.
    pub(super) fn backward(&self, values: &mut [u64; SLOTS]) {
        lanes::backward(self, values, self.shrink);
    }

    /// The polynomial of these values times 2^52: undoes a [`Short::fold`].
    pub(super) fn backward_folded(&self, values: &mut [u64; SLOTS]) {
        lanes::backward(self, values, self.shrink_folded);
    }
}
