//! The server name of a ClientHello, read before any TLS state exists.
#![no_main]

use atoll_tls::{Sni, sni_of_client_hello};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let whole = sni_of_client_hello(bytes);
    if let Sni::Name(name) = &whole {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        assert!((1..=255).contains(&name.len()) && name.bytes().all(plain));
    }
    // What a beginning settles, the bytes behind it do not change.
    let front = sni_of_client_hello(&bytes[..usize::from(cut) % (bytes.len() + 1)]);
    assert!(front == Sni::Incomplete || front == whole, "{front:?} became {whole:?}");
});
