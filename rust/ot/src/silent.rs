//! Silent correlations, common to VOLE and oblivious transfer: from a few chosen correlations to all leaves of punctured
//! trees (Boyle et al., eprint 2019/1159; Schoppmann et al., eprint 2019/1084).
//!
//! 1. The sender, who holds delta, is the receiver of the base transfers: message 1.
//! 2. The receiver chooses a point in each block and its value; base transfers and extension in one: message 2.
//! 3. The sender grows a tree for each block, and sends the sums of levels and of leaves: message 3.
//! 4. Malicious: the receiver names a point of the field and sends the masked hash of its noise: message 4.
//! 5. Malicious: the sender answers with a hash of its leaves' hash: message 5 (as in Weng et al., eprint 2020/925, and Yang et al.,
//!    eprint 2020/924). A wrong tree passes only where the sender guessed where the receiver's points do not lie.

use atoll_primitives::stream::Stream;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::base::{self, CHOICES_LEN, REPLY_LEN};
use crate::code::{Code, Element};
use crate::extend::{self, Chosen, Layout};
use crate::field::{self, mul};
use crate::ggm;
use crate::lpn::Noise;
use crate::prg::{Doubling, hash};
use crate::wire::{Inbox, Outbox, Reader};
use crate::{Refusal, Security};

const CHOICES: u8 = 1;
const EXTENSION: u8 = 2;
const TREES: u8 = 3;
const CHALLENGE: u8 = 4;
const PROOF: u8 = 5;
/// Powers of the challenge in a table.
const TABLE: usize = 512;

/// What both sides agree on.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    pub(crate) size: usize,
    pub(crate) bits: u32,
    pub(crate) security: Security,
    pub(crate) threads: usize,
    pub(crate) context: [u8; 16],
}

impl Parameters {
    fn malicious(&self) -> bool {
        self.security == Security::Malicious
    }

    /// The chosen correlations: a bit for each level, then each noise value, then the mask of the check. A noise value of
    /// one bit is always 1, and goes with the bits.
    fn layout(&self, noise: &Noise) -> Layout {
        let narrow = self.bits == 1;
        Layout {
            choices: noise.transfers() + if narrow { noise.weight } else { 0 },
            values: if narrow { 0 } else { noise.weight },
            bits: self.bits,
            wide: usize::from(self.malicious()),
            security: self.security,
        }
    }

    fn trees_len(noise: &Noise) -> usize {
        noise.weight * (2 * noise.shape.depth + 1) * 16
    }

    /// Runs `work` on as many threads as were asked for.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Refusal> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads.max(1))
            .build()
            .map_err(|error| {
                Refusal::new(
                    "E_MEMORY",
                    format!("cannot start {} threads: {error}", self.threads),
                )
            })?;
        Ok(pool.install(work))
    }
}

/// Lengths of the bodies of messages 1 to 3 of a semi-honest run.
pub(crate) fn bodies(size: usize, bits: u32) -> Result<[usize; 3], Refusal> {
    let noise = Noise::new(size, bits)?;
    let parameters = Parameters {
        size,
        bits,
        security: Security::SemiHonest,
        threads: 1,
        context: [0; 16],
    };
    let extension = REPLY_LEN + parameters.layout(&noise).length();
    Ok([CHOICES_LEN, extension, Parameters::trees_len(&noise)])
}

fn out_of_turn() -> Refusal {
    Refusal::protocol("a message comes where none is due")
}

fn spent() -> Refusal {
    Refusal::new("E_STATE", "the correlation has failed or is not done")
}

/// What the sender's proof must be for a hash of all leaves.
fn proof(context: &[u8; 16], transcript: &[u8; 32], sum: u128) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"atoll ot tree proof v1")
        .chain_update(context)
        .chain_update(transcript)
        .chain_update(sum.to_le_bytes())
        .finalize()
        .into()
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

enum SenderState {
    Base(base::Receiver),
    Challenge { mask: u128, transcript: [u8; 32] },
    Done,
    Failed,
}

/// The side that knows delta and all leaves.
pub(crate) struct Sender {
    parameters: Parameters,
    noise: Noise,
    delta: u128,
    randomness: Stream,
    leaves: Vec<u128>,
    state: SenderState,
    inbox: Inbox,
    outbox: Outbox,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.delta.zeroize();
    }
}

