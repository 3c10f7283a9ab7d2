//! Messages of the kept OPRF. Integers are little-endian; a message is a type byte and one of the bodies below.

use crate::Refusal;
use crate::group::Point;

/// Most items in one message.
pub const MAX_ITEMS: usize = 1 << 14;
/// Narrowest and widest output that is kept, in bytes.
pub const WIDTHS: std::ops::RangeInclusive<usize> = 10..=16;

const STATE: u8 = 1;
const UPDATE: u8 = 2;
const REMOVED: u8 = 3;
const ADDED: u8 = 4;
const ASK: u8 = 5;
const BLINDED: u8 = 6;
const EVALUATED: u8 = 7;

/// What is kept: the holder's public key and the version of its set. Version 0 is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// The holder's public key, or zeros.
    pub public: Point,
    /// 1 for the first set under that key.
    pub version: u64,
}

/// What an update brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// The state that it leads to.
    pub to: State,
    /// The version that it starts from; 0: everything follows.
    pub from: u64,
    /// Number of outputs that go.
    pub removed: u64,
    /// Number of outputs that come.
    pub added: u64,
    /// Bytes of an output.
    pub width: usize,
}

/// An asking: of which state, and how many keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// What the asker keeps.
    pub state: State,
    /// Number of keys.
    pub count: u64,
}

/// A peer's message; its points are not yet parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// What the asker keeps.
    State(State),
    /// The head of an update.
    Update(Update),
    /// Outputs that go, packed.
    Removed(&'a [u8]),
    /// Outputs that come, packed.
    Added(&'a [u8]),
    /// The head of an asking.
    Ask(Ask),
    /// Blinded elements.
    Blinded(&'a [Point]),
    /// Proof and evaluated elements.
    Evaluated(&'a [u8; 64], &'a [Point]),
}

/// Fields from the front of a body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Refusal> {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| Refusal::protocol("a message is too short"))?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self) -> Result<u64, Refusal> {
        Ok(u64::from_le_bytes(*self.take()?))
    }

    fn state(&mut self) -> Result<State, Refusal> {
        let state = State {
            public: *self.take()?,
            version: self.number()?,
        };
        if (state.version == 0) != (state.public == [0; 32]) {
            return Err(Refusal::protocol("version 0 alone has no key"));
        }
        Ok(state)
    }

    fn end(self) -> Result<(), Refusal> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Refusal::protocol("bytes are left over in a message"))
        }
    }

    /// A count and exactly that many items of `width` bytes.
    fn items(mut self, width: usize) -> Result<&'a [u8], Refusal> {
        let count = u32::from_le_bytes(*self.take()?) as usize;
        if !(1..=MAX_ITEMS).contains(&count) || self.0.len() != count * width {
            return Err(Refusal::protocol(
                "the length of a message does not fit its count",
            ));
        }
        Ok(self.0)
    }
}

impl<'a> Message<'a> {
    /// Parses a message; outputs have `width` bytes.
    pub fn parse(bytes: &'a [u8], width: usize) -> Result<Self, Refusal> {
        let Some((kind, body)) = bytes.split_first() else {
            return Err(Refusal::protocol("a message is empty"));
        };
        let mut fields = Fields(body);
        match *kind {
            STATE => {
                let state = fields.state()?;
                fields.end()?;
                Ok(Self::State(state))
            }
            UPDATE => {
                let update = Update {
                    to: fields.state()?,
                    from: fields.number()?,
                    removed: fields.number()?,
                    added: fields.number()?,
                    width: usize::from(fields.take::<1>()?[0]),
                };
                fields.end()?;
                if update.to.version == 0
                    || update.from > update.to.version
                    || (update.from == 0 && update.removed > 0)
                    || !WIDTHS.contains(&update.width)
                {
                    return Err(Refusal::protocol("an update's head contradicts itself"));
                }
                Ok(Self::Update(update))
            }
            REMOVED => Ok(Self::Removed(fields.items(width)?)),
            ADDED => Ok(Self::Added(fields.items(width)?)),
            ASK => {
                let ask = Ask {
                    state: fields.state()?,
                    count: fields.number()?,
                };
                fields.end()?;
                Ok(Self::Ask(ask))
            }
            BLINDED => Ok(Self::Blinded(fields.items(32)?.as_chunks().0)),
            EVALUATED => {
                let proof = fields.take()?;
                Ok(Self::Evaluated(proof, fields.items(32)?.as_chunks().0))
            }
            kind => Err(Refusal::protocol(format!("unknown message type {kind}"))),
        }
    }

    /// The bytes of this message; outputs have `width` bytes.
    pub fn encode(&self, width: usize) -> Vec<u8> {
        let items = |kind: u8, before: &[u8], body: &[u8], width: usize| {
            let count = (body.len() / width) as u32;
            [&[kind][..], before, &count.to_le_bytes(), body].concat()
        };
        let state = |kind: u8, state: &State, rest: &[u64]| {
            let mut out = vec![kind];
            out.extend_from_slice(&state.public);
            out.extend_from_slice(&state.version.to_le_bytes());
            for n in rest {
                out.extend_from_slice(&n.to_le_bytes());
            }
            out
        };
        match self {
            Self::State(of) => state(STATE, of, &[]),
            Self::Update(u) => {
                let mut out = state(UPDATE, &u.to, &[u.from, u.removed, u.added]);
                out.push(u.width as u8);
                out
            }
            Self::Removed(tags) => items(REMOVED, &[], tags, width),
            Self::Added(tags) => items(ADDED, &[], tags, width),
            Self::Ask(ask) => state(ASK, &ask.state, &[ask.count]),
            Self::Blinded(points) => items(BLINDED, &[], points.as_flattened(), 32),
            Self::Evaluated(proof, points) => {
                items(EVALUATED, &proof[..], points.as_flattened(), 32)
            }
        }
    }
}
