//! Properties of stores against their definition.

use std::collections::HashSet;

use atoll_okvs::{Kind, MOST_ITEMS, Store};
use atoll_primitives::stream::Stream;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const KINDS: [Kind; 2] = [Kind::Fast, Kind::Dense];

fn stream(label: u64) -> Stream {
    Stream::derive(b"store", &[&label.to_be_bytes()])
}

fn numbers(stream: &mut Stream, count: usize) -> Vec<u128> {
    (0..count)
        .map(|_| u128::from_le_bytes(stream.bytes()))
        .collect()
}

fn decode(store: &Store, keys: &[u128], slots: &[u128]) -> Vec<u128> {
    let mut out = vec![0; keys.len()];
    store.decode_into(keys, slots, &mut out).unwrap();
    out
}

/// Product in GF(2^128) by its definition: shift and add modulo x^128 + x^7 + x^2 + x + 1.
fn product(a: u128, b: u128) -> u128 {
    let (mut a, mut sum) = (a, 0);
    for bit in 0..128 {
        if b >> bit & 1 == 1 {
            sum ^= a;
        }
        a = (a << 1) ^ if a >> 127 == 1 { 0x87 } else { 0 };
    }
    sum
}

#[test]
fn thousands_of_small_stores_encode() {
    let mut fill = stream(1);
    for items in (1..=40).chain([64, 100, 127, 250, 500, 1000, 2000, 4096, 4097, 6000]) {
        for kind in KINDS {
            for round in 0..(4000 / items).clamp(3, 60) {
                let mut seed = [7; 16];
                seed[0] = round as u8;
                let store = Store::new(items, kind, seed, 1).unwrap();
                let (keys, values) = (numbers(&mut fill, items), numbers(&mut fill, items));
                let slots = store.encode(&keys, &values, 128, &mut fill).unwrap();
                assert_eq!(slots.len(), store.slots());
                assert_eq!(decode(&store, &keys, &slots), values, "{items} {kind:?}");
            }
        }
    }
}

#[test]
fn a_few_large_stores_encode() {
    let mut fill = stream(2);
    for kind in KINDS {
        for items in [1 << 14, 40_000, 1 << 16, 1 << 18, 1 << 20] {
            let store = Store::new(items, kind, [3; 16], 2).unwrap();
            let (keys, values) = (numbers(&mut fill, items), numbers(&mut fill, items));
            let slots = store.encode(&keys, &values, 128, &mut fill).unwrap();
            assert!(decode(&store, &keys, &slots) == values, "{items} {kind:?}");
        }
    }
}

#[test]
fn dense_stores_are_small() {
    for items in (1 << 16..MOST_ITEMS)
        .step_by(65_536)
        .chain([(1 << 17) - 1, MOST_ITEMS])
    {
        let slots = |kind| Store::new(items, kind, [0; 16], 1).unwrap().slots() as f64;
        let most = if items < 1 << 17 { 1.065 } else { 1.05 };
        assert!(slots(Kind::Dense) <= most * items as f64, "{items}");
        assert!(slots(Kind::Fast) <= 1.3 * items as f64, "{items}");
    }
}

#[test]
fn fewer_keys_than_items_and_none_encode() {
    let mut fill = stream(3);
    for (items, count) in [
        (0, 0),
        (1, 0),
        (1, 1),
        (100, 1),
        (5000, 70),
        (20_000, 19_000),
    ] {
        for kind in KINDS {
            let store = Store::new(items, kind, [3; 16], 1).unwrap();
            let (keys, values) = (numbers(&mut fill, count), numbers(&mut fill, count));
            let slots = store.encode(&keys, &values, 128, &mut fill).unwrap();
            assert_eq!(decode(&store, &keys, &slots), values);
        }
    }
}

