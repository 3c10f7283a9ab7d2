//! Costs, printed: `cargo test -p atoll-okvs --release --test cost -- --ignored --nocapture`.

use std::time::Instant;

use atoll_okvs::{Kind, Store};
use atoll_primitives::stream::Stream;

#[test]
#[ignore = "prints costs"]
fn cost() {
    for exponent in [12, 14, 16, 18, 20, 22] {
        let items = 1usize << exponent;
        for kind in [Kind::Fast, Kind::Dense] {
            let mut stream = Stream::derive(b"cost", &[&[exponent]]);
            let mut draw = || {
                (0..items)
                    .map(|_| u128::from_le_bytes(stream.bytes()))
                    .collect()
            };
            let (keys, values): (Vec<u128>, Vec<u128>) = (draw(), draw());
            let store = Store::new(items, kind, [1; 16], 1).unwrap();
            let mut best = (f64::MAX, f64::MAX);
            for _ in 0..5 {
                let start = Instant::now();
                let slots = store.encode(&keys, &values, 128, &mut stream).unwrap();
                best.0 = best.0.min(start.elapsed().as_secs_f64());
                let mut out = vec![0; items];
                let start = Instant::now();
                store.decode_into(&keys, &slots, &mut out).unwrap();
                best.1 = best.1.min(start.elapsed().as_secs_f64());
                assert!(out == values);
            }
            println!(
                "2^{exponent} {kind:?}: {:.4} slots an item, encode {:.2} ms, decode {:.2} ms",
                store.slots() as f64 / items as f64,
                best.0 * 1e3,
                best.1 * 1e3
            );
        }
    }
}
