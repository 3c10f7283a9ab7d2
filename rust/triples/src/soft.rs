//! One direction of SoftSpoken transfers: set-up, and pieces of corrections. What is made of rows is the caller's.

use std::ops::Range;

use atoll_ot::soft::{Chooser, OPENING_LEN, Opening, Parameters, SETUP_LEN, Sender};
use atoll_primitives::stream::Stream;

use crate::Refusal;
use crate::session::{body, unasked};

const OPENING: u8 = 1;
const ANSWER: u8 = 2;
const CORRECTIONS: u8 = 3;
/// Blocks of 128 transfers of one message: at most 504 KiB.
pub(crate) const PIECE: usize = 512;

/// The blocks of a batch, piece by piece.
#[derive(Debug, Default)]
struct Pieces {
    blocks: usize,
    passed: usize,
}

impl Pieces {
    fn next(&self) -> Range<usize> {
        self.passed..self.blocks.min(self.passed + PIECE)
    }

    fn progress(&self) -> (u64, u64) {
        let pieces = |blocks: usize| blocks.div_ceil(PIECE) as u64;
        (pieces(self.passed), pieces(self.blocks))
    }
}

/// Checks the size of a field.
fn checked(field: u32, context: [u8; 16]) -> Result<Parameters, Refusal> {
    if !(2..=8).contains(&field) {
        return Err(Refusal::new(
            "E_FORMAT",
            format!("a field of 2^{field} elements is not of 4 to 256"),
        ));
    }
    Ok(Parameters { field, context })
}

/// The side that gets both of each pair.
pub(crate) struct Giving {
    parameters: Parameters,
    opening: Option<Opening>,
    opened: bool,
    sender: Option<Sender>,
    pieces: Pieces,
}

impl Giving {
    /// `E_FORMAT` for a field out of range.
    pub(crate) fn new(
        field: u32,
        context: [u8; 16],
        randomness: &mut Stream,
    ) -> Result<Self, Refusal> {
        let parameters = checked(field, context)?;
        Ok(Self {
            parameters,
            opening: Some(Opening::new(parameters, randomness)?),
            opened: false,
            sender: None,
            pieces: Pieces::default(),
        })
    }

    pub(crate) fn begin(&mut self, blocks: usize) {
        self.pieces = Pieces { blocks, passed: 0 };
    }

    /// The only message of this side.
    pub(crate) fn next_message(&mut self) -> Option<Vec<u8>> {
        let opening = self.opening.as_ref().filter(|_| !self.opened)?;
        self.opened = true;
        Some([&[OPENING], opening.message()].concat())
    }

    /// The blocks whose corrections came, with what `extend` makes of them; `None` after a message of the set-up.
    pub(crate) fn receive<T>(
        &mut self,
        bytes: &[u8],
        extend: impl FnOnce(&mut Sender, Range<usize>, &[u8]) -> Result<T, Refusal>,
    ) -> Result<Option<(Range<usize>, T)>, Refusal> {
        let blocks = self.pieces.next();
        let Some(sender) = &mut self.sender else {
            if !self.opened {
                return Err(unasked());
            }
            let answer = body(bytes, ANSWER, SETUP_LEN)?;
            let opening = self.opening.take().ok_or_else(unasked)?;
            self.sender = Some(opening.finish(answer)?);
            return Ok(None);
        };
        if blocks.is_empty() {
            return Err(unasked());
        }
        let length = self.parameters.length(blocks.len());
        let corrections = body(bytes, CORRECTIONS, length)?;
        let made = extend(sender, blocks.clone(), corrections)?;
        self.pieces.passed = blocks.end;
        Ok(Some((blocks, made)))
    }

    pub(crate) fn done(&self) -> bool {
        self.sender.is_some() && self.pieces.next().is_empty()
    }

    pub(crate) fn progress(&self) -> (u64, u64) {
        self.pieces.progress()
    }
}

/// The side that chooses.
pub(crate) struct Choosing {
    parameters: Parameters,
    randomness: Stream,
    answer: Option<Vec<u8>>,
    chooser: Option<Chooser>,
    pieces: Pieces,
}

impl Choosing {
    /// `E_FORMAT` for a field out of range.
    pub(crate) fn new(field: u32, context: [u8; 16], randomness: Stream) -> Result<Self, Refusal> {
        Ok(Self {
            parameters: checked(field, context)?,
            randomness,
            answer: None,
            chooser: None,
            pieces: Pieces::default(),
        })
    }

    pub(crate) fn begin(&mut self, blocks: usize) {
        self.pieces = Pieces { blocks, passed: 0 };
    }

    /// The answer to the opening, which goes out before corrections.
    pub(crate) fn answer(&mut self) -> Option<Vec<u8>> {
        let answer = self.answer.take()?;
        Some([&[ANSWER], &answer[..]].concat())
    }

    /// The blocks whose corrections are the next to go out, with what `extend` makes of them behind the given head.
    pub(crate) fn next_piece<T>(
        &mut self,
        extend: impl FnOnce(&mut Chooser, Range<usize>, &[u8]) -> Result<T, Refusal>,
    ) -> Result<Option<(Range<usize>, T)>, Refusal> {
        let blocks = self.pieces.next();
        let Some(chooser) = self.chooser.as_mut().filter(|_| !blocks.is_empty()) else {
            return Ok(None);
        };
        let made = extend(chooser, blocks.clone(), &[CORRECTIONS])?;
        self.pieces.passed = blocks.end;
        Ok(Some((blocks, made)))
    }

    /// True until the opening came.
    pub(crate) fn waits(&self) -> bool {
        self.chooser.is_none()
    }

    /// Takes the opening, the only message of the other side.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if !self.waits() {
            return Err(unasked());
        }
        let opening = body(bytes, OPENING, OPENING_LEN)?;
        let (chooser, answer) = Chooser::new(self.parameters, opening, &mut self.randomness)?;
        (self.chooser, self.answer) = (Some(chooser), Some(answer));
        Ok(())
    }

    pub(crate) fn done(&self) -> bool {
        !self.waits() && self.answer.is_none() && self.pieces.next().is_empty()
    }

    pub(crate) fn progress(&self) -> (u64, u64) {
        self.pieces.progress()
    }
}
