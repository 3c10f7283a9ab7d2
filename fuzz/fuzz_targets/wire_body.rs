//! Bodies of control messages: whatever passes is one item of CBOR in its shortest form, and every cut of it fails.
#![no_main]

use atoll_wire::check_body;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if check_body(bytes).is_ok() {
        assert!(check_body(&bytes[..bytes.len() - 1]).is_err(), "a cut body passes");
        assert!(check_body(&[bytes, b"\x00"].concat()).is_err(), "a longer body passes");
    }
});
