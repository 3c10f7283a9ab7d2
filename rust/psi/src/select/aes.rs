//! AES-128 (FIPS 197) as a circuit, for whoever garbles it with a key of its own.
//!
//! The S-box's constant 0x63 passes ShiftRows and MixColumns unchanged in every byte, and so stands in the round
//! keys.

use super::tower::{GATES, Gates, LANES, Plain, Wire, byte, substitute, xor};

const ROUNDS: usize = 10;
/// AND gates of one block.
pub(crate) const ANDS: usize = ROUNDS * GATES * LANES;

/// What is added before the first round and at the end of each.
pub(crate) type RoundKeys = [[u8; 16]; ROUNDS + 1];

/// Bit `bit` of each byte on one wire: eight wires, the lowest bits first.
pub(crate) fn wires(bytes: &[u8; 16]) -> Vec<Wire> {
    (0..8)
        .map(|bit| bytes.map(|byte| u128::from(byte >> bit & 1)))
        .collect()
}

/// The round keys of `key`, with the constants of the S-boxes in them. Its time does not depend on the key.
pub(crate) fn round_keys(key: &[u8; 16]) -> RoundKeys {
    let mut words: Vec<[u8; 4]> = key.as_chunks().0.to_vec();
    let mut constant = 1u8;
    for at in 4..4 * (ROUNDS + 1) {
        let mut word = words[at - 1];
        if at % 4 == 0 {
            word.rotate_left(1);
            let mut lanes = [0; LANES];
            lanes[..4].copy_from_slice(&word);
            let out = substitute(&mut Plain, &wires(&lanes));
            word = std::array::from_fn(|lane| byte(&out, lane) ^ 0x63);
            word[0] ^= constant;
            constant = constant << 1 ^ if constant >> 7 == 1 { 0x1b } else { 0 };
        }
        let before = words[at - 4];
        words.push(std::array::from_fn(|k| word[k] ^ before[k]));
    }
    let mut keys = RoundKeys::default();
    for (round, (key, words)) in keys.iter_mut().zip(words.chunks_exact(4)).enumerate() {
        let folded = if round == 0 { 0 } else { 0x63 };
        for (byte, word) in key.iter_mut().zip(words.as_flattened()) {
            *byte = word ^ folded;
        }
    }
    keys
}

/// Adds a round key; `one` is what a bit of 1 adds to its wire.
fn add_key(state: &mut [Wire], key: &[u8; 16], one: u128) {
    for (bit, wire) in state.iter_mut().enumerate() {
        for (label, byte) in wire.iter_mut().zip(key) {
            *label ^= one & 0u128.wrapping_sub((byte >> bit & 1).into());
        }
    }
}

fn shift_rows(wire: &Wire) -> Wire {
    std::array::from_fn(|at| wire[(at + 4 * (at % 4)) % LANES])
}

/// Each lane's byte `by` rows below in its column.
fn below(wire: &Wire, by: usize) -> Wire {
    std::array::from_fn(|at| wire[at / 4 * 4 + (at + by) % 4])
}

fn mix_columns(state: &[Wire]) -> Vec<Wire> {
    let pairs: Vec<Wire> = state
        .iter()
        .map(|wire| xor(wire, &below(wire, 1)))
        .collect();
    (0..8)
        .map(|bit| {
            // Twice a byte and the next, then the other three.
            let mut doubled = if bit == 0 { [0; LANES] } else { pairs[bit - 1] };
            if matches!(bit, 0 | 1 | 3 | 4) {
                doubled = xor(&doubled, &pairs[7]);
            }
            let rest = xor(&below(&state[bit], 1), &below(&pairs[bit], 2));
            xor(&doubled, &rest)
        })
        .collect()
}

/// The eight wires of the encrypted block. Who garbles gives keys and the label's difference between 0 and 1; who
/// evaluates has them in its labels.
pub(crate) fn encrypt(
    gates: &mut impl Gates,
    mut state: Vec<Wire>,
    keys: Option<(&RoundKeys, u128)>,
) -> Vec<Wire> {
    let add = |state: &mut Vec<Wire>, round: usize| {
        if let Some((keys, one)) = keys {
            add_key(state, &keys[round], one);
        }
    };
    add(&mut state, 0);
    for round in 1..=ROUNDS {
        let substituted = substitute(gates, &state);
        state = substituted.iter().map(shift_rows).collect();
        if round < ROUNDS {
            state = mix_columns(&state);
        }
        add(&mut state, round);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::Aes128Enc;
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_circuit_is_the_cipher(key in any::<[u8; 16]>(), block in any::<[u8; 16]>()) {
            let mut expected = block.into();
            Aes128Enc::new(&key.into()).encrypt_block(&mut expected);
            let out = encrypt(&mut Plain, wires(&block), Some((&round_keys(&key), 1)));
            for (lane, expected) in expected.into_iter().enumerate() {
                prop_assert_eq!(byte(&out, lane), expected);
            }
        }
    }
}
