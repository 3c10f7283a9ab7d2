//! Key-value stores of any keys, values and slots, of matching and other lengths.
#![no_main]

use std::collections::HashSet;

use arbitrary::Arbitrary;
use atoll_okvs::{Kind, Store};
use atoll_primitives::stream::Stream;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    items: u16,
    dense: bool,
    seed: [u8; 16],
    keys: Vec<u128>,
    values: Vec<u128>,
    slots: Vec<u128>,
    bits: u8,
}

fuzz_target!(|input: Input| {
    let kind = if input.dense { Kind::Dense } else { Kind::Fast };
    let store = Store::new(input.items.into(), kind, input.seed, 1).unwrap();
    let mut fill = Stream::derive(&input.seed, &[b"fuzz"]);
    let mut out = vec![0; input.keys.len()];
    let fits = store.decode_into(&input.keys, &input.slots, &mut out).is_ok();
    assert_eq!(fits, input.slots.len() == store.slots());
    match store.encode(&input.keys, &input.values, input.bits.into(), &mut fill) {
        Ok(slots) => {
            store.decode_into(&input.keys, &slots, &mut out).unwrap();
            assert_eq!(out, input.values);
            let different: HashSet<&u128> = input.keys.iter().collect();
            assert_eq!(different.len(), input.keys.len());
        }
        Err(refusal) => assert!(["E_FORMAT", "E_STATE"].contains(&refusal.code)),
    }
});
