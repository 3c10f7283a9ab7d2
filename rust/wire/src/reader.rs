//! Pieces of plaintext in, whole frames out.

use std::collections::VecDeque;

use crate::{Frame, WireError};

const LENGTH: usize = 4;

/// Assembles frames. After an error it stays failed: bytes behind a bad frame mean nothing.
#[derive(Debug)]
pub struct FrameReader {
    limit: usize,
    partial: Vec<u8>,
    expected: Option<usize>,
    ready: VecDeque<Frame>,
    failed: Option<WireError>,
}

impl FrameReader {
    /// A reader that refuses frames of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            partial: Vec::new(),
            expected: None,
            ready: VecDeque::new(),
            failed: None,
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        while !bytes.is_empty() {
            let want = self.expected.unwrap_or(LENGTH);
            let take = bytes.len().min(want - self.partial.len());
            self.partial.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.partial.len() == want
                && let Err(error) = self.advance()
            {
                self.failed = Some(error.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<(), WireError> {
        let Some(_) = self.expected else {
            let mut length = [0u8; LENGTH];
            length.copy_from_slice(&self.partial);
            let length = u32::from_be_bytes(length) as usize;
            if length > self.limit {
                return Err(WireError::TooLarge {
                    length,
                    limit: self.limit,
                });
            }
            if length == 0 {
                return Err(WireError::Malformed("an empty frame"));
            }
            self.expected = Some(length);
            self.partial.clear();
            // A stated length alone makes nobody allocate more than a piece: the rest grows as bytes arrive.
            self.partial.reserve_exact(length.min(1 << 20));
            return Ok(());
        };
        let body = std::mem::take(&mut self.partial);
        self.expected = None;
        self.ready.push_back(Frame::parse(body)?);
        Ok(())
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    /// True while a frame has begun and not ended: a stream that ends here was truncated.
    pub fn in_frame(&self) -> bool {
        self.expected.is_some() || !self.partial.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Header, Kind, encode_prefix};

    fn header(name: &str, step: &str) -> Header {
        Header {
            kind: Kind::Data,
            name: name.to_owned(),
            sequence: 70_000,
            piece: 3,
            last: true,
            step: step.to_owned(),
        }
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut bytes = encode_prefix(&header("psi", "points/0"), payload.len(), 1 << 20).unwrap();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn any_split_gives_the_same_frames() {
        let mut stream = framed(b"lagoon");
        stream.extend(framed(b""));
        stream.extend(framed(&[9; 5000]));
        for step in [1, 2, 3, 7, 64, 4096, stream.len()] {
            let mut reader = FrameReader::new(1 << 20);
            stream
                .chunks(step)
                .for_each(|piece| reader.push(piece).unwrap());
            assert_eq!(reader.next_frame().unwrap().payload(), b"lagoon");
            assert_eq!(reader.next_frame().unwrap().payload(), b"");
            let last = reader.next_frame().unwrap();
            assert_eq!(
                (last.payload().len(), last.header),
                (5000, header("psi", "points/0"))
            );
            assert!(reader.next_frame().is_none() && !reader.in_frame());
        }
    }

    #[test]
    fn a_truncated_frame_yields_nothing_and_shows_it() {
        let stream = framed(b"lagoon");
        let mut reader = FrameReader::new(1 << 20);
        reader.push(&stream[..stream.len() - 1]).unwrap();
        assert!(reader.next_frame().is_none() && reader.in_frame());
    }

    #[test]
    fn an_oversized_length_is_refused_before_the_body_and_for_good() {
        let mut reader = FrameReader::new(100);
        let refusal = Err(WireError::TooLarge {
            length: 101,
            limit: 100,
        });
        assert_eq!(reader.push(&101u32.to_be_bytes()), refusal);
        assert_eq!(reader.push(&framed(b"x")), refusal);
        assert!(encode_prefix(&header("psi", ""), 200, 100).is_err());
    }

    #[test]
    fn headers_in_another_form_are_refused() {
        let good = header("psi", "s").encode().unwrap();
        assert_eq!(
            Header::decode(&good).unwrap(),
            (header("psi", "s"), good.len())
        );
        let mut version = good.clone();
        version[1] = 2;
        assert_eq!(Header::decode(&version), Err(WireError::Version(2)));
        let mut kind = good.clone();
        kind[2] = 13;
        assert!(Header::decode(&kind).is_err());
        // Version 1 written in two bytes: valid CBOR, not the shortest form.
        let mut long = good.clone();
        long.splice(1..2, [0x18, 0x01]);
        assert!(Header::decode(&long).is_err());
        // An array of indefinite length.
        let mut indefinite = good.clone();
        indefinite[0] = 0x9f;
        indefinite.push(0xff);
        assert!(Header::decode(&indefinite).is_err());
        assert!(header(&"n".repeat(65), "").encode().is_err());
        assert!(header("", &"s".repeat(129)).encode().is_err());
    }

    #[test]
    fn garbage_never_panics() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for round in 0..20_000 {
            let mut bytes = framed(b"lagoon");
            for _ in 0..=round % 4 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = (state >> 8) as usize % bytes.len();
                bytes[at] = state as u8;
            }
            let mut reader = FrameReader::new(4096);
            let _ = reader.push(&bytes);
            while let Some(frame) = reader.next_frame() {
                assert_eq!(
                    Header::decode(&frame.header.encode().unwrap()).unwrap().0,
                    frame.header
                );
            }
        }
    }
}
