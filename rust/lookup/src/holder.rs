//! The holder: builds a table of sealed cells, evaluates blinded keys, answers queries, and takes up changes.

use std::collections::BTreeMap;
use std::ops::Range;

use atoll_pir::{Hint, Matrix, Table, Version};
use atoll_primitives::stream::Stream;
use atoll_psi::group::parse as parse_point;
use atoll_psi::pool;
use atoll_psi::voprf::{Hasher, Key, MAX_BATCH, finalize};
use curve25519_dalek::ristretto::RistrettoPoint;
use hashbrown::{HashMap, HashSet};
use rayon::prelude::*;

use crate::seal::{Place, RecordKey, derive, fill};
use crate::{Refusal, Shape};

/// A key as its digest.
pub type Digest = [u8; 32];
/// Keys that one thread evaluates at a time.
const BLOCK: usize = 128;
/// Placing fails with probability below 1/2 each time.
const DRAWS: usize = 64;

/// What a key of the table has: its sealing key and its column.
type Derived = (RecordKey, u32);
/// A salt, what it makes of each key, and how many keys each column has then.
type Placed = ([u8; 16], Vec<Derived>, Vec<usize>);

fn whole<'a>(
    digests: &'a [u8],
    records: &[u8],
    record_bytes: usize,
) -> Result<&'a [Digest], Refusal> {
    let (digests, rest) = digests.as_chunks::<32>();
    if !rest.is_empty() || records.len() != digests.len() * record_bytes {
        return Err(Refusal::new(
            "E_FORMAT",
            format!("a key has 32 bytes, and a record of {record_bytes}"),
        ));
    }
    Ok(digests)
}

/// The holder's side of one epoch: a key of the function, and the table that is sealed under it.
pub struct Holder {
    key: Key,
    salt: [u8; 16],
    shape: Shape,
    table: Table,
    places: HashMap<Digest, u32>,
    writes: Vec<u32>,
    used: Vec<bool>,
    filler: Stream,
    workers: rayon::ThreadPool,
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lookup::Holder")
    }
}

impl Holder {
    /// Seals a table.
    ///
    /// `digests` are distinct keys of 32 bytes, `records` as many records of `record_bytes` bytes; `secret` gives the
    /// key of the function, `filler` what cells hold that hold nothing, and where records stand. `E_RANGE` for sizes
    /// outside, `E_FORMAT` for lengths, `E_DUPLICATE` if a key comes twice.
    pub fn build(
        secret: &[u8; 32],
        mut filler: Stream,
        version: Version,
        digests: &[u8],
        records: &[u8],
        record_bytes: usize,
        threads: usize,
    ) -> Result<Self, Refusal> {
        let digests = whole(digests, records, record_bytes)?;
        let shape = Shape::choose(digests.len(), record_bytes)?;
        let key = Key::derive(secret, b"sealed-lookup/v1")?;
        let workers = pool(threads)?;
        let outputs = evaluated(&key, digests, &workers);
        let (salt, derived, loads) = Self::placed(&outputs, &shape, &mut filler, &workers)?;
        let free = (0..shape.columns()).map(|_| filler.permutation(shape.cells() as u32));
        let mut free: Vec<Vec<u32>> = free.collect();
        let mut places = HashMap::with_capacity(digests.len());
        // Items of each column, by slot.
        let mut items: Vec<Vec<(u32, usize)>> =
            loads.iter().map(|&load| Vec::with_capacity(load)).collect();
        let mut used = vec![false; shape.columns() * shape.cells()];
        for (item, (digest, (_, column))) in digests.iter().zip(&derived).enumerate() {
            let column = *column as usize;
            let slot = free[column]
                .pop()
                .expect("the load of a column is within its cells");
            let at = column * shape.cells() + slot as usize;
            if places.insert(*digest, at as u32).is_some() {
                return Err(Refusal::new(
                    "E_DUPLICATE",
                    "a key has more than one record",
                ));
            }
            used[at] = true;
            items[column].push((slot, item));
        }
        let mut cells = vec![0; shape.columns() * shape.column_bytes()];
        for cell in cells.chunks_exact_mut(shape.cell_bytes()) {
            fill(0, &mut filler, cell);
        }
        workers.install(|| {
            let columns = cells.par_chunks_exact_mut(shape.column_bytes());
            columns.zip(&items).for_each(|(column, items)| {
                for &(slot, item) in items {
                    let (key, number) = &derived[item];
                    let record = &records[item * record_bytes..][..record_bytes];
                    let cell =
                        &mut column[slot as usize * shape.cell_bytes()..][..shape.cell_bytes()];
                    key.seal(
                        Place {
                            column: *number,
                            slot,
                        },
                        0,
                        record,
                        cell,
                    );
                }
            });
        });
        Ok(Self {
            key,
            salt,
            table: Table::new(shape.layout()?, version, &cells)?,
            writes: vec![0; used.len()],
            shape,
            places,
            used,
            filler,
            workers,
        })
    }

