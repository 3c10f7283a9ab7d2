//! ECDH-PSI, semi-honest: Meadows 1986; Huberman, Franklin and Hogg 1999, on ristretto255.
//!
//! Both parties run the same machine. Each direction carries, in this order and whatever the timing, so that
//! the bytes depend on seed and inputs alone:
//! 1. blinded items H(x)^a in secretly permuted order;
//! 2. once all of the peer's blinded items are in, their tags under both exponents, if the peer learns anything:
//!    in the peer's order if it learns rows, sorted if it learns only the size;
//! 3. multiplicities of the matched keys in order of their tags, if both learn rows and duplicates count.

use std::fmt;

use atoll_primitives::stream::{Secret, Stream};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::group::{Dst, Exponent, Point, Tagger, hash_to_group, tag_bytes};
use crate::messages::{self, MAX_ITEMS, Message};
use crate::{Refusal, pool};

const DST: &[u8] = b"ATOLL-ECDH-PSI-V1-ristretto255_XMD:SHA-512_R255MAP_RO_";
const CHECKPOINT: &[u8] = b"atoll ecdh-psi checkpoint v1";
/// Items that one thread blinds at a time.
const BLOCK: usize = 256;

/// What a party learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learns {
    /// Which of its own keys the peer has too.
    Rows,
    /// How many keys both have.
    Size,
    /// Nothing but the peer's number of keys.
    Nothing,
}

impl Learns {
    /// Reads `rows`, `size` or `nothing`.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        match name {
            "rows" => Ok(Self::Rows),
            "size" => Ok(Self::Size),
            "nothing" => Ok(Self::Nothing),
            _ => Err(Refusal::new(
                "E_FORMAT",
                format!("a party learns rows, size or nothing, not {name:?}"),
            )),
        }
    }
}

/// Parameters of one run. Both sides agree on context, sizes and what each learns; the rest is each side's own.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Number of the attempt: a new one draws fresh randomness.
    pub attempt: u32,
    /// Name of the channel, a label of the randomness.
    pub channel: String,
    /// Bytes that name the job; hashed into every point and tag.
    pub context: Vec<u8>,
    /// Number of distinct keys that the peer declared.
    pub peer_items: u64,
    /// What this party learns.
    pub i_learn: Learns,
    /// What the peer learns.
    pub peer_learns: Learns,
    /// Worker threads.
    pub threads: usize,
    /// Items in a message, 1 to 65,536.
    pub chunk_items: usize,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Label of the step, unique within the run.
    pub step: String,
    /// True if the message lets the peer open (part of) its result.
    pub opens: bool,
}

/// One party's side of the protocol. `D` holds the digests of its distinct keys, 32 bytes each.
pub struct Machine<D> {
    parameters: Parameters,
    digests: D,
    multiplicity: Option<Vec<u32>>,
    exponent: Exponent,
    order: Vec<u32>,
    binding: [u8; 16],
    dst: Dst,
    tagger: Tagger,
    tag_len: usize,
    mask: u128,
    peer_items: usize,
    workers: rayon::ThreadPool,
    sent_blinded: usize,
    sent_tags: usize,
    sent_multiplicities: usize,
    /// Tags of the peer's items in its order, 128 bits each.
    peer_tags: Vec<u128>,
    /// The same sorted and cut to the length on the wire, once all are in.
    sorted: Option<Vec<u128>>,
    /// Tags of our items as the peer returned them.
    my_tags: Vec<u128>,
    /// Matched items by tag (rows), or none (size), once known.
    matched: Option<Vec<u32>>,
    size: Option<u64>,
    peer_multiplicity: Vec<u32>,
    failed: bool,
}

impl<D> fmt::Debug for Machine<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ecdh::Machine")
    }
}

impl<D> Drop for Machine<D> {
    fn drop(&mut self) {
        self.order.zeroize();
    }
}

