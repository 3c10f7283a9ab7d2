//! The side with the key: delta and b of the VOLE. It evaluates the oblivious pseudo-random function on its own keys
//! and sends what comes out, sorted.

use atoll_ot::{Party, vole};
use atoll_primitives::stream::Secret;
use zeroize::Zeroize;

use super::hash::{PROOF, Proof};
use super::messages::{self, CHUNK, Kind};
use super::setup::{Setup, digests};
use super::sorted::Sorted;
use super::{Next, multiply, out};
use crate::Refusal;

pub(crate) struct Sender<D> {
    pub(crate) setup: Setup,
    digests: D,
    multiplicity: Option<Vec<u32>>,
    vole: Option<vole::Sender>,
    sent_correlations: usize,
    /// This side's share of the offset (16 bytes), and 16 bytes that hide it.
    opening: Secret<32>,
    committed: bool,
    opening_sent: bool,
    /// The receiver's share of the offset.
    offset: Option<u128>,
    delta: u128,
    /// b of the VOLE, then k = b ^ delta * A as A comes in.
    key: Vec<u128>,
    taken_masked: usize,
    /// Keys of the store and values of the own keys, once the VOLE is done.
    hashed: Option<(Vec<u128>, Vec<u128>)>,
    own: Option<Sorted>,
    proofs: Vec<Proof>,
    sent_tags: usize,
    total: Option<usize>,
    last_rank: Option<u32>,
    matched: Vec<u32>,
    sent_multiplicities: usize,
    pub(crate) peer_multiplicity: Vec<u32>,
}

impl<D> Drop for Sender<D> {
    fn drop(&mut self) {
        self.delta.zeroize();
        self.key.zeroize();
        self.offset.zeroize();
    }
}

impl<D: AsRef<[u8]> + Send + Sync> Sender<D> {
    pub(crate) fn new(
        setup: Setup,
        digests: D,
        multiplicity: Option<Vec<u32>>,
    ) -> Result<Self, Refusal> {
        let vole = if setup.empty() {
            None
        } else {
            Some(vole::Sender::new(
                setup.vole(),
                setup.stream("vole-psi/correlation"),
            )?)
        };
        Ok(Self {
            opening: Secret::new(setup.stream("vole-psi/opening").bytes()),
            committed: !setup.malicious || setup.empty(),
            opening_sent: !setup.malicious || setup.empty(),
            offset: (!setup.malicious).then_some(0),
            setup,
            digests,
            multiplicity,
            vole,
            sent_correlations: 0,
            delta: 0,
            key: Vec::new(),
            taken_masked: 0,
            hashed: None,
            own: None,
            proofs: Vec::new(),
            sent_tags: 0,
            total: None,
            last_rank: None,
            matched: Vec::new(),
            sent_multiplicities: 0,
            peer_multiplicity: Vec::new(),
        })
    }

    fn slots(&self) -> usize {
        if self.setup.empty() {
            0
        } else {
            self.setup.store.slots()
        }
    }

    /// Takes the correlation over once it is there.
    fn settle(&mut self) -> Result<(), Refusal> {
        if let Some(vole) = self.vole.take_if(|vole| vole.done()) {
            let output = vole.finish()?;
            (self.delta, self.key) = (output.delta, output.b);
        }
        Ok(())
    }

    pub(crate) fn next_message(&mut self) -> Result<Next, Refusal> {
        if !self.committed {
            self.committed = true;
            let commitment = self.setup.commit.commitment(&self.opening);
            return Ok(out(Kind::Commitment, 0, &commitment));
        }
        if let Some(vole) = &mut self.vole
            && let Some(bytes) = vole.next_message()?
        {
            self.sent_correlations += 1;
            return Ok(out(Kind::Correlation, self.sent_correlations - 1, &bytes));
        }
        self.settle()?;
        if self.setup.empty() || self.vole.is_some() {
            return Ok(None);
        }
        // While the receiver encodes.
        self.hash()?;
        if self.taken_masked < self.slots() {
            return Ok(None);
        }
        if !self.opening_sent {
            self.opening_sent = true;
            return Ok(out(Kind::Opening, 0, self.opening.expose()));
        }
        self.own_tags()?;
        if self.sent_tags < self.setup.sender_items {
            let from = self.sent_tags;
            let to = self.setup.sender_items.min(from + CHUNK);
            let own = self.own.as_ref().expect("computed above");
            let tags = own.tags(from, to).map(u128::to_be_bytes);
            let bytes = messages::write(Kind::Tags, self.setup.tag_len, tags);
            self.sent_tags = to;
            return Ok(Some((bytes, Kind::Tags, from / CHUNK)));
        }
        if let Some(own) = &self.multiplicity
            && self.total == Some(self.matched.len())
            && self.sent_multiplicities < self.matched.len()
        {
            let from = self.sent_multiplicities;
            let to = self.matched.len().min(from + CHUNK);
            let rows = self.matched[from..to]
                .iter()
                .map(|i| own[*i as usize].to_le_bytes());
            let bytes = messages::write(Kind::Multiplicities, 4, rows);
            self.sent_multiplicities = to;
            return Ok(Some((bytes, Kind::Multiplicities, from / CHUNK)));
        }
        Ok(None)
    }

