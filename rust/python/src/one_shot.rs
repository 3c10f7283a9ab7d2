//! Python face of sealed lookups without a hint.

use std::sync::{Mutex, RwLock};

use atoll_lookup::{OneShot, Products, Shape, answer_bytes, question_bytes};
use atoll_primitives::stream::Stream;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::lookup::{Evaluated, LookupBlinded, LookupHolder, LookupKey, locked};
use crate::masks::fixed;
use crate::pir::{refused, version};

/// A holder's hint, which it multiplies itself.
#[pyclass(module = "atoll._core")]
struct LookupProducts(Products);

#[pymethods]
impl LookupProducts {
    #[new]
    fn new(
        py: Python<'_>,
        holder: PyRef<'_, LookupHolder>,
        seed: &[u8],
        kept_bytes: usize,
    ) -> PyResult<Self> {
        let seed = fixed("the seed of the matrix", seed)?;
        let holder = &holder.0;
        let keep = Products::kept_bytes(holder.shape()) <= kept_bytes;
        py.detach(|| Products::new(holder, seed, keep))
            .map(Self)
            .map_err(refused)
    }

    fn take_keys(&mut self, py: Python<'_>, keys: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.0.take_keys(&keys)).map_err(refused)
    }

    fn apply(
        &mut self,
        py: Python<'_>,
        holder: PyRef<'_, LookupHolder>,
        delta: PyBackedBytes,
    ) -> PyResult<()> {
        let holder = &holder.0;
        py.detach(|| self.0.apply(holder, &delta)).map_err(refused)
    }

    fn answer<'py>(
        &self,
        py: Python<'py>,
        holder: PyRef<'_, LookupHolder>,
        questions: Vec<PyBackedBytes>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let holder = &holder.0;
        let views: Vec<&[u8]> = questions.iter().map(|question| &question[..]).collect();
        let answers = py
            .detach(|| self.0.answer(holder, &views))
            .map_err(refused)?;
        Ok(answers
            .iter()
            .map(|answer| PyBytes::new(py, answer))
            .collect())
    }
}

/// Locks are taken in the order of the fields.
#[pyclass(module = "atoll._core", frozen)]
struct LookupOneShot {
    keys: Evaluated,
    /// Questions that were begun, which number their streams.
    begun: Mutex<u64>,
    asker: RwLock<OneShot>,
    sent: Vec<u8>,
}

#[pymethods]
impl LookupOneShot {
    #[new]
    #[allow(clippy::too_many_arguments)] // what a holder says of an epoch, and labels
    fn new(
        py: Python<'_>,
        columns: usize,
        cells: usize,
        record_bytes: usize,
        salt: &[u8],
        public: &[u8],
        named: &[u8],
        matrix: &[u8],
        seed: &[u8],
        attempt: u32,
        channel: String,
    ) -> PyResult<Self> {
        let shape = Shape::parse(columns, cells, record_bytes).map_err(refused)?;
        let (named, matrix) = (version(named)?, fixed("the seed of the matrix", matrix)?);
        let keys = Evaluated::new(shape, salt, public, seed, attempt, channel)?;
        let mut stream = keys.stream("sealed-lookup/keys");
        let (asker, sent) = py.detach(|| OneShot::new(shape, named, &matrix, &mut stream));
        Ok(Self {
            keys,
            begun: Mutex::new(0),
            asker: RwLock::new(asker),
            sent,
        })
    }

    /// Bytes of a question, and of its answer.
    fn sizes(&self) -> (usize, usize) {
        (
            question_bytes(&self.keys.shape),
            answer_bytes(&self.keys.shape),
        )
    }

    fn keys<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.sent)
    }

    fn blind<'py>(
        &self,
        py: Python<'py>,
        digests: &[u8],
        number: u64,
    ) -> PyResult<(LookupBlinded, Bound<'py, PyBytes>)> {
        self.keys.blind(py, digests, number)
    }

    fn finish(
        &self,
        py: Python<'_>,
        blinded: &mut LookupBlinded,
        evaluation: PyBackedBytes,
        places: Vec<usize>,
    ) -> PyResult<Vec<LookupKey>> {
        self.keys.finish(py, blinded, &evaluation, &places)
    }

    fn renew(&self, named: &[u8]) -> PyResult<()> {
        let named = version(named)?;
        self.asker
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .renew(named);
        Ok(())
    }

    fn questions<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<Bound<'py, LookupKey>>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let columns: Vec<usize> = keys.iter().map(|key| key.get().0.column()).collect();
        let ask = || {
            let mut begun = locked(&self.begun);
            let count = columns.len() as u64;
            let mut streams: Vec<Stream> = (*begun..*begun + count)
                .map(|number| {
                    self.keys
                        .stream(&format!("sealed-lookup/question/{number}"))
                })
                .collect();
            *begun += count;
            drop(begun);
            self.asker().questions(&columns, &mut streams)
        };
        let asked = py.detach(ask).map_err(refused)?;
        Ok(asked.iter().map(|one| PyBytes::new(py, one)).collect())
    }

    fn open<'py>(
        &self,
        py: Python<'py>,
        key: &LookupKey,
        answer: PyBackedBytes,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let record = py
            .detach(|| self.asker().open(&key.0, &answer))
            .map_err(refused)?;
        Ok(record.map(|record| PyBytes::new(py, &record)))
    }
}

impl LookupOneShot {
    fn asker(&self) -> std::sync::RwLockReadGuard<'_, OneShot> {
        self.asker
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<LookupProducts>()?;
    m.add_class::<LookupOneShot>()
}
