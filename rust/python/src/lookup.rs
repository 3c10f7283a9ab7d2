//! Python face of sealed lookup.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use atoll_lookup::{Blinded, Holder, Kept, Key, Shape};
use atoll_pir::{Client, Delta, Hint, Matrix, Prepared, Refusal};
use atoll_primitives::stream::{Secret, Stream};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::masks::fixed;
use crate::pir::{PirState, refused, version};
use crate::refuse;

/// Columns, cells of a column, bytes of a record, salt, public key, number of keys.
type Described<'py> = (
    usize,
    usize,
    usize,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    usize,
);

fn stream(seed: &[u8], attempt: u32, channel: &str, step: &str) -> PyResult<Stream> {
    Ok(Stream::new(
        &Secret::new(fixed("seed", seed)?),
        attempt,
        channel,
        step,
    ))
}

#[pyclass(module = "atoll._core")]
pub(crate) struct LookupHolder(pub(crate) Holder);

#[pymethods]
impl LookupHolder {
    #[new]
    #[allow(clippy::too_many_arguments)] // one for each of the labels
    fn new(
        py: Python<'_>,
        secret: &[u8],
        seed: &[u8],
        attempt: u32,
        channel: &str,
        step: &str,
        named: &[u8],
        digests: PyBackedBytes,
        records: PyBackedBytes,
        record_bytes: usize,
        threads: usize,
    ) -> PyResult<Self> {
        let (secret, named) = (fixed("the function's secret", secret)?, version(named)?);
        let filler = stream(seed, attempt, channel, step)?;
        let build = || {
            Holder::build(
                &secret,
                filler,
                named,
                &digests,
                &records,
                record_bytes,
                threads,
            )
        };
        py.detach(build).map(Self).map_err(refused)
    }

    fn describe<'py>(&self, py: Python<'py>) -> Described<'py> {
        let shape = self.0.shape();
        (
            shape.columns(),
            shape.cells(),
            shape.record_bytes(),
            PyBytes::new(py, self.0.salt()),
            PyBytes::new(py, self.0.public()),
            self.0.keys(),
        )
    }

    fn hint<'py>(&self, py: Python<'py>, seed: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let seed = fixed("the seed of the matrix", seed)?;
        let hint = py.detach(|| self.0.hint(&seed)).map_err(refused)?;
        Ok(PyBytes::new(py, &hint))
    }

    #[allow(clippy::too_many_arguments)] // one for each of the labels
    fn evaluate<'py>(
        &self,
        py: Python<'py>,
        blinded: PyBackedBytes,
        granted: usize,
        seed: &[u8],
        attempt: u32,
        channel: &str,
        step: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut stream = stream(seed, attempt, channel, step)?;
        let found = py
            .detach(|| self.0.evaluate(&blinded, granted, &mut stream))
            .map_err(refused)?;
        Ok(PyBytes::new(py, &found))
    }

    fn answer<'py>(
        &self,
        py: Python<'py>,
        queries: Vec<PyBackedBytes>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let views: Vec<&[u8]> = queries.iter().map(|query| &query[..]).collect();
        let answers = py.detach(|| self.0.answer(&views)).map_err(refused)?;
        Ok(answers
            .iter()
            .map(|answer| PyBytes::new(py, answer))
            .collect())
    }

    fn columns<'py>(
        &self,
        py: Python<'py>,
        first: usize,
        count: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let columns = py
            .detach(|| self.0.columns(first..first.saturating_add(count)))
            .map_err(refused)?;
        Ok(PyBytes::new(py, &columns))
    }

    fn update<'py>(
        &mut self,
        py: Python<'py>,
        named: &[u8],
        removed: PyBackedBytes,
        digests: PyBackedBytes,
        records: PyBackedBytes,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let named = version(named)?;
        let delta = py
            .detach(|| self.0.update(named, &removed, &digests, &records))
            .map_err(refused)?;
        Ok(PyBytes::new(py, &delta))
    }
}

#[pyclass(module = "atoll._core")]
pub(crate) struct LookupBlinded(Option<Blinded>);