#[test]
fn threads_and_runs_give_the_same_bytes() {
    let items = 50_000;
    let (keys, values) = (
        numbers(&mut stream(4), items),
        numbers(&mut stream(5), items),
    );
    for kind in KINDS {
        let results: Vec<_> = [0, 1, 2, 5]
            .into_iter()
            .map(|threads| {
                let store = Store::new(items, kind, [9; 16], threads).unwrap();
                let slots = store.encode(&keys, &values, 128, &mut stream(6)).unwrap();
                let others = decode(&store, &numbers(&mut stream(7), 40_000), &slots);
                (slots, others)
            })
            .collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn the_seed_places_anew() {
    let keys = numbers(&mut stream(8), 100);
    let place = |seed| {
        let store = Store::new(100, Kind::Fast, seed, 1).unwrap();
        let slots = numbers(&mut stream(9), store.slots());
        decode(&store, &keys, &slots)
    };
    let (one, two): (HashSet<_>, HashSet<_>) = (
        place([0; 16]).into_iter().collect(),
        place([1; 16]).into_iter().collect(),
    );
    assert_eq!(one.intersection(&two).count(), 0);
}

/// Each slot of encodings of random values under the same keys is a fair bit, and so is each exclusive or of
/// neighbours: binomial with 4000 draws, 6 standard deviations of 31.6 (a deviation of chance 2 * 10^-9 a slot).
#[test]
fn encodings_of_random_values_are_uniform() {
    let mut fill = stream(10);
    for kind in KINDS {
        for items in [1, 3, 60] {
            let store = Store::new(items, kind, [4; 16], 1).unwrap();
            let keys = numbers(&mut fill, items);
            let mut ones = vec![[0i32; 2]; store.slots()];
            for _ in 0..4000 {
                let values: Vec<u128> = numbers(&mut fill, items)
                    .iter()
                    .map(|value| value & 1)
                    .collect();
                let slots = store.encode(&keys, &values, 1, &mut fill).unwrap();
                assert!(slots.iter().all(|slot| *slot < 2));
                for (at, count) in ones.iter_mut().enumerate() {
                    count[0] += slots[at] as i32;
                    count[1] += (slots[at] ^ slots[(at + 1) % slots.len()]) as i32;
                }
            }
            assert!(
                ones.iter()
                    .flatten()
                    .all(|count| (count - 2000).abs() < 190)
            );
        }
    }
}

#[test]
fn wrong_input_is_refused() {
    let mut fill = stream(11);
    let store = Store::new(3, Kind::Fast, [0; 16], 1).unwrap();
    let mut code = |keys: &[u128], values: &[u128], bits| {
        store
            .encode(keys, values, bits, &mut fill)
            .unwrap_err()
            .code
    };
    assert_eq!(code(&[1, 2, 3, 4], &[0; 4], 128), "E_FORMAT");
    assert_eq!(code(&[1, 2], &[0; 3], 128), "E_FORMAT");
    assert_eq!(code(&[1], &[0], 0), "E_FORMAT");
    assert_eq!(code(&[1], &[0], 129), "E_FORMAT");
    assert_eq!(code(&[1], &[4], 2), "E_FORMAT");
    assert_eq!(code(&[5, 9, 5], &[1, 1, 1], 2), "E_FORMAT");
    let slots = vec![0; store.slots()];
    assert_eq!(
        store
            .decode_into(&[1], &slots[1..], &mut [0])
            .unwrap_err()
            .code,
        "E_FORMAT"
    );
    assert_eq!(
        store.decode_into(&[1], &slots, &mut []).unwrap_err().code,
        "E_FORMAT"
    );
    assert_eq!(
        Store::new(MOST_ITEMS + 1, Kind::Fast, [0; 16], 1)
            .err()
            .unwrap()
            .code,
        "E_FORMAT"
    );
}

#[test]
fn a_key_twice_is_found_in_large_stores() {
    let mut fill = stream(12);
    for kind in KINDS {
        let mut keys = numbers(&mut fill, 70_000);
        keys[69_000] = keys[17];
        let store = Store::new(70_000, kind, [0; 16], 1).unwrap();
        let refusal = store
            .encode(&keys, &vec![0; 70_000], 128, &mut fill)
            .unwrap_err();
        assert_eq!(refusal.code, "E_FORMAT");
    }
}

/// Keys whose equations depend on each other: equal upper halves give equal sparse slots, and more of them than dense
/// columns cannot be solved.
#[test]
fn dependent_equations_are_refused_without_naming_a_key() {
    for kind in KINDS {
        for items in [200, 70_000] {
            let store = Store::new(items, kind, [0; 16], 1).unwrap();
            let keys: Vec<u128> = numbers(&mut stream(13), 100)
                .iter()
                .map(|key| key >> 64)
                .collect();
            let refusal = store
                .encode(&keys, &[1; 100], 128, &mut stream(14))
                .unwrap_err();
            assert_eq!(refusal.code, "E_STATE");
            assert!(!refusal.text.contains(|c: char| c.is_ascii_digit()));
            // As many as one less than the dense columns are solved.
            let values = numbers(&mut stream(15), 40);
            let slots = store
                .encode(&keys[..40], &values, 128, &mut stream(16))
                .unwrap();
            assert_eq!(decode(&store, &keys[..40], &slots), values);
        }
    }
}

/// Fixed keys, values and free slots give the slots of `vectors/okvs.json`, known by their SHA-256.
#[test]
fn vectors_hold() {
    let text = include_str!("../../../vectors/okvs.json");
    let cases: serde_json::Value = serde_json::from_str(text).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    assert!(cases.len() >= 6);
    for case in cases {
        let items = case["items"].as_u64().unwrap() as usize;
        let kind = if case["kind"] == "dense" {
            Kind::Dense
        } else {
            Kind::Fast
        };
        let draws = |name: &str| {
            numbers(
                &mut Stream::derive(b"okvs vectors", &[name.as_bytes()]),
                items,
            )
        };
        let store = Store::new(items, kind, [5; 16], 1).unwrap();
        let mut fill = Stream::derive(b"okvs vectors", &[b"fill"]);
        let slots = store
            .encode(&draws("keys"), &draws("values"), 128, &mut fill)
            .unwrap();
        let bytes: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            case["slots"].as_u64().unwrap() as usize,
            slots.len(),
            "{items} {kind:?}"
        );
        assert_eq!(case["sha256"].as_str().unwrap(), digest, "{items} {kind:?}");
    }
}

#[test]
fn wide_values_are_lanes_of_narrow_ones() {
    let mut fill = stream(17);
    for kind in KINDS {
        let store = Store::new(300, kind, [2; 16], 1).unwrap();
        let (keys, values) = (numbers(&mut fill, 300), numbers(&mut fill, 900));
        let slots = store
            .encode_wide(&keys, &values, 3, 128, &mut fill)
            .unwrap();
        assert_eq!(slots.len(), 3 * store.slots());
        let mut out = vec![0; 900];
        store.decode_wide_into(&keys, &slots, 3, &mut out).unwrap();
        assert_eq!(out, values);
        let first: Vec<u128> = slots.iter().copied().step_by(3).collect();
        assert!(
            decode(&store, &keys, &first)
                .iter()
                .eq(values.iter().step_by(3))
        );
        assert!(store.decode_wide_into(&keys, &slots, 0, &mut out).is_err());
        assert!(store.decode_wide_into(&keys, &slots, 2, &mut out).is_err());
        assert!(
            store
                .encode_wide(&keys, &values, 2, 128, &mut fill)
                .is_err()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn decoding_inverts_encoding(label: u64, items in 1usize..3000, bits in 1u32..=128, dense: bool) {
        let kind = if dense { Kind::Dense } else { Kind::Fast };
        let mut fill = stream(label);
        let store = Store::new(items, kind, fill.bytes(), 1).unwrap();
        let keys = numbers(&mut fill, items);
        let values: Vec<u128> = numbers(&mut fill, items).iter().map(|v| v >> (128 - bits)).collect();
        let slots = store.encode(&keys, &values, bits, &mut fill).unwrap();
        prop_assert!(slots.iter().all(|slot| bits == 128 || slot >> bits == 0));
        prop_assert_eq!(decode(&store, &keys, &slots), values);
    }

    #[test]
    fn decoding_is_linear_over_the_field(label: u64, scalar: u128, items in 1usize..9000, dense: bool) {
        let kind = if dense { Kind::Dense } else { Kind::Fast };
        let mut fill = stream(label);
        let store = Store::new(items, kind, fill.bytes(), 1).unwrap();
        let keys = numbers(&mut fill, 50);
        let (x, y) = (numbers(&mut fill, store.slots()), numbers(&mut fill, store.slots()));
        let sum: Vec<u128> = x.iter().zip(&y).map(|(x, y)| product(*x, scalar) ^ y).collect();
        let expected: Vec<u128> = decode(&store, &keys, &x)
            .iter()
            .zip(decode(&store, &keys, &y))
            .map(|(x, y)| product(*x, scalar) ^ y)
            .collect();
        prop_assert_eq!(decode(&store, &keys, &sum), expected);
    }
}
