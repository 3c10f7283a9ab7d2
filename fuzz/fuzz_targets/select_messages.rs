//! Messages of a peer of a query against a sealed table, on either side, in the preparation and in the query: honest
//! ones, changed ones, made-up ones.
#![no_main]

use arbitrary::Arbitrary;
use atoll_primitives::stream::{Secret, Stream};
use atoll_psi::select::{Parameters, Preparation, Query, Role, Sealing, Shape};
use atoll_psi::{Refusal, ecdh::Outgoing};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    /// The peer's own next message.
    Honest,
    /// The same with one byte changed.
    Changed { at: u16, with: u8 },
    /// A message that the peer sent before.
    Again { which: u8 },
    /// Anything.
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    asker: bool,
    cells: u8,
    words: u8,
    /// Whether the steps begin in the preparation.
    early: bool,
    /// Honest messages before the first step.
    skip: u8,
    steps: Vec<Step>,
}

/// What a preparation and a query have in common.
trait Side {
    fn next(&mut self) -> Result<Option<Outgoing>, Refusal>;
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal>;
    fn done(&self) -> bool;
}

macro_rules! side {
    ($machine:ty) => {
        impl Side for $machine {
            fn next(&mut self) -> Result<Option<Outgoing>, Refusal> {
                self.next_message()
            }
            fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
                self.receive(bytes)
            }
            fn done(&self) -> bool {
                Self::done(self)
            }
        }
    };
}

side!(Preparation);
side!(Query);

/// Runs both sides honestly for so many of the peer's messages.
fn honest(own: &mut impl Side, peer: &mut impl Side, messages: usize, sent: &mut Vec<Vec<u8>>) {
    for _ in 0..messages {
        while let Some(message) = own.next().unwrap() {
            peer.take(&message.bytes).unwrap();
        }
        if let Some(message) = peer.next().unwrap() {
            own.take(&message.bytes).unwrap();
            sent.push(message.bytes);
        }
    }
}

/// Plays the steps; false if a message was refused.
fn attack(own: &mut impl Side, peer: &mut impl Side, input: &Input) -> bool {
    let mut sent = Vec::new();
    honest(own, peer, usize::from(input.skip % 24), &mut sent);
    let mut failed = false;
    for step in input.steps.iter().take(24) {
        // The peer may refuse what follows from what was changed before.
        while !failed && let Ok(Some(message)) = own.next() {
            _ = peer.take(&message.bytes);
        }
        let mut next = || match peer.next() {
            Ok(Some(message)) => {
                sent.push(message.bytes.clone());
                Some(message.bytes)
            }
            _ => None,
        };
        let bytes = match step {
            Step::Honest => next(),
            Step::Changed { at, with } => next().map(|mut bytes| {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= with;
                bytes
            }),
            Step::Again { which } if !sent.is_empty() => Some(sent[usize::from(*which) % sent.len()].clone()),
            Step::Again { .. } => None,
            Step::Raw(bytes) => Some(bytes.clone()),
        };
        let Some(bytes) = bytes else { continue };
        let taken = own.take(&bytes);
        if failed {
            assert_eq!(taken.unwrap_err().code, "E_STATE", "a failed side goes on");
        } else if let Err(refusal) = taken {
            assert_eq!(refusal.code, "E_PROTOCOL");
            failed = true;
        }
    }
    assert!(!(failed && own.done()), "a failed side is done");
    !failed
}

fuzz_target!(|input: Input| {
    let shape = Shape::new(usize::from(input.cells % 5) + 1, usize::from(input.words % 3) + 1).unwrap();
    let [mut asker, mut holder] = [Role::Asker, Role::Holder].map(|role| {
        let parameters = Parameters {
            attempt: 0,
            channel: "c".into(),
            context: b"job".to_vec(),
            role,
            shape,
            queries: 1,
            threads: 1,
        };
        Preparation::new(&Secret::new([role as u8; 32]), parameters).unwrap()
    });
    if input.early {
        if input.asker {
            attack(&mut asker, &mut holder, &input);
        } else {
            attack(&mut holder, &mut asker, &input);
        }
        return;
    }
    honest(&mut asker, &mut holder, 24, &mut Vec::new());
    let (mut asker, mut holder) = (asker.asker().unwrap(), holder.holder().unwrap());
    let sealing = Sealing::new(&Secret::new([9; 32]), shape);
    let values: Vec<u64> = (1..=shape.words() as u64).collect();
    let filler = Stream::derive(&[1; 32], &[b"filler"]);
    let column = sealing.table(&[0; 16], 1, &[7; 32], &values, filler).unwrap();
    let (mut query, mut answer) = (asker.query().unwrap(), holder.query(&sealing).unwrap());
    query.ask(&[7; 32]).unwrap();
    query.column(&column).unwrap();
    let unchanged = input.steps.iter().all(|step| matches!(step, Step::Honest));
    let taken = if input.asker {
        attack(&mut query, &mut answer, &input)
    } else {
        attack(&mut answer, &mut query, &input)
    };
    if unchanged {
        assert!(taken, "an honest message was refused");
        honest(&mut query, &mut answer, 24, &mut Vec::new());
        let shares = query.shares().unwrap().iter().zip(answer.shares().unwrap());
        let sums: Vec<u64> = shares.map(|(a, b)| a.wrapping_add(*b)).collect();
        assert_eq!(sums, values);
    }
});