impl Sender {
    pub(crate) fn new(parameters: Parameters, mut randomness: Stream) -> Result<Self, Refusal> {
        let noise = Noise::new(parameters.size, parameters.bits)?;
        let delta = u128::from_le_bytes(randomness.bytes());
        let base = base::Receiver::new(delta, parameters.context, &mut randomness);
        let mut outbox = Outbox::default();
        outbox.put(CHOICES, base.message().to_vec());
        let length = REPLY_LEN + parameters.layout(&noise).length();
        Ok(Self {
            parameters,
            noise,
            delta,
            randomness,
            leaves: Vec::new(),
            state: SenderState::Base(base),
            inbox: Inbox::new(EXTENSION, length),
            outbox,
        })
    }

    pub(crate) fn next_message(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        match self.state {
            SenderState::Failed => Err(spent()),
            _ => Ok(self.outbox.next()),
        }
    }

    pub(crate) fn done(&self) -> bool {
        matches!(self.state, SenderState::Done) && self.outbox.is_empty()
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let state = std::mem::replace(&mut self.state, SenderState::Failed);
        self.state = match state {
            SenderState::Failed => return Err(spent()),
            SenderState::Done => return Err(out_of_turn()),
            _ if !self.outbox.is_empty() => return Err(out_of_turn()),
            state => match self.inbox.take(bytes)? {
                None => state,
                Some(body) => self.step(state, &body)?,
            },
        };
        Ok(())
    }

    fn step(&mut self, state: SenderState, body: &[u8]) -> Result<SenderState, Refusal> {
        match state {
            SenderState::Base(base) => self.trees(base, body),
            SenderState::Challenge { mask, transcript } => {
                let mut reader = Reader(body);
                let (point, masked) = (reader.value()?, reader.value()?);
                let (leaves, table) = (&self.leaves, field::powers(point, TABLE));
                let sum = self.parameters.run(|| hash_leaves(leaves, point, &table))?;
                let sum = sum ^ mul(masked, self.delta) ^ mask;
                let transcript = digest(&[&transcript, body]);
                let proof = proof(&self.parameters.context, &transcript, sum);
                self.outbox.put(PROOF, proof.to_vec());
                Ok(SenderState::Done)
            }
            SenderState::Done | SenderState::Failed => Err(spent()),
        }
    }

    /// Step 3.
    fn trees(&mut self, base: base::Receiver, body: &[u8]) -> Result<SenderState, Refusal> {
        let (noise, context) = (self.noise, self.parameters.context);
        let layout = self.parameters.layout(&noise);
        let (reply, extension) = body.split_at(REPLY_LEN);
        let first = base.message().to_vec();
        let keys = base.finish(reply)?;
        let bound = digest(&[&first, reply]);
        let sums = extend::correlate(&layout, &keys, self.delta, &context, &bound, extension)?;
        let (transfers, rest) = sums.split_at(noise.transfers());
        let (values, wide) = rest.split_at(noise.weight);
        let pads = [0, self.delta].map(|shift| {
            let inputs: Vec<u128> = transfers.iter().map(|b| b ^ shift).collect();
            hash("atoll ot tree pads", &context, 0, &inputs)
        });
        let depth = noise.shape.depth;
        let mut roots = vec![0u128; noise.weight];
        roots.fill_with(|| u128::from_le_bytes(self.randomness.bytes()));
        let mut leaves = vec![0u128; noise.length()];
        let doubling = Doubling::new(&context);
        let parts: Vec<Vec<u8>> = self.parameters.run(|| {
            (leaves
                .par_chunks_exact_mut(noise.shape.leaves)
                .zip(&roots)
                .enumerate())
            .map_init(
                || (vec![0; ggm::spare(noise.shape)], vec![[0; 2]; depth]),
                |(spare, level_sums), (tree, (leaves, root))| {
                    ggm::grow(noise.shape, &doubling, *root, leaves, spare, level_sums);
                    let mut part = Vec::with_capacity((2 * depth + 1) * 16);
                    for (level, sums) in level_sums.iter().enumerate() {
                        for (sum, pad) in sums.iter().zip(&pads) {
                            part.extend((sum ^ pad[tree * depth + level]).to_le_bytes());
                        }
                    }
                    let whole = level_sums[depth - 1][0] ^ level_sums[depth - 1][1];
                    part.extend((whole ^ values[tree]).to_le_bytes());
                    part
                },
            )
            .collect()
        })?;
        roots.zeroize();
        let message = parts.concat();
        let transcript = digest(&[&digest(&[&bound, extension]), &message]);
        self.leaves = leaves;
        self.outbox.put(TREES, message);
        Ok(match wide {
            [mask] => {
                self.inbox = Inbox::new(CHALLENGE, 32);
                SenderState::Challenge {
                    mask: *mask,
                    transcript,
                }
            }
            _ => SenderState::Done,
        })
    }

