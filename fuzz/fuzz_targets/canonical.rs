//! Canonical JSON: exactly the bytes that another implementation of RFC 8785 writes for the value are read.
#![no_main]

use atoll_primitives::canonical::{MAX_DEPTH, MAX_INTEGER, read};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// How deep lists and objects stand inside each other; nothing if there is a float or an integer beyond 2^53.
fn depth(value: &Value) -> Option<usize> {
    let inner: Vec<&Value> = match value {
        Value::Number(n) => return n.as_i64().filter(|n| n.unsigned_abs() <= MAX_INTEGER as u64).map(|_| 0),
        Value::Array(items) => items.iter().collect(),
        Value::Object(items) => items.values().collect(),
        _ => return Some(0),
    };
    inner.into_iter().try_fold(1, |most, item| Some(most.max(depth(item)? + 1)))
}

fn allowed(value: &Value) -> bool {
    depth(value).is_some_and(|depth| depth <= MAX_DEPTH)
}

fn canonical(bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return false };
    allowed(&value) && serde_json_canonicalizer::to_vec(&value).unwrap() == bytes
}

fuzz_target!(|bytes: &[u8]| {
    let found = read(bytes, &());
    assert_eq!(found.is_ok(), canonical(bytes), "{found:?}");
    // Whatever JSON it is, its canonical form is read, and is the only form that is.
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && allowed(&value)
    {
        let form = serde_json_canonicalizer::to_vec(&value).unwrap();
        assert_eq!(read(&form, &()), Ok(()));
        assert!(read(&[&form, &b" "[..]].concat(), &()).is_err(), "a longer document passes");
    }
});
