//! Python face of index PIR.

use atoll_pir::{Client, Delta, Hint, Layout, Matrix, QueryState, Refusal, Table};
use atoll_primitives::stream::{Secret, Stream};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::masks::fixed;
use crate::refuse;

pub(crate) fn refused(refusal: Refusal) -> PyErr {
    refuse(refusal.code, refusal.text)
}

pub(crate) fn version(bytes: &[u8]) -> PyResult<[u8; 16]> {
    let text = || format!("a version has 16 bytes, got {}", bytes.len());
    bytes.try_into().map_err(|_| refuse("E_FORMAT", text()))
}

#[pyclass(module = "atoll._core")]
struct PirTable(Table);

#[pymethods]
impl PirTable {
    #[new]
    fn new(
        py: Python<'_>,
        rows: usize,
        record_bytes: usize,
        named: &[u8],
        records: PyBackedBytes,
    ) -> PyResult<Self> {
        let layout = Layout::new(rows, record_bytes).map_err(refused)?;
        let named = version(named)?;
        py.detach(|| Table::new(layout, named, &records))
            .map(Self)
            .map_err(refused)
    }

    fn hint<'py>(&self, py: Python<'py>, seed: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let seed = fixed("the seed of the matrix", seed)?;
        let compute = || Hint::compute(&self.0, &Matrix::expand(&seed, self.0.layout().columns()));
        let hint = py
            .detach(|| compute().map(|hint| hint.encode()))
            .map_err(refused)?;
        Ok(PyBytes::new(py, &hint))
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

    fn change(&mut self, row: usize, record: &[u8]) -> PyResult<()> {
        self.0.change(row, record).map_err(refused)
    }

    fn publish<'py>(&mut self, py: Python<'py>, named: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let delta = self.0.publish(version(named)?).map_err(refused)?;
        Ok(PyBytes::new(py, &delta.encode()))
    }
}

#[pyclass(module = "atoll._core")]
pub(crate) struct PirState(pub(crate) Option<QueryState>);

#[pyclass(module = "atoll._core")]
struct PirAsker {
    hint: Hint,
    matrix: Matrix,
}

#[pymethods]
impl PirAsker {
    #[new]
    fn new(
        py: Python<'_>,
        rows: usize,
        record_bytes: usize,
        named: &[u8],
        seed: &[u8],
        hint: PyBackedBytes,
    ) -> PyResult<Self> {
        let layout = Layout::new(rows, record_bytes).map_err(refused)?;
        let (named, seed) = (version(named)?, fixed("the seed of the matrix", seed)?);
        let hint = Hint::parse(&hint, layout, named).map_err(refused)?;
        let matrix = py.detach(|| Matrix::expand(&seed, layout.columns()));
        Ok(Self { hint, matrix })
    }

    /// Column and offset of a record.
    fn place(&self, row: usize) -> PyResult<(usize, usize)> {
        self.hint.layout().place(row).map_err(refused)
    }

    fn query<'py>(
        &self,
        py: Python<'py>,
        column: usize,
        seed: &[u8],
        attempt: u32,
        channel: &str,
        step: &str,
    ) -> PyResult<(PirState, Bound<'py, PyBytes>)> {
        let mut stream = Stream::new(&Secret::new(fixed("seed", seed)?), attempt, channel, step);
        let ask = || Client::new(&self.hint, &self.matrix)?.query(column, &mut stream);
        let (state, query) = py.detach(ask).map_err(refused)?;
        Ok((PirState(Some(state)), PyBytes::new(py, &query)))
    }

    fn recover<'py>(
        &self,
        py: Python<'py>,
        state: &mut PirState,
        answer: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let used = || refuse("E_STATE", "the query has had its answer");
        let state = state.0.take().ok_or_else(used)?;
        let client = Client::new(&self.hint, &self.matrix).map_err(refused)?;
        Ok(PyBytes::new(
            py,
            &client.recover(state, answer).map_err(refused)?,
        ))
    }

    fn apply(&mut self, py: Python<'_>, delta: PyBackedBytes) -> PyResult<()> {
        let delta = Delta::parse(&delta, self.hint.layout()).map_err(refused)?;
        py.detach(|| self.hint.apply(&delta, &self.matrix))
            .map_err(refused)
    }
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PirTable>()?;
    m.add_class::<PirAsker>()?;
    m.add_class::<PirState>()
}