impl<D: AsRef<[u8]> + Send + Sync> Machine<D> {
    /// A machine at its beginning. `multiplicity` (rows per key, at least one) is exchanged only if both learn
    /// rows; then both sides must give it.
    pub fn new(
        seed: &Secret<32>,
        parameters: Parameters,
        digests: D,
        multiplicity: Option<Vec<u32>>,
    ) -> Result<Self, Refusal> {
        let bytes = digests.as_ref().len();
        if bytes % 32 != 0 {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("digests have 32 bytes each, got {bytes} bytes"),
            ));
        }
        let mine = bytes / 32;
        let limit = u64::from(u32::MAX) - 1;
        if mine as u64 > limit || parameters.peer_items > limit {
            return Err(Refusal::new(
                "E_TOO_LARGE",
                format!("a side has at most {limit} keys"),
            ));
        }
        if !(1..=MAX_ITEMS).contains(&parameters.chunk_items) {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("chunk_items is 1 to {MAX_ITEMS}"),
            ));
        }
        if parameters.i_learn == Learns::Nothing && parameters.peer_learns == Learns::Nothing {
            return Err(Refusal::new(
                "E_FORMAT",
                "neither side would learn anything",
            ));
        }
        if multiplicity
            .as_ref()
            .is_some_and(|m| m.len() != mine || m.contains(&0))
        {
            return Err(Refusal::new(
                "E_FORMAT",
                "multiplicities are one per key and at least one",
            ));
        }
        let both_rows =
            parameters.i_learn == Learns::Rows && parameters.peer_learns == Learns::Rows;
        let stream = |step| Stream::new(seed, parameters.attempt, &parameters.channel, step);
        let tag_len = tag_bytes(mine as u64, parameters.peer_items);
        let mut machine = Self {
            multiplicity: multiplicity.filter(|_| both_rows),
            exponent: Exponent::draw(&mut stream("ecdh-psi/exponent")),
            order: stream("ecdh-psi/order").permutation(mine as u32),
            binding: stream("ecdh-psi/checkpoint").bytes(),
            dst: Dst::new(&[DST, &parameters.context].concat()),
            tagger: Tagger::new(&parameters.context),
            tag_len,
            mask: u128::MAX << (128 - 8 * tag_len),
            peer_items: parameters.peer_items as usize,
            workers: pool(parameters.threads)?,
            parameters,
            digests,
            sent_blinded: 0,
            sent_tags: 0,
            sent_multiplicities: 0,
            peer_tags: Vec::new(),
            sorted: None,
            my_tags: Vec::new(),
            matched: None,
            size: None,
            peer_multiplicity: Vec::new(),
            failed: false,
        };
        machine.advance()?;
        Ok(machine)
    }

    /// The next message, or `None` while the peer's must come first and at the end.
    pub fn next_message(&mut self) -> Result<Option<Outgoing>, Refusal> {
        self.usable()?;
        let chunk = self.parameters.chunk_items;
        let label = |name: &str, from: usize| format!("ecdh-psi/{name}/{}", from / chunk);
        if self.sent_blinded < self.order.len() {
            let from = self.sent_blinded;
            let to = self.order.len().min(from + chunk);
            let bytes = messages::blinded(&self.blind(&self.order[from..to]));
            self.sent_blinded = to;
            return Ok(Some(Outgoing {
                bytes,
                step: label("blinded", from),
                opens: false,
            }));
        }
        let Some(sorted) = &self.sorted else {
            return Ok(None);
        };
        if self.parameters.peer_learns != Learns::Nothing && self.sent_tags < self.peer_items {
            let from = self.sent_tags;
            let to = self.peer_items.min(from + chunk);
            let source = if self.parameters.peer_learns == Learns::Rows {
                &self.peer_tags
            } else {
                sorted
            };
            let bytes = messages::tags(&source[from..to], self.tag_len);
            self.sent_tags = to;
            return Ok(Some(Outgoing {
                bytes,
                step: label("tags", from),
                opens: true,
            }));
        }
        if let (Some(own), Some(matched)) = (&self.multiplicity, &self.matched)
            && self.sent_multiplicities < matched.len()
        {
            let from = self.sent_multiplicities;
            let to = matched.len().min(from + chunk);
            let bytes =
                messages::multiplicities(matched[from..to].iter().map(|i| own[*i as usize]));
            self.sent_multiplicities = to;
            return Ok(Some(Outgoing {
                bytes,
                step: label("multiplicities", from),
                opens: true,
            }));
        }
        Ok(None)
    }

    /// Takes a message of the peer; may come at any time. After a refusal the machine is of no more use.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.usable()?;
        let taken = self.take(bytes).and_then(|()| self.advance());
        self.failed = taken.is_err();
        taken
    }

    fn usable(&self) -> Result<(), Refusal> {
        if self.failed {
            return Err(Refusal::new(
                "E_STATE",
                "the protocol ended with an error before",
            ));
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        match Message::split(bytes, self.tag_len)? {
            Message::Blinded(items) => {
                if self.peer_tags.len() + items.count > self.peer_items {
                    return Err(Refusal::protocol(
                        "the peer sent more items than it declared",
                    ));
                }
                let tags = self.evaluate(items.points())?;
                self.peer_tags.extend(tags);
            }
            Message::Tags(items) => {
                if self.parameters.i_learn == Learns::Nothing {
                    return Err(Refusal::protocol(
                        "the peer sent tags to a side that learns nothing",
                    ));
                }
                if self.peer_tags.len() < self.peer_items {
                    return Err(Refusal::protocol(
                        "the peer sent fewer items than it declared",
                    ));
                }
                if self.sent_blinded < self.order.len()
                    || self.my_tags.len() + items.count > self.order.len()
                {
                    return Err(Refusal::protocol(
                        "the peer sent more tags than it was given items",
                    ));
                }
                let ascending = self.parameters.i_learn == Learns::Size;
                for tag in items.tags() {
                    if ascending && self.my_tags.last().is_some_and(|last| *last >= tag) {
                        return Err(Refusal::protocol("tags are repeated or not in order"));
                    }
                    self.my_tags.push(tag);
                }
            }
            Message::Multiplicities(items) => {
                let expected = match (&self.multiplicity, &self.matched) {
                    (Some(_), Some(matched)) if self.sent_tags == self.peer_items => matched.len(),
                    _ => 0,
                };
                if self.peer_multiplicity.len() + items.count > expected {
                    return Err(Refusal::protocol(
                        "the peer sent multiplicities that do not fit the matches",
                    ));
                }
                self.peer_multiplicity.extend(items.multiplicities()?);
            }
        }
        Ok(())
    }

    /// H(x)^a of the items at `indices`.
    fn blind(&self, indices: &[u32]) -> Vec<Point> {
        let (digests, _) = self.digests.as_ref().as_chunks::<32>();
        let blocks: Vec<Vec<Point>> = self.workers.install(|| {
            let block = |block: &[u32]| {
                let mut out = Vec::with_capacity(block.len());
                let points = block
                    .iter()
                    .map(|i| hash_to_group(&digests[*i as usize], &self.dst));
                self.exponent.raise(points, &mut out);
                out
            };
            indices.par_chunks(BLOCK).map(block).collect()
        });
        blocks.concat()
    }

    /// Tags of y^a for the peer's blinded items y.
    fn evaluate(&self, raw: &[Point]) -> Result<Vec<u128>, Refusal> {
        let blocks: Vec<Vec<u128>> = self.workers.install(|| {
            let block = |block: &[Point]| {
                let mut out = Vec::with_capacity(block.len());
                self.exponent
                    .raise(messages::parse_points(block)?, &mut out);
                Ok(out.iter().map(|point| self.tagger.tag(point)).collect())
            };
            raw.par_chunks(BLOCK)
                .map(block)
                .collect::<Result<_, Refusal>>()
        })?;
        Ok(blocks.concat())
    }

    /// Draws what the messages so far allow: the sorted tags, then the matches.
    fn advance(&mut self) -> Result<(), Refusal> {
        if self.sorted.is_none() && self.peer_tags.len() == self.peer_items {
            let mut sorted = self.peer_tags.clone();
            self.workers.install(|| sorted.par_sort_unstable());
            if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(Refusal::protocol("the peer sent an item twice"));
            }
            sorted.iter_mut().for_each(|tag| *tag &= self.mask);
            self.sorted = Some(sorted);
        }
        let Some(sorted) = &self.sorted else {
            return Ok(());
        };
        let ready = self.sent_blinded == self.order.len() && self.my_tags.len() == self.order.len();
        if !ready || self.size.is_some() || self.parameters.i_learn == Learns::Nothing {
            return Ok(());
        }
        let mut mine: Vec<(u128, u32)> = self
            .my_tags
            .iter()
            .copied()
            .zip(self.order.iter().copied())
            .collect();
        self.workers.install(|| mine.par_sort_unstable());
        if mine.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Refusal::protocol("the peer sent a tag twice"));
        }
        let mut theirs = sorted.iter().peekable();
        mine.retain(|(tag, _)| {
            while theirs.next_if(|t| *t < tag).is_some() {}
            theirs.next_if(|t| *t == tag).is_some()
        });
        self.size = Some(mine.len() as u64);
        if self.parameters.i_learn == Learns::Rows {
            self.matched = Some(mine.into_iter().map(|(_, index)| index).collect());
        }
        Ok(())
    }

    /// True when nothing is left to send or to receive.
    pub fn done(&self) -> bool {
        let multiplicities = match (&self.multiplicity, &self.matched) {
            (Some(_), Some(matched)) => {
                self.sent_multiplicities == matched.len()
                    && self.peer_multiplicity.len() == matched.len()
            }
            (Some(_), None) => false,
            (None, _) => true,
        };
        !self.failed
            && self.sent_blinded == self.order.len()
            && self.sorted.is_some()
            && (self.parameters.peer_learns == Learns::Nothing || self.sent_tags == self.peer_items)
            && (self.parameters.i_learn == Learns::Nothing || self.size.is_some())
            && multiplicities
    }

    fn finished(&self) -> Result<(), Refusal> {
        if self.done() {
            Ok(())
        } else {
            Err(Refusal::new("E_STATE", "the protocol has not ended"))
        }
    }

    /// Indices of the matched keys among this party's, in the order that both sides share; for `Rows`.
    pub fn matched(&self) -> Result<&[u32], Refusal> {
        self.finished()?;
        self.matched
            .as_deref()
            .ok_or_else(|| Refusal::new("E_STATE", "this side does not learn rows"))
    }

    /// For every matched key the number of the peer's rows that have it, if multiplicities were exchanged.
    pub fn peer_multiplicity(&self) -> Result<Option<&[u32]>, Refusal> {
        self.finished()?;
        Ok(self
            .multiplicity
            .as_ref()
            .map(|_| self.peer_multiplicity.as_slice()))
    }

    /// Number of keys that both sides have; `None` if this party learns nothing.
    pub fn size(&self) -> Result<Option<u64>, Refusal> {
        self.finished()?;
        Ok(self.size)
    }

    /// Multiplications done and to do.
    pub fn progress(&self) -> (u64, u64) {
        (
            (self.sent_blinded + self.peer_tags.len()) as u64,
            (self.order.len() + self.peer_items) as u64,
        )
    }

    /// A digest of seed, parameters and inputs that a checkpoint is bound to.
    fn identity(&self) -> [u8; 32] {
        let p = &self.parameters;
        let mut hash = Sha256::new();
        hash.update(self.binding);
        for field in [p.channel.as_bytes(), &p.context, self.digests.as_ref()] {
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field);
        }
        hash.update(p.peer_items.to_le_bytes());
        hash.update([
            p.i_learn as u8,
            p.peer_learns as u8,
            u8::from(self.multiplicity.is_some()),
        ]);
        hash.update((p.chunk_items as u64).to_le_bytes());
        for value in self.multiplicity.iter().flatten() {
            hash.update(value.to_le_bytes());
        }
        hash.finalize().into()
    }

    /// Everything but seed and inputs, to go on from here after a restart. Secret: it holds the peer's tags.
    pub fn checkpoint(&self) -> Result<Vec<u8>, Refusal> {
        self.usable()?;
        let mut out = [CHECKPOINT, &self.identity()].concat();
        let counts = [self.sent_blinded, self.sent_tags, self.sent_multiplicities];
        let lengths = [
            self.peer_tags.len(),
            self.my_tags.len(),
            self.peer_multiplicity.len(),
        ];
        counts
            .iter()
            .chain(&lengths)
            .for_each(|n| out.extend_from_slice(&(*n as u64).to_le_bytes()));
        self.peer_tags
            .iter()
            .chain(&self.my_tags)
            .for_each(|t| out.extend_from_slice(&t.to_le_bytes()));
        self.peer_multiplicity
            .iter()
            .for_each(|m| out.extend_from_slice(&m.to_le_bytes()));
        Ok(out)
    }

    /// Goes on from a checkpoint of a machine with the same seed, parameters and inputs: `self` must be new.
    pub fn restore(mut self, checkpoint: &[u8]) -> Result<Self, Refusal> {
        let bad = || Refusal::new("E_FORMAT", "not a checkpoint of this run");
        let prefix = [CHECKPOINT, &self.identity()].concat();
        let rest = checkpoint.strip_prefix(prefix.as_slice()).ok_or_else(bad)?;
        let (head, body) = rest.split_at_checked(48).ok_or_else(bad)?;
        let mut n = [0usize; 6];
        for (n, bytes) in n.iter_mut().zip(head.as_chunks::<8>().0) {
            *n = usize::try_from(u64::from_le_bytes(*bytes)).map_err(|_| bad())?;
        }
        let [blinded, tags, multiplicities, peer, mine, peer_multiplicity] = n;
        let bounds = self.order.len().max(self.peer_items);
        if n.iter().any(|n| *n > bounds)
            || body.len() != 16 * (peer + mine) + 4 * peer_multiplicity
            || blinded > self.order.len()
            || mine > self.order.len()
            || peer > self.peer_items
            || tags > self.peer_items
        {
            return Err(bad());
        }
        let (wide, narrow) = body.split_at(16 * (peer + mine));
        let mut wide = wide
            .as_chunks::<16>()
            .0
            .iter()
            .map(|t| u128::from_le_bytes(*t));
        self.peer_tags = wide.by_ref().take(peer).collect();
        self.my_tags = wide.collect();
        self.peer_multiplicity = narrow
            .as_chunks::<4>()
            .0
            .iter()
            .map(|m| u32::from_le_bytes(*m))
            .collect();
        (self.sent_blinded, self.sent_tags, self.sent_multiplicities) =
            (blinded, tags, multiplicities);
        self.advance()?;
        let matched = self.matched.as_ref().map_or(0, Vec::len);
        if multiplicities > matched || peer_multiplicity > matched {
            return Err(bad());
        }
        Ok(self)
    }
}
