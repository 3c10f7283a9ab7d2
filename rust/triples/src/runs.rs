//! Silent transfers in runs, in one direction or in both: each run makes what it needs anew.

use atoll_ot::{Party, Security, cot};

use crate::Refusal;
use crate::bits::choosing;
use crate::session::{Outgoing, Session, part, unasked};

/// Most transfers of one run. More would send less for each, but each part of the code's values then outgrows the
/// processor's cache, which nearly doubles the time.
pub(crate) const RUN: usize = 1 << 20;
/// Transfers that are hashed together; a multiple of 64.
pub(crate) const PART: usize = 1 << 12;

/// Which side of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// The side that gets both of each pair.
    Sender,
    /// The side that chooses.
    Chooser,
}

/// What this party does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Duties {
    /// It gets both of each pair.
    pub(crate) gives: bool,
    /// It chooses.
    pub(crate) chooses: bool,
}

/// The run that is being made.
struct Run {
    number: u64,
    size: usize,
    sender: Option<(cot::Sender, [u8; 16])>,
    chooser: Option<(cot::Receiver, [u8; 16])>,
    /// The half of each message that this party sends, and that it takes, in their order.
    sends: Vec<Half>,
    hears: Vec<Half>,
    sent: usize,
    heard: usize,
}

/// A run that has ended, each direction with the context of its hash.
pub(crate) struct Ended {
    pub(crate) size: usize,
    pub(crate) given: Option<(cot::SenderOutput, [u8; 16])>,
    pub(crate) chosen: Option<(cot::ReceiverOutput, [u8; 16])>,
}

/// All runs of a session.
pub(crate) struct Runs {
    session: Session,
    kind: &'static str,
    binding: [u8; 32],
    duties: Duties,
    /// Runs of the session that have begun.
    begun: u64,
    run: Option<Run>,
    /// Transfers of this batch that are made, and all.
    made: usize,
    count: usize,
}

impl Runs {
    pub(crate) fn new(
        session: Session,
        kind: &'static str,
        binding: [u8; 32],
        duties: Duties,
    ) -> Self {
        Self {
            session,
            kind,
            binding,
            duties,
            begun: 0,
            run: None,
            made: 0,
            count: 0,
        }
    }

    pub(crate) fn begin(&mut self, count: u64) -> Result<(), Refusal> {
        (self.made, self.count) = (0, count as usize);
        self.next_run()
    }

    fn next_run(&mut self) -> Result<(), Refusal> {
        let size = (self.count - self.made).min(RUN);
        if size == 0 {
            return Ok(());
        }
        let number = self.begun;
        self.begun += 1;
        let context = |role| part(&self.binding, choosing(role), number);
        let parameters = |context| cot::Parameters {
            size,
            security: Security::SemiHonest,
            threads: self.session.threads,
            context,
        };
        let stream = |name| (self.session).stream(self.kind, &format!("{name}/{number}"));
        let lengths = cot::lengths(size)?;
        let order: Vec<Half> = [
            (Half::Sender, lengths.choices.len()),
            (Half::Chooser, lengths.extension.len()),
            (Half::Sender, lengths.trees.len()),
        ]
        .into_iter()
        .flat_map(|(half, count)| std::iter::repeat_n(half, count))
        .collect();
        let Duties { gives, chooses } = self.duties;
        // What this party takes of a half, the other half of its own takes.
        let of = |sender, chooser| {
            let wanted = |half: &Half| match half {
                Half::Sender => sender,
                Half::Chooser => chooser,
            };
            order.iter().copied().filter(wanted).collect()
        };
        let [own, other] = [self.session.role, self.session.role.other()].map(context);
        let chooser = if chooses {
            let machine = cot::Receiver::new(parameters(own), stream("choose"))?;
            Some((machine, own))
        } else {
            None
        };
        let sender = if gives {
            let machine = cot::Sender::new(parameters(other), stream("send"))?;
            Some((machine, other))
        } else {
            None
        };
        self.run = Some(Run {
            number,
            size,
            sender,
            chooser,
            sends: of(gives, chooses),
            hears: of(chooses, gives),
            sent: 0,
            heard: 0,
        });
        Ok(())
    }

    /// The next message. If it is the last of a run, `close` gets what came of it.
    pub(crate) fn next_message(
        &mut self,
        close: impl FnMut(Ended),
    ) -> Result<Option<Outgoing>, Refusal> {
        let Some(run) = &mut self.run else {
            return Ok(None);
        };
        let message = match (run.sends.get(run.sent), &mut run.sender, &mut run.chooser) {
            (Some(Half::Sender), Some((sender, _)), _) => sender.next_message()?,
            (Some(Half::Chooser), _, Some((chooser, _))) => chooser.next_message()?,
            _ => None,
        };
        let Some(bytes) = message else {
            return Ok(None);
        };
        let step = format!("triples/{}/silent/{}/{}", self.kind, run.number, run.sent);
        run.sent += 1;
        self.close(close)?;
        Ok(Some(Outgoing { bytes, step }))
    }

    /// Takes a message. If it is the last of a run, `close` gets what came of it.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        close: impl FnMut(Ended),
    ) -> Result<(), Refusal> {
        let run = self.run.as_mut().ok_or_else(unasked)?;
        match (run.hears.get(run.heard), &mut run.sender, &mut run.chooser) {
            (Some(Half::Sender), _, Some((chooser, _))) => chooser.receive(bytes)?,
            (Some(Half::Chooser), Some((sender, _)), _) => sender.receive(bytes)?,
            _ => return Err(unasked()),
        }
        run.heard += 1;
        self.close(close)
    }

    /// Ends a run of which all messages went by, and begins the next.
    fn close(&mut self, mut close: impl FnMut(Ended)) -> Result<(), Refusal> {
        let ended = |run: &mut Run| run.sent == run.sends.len() && run.heard == run.hears.len();
        let Some(run) = self.run.take_if(ended) else {
            return Ok(());
        };
        let chosen = match run.chooser {
            Some((chooser, context)) => Some((chooser.finish()?, context)),
            None => None,
        };
        let given = match run.sender {
            Some((sender, context)) => Some((sender.finish()?, context)),
            None => None,
        };
        close(Ended {
            size: run.size,
            given,
            chosen,
        });
        self.made += run.size;
        self.next_run()
    }

    pub(crate) fn done(&self) -> bool {
        self.run.is_none() && self.made == self.count
    }

    pub(crate) fn progress(&self) -> (u64, u64) {
        let runs = |count: usize| count.div_ceil(RUN) as u64;
        // All runs have about as many messages: parts of one are hundredths.
        let within = self.run.as_ref().map_or(0, |run| {
            let all = run.sends.len() + run.hears.len();
            100 * (run.sent + run.heard) / all.max(1)
        });
        (
            100 * runs(self.made) + within as u64,
            100 * runs(self.count),
        )
    }
}