    /// Draws salts until every column takes its keys.
    fn placed(
        outputs: &[[u8; 64]],
        shape: &Shape,
        stream: &mut Stream,
        workers: &rayon::ThreadPool,
    ) -> Result<Placed, Refusal> {
        for _ in 0..DRAWS {
            let salt = stream.bytes();
            let derived: Vec<Derived> = workers.install(|| {
                outputs
                    .par_iter()
                    .map(|output| derive(output, &salt, shape.columns()))
                    .collect()
            });
            let mut loads = vec![0usize; shape.columns()];
            for (_, column) in &derived {
                loads[*column as usize] += 1;
            }
            if loads.iter().all(|load| *load <= shape.cells()) {
                return Ok((salt, derived, loads));
            }
        }
        Err(Refusal::new(
            "E_DUPLICATE",
            "a key has more than one record",
        ))
    }

    /// The shape of the table.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// By what keys are placed.
    pub fn salt(&self) -> &[u8; 16] {
        &self.salt
    }

    /// The public key of the function.
    pub fn public(&self) -> &[u8; 32] {
        self.key.public()
    }

    /// The version that queries must name.
    pub fn version(&self) -> &Version {
        self.table.version()
    }

    /// Keys that have a record.
    pub fn keys(&self) -> usize {
        self.places.len()
    }

    /// What an asker needs once, for the public matrix of `seed`.
    pub fn hint(&self, seed: &[u8; 32]) -> Result<Vec<u8>, Refusal> {
        let matrix = Matrix::expand(seed, self.shape.columns());
        Ok(self.hint_words(&matrix)?.encode())
    }

    /// The hint for a public matrix.
    pub(crate) fn hint_words(&self, matrix: &Matrix) -> Result<Hint, Refusal> {
        Hint::compute(&self.table, matrix)
    }

    /// The sealed table, and the threads of its holder.
    pub(crate) fn parts(&self) -> (&Table, &rayon::ThreadPool) {
        (&self.table, &self.workers)
    }

    /// Evaluates blinded keys, at most `granted`: 64 bytes of proof, then 32 bytes for each.
    ///
    /// `E_PROTOCOL` for bytes that are no elements, `E_QUOTA` for more than are granted; nothing is evaluated then.
    pub fn evaluate(
        &self,
        blinded: &[u8],
        granted: usize,
        stream: &mut Stream,
    ) -> Result<Vec<u8>, Refusal> {
        let (elements, rest) = blinded.as_chunks::<32>();
        if !rest.is_empty() || elements.is_empty() || elements.len() > MAX_BATCH {
            return Err(Refusal::protocol("blinded keys have 32 bytes each"));
        }
        if elements.len() > granted {
            return Err(Refusal::new(
                "E_QUOTA",
                "more keys than calls that are granted",
            ));
        }
        let points: Vec<RistrettoPoint> =
            elements
                .iter()
                .map(parse_point)
                .collect::<Option<_>>()
                .ok_or_else(|| Refusal::protocol("a blinded key is no element of the group"))?;
        let evaluated = self.key.evaluate(&points);
        let proof = self.key.prove(&points, elements, &evaluated, stream);
        Ok([&proof.to_bytes()[..], evaluated.as_flattened()].concat())
    }

    /// Answers to queries in one pass; `E_FORMAT` or `E_STATE` if one is malformed or of another version.
    pub fn answer(&self, queries: &[&[u8]]) -> Result<Vec<Vec<u8>>, Refusal> {
        self.table.answer(queries)
    }

    /// The bytes of some columns, one after the other; `E_RANGE` outside the table.
    pub fn columns(&self, range: Range<usize>) -> Result<Vec<u8>, Refusal> {
        self.table.columns(range)
    }

