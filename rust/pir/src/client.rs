//! The asker's steps: a query for one column, and the column from the answer.

use atoll_primitives::stream::Stream;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::hint::inner;
use crate::message::{encode, parse};
use crate::parameters::{N, SCALE_BITS};
use crate::{Hint, Matrix, Refusal, Version, noise};

/// The secret of one query. Recovering consumes it: a secret serves one query, one answer.
pub struct QueryState {
    version: Version,
    secret: Zeroizing<Vec<u32>>,
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

    /// A query for `column`, with secret and noise from the next bytes of `stream`; `E_RANGE` outside the table.
    ///
    /// The time does not depend on the column. A stream must never be begun again: two queries under one secret
    /// differ where their columns do.
    pub fn query(
        &self,
        column: usize,
        stream: &mut Stream,
    ) -> Result<(QueryState, Vec<u8>), Refusal> {
        let columns = self.hint.layout().columns();
        if column >= columns {
            return Err(Refusal::new(
                "E_RANGE",
                format!("the table has {columns} columns"),
            ));
        }
        let mut secret = Zeroizing::new(vec![0u32; N]);
        secret.fill_with(|| u32::from_le_bytes(stream.bytes()));
        let mut words = Zeroizing::new(vec![0u32; columns]);
        noise::fill(stream, &mut words);
        for (j, word) in words.iter_mut().enumerate() {
            let chosen = u32::from((j as u64).ct_eq(&(column as u64)).unwrap_u8());
            *word = word
                .wrapping_add(inner(self.matrix.row(j), &secret))
                .wrapping_add(chosen << SCALE_BITS);
        }
        let query = encode(self.hint.version(), &words);
        Ok((
            QueryState {
                version: *self.hint.version(),
                secret,
            },
            query,
        ))
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
        let cell = |(row, word): (usize, u32)| {
            let noisy = word.wrapping_sub(inner(self.hint.row(row), &state.secret));
            (noisy.wrapping_add(half) >> SCALE_BITS) as u8
        };
        Ok(words.into_iter().enumerate().map(cell).collect())
    }
}