#[pyclass(module = "atoll._core", frozen)]
pub(crate) struct LookupKey(pub(crate) Key);

/// What an asker blinds keys and takes evaluations with, in one epoch.
pub(crate) struct Evaluated {
    pub(crate) shape: Shape,
    salt: [u8; 16],
    public: [u8; 32],
    seed: Secret<32>,
    attempt: u32,
    channel: String,
}

impl Evaluated {
    pub(crate) fn new(
        shape: Shape,
        salt: &[u8],
        public: &[u8],
        seed: &[u8],
        attempt: u32,
        channel: String,
    ) -> PyResult<Self> {
        Ok(Self {
            shape,
            salt: salt
                .try_into()
                .map_err(|_| refuse("E_FORMAT", "a salt has 16 bytes"))?,
            public: fixed("the public key", public)?,
            seed: Secret::new(fixed("seed", seed)?),
            attempt,
            channel,
        })
    }

    pub(crate) fn stream(&self, step: &str) -> Stream {
        Stream::new(&self.seed, self.attempt, &self.channel, step)
    }

    pub(crate) fn blind<'py>(
        &self,
        py: Python<'py>,
        digests: &[u8],
        number: u64,
    ) -> PyResult<(LookupBlinded, Bound<'py, PyBytes>)> {
        let mut stream = self.stream(&format!("sealed-lookup/blind/{number}"));
        let blinded = Blinded::new(digests, &mut stream).map_err(refused)?;
        let message = PyBytes::new(py, &blinded.message());
        Ok((LookupBlinded(Some(blinded)), message))
    }

    pub(crate) fn finish(
        &self,
        py: Python<'_>,
        blinded: &mut LookupBlinded,
        evaluation: &PyBackedBytes,
        places: &[usize],
    ) -> PyResult<Vec<LookupKey>> {
        let used = || refuse("E_STATE", "these keys were evaluated before");
        let blinded = blinded.0.take().ok_or_else(used)?;
        let blinded = blinded.select(places).map_err(refused)?;
        let keys = py
            .detach(|| blinded.finish(evaluation, &self.public, &self.salt, &self.shape))
            .map_err(refused)?;
        Ok(keys.into_iter().map(LookupKey).collect())
    }
}

/// A panic of another thread leaves nothing half-done here that another one could take for whole.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks are taken in the order of the fields.
#[pyclass(module = "atoll._core", frozen)]
struct LookupAsker {
    keys: Evaluated,
    matrix: Matrix,
    /// Queries that were begun, which number their streams; whoever makes some holds it.
    begun: Mutex<u64>,
    hint: RwLock<Hint>,
    /// Queries without their columns, the oldest first.
    ready: Mutex<VecDeque<Prepared>>,
    /// The table whole, once it was taken.
    kept: Mutex<Option<Kept>>,
}

impl LookupAsker {
    fn hint(&self) -> RwLockReadGuard<'_, Hint> {
        self.hint.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `most` queries ready if fewer than `least` are; those that are ready can be taken meanwhile.
    fn fill(&self, least: usize, most: usize) -> Result<(), Refusal> {
        let mut begun = locked(&self.begun);
        let ready = locked(&self.ready).len();
        if ready >= least {
            return Ok(());
        }
        let missing = most.saturating_sub(ready) as u64;
        let mut streams: Vec<Stream> = (*begun..*begun + missing)
            .map(|number| self.keys.stream(&format!("sealed-lookup/query/{number}")))
            .collect();
        *begun += missing;
        let hint = self.hint();
        let made = Client::new(&hint, &self.matrix)?.prepare(&mut streams);
        locked(&self.ready).extend(made);
        Ok(())
    }
}

