//! Python face of sealed lookup.

use atoll_lookup::{Blinded, Holder, Key, Shape};
use atoll_pir::{Client, Delta, Hint, Matrix};
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
struct LookupHolder(Holder);

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
struct LookupBlinded(Option<Blinded>);

#[pyclass(module = "atoll._core", frozen)]
struct LookupKey(Key);

#[pyclass(module = "atoll._core")]
struct LookupAsker {
    shape: Shape,
    salt: [u8; 16],
    public: [u8; 32],
    hint: Hint,
    matrix: Matrix,
}

#[pymethods]
impl LookupAsker {
    #[new]
    #[allow(clippy::too_many_arguments)] // what a holder says of an epoch
    fn new(
        py: Python<'_>,
        columns: usize,
        cells: usize,
        record_bytes: usize,
        salt: &[u8],
        public: &[u8],
        named: &[u8],
        seed: &[u8],
        hint: PyBackedBytes,
    ) -> PyResult<Self> {
        let shape = Shape::parse(columns, cells, record_bytes).map_err(refused)?;
        let layout = shape.layout().map_err(refused)?;
        let (named, seed) = (version(named)?, fixed("the seed of the matrix", seed)?);
        Ok(Self {
            salt: salt
                .try_into()
                .map_err(|_| refuse("E_FORMAT", "a salt has 16 bytes"))?,
            public: fixed("the public key", public)?,
            hint: Hint::parse(&hint, layout, named).map_err(refused)?,
            matrix: py.detach(|| Matrix::expand(&seed, columns)),
            shape,
        })
    }

    fn blind<'py>(
        &self,
        py: Python<'py>,
        digests: &[u8],
        seed: &[u8],
        attempt: u32,
        channel: &str,
        step: &str,
    ) -> PyResult<(LookupBlinded, Bound<'py, PyBytes>)> {
        let blinded =
            Blinded::new(digests, &mut stream(seed, attempt, channel, step)?).map_err(refused)?;
        let message = PyBytes::new(py, &blinded.message());
        Ok((LookupBlinded(Some(blinded)), message))
    }

    fn finish(
        &self,
        py: Python<'_>,
        blinded: &mut LookupBlinded,
        evaluation: PyBackedBytes,
        places: Vec<usize>,
    ) -> PyResult<Vec<LookupKey>> {
        let used = || refuse("E_STATE", "these keys were evaluated before");
        let blinded = blinded.0.take().ok_or_else(used)?;
        let blinded = blinded.select(&places).map_err(refused)?;
        let keys = py
            .detach(|| blinded.finish(&evaluation, &self.public, &self.salt, &self.shape))
            .map_err(refused)?;
        Ok(keys.into_iter().map(LookupKey).collect())
    }

    #[allow(clippy::too_many_arguments)] // one for each of the labels
    fn query<'py>(
        &self,
        py: Python<'py>,
        key: &LookupKey,
        seed: &[u8],
        attempt: u32,
        channel: &str,
        step: &str,
    ) -> PyResult<(PirState, Bound<'py, PyBytes>)> {
        let mut stream = stream(seed, attempt, channel, step)?;
        let ask = || Client::new(&self.hint, &self.matrix)?.query(key.0.column(), &mut stream);
        let (state, query) = py.detach(ask).map_err(refused)?;
        Ok((PirState(Some(state)), PyBytes::new(py, &query)))
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
            let column = Client::new(&self.hint, &self.matrix)?.recover(state, &answer)?;
            key.0.open(&column)
        };
        let record = py.detach(open).map_err(refused)?;
        Ok(record.map(|record| PyBytes::new(py, &record)))
    }

    fn apply(&mut self, py: Python<'_>, delta: PyBackedBytes) -> PyResult<()> {
        let delta = Delta::parse(&delta, self.hint.layout()).map_err(refused)?;
        py.detach(|| self.hint.apply(&delta, &self.matrix))
            .map_err(refused)
    }
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<LookupHolder>()?;
    m.add_class::<LookupAsker>()?;
    m.add_class::<LookupBlinded>()?;
    m.add_class::<LookupKey>()
}
