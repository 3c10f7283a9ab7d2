//! Frames from a peer: any bytes, in pieces of any size. What is accepted has one form only.
#![no_main]

use atoll_wire::{FrameReader, encode_prefix};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 12;

/// Everything that the reader accepts, encoded again, and whether it went on to the end.
fn read(bytes: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let mut reader = FrameReader::new(LIMIT);
    let fine = bytes.chunks(piece).all(|part| reader.push(part).is_ok());
    let mut again = Vec::new();
    while let Some(frame) = reader.next_frame() {
        again.extend(encode_prefix(&frame.header, frame.payload().len(), LIMIT).unwrap());
        again.extend_from_slice(frame.payload());
    }
    if !fine {
        assert!(reader.push(b"more").is_err(), "a failed reader goes on");
    } else {
        assert_eq!(reader.in_frame(), again.len() < bytes.len());
    }
    (again, fine)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = read(bytes, bytes.len().max(1));
    assert!(bytes.starts_with(&whole.0), "a frame has two forms");
    assert_eq!(read(bytes, usize::from(piece) + 1), whole, "the split matters");
});
