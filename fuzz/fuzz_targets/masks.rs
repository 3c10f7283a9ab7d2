//! Other holders' keys and masked vectors, of any length and content.
#![no_main]

use arbitrary::Arbitrary;
use atoll_primitives::stream::Secret;
use atoll_shares::masks::{EphemeralKey, Peer, masked, sum};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    values: Vec<u8>,
    peers: Vec<(Vec<u8>, [u8; 32])>,
    vectors: Vec<Vec<u8>>,
}

fuzz_target!(|input: Input| {
    let key = |n: u8| EphemeralKey::draw(&Secret::new([n; 32]), 0, "c");
    let peers: Vec<Peer> =
        input.peers.iter().take(8).map(|(id, public)| Peer { id: id.clone(), public: *public }).collect();
    if let Ok(vector) = masked(&input.values, &key(0), b"me", &peers, b"job", "l") {
        assert_eq!(vector.len(), input.values.len());
        assert!(!peers.is_empty());
    }
    let views: Vec<&[u8]> = input.vectors.iter().map(Vec::as_slice).collect();
    if let Ok(total) = sum(&views) {
        assert!(views.iter().all(|v| v.len() == total.len() && v.len() % 16 == 0));
    }
    // Between two honest holders the masks cancel, whatever the values.
    let one = |id: &[u8], n: u8| Peer { id: id.to_vec(), public: key(n).public() };
    if let (Ok(a), Ok(b)) = (
        masked(&input.values, &key(1), b"a", &[one(b"b", 2)], b"job", "l"),
        masked(&input.values, &key(2), b"b", &[one(b"a", 1)], b"job", "l"),
    ) {
        assert_eq!(sum(&[&a, &b]).unwrap(), sum(&[&input.values, &input.values]).unwrap());
    }
});
