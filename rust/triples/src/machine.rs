//! What all machines of transfers share: a hello that binds what both sides agreed on, batches, and errors that last.

use crate::Refusal;
use crate::session::{self, Outgoing, failed, unfinished};

const HELLO: u8 = 0;

/// What a machine does behind the hello, on worker threads where it works hard.
pub trait Work {
    /// What one side has of a batch.
    type Out;

    /// Begins a batch.
    fn begin(&mut self, count: u64) -> Result<(), Refusal>;

    /// The next message, or `None` while the peer's must come first and at the end.
    fn next_message(&mut self, workers: &rayon::ThreadPool) -> Result<Option<Outgoing>, Refusal>;

    /// Takes the peer's next message.
    fn receive(&mut self, bytes: &[u8], workers: &rayon::ThreadPool) -> Result<(), Refusal>;

    /// True when nothing of the batch is left to send or to receive.
    fn done(&self) -> bool;

    /// Parts of the batch that are made, and all.
    fn progress(&self) -> (u64, u64);

    /// The batch.
    fn take(&mut self) -> Self::Out;
}

/// What differs between machines beside their work.
pub(crate) struct Face {
    /// What is made: `triples/<kind>` begins all steps.
    pub(crate) kind: &'static str,
    /// Most of one batch.
    pub(crate) most: u64,
    /// What a count above that is told.
    pub(crate) beyond: &'static str,
    /// The own hello, and the one that must come.
    pub(crate) hellos: [Vec<u8>; 2],
}

/// One party's machine; it makes as many batches as are asked for, one after the other.
pub struct Machine<W> {
    work: W,
    face: Face,
    workers: rayon::ThreadPool,
    greeted: bool,
    met: bool,
    taken: bool,
    failed: bool,
}

impl<W> std::fmt::Debug for Machine<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Machine({})", self.face.kind)
    }
}

impl<W: Work> Machine<W> {
    pub(crate) fn start(
        work: W,
        face: Face,
        workers: rayon::ThreadPool,
        count: u64,
    ) -> Result<Self, Refusal> {
        let mut machine = Self {
            work,
            face,
            workers,
            greeted: false,
            met: false,
            taken: true,
            failed: false,
        };
        machine.begin(count)?;
        Ok(machine)
    }

    fn begin(&mut self, count: u64) -> Result<(), Refusal> {
        if count > self.face.most {
            let text = format!("{}, got {count}", self.face.beyond);
            return Err(Refusal::new("E_FORMAT", text));
        }
        self.work.begin(count)?;
        self.taken = false;
        Ok(())
    }

    /// Begins another batch of the session, after the one before was taken by [`finish`](Self::finish).
    ///
    /// # Errors
    /// `E_STATE` before that, `E_FORMAT` for a count out of range, `E_TOO_LARGE` beyond 2^39 transfers of a session.
    pub fn again(&mut self, count: u64) -> Result<(), Refusal> {
        if self.failed {
            return Err(failed());
        }
        if !self.taken {
            return Err(unfinished());
        }
        self.begin(count)
    }

    /// The next message, or `None` while the peer's must come first and at the end.
    ///
    /// # Errors
    /// `E_STATE` after a refusal, `E_MEMORY` if threads cannot start.
    pub fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        if self.failed {
            return Err(failed());
        }
        if !self.greeted {
            self.greeted = true;
            return Ok(Some(Outgoing {
                bytes: [&[HELLO], &self.face.hellos[0][..]].concat(),
                step: format!("triples/{}/hello", self.face.kind),
            }));
        }
        let sent = self.work.next_message(&self.workers);
        self.failed = sent.is_err();
        sent
    }

    /// Takes the peer's next message. After a refusal the machine is of no more use.
    ///
    /// # Errors
    /// `E_PROTOCOL` for a message that breaks the protocol, `E_STATE` after a refusal.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.failed {
            return Err(failed());
        }
        let taken = if self.met {
            self.work.receive(bytes, &self.workers)
        } else {
            self.meet(bytes)
        };
        self.failed = taken.is_err();
        taken
    }

    fn meet(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let due = &self.face.hellos[1];
        if session::body(bytes, HELLO, due.len())? != due {
            let text = format!("the peer makes {} with other parameters", self.face.kind);
            return Err(Refusal::protocol(text));
        }
        self.met = true;
        Ok(())
    }

    /// True when nothing of this batch is left to send or to receive.
    pub fn done(&self) -> bool {
        !self.failed && self.greeted && self.met && self.work.done()
    }

    /// Messages of this batch that went by, and all of them; set-up not counted.
    pub fn progress(&self) -> (u64, u64) {
        self.work.progress()
    }

    /// What was made in this batch, which is handed out once.
    ///
    /// # Errors
    /// `E_STATE` before the end and after it.
    pub fn finish(&mut self) -> Result<W::Out, Refusal> {
        if !self.done() || self.taken {
            return Err(unfinished());
        }
        self.taken = true;
        Ok(self.work.take())
    }
}
