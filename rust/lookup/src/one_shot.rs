//! Lookups without a hint: what an asker sends with a query so that the holder multiplies the hint for it.

use atoll_hintless::{Asker, Keys, QUESTION_BYTES, Question, Rows};
use atoll_pir::{Delta, Hint, Masked, Matrix, Version, noise};
use atoll_primitives::stream::Stream;

use crate::{Holder, Key, Refusal, Shape};

const VERSION_BYTES: usize = size_of::<Version>();

/// Bytes of a question: a query of index PIR, and its secret encrypted.
pub fn question_bytes(shape: &Shape) -> usize {
    VERSION_BYTES + 4 * shape.columns() + QUESTION_BYTES
}

/// Bytes of an answer to one.
pub fn answer_bytes(shape: &Shape) -> usize {
    VERSION_BYTES + atoll_hintless::answer_bytes(shape.column_bytes())
}

/// The holder's hint, which it multiplies itself.
#[derive(Debug)]
pub struct Products {
    seed: [u8; 32],
    hint: Hint,
    rows: Rows,
    keep: bool,
    keys: Option<Keys>,
}

impl Products {
    /// Computes the hint of a table for the public matrix of `seed`. With `keep` it is also kept ready for products, in
    /// `kept_bytes` of memory more.
    pub fn new(holder: &Holder, seed: [u8; 32], keep: bool) -> Result<Self, Refusal> {
        let hint = holder.hint_words(&Matrix::expand(&seed, holder.shape().columns()))?;
        let (_, pool) = holder.parts();
        Ok(Self {
            seed,
            rows: pool.install(|| Rows::new(hint.words(), keep)),
            hint,
            keep,
            keys: None,
        })
    }

    /// Bytes of memory that keeping a hint ready takes.
    pub fn kept_bytes(shape: &Shape) -> usize {
        Rows::kept_bytes(shape.column_bytes())
    }

    /// Takes up a delta of the holder's. `E_STATE` for one from another version.
    pub fn apply(&mut self, holder: &Holder, delta: &[u8]) -> Result<(), Refusal> {
        let matrix = Matrix::expand(&self.seed, holder.shape().columns());
        let delta = Delta::parse(delta, self.hint.layout())?;
        self.hint.apply(&delta, &matrix)?;
        if self.keep {
            let (_, pool) = holder.parts();
            self.rows = pool.install(|| Rows::new(self.hint.words(), true));
        }
        Ok(())
    }

    /// Takes an asker's keys, in place of any before; `E_FORMAT` for other bytes.
    pub fn take_keys(&mut self, keys: &[u8]) -> Result<(), Refusal> {
        self.keys = Some(Keys::parse(keys)?);
        Ok(())
    }

    /// Answers to questions, of which the table is read once for all.
    ///
    /// `E_FORMAT` or `E_STATE` if one is malformed or of another version, `E_STATE` before there are keys or if the
    /// table is of another version than the hint: nothing is answered then.
    pub fn answer(&self, holder: &Holder, questions: &[&[u8]]) -> Result<Vec<Vec<u8>>, Refusal> {
        let none = || Refusal::new("E_STATE", "the asker sent no keys of its encryption");
        let keys = self.keys.as_ref().ok_or_else(none)?;
        if holder.version() != self.hint.version() {
            return Err(Refusal::new(
                "E_STATE",
                "the hint is of another version of the table",
            ));
        }
        let length = question_bytes(holder.shape());
        if questions.iter().any(|question| question.len() != length) {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("a question has {length} bytes"),
            ));
        }
        let split = questions
            .iter()
            .map(|question| question.split_at(length - QUESTION_BYTES));
        let (queries, secrets): (Vec<&[u8]>, Vec<&[u8]>) = split.unzip();
        let secrets = secrets
            .into_iter()
            .map(Question::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let (table, pool) = holder.parts();
        let words = table.answer_words(&queries)?;
        let hint = self.hint.words();
        let answer = |(secret, words): (&Question, &Vec<u32>)| {
            let products = pool.install(|| self.rows.answer(hint, keys, secret, words));
            [&holder.version()[..], &products].concat()
        };
        Ok(secrets.iter().zip(&words).map(answer).collect())
    }
}

/// The asker's side of one epoch.
#[derive(Debug)]
pub struct OneShot {
    shape: Shape,
    version: Version,
    matrix: Matrix,
    asker: Asker,
}

impl OneShot {
    /// Expands the public matrix of `seed`, draws a key from `stream`, and gives the keys that the holder is sent once.
    pub fn new(
        shape: Shape,
        version: Version,
        seed: &[u8; 32],
        stream: &mut Stream,
    ) -> (Self, Vec<u8>) {
        let (asker, keys) = Asker::new(stream);
        let found = Self {
            shape,
            version,
            matrix: Matrix::expand(seed, shape.columns()),
            asker,
        };
        (found, keys)
    }

    /// Names the version of the table that is asked from now on.
    pub fn renew(&mut self, version: Version) {
        self.version = version;
    }

    /// A question for each column, each with secret and noise from the next bytes of its own stream, which must never
    /// be begun again. `E_RANGE` outside the table.
    pub fn questions(
        &self,
        columns: &[usize],
        streams: &mut [Stream],
    ) -> Result<Vec<Vec<u8>>, Refusal> {
        let masked = Masked::prepare(&self.matrix, &self.version, streams, noise::fill);
        let both = masked.into_iter().zip(streams).zip(columns);
        both.map(|((masked, stream), column)| {
            let secret = self.asker.question(masked.secret(), stream);
            Ok([masked.query(*column)?, secret].concat())
        })
        .collect()
    }

    /// The key's record in the column that an answer holds; `E_FORMAT` for a wrong length, `E_STATE` for another version.
    pub fn open(&self, key: &Key, answer: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let length = answer_bytes(&self.shape);
        let (version, products) = answer
            .split_first_chunk::<VERSION_BYTES>()
            .filter(|_| answer.len() == length)
            .ok_or_else(|| Refusal::new("E_FORMAT", format!("an answer has {length} bytes")))?;
        if *version != self.version {
            return Err(Refusal::new(
                "E_STATE",
                "the answer is of another version of the table",
            ));
        }
        key.open(&self.asker.open(products, self.shape.column_bytes())?)
    }
}
