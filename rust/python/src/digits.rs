//! Python face of comparisons by digits.

use atoll_arrays::Refusal;
use atoll_arrays::digits::{self, Digits, Kind};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffers::{Words, new_words};
use crate::refuse;

fn refused(refusal: Refusal) -> PyErr {
    refuse(refusal.code, refusal.text)
}

/// How numbers are cut, and what both sides compute.
#[pyclass(module = "atoll._core")]
struct ArrayDigits(Digits);

impl ArrayDigits {
    /// New words of so many blocks.
    fn made<'py>(
        &self,
        py: Python<'py>,
        blocks: usize,
        each: usize,
        fill: impl FnOnce(&mut [u64]) -> Result<(), Refusal> + Send,
    ) -> PyResult<Bound<'py, PyBytes>> {
        new_words(py, blocks * each, fill, refused)
    }
}

#[pymethods]
impl ArrayDigits {
    #[new]
    fn new(bits: usize, equal: bool) -> PyResult<Self> {
        let kind = if equal { Kind::Equal } else { Kind::Less };
        Digits::new(bits, kind).map(Self).map_err(refused)
    }

    /// Digits, planes of a result, and words of a block's tables.
    fn sizes(&self) -> (usize, usize, usize) {
        (self.0.count(), self.0.planes(), self.0.table_words())
    }

    fn fold_sent<'py>(
        &self,
        py: Python<'py>,
        zeros: Words,
        ones: Words,
        blocks: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (zeros, ones) = (zeros.as_slice(), ones.as_slice());
        self.made(py, blocks, self.0.sent_words(), |out| {
            digits::fold_sent(self.0, zeros, ones, out)
        })
    }

    fn fold_chosen<'py>(
        &self,
        py: Python<'py>,
        words: Words,
        blocks: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let words = words.as_slice();
        self.made(py, blocks, self.0.chosen_words(), |out| {
            digits::fold_chosen(self.0, words, out)
        })
    }

    #[allow(clippy::too_many_arguments)]
    fn tables<'py>(
        &self,
        py: Python<'py>,
        folded: Words,
        turned: Words,
        numbers: Words,
        masks: Words,
        blocks: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (folded, turned) = (folded.as_slice(), turned.as_slice());
        let (numbers, masks) = (numbers.as_slice(), masks.as_slice());
        self.made(py, blocks, self.0.table_words(), |out| {
            digits::tables(self.0, folded, turned, numbers, masks, out)
        })
    }

    fn opened<'py>(
        &self,
        py: Python<'py>,
        folded: Words,
        tables: Words,
        numbers: Words,
        blocks: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (folded, tables, numbers) = (folded.as_slice(), tables.as_slice(), numbers.as_slice());
        self.made(py, blocks, self.0.planes(), |out| {
            digits::opened(self.0, folded, tables, numbers, out)
        })
    }
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<ArrayDigits>()
}