    /// Takes up changes: `removed` keys go, `digests` come or get other records. Gives what askers apply to the hint.
    ///
    /// `E_NOT_FOUND` for a removed key that is not there, `E_DUPLICATE` for a key that is named twice, `E_TOO_LARGE` if
    /// a column is full: then the table is sealed anew, as another epoch. It is as before after a refusal.
    pub fn update(
        &mut self,
        version: Version,
        removed: &[u8],
        digests: &[u8],
        records: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let size = self.shape.record_bytes();
        let removed = whole(removed, &[], 0)?;
        let digests = whole(digests, records, size)?;
        let named: HashSet<&Digest> = removed.iter().chain(digests).collect();
        if named.len() != removed.len() + digests.len() {
            return Err(Refusal::new("E_DUPLICATE", "a change names a key twice"));
        }
        if version == *self.version() {
            return Err(Refusal::new(
                "E_STATE",
                "a changed table needs a new version",
            ));
        }
        let mut freed = Vec::with_capacity(removed.len());
        for digest in removed {
            let at = self.places.get(digest);
            freed.push(
                *at.ok_or_else(|| Refusal::new("E_NOT_FOUND", "a removed key has no record"))?
                    as usize,
            );
        }
        let outputs = evaluated(&self.key, digests, &self.workers);
        let mut used = self.used.clone();
        for &at in &freed {
            used[at] = false;
        }
        let mut writes = Vec::with_capacity(digests.len());
        for (digest, output) in digests.iter().zip(&outputs) {
            let (key, column) = derive(output, &self.salt, self.shape.columns());
            let at = match self.places.get(digest) {
                Some(at) => *at as usize,
                None => self.take_slot(&mut used, column)?,
            };
            writes.push((key, at));
        }
        for digest in removed {
            self.places.remove(digest);
        }
        for ((_, at), digest) in writes.iter().zip(digests) {
            self.places.insert(*digest, *at as u32);
        }
        // In the order of cells, each once: the order of the holder's rows, and which keys went, is not the asker's.
        let sealed = writes.iter().zip(records.chunks_exact(size));
        let mut cells: BTreeMap<usize, Option<(&RecordKey, &[u8])>> =
            freed.iter().map(|at| (*at, None)).collect();
        cells.extend(sealed.map(|((key, at), record)| (*at, Some((key, record)))));
        for (at, content) in cells {
            let write = self.next_write(at);
            let mut cell = vec![0; self.shape.cell_bytes()];
            match content {
                Some((key, record)) => key.seal(self.place(at), write, record, &mut cell),
                None => fill(write, &mut self.filler, &mut cell),
            }
            self.table.change(at, &cell)?;
        }
        self.used = used;
        Ok(self.table.publish(version)?.encode())
    }

    /// A free cell of a column, whichever.
    fn take_slot(&mut self, used: &mut [bool], column: u32) -> Result<usize, Refusal> {
        let first = column as usize * self.shape.cells();
        let free: Vec<usize> = (first..first + self.shape.cells())
            .filter(|at| !used[*at])
            .collect();
        if free.is_empty() {
            return Err(Refusal::new("E_TOO_LARGE", "a column of the table is full"));
        }
        let at = free[self.filler.below(free.len() as u64) as usize];
        used[at] = true;
        Ok(at)
    }

    fn place(&self, at: usize) -> Place {
        Place {
            column: (at / self.shape.cells()) as u32,
            slot: (at % self.shape.cells()) as u32,
        }
    }

    fn next_write(&mut self, at: usize) -> u32 {
        // A cell is written once a version; versions are fewer than 2^32.
        self.writes[at] += 1;
        self.writes[at]
    }
}

/// The function's values at keys of the holder's own.
fn evaluated(key: &Key, digests: &[Digest], workers: &rayon::ThreadPool) -> Vec<[u8; 64]> {
    let hasher = Hasher::default();
    let block = |inputs: &[Digest]| -> Vec<[u8; 64]> {
        let points: Vec<RistrettoPoint> = inputs.iter().map(|input| hasher.point(input)).collect();
        let elements = key.evaluate(&points);
        inputs
            .iter()
            .zip(&elements)
            .map(|(input, element)| finalize(input, element))
            .collect()
    };
    let blocks: Vec<Vec<[u8; 64]>> =
        workers.install(|| digests.par_chunks(BLOCK).map(block).collect());
    blocks.concat()
}
