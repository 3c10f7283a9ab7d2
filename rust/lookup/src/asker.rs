//! The asker: blinds keys, takes the function's values out of the holder's answer, and opens cells of a column.

use atoll_primitives::stream::Stream;
use atoll_psi::group::{Point, parse as parse_point};
use atoll_psi::voprf::{Blinds, Hasher, MAX_BATCH, Proof, PublicKey, finalize};
use curve25519_dalek::ristretto::RistrettoPoint;

use crate::seal::{Place, RecordKey, derive};
use crate::{Refusal, Shape};

/// Keys that were blinded, until the holder's evaluation is there.
pub struct Blinded {
    digests: Vec<[u8; 32]>,
    blinds: Blinds,
    points: Vec<RistrettoPoint>,
    bytes: Vec<Point>,
}

impl std::fmt::Debug for Blinded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lookup::Blinded")
    }
}

impl Blinded {
    /// Blinds 1 to 65,535 keys (digests of 32 bytes); `E_FORMAT` for other lengths.
    pub fn new(digests: &[u8], stream: &mut Stream) -> Result<Self, Refusal> {
        let (digests, rest) = digests.as_chunks::<32>();
        if !rest.is_empty() || !(1..=MAX_BATCH).contains(&digests.len()) {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("1 to {MAX_BATCH} keys of 32 bytes are blinded at once"),
            ));
        }
        let blinds = Blinds::draw(digests.len(), stream);
        let points = blinds.blind(&Hasher::default(), digests);
        Ok(Self {
            digests: digests.to_vec(),
            bytes: points.iter().map(|point| point.compress().0).collect(),
            blinds,
            points,
        })
    }

    /// What the holder is sent: 32 bytes for each key.
    pub fn message(&self) -> Vec<u8> {
        self.bytes.as_flattened().to_vec()
    }

    /// Those of the keys, by their places, that the holder evaluates; `E_RANGE` for a place that is not there.
    pub fn select(self, places: &[usize]) -> Result<Self, Refusal> {
        let outside = || {
            Refusal::new(
                "E_RANGE",
                format!("{} keys were blinded", self.digests.len()),
            )
        };
        let blinds = self.blinds.select(places).ok_or_else(outside)?;
        Ok(Self {
            digests: places.iter().map(|at| self.digests[*at]).collect(),
            points: places.iter().map(|at| self.points[*at]).collect(),
            bytes: places.iter().map(|at| self.bytes[*at]).collect(),
            blinds,
        })
    }

    /// What opens each key's record, from the holder's evaluation under `public`.
    ///
    /// `E_PROTOCOL` for a wrong length, bytes that are no elements, or a proof that does not hold.
    pub fn finish(
        self,
        evaluation: &[u8],
        public: &[u8; 32],
        salt: &[u8; 16],
        shape: &Shape,
    ) -> Result<Vec<Key>, Refusal> {
        let key = PublicKey::parse(public)
            .ok_or_else(|| Refusal::protocol("the function's key is no element"))?;
        let (proof, elements) = evaluation
            .split_first_chunk::<64>()
            .ok_or_else(|| Refusal::protocol("an evaluation begins with a proof"))?;
        let (elements, rest) = elements.as_chunks::<32>();
        if !rest.is_empty() || elements.len() != self.digests.len() {
            return Err(Refusal::protocol(
                "an evaluation has one element for each key",
            ));
        }
        let proof = Proof::parse(proof)
            .ok_or_else(|| Refusal::protocol("a proof's scalars are not canonical"))?;
        let points: Vec<RistrettoPoint> =
            elements
                .iter()
                .map(parse_point)
                .collect::<Option<_>>()
                .ok_or_else(|| Refusal::protocol("an evaluated key is no element of the group"))?;
        if !key.verify((&self.points, &points), &self.bytes, elements, &proof) {
            return Err(Refusal::protocol(
                "the proof does not show the key of this epoch",
            ));
        }
        let outputs = self.blinds.unblind(&key, &points);
        let opened = |(digest, element): (&[u8; 32], &Point)| {
            let (record, column) = derive(&finalize(digest, element), salt, shape.columns());
            Key {
                record,
                column,
                shape: *shape,
            }
        };
        Ok(self.digests.iter().zip(&outputs).map(opened).collect())
    }
}

/// One key of the asker, evaluated: where its record is if there is one, and what opens it.
#[derive(Debug, Clone)]
pub struct Key {
    record: RecordKey,
    column: u32,
    shape: Shape,
}

impl Key {
    /// The column to fetch.
    pub fn column(&self) -> usize {
        self.column as usize
    }

    /// The key's record in its column; None if there is none, or if its cell was damaged. `E_FORMAT` for a column of
    /// another length.
    ///
    /// Every cell is tried, and a column without the key costs one opening more, so that what follows a hit does not
    /// follow sooner or later than what follows a miss.
    pub fn open(&self, column: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let size = self.shape.cell_bytes();
        if column.len() != self.shape.column_bytes() {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("a column has {} bytes", self.shape.column_bytes()),
            ));
        }
        let mut own = vec![0; size];
        let place = |slot: usize| Place {
            column: self.column,
            slot: slot as u32,
        };
        self.record
            .seal(place(0), 0, &vec![0; self.shape.record_bytes()], &mut own);
        let mut found = None;
        for (slot, cell) in column.chunks_exact(size).enumerate() {
            let record = self.record.open(place(slot), cell);
            if record.is_some() && found.is_none() {
                found = record;
            }
        }
        if found.is_none() {
            let extra = self.record.open(place(0), &own);
            std::hint::black_box(extra);
        }
        Ok(found)
    }
}
