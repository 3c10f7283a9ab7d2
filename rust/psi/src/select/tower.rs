//! The S-box of AES as a circuit of 36 AND gates, by inversion in a tower of quadratic fields over GF(2).
//!
//! Each field of the tower is `u^2 = u + v` over the one below, with v as in `CONSTANT`. An element is its bits,
//! those of the lower coefficient first. A gate works on `LANES` values at a time, one for each byte of a block.

use std::sync::LazyLock;

/// Values that a gate takes side by side.
pub(crate) const LANES: usize = 16;
/// AND gates of one S-box.
pub(crate) const GATES: usize = 36;

/// One wire of each lane: labels, or bits in the lowest place.
pub(crate) type Wire = [u128; LANES];

/// How wires are multiplied: XOR is free, AND is not.
pub(crate) trait Gates {
    /// The wire of both bits' product, lane by lane.
    fn and(&mut self, x: &Wire, y: &Wire) -> Wire;
}

/// v in the field of so many bits, an element of the field of half as many.
const fn constant(bits: usize) -> u8 {
    match bits {
        2 => 1,
        4 => 2,
        _ => 8,
    }
}

/// The product of two elements of the field of `bits` bits.
fn product(a: u8, b: u8, bits: usize) -> u8 {
    if bits == 1 {
        return a & b;
    }
    let half = bits / 2;
    let split = |x: u8| (x & ((1 << half) - 1), x >> half);
    let ((a0, a1), (b0, b1)) = (split(a), split(b));
    let low = product(a0, b0, half);
    let cross = product(a0 ^ a1, b0 ^ b1, half);
    let high = product(product(a1, b1, half), constant(bits), half);
    (cross ^ low) << half | (low ^ high)
}

/// What an isomorphism takes the powers 1, x, ..., x^7 of the field of AES (FIPS 197) to, and the way back with the
/// linear part of the S-box behind it: both as the images of single bits.
struct Maps {
    enter: [u8; 8],
    leave: [u8; 8],
}

static MAPS: LazyLock<Maps> = LazyLock::new(|| {
    // A root of x^8 + x^4 + x^3 + x + 1.
    let powers = |root: u8| {
        let mut powers = [1u8; 9];
        for k in 1..9 {
            powers[k] = product(powers[k - 1], root, 8);
        }
        powers
    };
    let enter = (2..=255)
        .map(powers)
        .find(|p| p[8] ^ p[4] ^ p[3] ^ p[1] ^ p[0] == 0)
        .expect("both are fields of 256 elements");
    let enter = *enter.first_chunk().expect("nine powers");
    let image = |x: u8| apply(&enter, x);
    let affine = |x: u8| (0..5).fold(0, |sum, k| sum ^ x.rotate_left(k));
    let leave = std::array::from_fn(|bit| {
        let inverse = (0..=255).find(|x| image(*x) == 1 << bit);
        affine(inverse.expect("an isomorphism is onto"))
    });
    Maps { enter, leave }
});

/// The image of `x` under a linear map.
fn apply(map: &[u8], x: u8) -> u8 {
    let chosen = map.iter().enumerate().filter(|(bit, _)| x >> bit & 1 == 1);
    chosen.fold(0, |sum, (_, image)| sum ^ image)
}

/// The XOR of two wires.
pub(crate) fn xor(x: &Wire, y: &Wire) -> Wire {
    std::array::from_fn(|lane| x[lane] ^ y[lane])
}

fn add(x: &[Wire], y: &[Wire]) -> Vec<Wire> {
    x.iter().zip(y).map(|(x, y)| xor(x, y)).collect()
}

/// A linear map, given by the images of single bits, to as many bits.
fn linear(map: &[u8], x: &[Wire]) -> Vec<Wire> {
    let mut out = vec![[0; LANES]; x.len()];
    for (image, x) in map.iter().zip(x) {
        for (bit, out) in out.iter_mut().enumerate() {
            if image >> bit & 1 == 1 {
                *out = xor(out, x);
            }
        }
    }
    out
}

fn multiply(gates: &mut impl Gates, a: &[Wire], b: &[Wire]) -> Vec<Wire> {
    if let ([a], [b]) = (a, b) {
        return vec![gates.and(a, b)];
    }
    let half = a.len() / 2;
    let ((a0, a1), (b0, b1)) = (a.split_at(half), b.split_at(half));
    let low = multiply(gates, a0, b0);
    let cross = multiply(gates, &add(a0, a1), &add(b0, b1));
    let high = multiply(gates, a1, b1);
    let by: Vec<u8> = (0..half)
        .map(|bit| product(1 << bit, constant(a.len()), half))
        .collect();
    [add(&low, &linear(&by, &high)), add(&cross, &low)].concat()
}

/// The inverse, and zero of zero.
fn invert(gates: &mut impl Gates, a: &[Wire]) -> Vec<Wire> {
    if let [a0, a1] = a {
        // In the field of four elements it is the square.
        return vec![xor(a0, a1), *a1];
    }
    let half = a.len() / 2;
    let (a0, a1) = a.split_at(half);
    let sum = add(a0, a1);
    let squared: Vec<u8> = (0..half)
        .map(|bit| {
            let square = product(1 << bit, 1 << bit, half);
            product(square, constant(a.len()), half)
        })
        .collect();
    let norm = add(&linear(&squared, a1), &multiply(gates, a0, &sum));
    let inverse = invert(gates, &norm);
    [
        multiply(gates, &sum, &inverse),
        multiply(gates, a1, &inverse),
    ]
    .concat()
}

/// The S-box without its constant 0x63, of eight wires, the lowest bit first.
pub(crate) fn substitute(gates: &mut impl Gates, x: &[Wire]) -> Vec<Wire> {
    let inside = linear(&MAPS.enter, x);
    linear(&MAPS.leave, &invert(gates, &inside))
}

/// The byte of bits in plain sight in one lane.
pub(crate) fn byte(wires: &[Wire], lane: usize) -> u8 {
    let bits = wires.iter().enumerate();
    bits.fold(0, |byte, (bit, wire)| byte | (wire[lane] as u8 & 1) << bit)
}

/// Gates over bits in plain sight.
pub(crate) struct Plain;

impl Gates for Plain {
    fn and(&mut self, x: &Wire, y: &Wire) -> Wire {
        std::array::from_fn(|lane| x[lane] & y[lane])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counted(usize);

    impl Gates for Counted {
        fn and(&mut self, x: &Wire, y: &Wire) -> Wire {
            self.0 += 1;
            Plain.and(x, y)
        }
    }

    /// The product in the field of AES, as FIPS 197 has it.
    fn slow(mut a: u8, b: u8) -> u8 {
        let mut out = 0;
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                out ^= a;
            }
            a = a << 1 ^ if a >> 7 == 1 { 0x1b } else { 0 };
        }
        out
    }

    #[test]
    fn the_circuit_is_the_s_box_at_every_byte() {
        for first in (0..=255u8).step_by(LANES) {
            let wires: Vec<Wire> = (0..8)
                .map(|bit| std::array::from_fn(|lane| u128::from((first + lane as u8) >> bit & 1)))
                .collect();
            let mut gates = Counted(0);
            let out = substitute(&mut gates, &wires);
            assert_eq!(gates.0, GATES);
            for lane in 0..LANES {
                let x = first + lane as u8;
                let inverse = (0..=255).find(|y| slow(x, *y) == 1).unwrap_or(0);
                let turned = |k: u32| inverse.rotate_left(k);
                let expected = inverse ^ turned(1) ^ turned(2) ^ turned(3) ^ turned(4);
                assert_eq!(byte(&out, lane), expected);
            }
        }
    }
}