    pub(crate) fn receive(&mut self, kind: Kind, body: &[u8]) -> Result<(), Refusal> {
        let out_of_place = || Refusal::protocol("a message is out of its place");
        if kind == Kind::Correlation {
            return match &mut self.vole {
                Some(vole) if !vole.done() => vole.receive(body),
                _ => Err(out_of_place()),
            };
        }
        self.settle()?;
        if self.setup.empty() || self.vole.is_some() {
            return Err(out_of_place());
        }
        let all_sent = self.setup.parameters.both && self.sent_tags == self.setup.sender_items;
        match kind {
            Kind::Share if self.committed && self.offset.is_none() => {
                self.offset = Some(u128::from_le_bytes(messages::fixed(body)?));
                Ok(())
            }
            Kind::Masked if self.offset.is_some() => self.multiply(body),
            Kind::Matches if all_sent && self.total.is_none() => {
                let total = u32::from_le_bytes(messages::fixed(body)?) as usize;
                if total > self.setup.receiver_items.min(self.setup.sender_items) {
                    return Err(Refusal::protocol(
                        "the peer names more matches than a side has keys",
                    ));
                }
                self.total = Some(total);
                Ok(())
            }
            Kind::Returned if self.total.is_some() => self.check(body),
            Kind::Multiplicities
                if self.multiplicity.is_some() && self.total == Some(self.matched.len()) =>
            {
                let left = self.matched.len() - self.peer_multiplicity.len();
                let rows = messages::chunk(body, 4, left)?;
                messages::multiplicities(rows, &mut self.peer_multiplicity)
            }
            _ => Err(out_of_place()),
        }
    }

    /// k = b ^ delta * A for a chunk of A.
    fn multiply(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let (width, from) = (self.setup.width(), self.taken_masked);
        let count = messages::chunk(body, width, self.slots() - from)?.len();
        let (delta, slots) = (self.delta, &mut self.key[from..from + count]);
        self.setup
            .workers
            .install(|| multiply::add_products(slots, delta, body, width));
        self.taken_masked += count;
        Ok(())
    }

    fn hash(&mut self) -> Result<(), Refusal> {
        if self.hashed.is_none() {
            let setup = &self.setup;
            let digests = digests(self.digests.as_ref())?;
            self.hashed = Some(
                setup
                    .workers
                    .install(|| setup.item.items(digests, setup.value_mask())),
            );
        }
        Ok(())
    }

    /// The output of the function at every own key: the value of k there, and delta times the key's own value.
    fn own_tags(&mut self) -> Result<(), Refusal> {
        if self.own.is_some() {
            return Ok(());
        }
        let (keys, mut values) = self.hashed.take().expect("hashed before");
        let mut outputs = vec![0; keys.len()];
        self.setup
            .store
            .decode_into(&keys, &self.key, &mut outputs)?;
        drop(keys);
        self.key.zeroize();
        self.key = Vec::new();
        let (setup, delta) = (&self.setup, self.delta);
        let offset = messages::value(&self.opening.expose()[..16]) ^ self.offset.unwrap_or(0);
        let offset = if setup.malicious { offset } else { 0 };
        let proofs = setup.malicious && setup.parameters.both;
        let digests = digests(self.digests.as_ref())?;
        let (own, proofs) = setup.workers.install(|| {
            multiply::add_multiples(&mut outputs, delta, &mut values);
            let (tags, proofs) = setup.tag.tags(digests, &outputs, offset, proofs);
            Ok::<_, Refusal>((Sorted::new(tags, setup.tag_mask())?, proofs))
        })?;
        outputs.zeroize();
        values.zeroize();
        (self.own, self.proofs) = (Some(own), proofs);
        Ok(())
    }

    /// Takes matches that the receiver returns: ranks of tags that were sent, each with the proof that goes with it.
    fn check(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let own = self.own.as_ref().expect("tags were sent");
        let width = if self.setup.malicious { 4 + PROOF } else { 4 };
        let left = self.total.unwrap_or(0) - self.matched.len();
        for entry in messages::chunk(body, width, left)? {
            let (rank, proof) = entry.split_at(4);
            let rank = u32::from_le_bytes(messages::fixed(rank)?);
            if rank as usize >= own.len() || self.last_rank.is_some_and(|last| last >= rank) {
                return Err(Refusal::protocol(
                    "a returned match is none of the tags, repeated or not in order",
                ));
            }
            let item = own.item(rank as usize);
            if self.setup.malicious && self.proofs[item as usize] != *proof {
                return Err(Refusal::protocol(
                    "the peer returned a match that it does not hold",
                ));
            }
            self.last_rank = Some(rank);
            self.matched.push(item);
        }
        Ok(())
    }

    pub(crate) fn done(&self) -> bool {
        let matches = self.matched.len();
        let told = !self.setup.parameters.both || self.total == Some(matches);
        let multiplicities = self.multiplicity.is_none()
            || (self.sent_multiplicities == matches && self.peer_multiplicity.len() == matches);
        self.setup.empty()
            || (self.vole.is_none()
                && self.sent_tags == self.setup.sender_items
                && told
                && multiplicities)
    }

    pub(crate) fn matched(&self) -> Option<&[u32]> {
        self.setup.parameters.both.then_some(&self.matched)
    }

    pub(crate) fn multiplicities_exchanged(&self) -> bool {
        self.multiplicity.is_some()
    }

    pub(crate) fn worked(&self) -> usize {
        self.taken_masked + self.sent_tags
    }
}