    /// Delta, and the `size` values of the code over all leaves.
    pub(crate) fn finish(mut self) -> Result<(u128, Vec<u128>), Refusal> {
        if !self.done() {
            return Err(spent());
        }
        let mut leaves = std::mem::take(&mut self.leaves);
        let code = Code::new(self.noise.rows, &self.parameters.context);
        let leaves = &mut leaves;
        let size = self.parameters.size;
        self.parameters.run(|| code.encode(leaves, size))?;
        Ok((self.delta, std::mem::take(leaves)))
    }
}

/// The hash of all leaves under a point, in pieces whose bounds do not depend on threads.
fn hash_leaves(leaves: &[u128], point: u128, table: &[u128]) -> u128 {
    const PIECE: usize = 1 << 16;
    let step = field::power(point, TABLE);
    (leaves.par_chunks(PIECE).enumerate())
        .map(|(i, piece)| {
            mul(
                field::evaluate(piece, table, step),
                field::power(point, i * PIECE),
            )
        })
        .reduce(|| 0, |a, b| a ^ b)
}

enum ReceiverState {
    Base,
    Trees {
        sums: Vec<u128>,
        wide: u128,
        transcript: [u8; 32],
    },
    Proof([u8; 32]),
    Done,
    Failed,
}

/// The side that knows all leaves but one in each block.
pub(crate) struct Receiver<T: Element> {
    parameters: Parameters,
    noise: Noise,
    randomness: Stream,
    /// Where the noise lies in each block.
    points: Vec<usize>,
    /// The noise, not zero, below 2^bits.
    values: Vec<u128>,
    leaves: Vec<T>,
    state: ReceiverState,
    inbox: Inbox,
    outbox: Outbox,
}

impl<T: Element> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.points.zeroize();
        self.values.zeroize();
    }
}

impl<T: Element> Receiver<T> {
    pub(crate) fn new(parameters: Parameters, mut randomness: Stream) -> Result<Self, Refusal> {
        let noise = Noise::new(parameters.size, parameters.bits)?;
        let points = (0..noise.weight)
            .map(|_| randomness.below(noise.shape.leaves as u64) as usize)
            .collect();
        let top = u128::MAX >> (128 - parameters.bits);
        let values = (0..noise.weight)
            .map(|_| {
                loop {
                    let value = u128::from_le_bytes(randomness.bytes()) & top;
                    if value != 0 {
                        return value;
                    }
                }
            })
            .collect();
        Ok(Self {
            parameters,
            noise,
            randomness,
            points,
            values,
            leaves: Vec::new(),
            state: ReceiverState::Base,
            inbox: Inbox::new(CHOICES, CHOICES_LEN),
            outbox: Outbox::default(),
        })
    }

    pub(crate) fn next_message(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        match self.state {
            ReceiverState::Failed => Err(spent()),
            _ => Ok(self.outbox.next()),
        }
    }

    pub(crate) fn done(&self) -> bool {
        matches!(self.state, ReceiverState::Done) && self.outbox.is_empty()
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let state = std::mem::replace(&mut self.state, ReceiverState::Failed);
        self.state = match state {
            ReceiverState::Failed => return Err(spent()),
            ReceiverState::Done => return Err(out_of_turn()),
            _ if !self.outbox.is_empty() => return Err(out_of_turn()),
            state => match self.inbox.take(bytes)? {
                None => state,
                Some(body) => self.step(state, &body)?,
            },
        };
        Ok(())
    }

    fn step(&mut self, state: ReceiverState, body: &[u8]) -> Result<ReceiverState, Refusal> {
        match state {
            ReceiverState::Base => self.extension(body),
            ReceiverState::Trees {
                sums,
                wide,
                transcript,
            } => self.grow(body, &sums, wide, &transcript),
            ReceiverState::Proof(expected) => {
                if bool::from(body.ct_eq(&expected)) {
                    Ok(ReceiverState::Done)
                } else {
                    Err(Refusal::protocol(
                        "the trees of the peer are not consistent",
                    ))
                }
            }
            ReceiverState::Done | ReceiverState::Failed => Err(spent()),
        }
    }

    /// Step 2.
    fn extension(&mut self, first: &[u8]) -> Result<ReceiverState, Refusal> {
        let (noise, context) = (self.noise, self.parameters.context);
        let layout = self.parameters.layout(&noise);
        let (keys, mut message) = base::send(first, &context, &mut self.randomness)?;
        let bound = digest(&[first, &message]);
        // The sum of the side that the path does not take is what is asked for.
        let mut choices: Vec<bool> = (self.points.iter())
            .flat_map(|p| (0..noise.shape.depth).map(move |l| noise.shape.turn(*p, l) == 0))
            .collect();
        choices.resize(layout.choices, true);
        let wide = u128::from_le_bytes(self.randomness.bytes());
        let chosen = Chosen {
            choices: &choices,
            values: &self.values[..layout.values],
            wide: &[wide][..layout.wide],
        };
        let (extension, sums) = extend::choose(
            &layout,
            &keys,
            &chosen,
            &context,
            &bound,
            &mut self.randomness,
        );
        let transcript = digest(&[&bound, &extension]);
        message.extend(&extension);
        self.outbox.put(EXTENSION, message);
        self.inbox = Inbox::new(TREES, Parameters::trees_len(&noise));
        choices.zeroize();
        Ok(ReceiverState::Trees {
            sums,
            wide,
            transcript,
        })
    }