#[pymethods]
impl LookupAsker {
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
        hint: PyBackedBytes,
        seed: &[u8],
        attempt: u32,
        channel: String,
    ) -> PyResult<Self> {
        let shape = Shape::parse(columns, cells, record_bytes).map_err(refused)?;
        let layout = shape.layout().map_err(refused)?;
        let (named, matrix) = (version(named)?, fixed("the seed of the matrix", matrix)?);
        Ok(Self {
            keys: Evaluated::new(shape, salt, public, seed, attempt, channel)?,
            begun: Mutex::new(0),
            hint: RwLock::new(Hint::parse(&hint, layout, named).map_err(refused)?),
            ready: Mutex::default(),
            kept: Mutex::default(),
            matrix: py.detach(|| Matrix::expand(&matrix, columns)),
        })
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

    fn prepare(&self, py: Python<'_>, least: usize, most: usize) -> PyResult<()> {
        py.detach(|| self.fill(least, most)).map_err(refused)
    }

    #[allow(clippy::type_complexity)] // secret and query of each key
    fn queries<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<Bound<'py, LookupKey>>,
    ) -> PyResult<Vec<(PirState, Bound<'py, PyBytes>)>> {
        let columns: Vec<usize> = keys.iter().map(|key| key.get().0.column()).collect();
        let ask = || {
            let count = columns.len();
            let taken: Vec<Prepared> = loop {
                let mut ready = locked(&self.ready);
                if ready.len() >= count {
                    break ready.drain(..count).collect();
                }
                drop(ready);
                self.fill(count, count)?;
            };
            let asked = taken.into_iter().zip(&columns);
            asked
                .map(|(one, column)| one.query(*column))
                .collect::<Result<Vec<_>, Refusal>>()
        };
        let asked = py.detach(ask).map_err(refused)?;
        let given =
            |(state, query): (_, Vec<u8>)| (PirState(Some(state)), PyBytes::new(py, &query));
        Ok(asked.into_iter().map(given).collect())
    }

    /// The key's record in the column that an answer holds.
    fn open<'py>(
        &self,
        py: Python<'py>,
        key: &LookupKey,
        state: &mut PirState,
        answer: PyBackedBytes,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let used = || refuse("E_STATE", "the query has had its answer");
        let state = state.0.take().ok_or_else(used)?;
        let open = || {
            let column = Client::new(&self.hint(), &self.matrix)?.recover(state, &answer)?;
            key.0.open(&column)
        };
        let record = py.detach(open).map_err(refused)?;
        Ok(record.map(|record| PyBytes::new(py, &record)))
    }

    /// Takes the table whole, of the version that the hint has.
    fn keep(&self, py: Python<'_>, table: PyBackedBytes) -> PyResult<()> {
        let keep = || {
            let hint = self.hint();
            let kept = Kept::new(&self.keys.shape, *hint.version(), table.to_vec())?;
            *locked(&self.kept) = Some(kept);
            Ok(())
        };
        py.detach(keep).map_err(refused)
    }

    /// As `open`, from the table that was taken whole.
    fn open_kept<'py>(
        &self,
        py: Python<'py>,
        key: &LookupKey,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let open = || {
            let kept = locked(&self.kept);
            let none = || Refusal::new("E_STATE", "the table was not taken whole");
            key.0
                .open(kept.as_ref().ok_or_else(none)?.column(key.0.column())?)
        };
        let record = py.detach(open).map_err(refused)?;
        Ok(record.map(|record| PyBytes::new(py, &record)))
    }

    fn apply(&self, py: Python<'_>, delta: PyBackedBytes) -> PyResult<()> {
        let apply = || {
            let _nobody_makes_any = locked(&self.begun);
            let mut hint = self.hint.write().unwrap_or_else(PoisonError::into_inner);
            let mut ready = locked(&self.ready);
            let delta = Delta::parse(&delta, hint.layout())?;
            hint.apply(&delta, &self.matrix)?;
            if let Some(kept) = locked(&self.kept).as_mut() {
                kept.apply(&delta)?;
            }
            Client::new(&hint, &self.matrix)?.renew(ready.make_contiguous());
            Ok(())
        };
        py.detach(apply).map_err(refused)
    }
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<LookupHolder>()?;
    m.add_class::<LookupAsker>()?;
    m.add_class::<LookupBlinded>()?;
    m.add_class::<LookupKey>()
}
