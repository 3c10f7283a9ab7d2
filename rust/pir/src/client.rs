//! The asker's steps: a query for one column, and the column from the answer.

use atoll_primitives::stream::Stream;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::message::{encode, parse};
use crate::parameters::{N, SCALE_BITS};
use crate::products::products;
use crate::{Hint, Matrix, Refusal, Version, noise};

/// All of a query but its column, made ahead of need: most of the work does not depend on the column.
pub struct Prepared {
    version: Version,
    secret: Zeroizing<Vec<u32>>,
    /// Matrix times secret, and noise.
    mask: Zeroizing<Vec<u32>>,
    /// Hint times secret.
    pad: Zeroizing<Vec<u32>>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prepared")
    }
}

impl Prepared {
    /// The query for `column`; `E_RANGE` outside the table. The time does not depend on the column.
    pub fn query(mut self, column: usize) -> Result<(QueryState, Vec<u8>), Refusal> {
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
        let query = encode(&self.version, &self.mask);
        let state = QueryState {
            version: self.version,
            pad: self.pad,
        };
        Ok((state, query))
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
        let columns = self.matrix.columns();
        let mut found: Vec<Prepared> = streams
            .iter_mut()
            .map(|stream| {
                let mut secret = Zeroizing::new(vec![0; N]);
                secret.fill_with(|| u32::from_le_bytes(stream.bytes()));
                let mut mask = Zeroizing::new(vec![0; columns]);
                noise::fill(stream, &mut mask);
                Prepared {
                    version: *self.hint.version(),
                    secret,
                    mask,
                    pad: Zeroizing::default(),
                }
            })
            .collect();
        let secrets: Vec<&[u32]> = found.iter().map(|one| one.secret.as_slice()).collect();
        let mut masks = products(self.matrix.words(), &secrets);
        for (one, mask) in found.iter_mut().zip(&mut masks) {
            for (word, product) in one.mask.iter_mut().zip(mask.iter()) {
                *word = word.wrapping_add(*product);
            }
            mask.zeroize();
        }
        self.renew(&mut found);
        found
    }

    /// Brings what was prepared with an earlier version of the hint to this one.
    pub fn renew(&self, prepared: &mut [Prepared]) {
        let secrets: Vec<&[u32]> = prepared.iter().map(|one| one.secret.as_slice()).collect();
        let pads = products(self.hint.words(), &secrets);
        for (one, pad) in prepared.iter_mut().zip(pads) {
            one.pad = Zeroizing::new(pad);
            one.version = *self.hint.version();
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
