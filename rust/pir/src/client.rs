//! The asker's steps: a query for one column, and the column from the answer.

use atoll_primitives::stream::Stream;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::message::{encode, parse};
use crate::parameters::{N, SCALE_BITS};
use crate::products::products;
use crate::{Hint, Matrix, Refusal, Version, noise};

/// All of a query but its column: its secret, and what hides the column.
pub struct Masked {
    version: Version,
    secret: Zeroizing<Vec<u32>>,
    /// Matrix times secret, and noise.
    mask: Zeroizing<Vec<u32>>,
}

impl std::fmt::Debug for Masked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Masked")
    }
}

/// A uniform secret, as queries have whose asker keeps the hint.
pub fn uniform(stream: &mut Stream, secret: &mut [u32]) {
    secret.fill_with(|| u32::from_le_bytes(stream.bytes()));
}

impl Masked {
    /// One for each stream, with secret (as `draw` fills it: `uniform`, or `noise::fill` for a short one) and noise from
    /// its next bytes. The matrix is read once for all.
    ///
    /// A stream must never be begun again: two queries under one secret differ where their columns do.
    pub fn prepare(
        matrix: &Matrix,
        version: &Version,
        streams: &mut [Stream],
        draw: fn(&mut Stream, &mut [u32]),
    ) -> Vec<Self> {
        let mut found: Vec<Self> = streams
            .iter_mut()
            .map(|stream| {
                let mut secret = Zeroizing::new(vec![0; N]);
                draw(stream, &mut secret);
                let mut mask = Zeroizing::new(vec![0; matrix.columns()]);
                noise::fill(stream, &mut mask);
                Self {
                    version: *version,
                    secret,
                    mask,
                }
            })
            .collect();
        let secrets: Vec<&[u32]> = found.iter().map(|one| one.secret.as_slice()).collect();
        let mut masks = products(matrix.words(), &secrets);
        for (one, mask) in found.iter_mut().zip(&mut masks) {
            for (word, product) in one.mask.iter_mut().zip(mask.iter()) {
                *word = word.wrapping_add(*product);
            }
            mask.zeroize();
        }
        found
    }

    /// The secret, `N` words.
    pub fn secret(&self) -> &[u32] {
        &self.secret
    }

    /// The query for `column`; `E_RANGE` outside the table. The time does not depend on the column.
    pub fn query(mut self, column: usize) -> Result<Vec<u8>, Refusal> {
        if column >= self.mask.len() {
            return Err(Refusal::new(
                "E_RANGE",
                format!("the table has {} columns", self.mask.len()),
            ));
        }
        for (j, word) in self.mask.iter_mut().enumerate() {
            let chosen = u32::from((j as u64).ct_eq(&(column as u64)).unwrap_u8());
            *word = word.wrapping_add(chosen << SCALE_BITS);
        }
        Ok(encode(&self.version, &self.mask))
    }
}

/// A query but for its column, made ahead of need with what opens its answer: most work does not depend on the column.
#[derive(Debug)]
pub struct Prepared {
    masked: Masked,
    pad: Pad,
}

/// Hint times secret.
struct Pad(Zeroizing<Vec<u32>>);

impl std::fmt::Debug for Pad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pad")
    }
}

impl Prepared {
    /// The query for `column`; `E_RANGE` outside the table. The time does not depend on the column.
    pub fn query(self, column: usize) -> Result<(QueryState, Vec<u8>), Refusal> {
        let state = QueryState {
            version: self.masked.version,
            pad: self.pad.0,
        };
        Ok((state, self.masked.query(column)?))
    }
}

/// What takes the mask off one answer. Recovering consumes it: a secret serves one query, one answer.
pub struct QueryState {
    version: Version,
    pad: Zeroizing<Vec<u32>>,
}

impl std::fmt::Debug for QueryState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueryState")
    }
}

/// Asks for columns of one version of a table, with its hint and its public matrix.
#[derive(Debug)]
pub struct Client<'a> {
    hint: &'a Hint,
    matrix: &'a Matrix,
}

impl<'a> Client<'a> {
    /// `E_STATE` for a matrix of other columns than the hint's table.
    pub fn new(hint: &'a Hint, matrix: &'a Matrix) -> Result<Self, Refusal> {
        if matrix.columns() != hint.layout().columns() {
            return Err(Refusal::new(
                "E_STATE",
                "the matrix is of a table with other columns",
            ));
        }
        Ok(Self { hint, matrix })
    }

    /// Queries without their columns, one for each stream, with secret and noise from its next bytes.
    ///
    /// Matrix and hint are read once for all of them. A stream must never be begun again: two queries under one
    /// secret differ where their columns do.
    pub fn prepare(&self, streams: &mut [Stream]) -> Vec<Prepared> {
        let masked = Masked::prepare(self.matrix, self.hint.version(), streams, uniform);
        let with_pad = |masked| Prepared {
            masked,
            pad: Pad(Zeroizing::default()),
        };
        let mut found: Vec<Prepared> = masked.into_iter().map(with_pad).collect();
        self.renew(&mut found);
        found
    }

    /// Brings what was prepared with an earlier version of the hint to this one.
    pub fn renew(&self, prepared: &mut [Prepared]) {
        let secrets: Vec<&[u32]> = prepared.iter().map(|one| one.masked.secret()).collect();
        let pads = products(self.hint.words(), &secrets);
        for (one, pad) in prepared.iter_mut().zip(pads) {
            one.pad = Pad(Zeroizing::new(pad));
            one.masked.version = *self.hint.version();
        }
    }

    /// A query for `column`, with secret and noise from the next bytes of `stream`; `E_RANGE` outside the table.
    pub fn query(
        &self,
        column: usize,
        stream: &mut Stream,
    ) -> Result<(QueryState, Vec<u8>), Refusal> {
        let [prepared] = self
            .prepare(std::slice::from_mut(stream))
            .try_into()
            .expect("one for one stream");
        prepared.query(column)
    }

    /// The column (`column_bytes` bytes) that an answer holds; `E_FORMAT` for a wrong length, `E_STATE` for a
    /// state or an answer of another version. Of a holder that cheats the bytes are whatever he makes them.
    pub fn recover(&self, state: QueryState, answer: &[u8]) -> Result<Vec<u8>, Refusal> {
        if state.version != *self.hint.version() {
            return Err(Refusal::new(
                "E_STATE",
                "the query is of another version of the table",
            ));
        }
        let words = parse(answer, &state.version, self.hint.layout().column_bytes())?;
        let half = 1u32 << (SCALE_BITS - 1);
        let cell = |(word, pad): (u32, &u32)| {
            (word.wrapping_sub(*pad).wrapping_add(half) >> SCALE_BITS) as u8
        };
        Ok(words.into_iter().zip(state.pad.iter()).map(cell).collect())
    }
}
