//! Switches of a permutation network (Beneš, Bell System Technical Journal 43, 1964), found by looping (Waksman, Journal of
//! the ACM 15, 1968).
//!
//! N = 2^k places go through 2k - 1 layers of N / 2 switches. Layer l joins the places i and i XOR 2^b with
//! `b = |k - 1 - l|`: the bits from the highest down to the lowest, and up again. Switch s of a layer joins the pair whose
//! lower place has the bits of s with a zero put in at place b, so that an array of shape (N / 2^(b + 1), 2, 2^b) has the
//! pairs of a layer along its middle axis, switch by switch.
//!
//! Looping takes an order apart by one bit: of both places of a switch in front, and of both behind, one goes through the
//! half of the places whose bit is 0, the other through the half whose bit is 1. What remains is an order within each half.
//! The permutation is the party's own, and time and memory accesses depend on it: they stay on its machine.

use crate::Refusal;
use crate::streams::MOST_PLACES;

const UNSET: u32 = u32::MAX;

/// The k of the network of so many places: 2^k is the least power that is not below.
pub fn depth(places: usize) -> u32 {
    places.next_power_of_two().trailing_zeros()
}

/// Layers of the network of 2^k places.
pub fn layers(k: u32) -> usize {
    (2 * k as usize).saturating_sub(1)
}

/// The bit b in which both places of each switch of a layer differ.
///
/// # Errors
/// `E_FORMAT` for a layer that the network does not have.
pub fn layer_bit(layer: usize, k: u32) -> Result<u32, Refusal> {
    if layer >= layers(k) {
        let text = format!("a network of 2^{k} places has no layer {layer}");
        return Err(Refusal::new("E_FORMAT", text));
    }
    Ok((k - 1).abs_diff(layer as u32))
}

/// The lower place of a switch of a layer with bit b; the other one has bit b set.
pub fn lower_place(switch: usize, bit: u32) -> usize {
    let below = (1 << bit) - 1;
    (switch & !below) << 1 | switch & below
}

/// Words of the switches of one layer.
pub fn layer_words(k: u32) -> usize {
    (1usize << k).div_ceil(128)
}

/// All layers of switches, one after the other, each of [`layer_words`] words, the first switch in the lowest bit: a set bit
/// crosses. Output place i takes what stood at `order[i]`; places beyond the order stay.
///
/// # Errors
/// `E_FORMAT` if `order` is no permutation, `E_TOO_LARGE` beyond 2^28 places.
pub fn switches(order: &[u32]) -> Result<Vec<u64>, Refusal> {
    if order.len() > MOST_PLACES {
        return Err(Refusal::new(
            "E_TOO_LARGE",
            "a permutation has at most 2^28 places",
        ));
    }
    let k = depth(order.len());
    let places = 1usize << k;
    let mut goes = vec![UNSET; places];
    for (to, from) in (0..).zip(order) {
        match goes[..order.len()].get_mut(*from as usize) {
            Some(slot) if *slot == UNSET => *slot = to,
            _ => {
                return Err(Refusal::new(
                    "E_FORMAT",
                    "an order does not have each of its places once",
                ));
            }
        }
    }
    let mut takes: Vec<u32> = order.to_vec();
    takes.extend(order.len() as u32..places as u32);
    goes[order.len()..].copy_from_slice(&takes[order.len()..]);
    let mut layers = Layers {
        words: layer_words(k),
        k: k as usize,
        bits: vec![0; layer_words(k) * layers(k)],
    };
    if k > 0 {
        let mut walked = vec![0; places.div_ceil(128)];
        layers.take_apart(0, k - 1, &mut takes, &mut goes, &mut walked);
    }
    Ok(layers.bits)
}

fn get(words: &[u64], at: usize) -> u64 {
    words[at / 64] >> (at % 64) & 1
}

/// Adds a bit. There is no branch, as nobody can foretell it.
fn set(words: &mut [u64], at: usize, bit: usize) {
    words[at / 64] |= (bit as u64) << (at % 64);
}

/// All layers of a network of 2^k places, one after the other.
struct Layers {
    words: usize,
    k: usize,
    bits: Vec<u64>,
}

impl Layers {
    /// The switches of one layer.
    fn layer(&mut self, layer: usize) -> &mut [u64] {
        &mut self.bits[self.words * layer..][..self.words]
    }

