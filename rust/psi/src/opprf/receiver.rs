//! The side that gets outputs. As in `vole_psi` it masks a store of its keys; then it reads the sender's store.

use atoll_ot::{Party, vole};
use zeroize::Zeroize;

use super::{Shape, out_of_place};
use crate::Refusal;
use crate::vole_psi::messages::{self, CHUNK, Kind};
use crate::vole_psi::setup::digests;
use crate::vole_psi::{Next, out};

pub(crate) struct Receiver<D> {
    shape: Shape,
    digests: D,
    vole: Option<vole::Receiver>,
    sent_correlations: usize,
    /// Keys of both stores.
    keys: Vec<u128>,
    masked: Vec<u128>,
    sent_masked: usize,
    /// c of the VOLE, a slot each; then the function at every own key; at the end the outputs.
    values: Vec<u128>,
    evaluated: bool,
    /// The sender's store, as it comes in.
    slots: Vec<u128>,
    taken: usize,
}

impl<D> Drop for Receiver<D> {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

impl<D: AsRef<[u8]> + Send + Sync> Receiver<D> {
    pub(crate) fn new(shape: Shape, digests: D) -> Result<Self, Refusal> {
        let vole =
            vole::Receiver::new(shape.setup.vole(), shape.setup.stream("opprf/correlation"))?;
        Ok(Self {
            shape,
            digests,
            vole: Some(vole),
            sent_correlations: 0,
            keys: Vec::new(),
            masked: Vec::new(),
            sent_masked: 0,
            values: Vec::new(),
            evaluated: false,
            slots: Vec::new(),
            taken: 0,
        })
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    fn all_sent(&self) -> bool {
        self.vole.is_none() && self.sent_masked == self.shape.setup.store.slots()
    }

    pub(crate) fn next_message(&mut self) -> Result<Next, Refusal> {
        if let Some(vole) = &mut self.vole {
            if let Some(bytes) = vole.next_message()? {
                self.sent_correlations += 1;
                return Ok(out(Kind::Correlation, self.sent_correlations - 1, &bytes));
            }
            if !vole.done() {
                return Ok(None);
            }
            self.encode()?;
        }
        let slots = self.shape.setup.store.slots();
        if self.sent_masked < slots {
            let from = self.sent_masked;
            let to = slots.min(from + CHUNK);
            let part = self.masked[from..to].iter().map(|slot| slot.to_le_bytes());
            let bytes = messages::write(Kind::Masked, self.shape.setup.width(), part);
            self.sent_masked = to;
            if to == slots {
                self.masked = Vec::new();
            }
            return Ok(Some((bytes, Kind::Masked, from / CHUNK)));
        }
        // The sender works on the slots meanwhile.
        self.evaluate()?;
        Ok(None)
    }

    pub(crate) fn receive(&mut self, kind: Kind, body: &[u8]) -> Result<(), Refusal> {
        match kind {
            Kind::Correlation => match &mut self.vole {
                Some(vole) if !vole.done() => vole.receive(body),
                _ => Err(out_of_place()),
            },
            Kind::Programmed if self.all_sent() => {
                let left = self.shape.programmed.slots() - self.taken;
                let part = messages::chunk(body, self.shape.width(), left)?;
                self.taken += part.len();
                self.slots.extend(part.map(messages::value));
                if self.taken == self.shape.programmed.slots() {
                    self.decode()?;
                }
                Ok(())
            }
            _ => Err(out_of_place()),
        }
    }

    /// P, a store of the value of every key; A = a ^ P goes out, c stays.
    fn encode(&mut self) -> Result<(), Refusal> {
        let vole = self.vole.take().expect("called once").finish()?;
        let setup = &self.shape.setup;
        let digests = digests(self.digests.as_ref())?;
        let (keys, values) = setup
            .workers
            .install(|| setup.item.items(digests, setup.value_mask()));
        // Refuses a digest that stands twice.
        let mut fill = setup.stream("opprf/store");
        let mut masked = setup.store.encode(&keys, &values, setup.bits, &mut fill)?;
        for (slot, a) in masked.iter_mut().zip(&vole.a) {
            *slot ^= a;
        }
        (self.keys, self.masked, self.values) = (keys, masked, vole.c);
        Ok(())
    }

    /// The function at every own key.
    fn evaluate(&mut self) -> Result<(), Refusal> {
        if self.evaluated {
            return Ok(());
        }
        let setup = &self.shape.setup;
        let mut elements = vec![0; self.keys.len()];
        setup
            .store
            .decode_into(&self.keys, &self.values, &mut elements)?;
        self.values.zeroize();
        let digests = digests(self.digests.as_ref())?;
        let (function, _) = setup
            .workers
            .install(|| setup.tag.tags(digests, &elements, 0, false));
        elements.zeroize();
        (self.values, self.evaluated) = (function, true);
        Ok(())
    }

    /// Outputs: the function, with what the sender's store holds at the key.
    fn decode(&mut self) -> Result<(), Refusal> {
        self.evaluate()?;
        let mut found = vec![0; self.keys.len()];
        self.shape
            .programmed
            .decode_into(&self.keys, &self.slots, &mut found)?;
        let mask = self.shape.mask();
        for (value, found) in self.values.iter_mut().zip(found) {
            *value = (*value ^ found) & mask;
        }
        (self.keys, self.slots) = (Vec::new(), Vec::new());
        Ok(())
    }

    pub(crate) fn done(&self) -> bool {
        self.taken == self.shape.programmed.slots()
    }

    pub(crate) fn outputs(&self) -> &[u128] {
        &self.values
    }

    pub(crate) fn worked(&self) -> usize {
        self.sent_masked + self.taken
    }
}
