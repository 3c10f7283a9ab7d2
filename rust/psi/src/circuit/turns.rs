//! Many small protocols side by side: all that one side can send in one turn, then all of the other.
//!
//! A turn takes nothing in before it ends, so that its bytes do not depend on when the peer's arrive.

use atoll_ot::{Party, vole};

use crate::Refusal;

/// Bytes before a message of a turn: number and length.
const RECORD: usize = 6;

/// One side of a correlation that is being made.
pub(crate) enum Half {
    Sender(vole::Sender),
    Receiver(vole::Receiver),
}

impl Half {
    fn party(&mut self) -> &mut dyn Party {
        match self {
            Self::Sender(party) => party,
            Self::Receiver(party) => party,
        }
    }

    /// The sender's output; `E_STATE` for a receiver.
    pub(crate) fn sender(self) -> Result<vole::SenderOutput, Refusal> {
        match self {
            Self::Sender(party) => party.finish(),
            Self::Receiver(_) => Err(Refusal::new("E_STATE", "not a sender of correlations")),
        }
    }

    /// The receiver's output; `E_STATE` for a sender.
    pub(crate) fn receiver(self) -> Result<vole::ReceiverOutput, Refusal> {
        match self {
            Self::Receiver(party) => party.finish(),
            Self::Sender(_) => Err(Refusal::new("E_STATE", "not a receiver of correlations")),
        }
    }
}

/// Bytes of the turns in which correlations are made, without headers of pieces: of each whether its sender has the first
/// turn, its size and its bits.
pub(crate) fn lengths(
    all: impl Iterator<Item = (bool, usize, u32)>,
) -> Result<Vec<usize>, Refusal> {
    let mut said: [Vec<usize>; 4] = Default::default();
    for (begins, size, bits) in all {
        let lengths = vole::lengths(size, bits)?;
        // The sender begins: at once, or in the second turn.
        let first = usize::from(!begins);
        said[first].extend(lengths.choices);
        said[first + 1].extend(lengths.extension);
        said[first + 2].extend(lengths.trees);
    }
    let used = if said[3].is_empty() { 3 } else { 4 };
    let length = |turn: &Vec<usize>| turn.iter().map(|message| RECORD + message).sum();
    Ok(said[..used].iter().map(length).collect())
}

/// This side's halves of all correlations.
pub(crate) struct Turns {
    halves: Vec<Half>,
    incoming: Vec<u8>,
}

impl Turns {
    pub(crate) fn new(halves: Vec<Half>) -> Self {
        Self {
            halves,
            incoming: Vec::new(),
        }
    }

    /// True when every correlation needs nothing more.
    pub(crate) fn done(&mut self) -> bool {
        self.halves.iter_mut().all(|half| half.party().done())
    }

    /// The bytes of one turn: records of number (u16), length (u32), both little-endian, and message.
    pub(crate) fn speak(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        for (number, half) in self.halves.iter_mut().enumerate() {
            while let Some(message) = half.party().next_message()? {
                out.extend_from_slice(&(number as u16).to_le_bytes());
                out.extend_from_slice(&(message.len() as u32).to_le_bytes());
                out.extend_from_slice(&message);
            }
        }
        Ok(out)
    }

    /// Bytes of the peer's turn that have come.
    pub(crate) fn heard(&self) -> usize {
        self.incoming.len()
    }

    /// Takes a piece of the peer's turn, whose length was checked; `last` ends it.
    pub(crate) fn hear(&mut self, piece: &[u8], last: bool) -> Result<(), Refusal> {
        self.incoming.extend_from_slice(piece);
        if !last {
            return Ok(());
        }
        let turn = std::mem::take(&mut self.incoming);
        let short = || Refusal::protocol("a turn of the peer ends within a message");
        let (mut rest, mut before) = (turn.as_slice(), 0);
        while !rest.is_empty() {
            let (head, body) = rest.split_at_checked(RECORD).ok_or_else(short)?;
            let number = usize::from(u16::from_le_bytes([head[0], head[1]]));
            let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
            let (message, after) = body.split_at_checked(length).ok_or_else(short)?;
            if number < before || number >= self.halves.len() {
                return Err(Refusal::protocol("messages of a turn are out of order"));
            }
            self.halves[number].party().receive(message)?;
            (rest, before) = (after, number);
        }
        Ok(())
    }

    /// The halves, all done.
    pub(crate) fn into_halves(self) -> Vec<Half> {
        self.halves
    }
}