    /// All switches of the `2^(bit + 1)` places from `start` on, given what each of them takes and where each goes, counted
    /// from `start`; `walked` has a bit for each switch. One part is done to its end before the next begins, so that small
    /// parts stay in the processor's cache.
    fn take_apart(
        &mut self,
        start: usize,
        bit: u32,
        takes: &mut [u32],
        goes: &mut [u32],
        walked: &mut [u64],
    ) {
        let first = start / 2;
        let front_layer = self.k - 1 - bit as usize;
        if bit == 0 {
            return set(self.layer(front_layer), first, takes[0] as usize);
        }
        let half = 1usize << bit;
        let below = half - 1;
        let [front, back] = {
            let (before, behind) = self.bits.split_at_mut(self.words * (self.k - 1));
            [
                &mut before[self.words * front_layer..][..self.words],
                &mut behind[self.words * bit as usize..][..self.words],
            ]
        };
        walked[..half.div_ceil(64)].fill(0);
        for loop_start in 0..half {
            if get(walked, loop_start) == 1 {
                continue;
            }
            // The first output of a loop comes through the lower half: with its own switch straight. From there the loop is
            // walked both ways at once, as each step waits for memory. Both set a switch alike where they meet.
            let (mut output, mut other) = (loop_start, loop_start);
            loop {
                let input = takes[output] as usize;
                set(walked, output & below, 1);
                set(back, first + (output & below), output >> bit);
                set(front, first + (input & below), input >> bit);
                // The partner of what goes through the upper half, in front and behind, goes through the lower.
                let other_input = takes[other ^ half] as usize ^ half;
                other = goes[other_input] as usize;
                set(front, first + (other_input & below), other_input >> bit);
                set(walked, other & below, 1);
                set(back, first + (other & below), other >> bit);
                output = goes[input ^ half] as usize ^ half;
                if get(walked, output & below) == 1 {
                    break;
                }
            }
        }
        // What both halves take and where they go, with the switches that were set.
        for (order, switches) in [(&mut *takes, back), (&mut *goes, front)] {
            let (lower, upper) = order.split_at_mut(half);
            for (switch, (lower, upper)) in (first..).zip(lower.iter_mut().zip(upper)) {
                let crosses = 0u32.wrapping_sub(get(switches, switch) as u32);
                let moved = (*lower ^ *upper) & crosses;
                *lower = (*lower ^ moved) & below as u32;
                *upper = (*upper ^ moved) & below as u32;
            }
        }
        let (lower_takes, upper_takes) = takes.split_at_mut(half);
        let (lower_goes, upper_goes) = goes.split_at_mut(half);
        self.take_apart(start, bit - 1, lower_takes, lower_goes, walked);
        self.take_apart(start + half, bit - 1, upper_takes, upper_goes, walked);
    }
}

/// What the network makes of values, layer by layer: the reference that tests hold the switches to.
#[cfg(test)]
fn apply<T: Copy>(values: &mut [T], k: u32, switches: &[u64]) {
    for (layer, bits) in switches.chunks(layer_words(k)).enumerate() {
        let bit = layer_bit(layer, k).unwrap();
        for switch in 0..values.len() / 2 {
            if bits[switch / 64] >> (switch % 64) & 1 == 1 {
                let low = lower_place(switch, bit);
                values.swap(low, low | 1 << bit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Stream;
    use proptest::prelude::*;

    fn check(order: &[u32]) {
        let k = depth(order.len());
        let made = switches(order).unwrap();
        assert_eq!(made.len(), layers(k) * layer_words(k));
        let mut values: Vec<u32> = (0..1 << k).collect();
        apply(&mut values, k, &made);
        let stay = order.len() as u32..1 << k;
        let expected: Vec<u32> = order.iter().copied().chain(stay).collect();
        assert_eq!(values, expected);
        for layer in made.chunks(layer_words(k)) {
            let used = (1usize << k) / 2;
            if !used.is_multiple_of(64) {
                assert_eq!(layer.last().unwrap() >> (used % 64), 0);
            }
        }
    }

    fn random(key: u8, places: usize) -> Vec<u32> {
        Stream::new(&[key; 16]).permutation(places)
    }

    proptest! {
        #[test]
        fn layers_give_the_order(key in any::<u8>(), places in 0usize..700) {
            check(&random(key, places));
        }
    }

    #[test]
    fn all_sizes_and_plain_orders() {
        for places in [
            0,
            1,
            2,
            3,
            4,
            5,
            63,
            64,
            65,
            127,
            128,
            129,
            1024,
            1025,
            1 << 16,
        ] {
            check(&(0..places).collect::<Vec<u32>>());
            check(&(0..places).rev().collect::<Vec<u32>>());
            check(&random(9, places as usize));
        }
    }

    #[test]
    fn every_order_of_up_to_six_places() {
        fn all(order: &mut Vec<u32>, left: &[u32]) -> usize {
            if left.is_empty() {
                check(order);
                return 1;
            }
            (left.iter().enumerate())
                .map(|(at, place)| {
                    order.push(*place);
                    let rest = [&left[..at], &left[at + 1..]].concat();
                    let count = all(order, &rest);
                    order.pop();
                    count
                })
                .sum()
        }
        for (places, count) in [(2, 2), (3, 6), (4, 24), (5, 120), (6, 720)] {
            let left: Vec<u32> = (0..places).collect();
            assert_eq!(all(&mut Vec::new(), &left), count);
        }
    }

    #[test]
    fn pairs_of_a_layer_are_all_places_once() {
        for k in 1..6 {
            for layer in 0..layers(k) {
                let bit = layer_bit(layer, k).unwrap();
                let mut seen = vec![0; 1 << k];
                for switch in 0..1 << (k - 1) {
                    let low = lower_place(switch, bit);
                    seen[low] += 1;
                    seen[low ^ 1 << bit] += 1;
                }
                assert!(seen.iter().all(|count| *count == 1));
            }
            assert_eq!(layer_bit(layers(k), k).unwrap_err().code, "E_FORMAT");
        }
    }

    #[test]
    fn what_is_no_permutation_is_refused() {
        for order in [&[1][..], &[0, 0], &[0, 1, 3], &[0, u32::MAX], &[2, 0, 2]] {
            assert_eq!(switches(order).unwrap_err().code, "E_FORMAT");
        }
    }

    /// `cargo test --release -p atoll-arrays cost -- --ignored --nocapture`
    #[test]
    #[ignore = "takes seconds"]
    fn cost() {
        for k in [16, 20, 22] {
            let order = random(3, 1 << k);
            let begun = std::time::Instant::now();
            let made = switches(&order).unwrap();
            println!("2^{k} places: {:?}, {} words", begun.elapsed(), made.len());
        }
    }
}
