//! Hashing to the group against `vectors/ecdh_psi.json`, which the reference made.

use atoll_psi::group::{Dst, hash_to_group};

fn hex(value: &serde_json::Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

#[test]
fn hash_to_group_agrees_with_the_reference() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/ecdh_psi.json");
    let vectors: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let cases = vectors["hash_to_group"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let point = hash_to_group(&hex(&case["message"]), &Dst::new(&hex(&case["dst"])));
        assert_eq!(point.compress().0.to_vec(), hex(&case["point"]));
    }
}
