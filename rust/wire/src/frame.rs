//! One frame and its header.

use minicbor::{Decoder, Encoder};

use crate::{MAX_HEADER, MAX_NAME, MAX_STEP, WireError};

/// Version of the frame format.
pub const VERSION: u8 = 1;
const FIELDS: u64 = 7;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// First frame of each side: who speaks.
    Hello = 1,
    /// The other side's hello is accepted.
    Welcome = 2,
    /// The other side's hello is refused; the payload is the signed reason.
    Refusal = 3,
    /// A request; the name is its verb.
    Request = 4,
    /// The answer to the request with the same sequence.
    Response = 5,
    /// The request with the same sequence failed.
    Failure = 6,
    /// A sign of life.
    Ping = 7,
    /// The end, with a reason.
    Bye = 8,
    /// A piece of a channel's message.
    Data = 9,
    /// What a channel's receiver has consumed and stored.
    Credit = 10,
    /// Where each channel stands, after every connect.
    Resume = 11,
    /// The job ends here.
    Abort = 12,
}

impl Kind {
    /// The kind with this number.
    pub fn from_number(number: u8) -> Result<Self, WireError> {
        const ALL: [Kind; 12] = [
            Kind::Hello,
            Kind::Welcome,
            Kind::Refusal,
            Kind::Request,
            Kind::Response,
            Kind::Failure,
            Kind::Ping,
            Kind::Bye,
            Kind::Data,
            Kind::Credit,
            Kind::Resume,
            Kind::Abort,
        ];
        ALL.into_iter()
            .find(|kind| *kind as u8 == number)
            .ok_or(WireError::Malformed("unknown kind"))
    }
}

/// The header of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the frame is for.
    pub kind: Kind,
    /// Channel name or verb; at most [`MAX_NAME`] bytes.
    pub name: String,
    /// Message number within the channel, or request number.
    pub sequence: u64,
    /// Piece number within the message.
    pub piece: u32,
    /// True for the last piece of its message.
    pub last: bool,
    /// Protocol step; at most [`MAX_STEP`] bytes.
    pub step: String,
}

/// A parsed frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The header.
    pub header: Header,
    body: Vec<u8>,
    start: usize,
}

impl Frame {
    /// Parses a frame's bytes behind its length. The payload stays where it is.
    pub(crate) fn parse(body: Vec<u8>) -> Result<Self, WireError> {
        let (header, start) = Header::decode(&body)?;
        Ok(Self {
            header,
            body,
            start,
        })
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.body[self.start..]
    }
}

impl Header {
    /// Checks the limits of the text fields.
    fn check(&self) -> Result<(), WireError> {
        if self.name.len() > MAX_NAME {
            return Err(WireError::Malformed("the name is too long"));
        }
        if self.step.len() > MAX_STEP {
            return Err(WireError::Malformed("the step is too long"));
        }
        Ok(())
    }

    /// The deterministic encoding.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        self.check()?;
        let mut encoder = Encoder::new(Vec::with_capacity(64));
        encoder
            .array(FIELDS)
            .and_then(|e| e.u8(VERSION))
            .and_then(|e| e.u8(self.kind as u8))
            .and_then(|e| e.str(&self.name))
            .and_then(|e| e.u64(self.sequence))
            .and_then(|e| e.u32(self.piece))
            .and_then(|e| e.bool(self.last))
            .and_then(|e| e.str(&self.step))
            .map_err(|_| WireError::Malformed("the header cannot be encoded"))?;
        Ok(encoder.into_writer())
    }

    /// Parses a header from the front of `bytes`; returns it with its length.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), WireError> {
        let window = &bytes[..bytes.len().min(MAX_HEADER)];
        let mut decoder = Decoder::new(window);
        let bad = |_| WireError::Malformed("the header is not the CBOR array that was expected");
        match decoder.array().map_err(bad)? {
            Some(FIELDS) => {}
            _ => return Err(WireError::Malformed("the header has not seven fields")),
        }
        let version = decoder.u8().map_err(bad)?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let kind = Kind::from_number(decoder.u8().map_err(bad)?)?;
        let name = decoder.str().map_err(bad)?.to_owned();
        let sequence = decoder.u64().map_err(bad)?;
        let piece = decoder.u32().map_err(bad)?;
        let last = decoder.bool().map_err(bad)?;
        let step = decoder.str().map_err(bad)?.to_owned();
        let used = decoder.position();
        let header = Self {
            kind,
            name,
            sequence,
            piece,
            last,
            step,
        };
        if header.encode()? != window[..used] {
            return Err(WireError::Malformed(
                "the header is not in deterministic form",
            ));
        }
        Ok((header, used))
    }
}

/// Length and header of a frame whose payload of `payload` bytes follows.
pub fn encode_prefix(header: &Header, payload: usize, limit: usize) -> Result<Vec<u8>, WireError> {
    let encoded = header.encode()?;
    let length = encoded.len().saturating_add(payload);
    if length > limit || u32::try_from(length).is_err() {
        return Err(WireError::TooLarge { length, limit });
    }
    let mut out = Vec::with_capacity(4 + encoded.len());
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.extend_from_slice(&encoded);
    Ok(out)
}