    /// Steps 3 and 4.
    fn grow(
        &mut self,
        body: &[u8],
        sums: &[u128],
        wide: u128,
        transcript: &[u8; 32],
    ) -> Result<ReceiverState, Refusal> {
        let (noise, context) = (self.noise, self.parameters.context);
        let (depth, count) = (noise.shape.depth, noise.shape.leaves);
        let (transfers, rest) = sums.split_at(noise.transfers());
        let pads = hash("atoll ot tree pads", &context, 0, transfers);
        let malicious = self.parameters.malicious();
        let point = if malicious {
            u128::from_le_bytes(self.randomness.bytes())
        } else {
            0
        };
        let (table, step) = (field::powers(point, TABLE), field::power(point, TABLE));
        let doubling = Doubling::new(&context);
        let (points, parameters) = (&self.points, &self.parameters);
        let mut leaves = vec![T::default(); noise.length()];
        let sum = parameters.run(|| {
            (leaves
                .par_chunks_exact_mut(count)
                .zip(body.par_chunks_exact((2 * depth + 1) * 16))
                .enumerate())
            .map_init(
                || (vec![0u128; count], vec![0u128; ggm::spare(noise.shape)]),
                |(grown, spare), (tree, (out, part))| {
                    let parts: Vec<u128> = part
                        .as_chunks()
                        .0
                        .iter()
                        .map(|v| u128::from_le_bytes(*v))
                        .collect();
                    let at = points[tree];
                    let known: Vec<u128> = (0..depth)
                        .map(|l| {
                            parts[2 * l + 1 - noise.shape.turn(at, l)] ^ pads[tree * depth + l]
                        })
                        .collect();
                    ggm::grow_punctured(noise.shape, &doubling, at, &known, grown, spare);
                    // What is missing is the leaf plus noise times delta.
                    grown[at] = grown
                        .iter()
                        .fold(parts[2 * depth] ^ rest[tree], |s, v| s ^ v);
                    for (out, leaf) in out.iter_mut().zip(&*grown) {
                        *out = T::leaf(*leaf);
                    }
                    if !malicious {
                        return 0;
                    }
                    mul(
                        field::evaluate(grown, &table, step),
                        field::power(point, tree * count),
                    )
                },
            )
            .reduce(|| 0, |a, b| a ^ b)
        })?;
        self.leaves = leaves;
        if !malicious {
            return Ok(ReceiverState::Done);
        }
        let noisy = (self.points.iter().zip(&self.values).enumerate())
            .fold(0, |s, (tree, (p, v))| {
                s ^ mul(*v, field::power(point, tree * count + p))
            });
        let message: Vec<u8> = [point, noisy ^ wide]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let transcript = digest(&[transcript, body]);
        let expected = proof(
            &context,
            &digest(&[&transcript, &message]),
            sum ^ rest[noise.weight],
        );
        self.outbox.put(CHALLENGE, message);
        self.inbox = Inbox::new(PROOF, expected.len());
        Ok(ReceiverState::Proof(expected))
    }

    /// Rows of the code.
    pub(crate) fn rows(&self) -> usize {
        self.noise.rows
    }

    /// The `size` values of the code over all leaves, after `noise` has put points and values into them.
    pub(crate) fn finish(
        mut self,
        noise: impl FnOnce(&mut [T], &mut dyn Iterator<Item = (usize, u128)>),
    ) -> Result<Vec<T>, Refusal> {
        if !self.done() {
            return Err(spent());
        }
        let mut leaves = std::mem::take(&mut self.leaves);
        let count = self.noise.shape.leaves;
        let mut places = (self.points.iter().zip(&self.values).enumerate())
            .map(|(tree, (point, value))| (tree * count + point, *value));
        noise(&mut leaves, &mut places);
        let code = Code::new(self.noise.rows, &self.parameters.context);
        let (size, out) = (self.parameters.size, &mut leaves);
        self.parameters.run(|| code.encode(out, size))?;
        Ok(leaves)
    }
}

#[cfg(test)]
mod tests;
