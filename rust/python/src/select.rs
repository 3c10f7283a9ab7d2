//! Python face of lookup totals: one id against many holders.

use atoll_primitives::stream::{Secret, Stream};
use atoll_psi::Refusal;
use atoll_psi::select::{
    Asker, Holder, Parameters, Preparation, Query, Role, Sealing, Shape, column, sizes,
};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::circuit::long_words;
use crate::masks::fixed;
use crate::psi::refused;
use crate::refuse;

fn shape(cells: usize, words: usize) -> PyResult<Shape> {
    Shape::new(cells, words).map_err(refused)
}

fn salt_of(bytes: &[u8]) -> PyResult<[u8; 16]> {
    bytes
        .try_into()
        .map_err(|_| refuse("E_FORMAT", "a salt has 16 bytes"))
}

fn digest(bytes: &[u8]) -> PyResult<[u8; 32]> {
    fixed("a digest", bytes)
}

/// A table's function, and its cells under it.
#[pyclass(module = "atoll._core", frozen)]
struct TotalsSealing(Sealing);

#[pymethods]
impl TotalsSealing {
    #[new]
    fn new(secret: &[u8], cells: usize, words: usize) -> PyResult<Self> {
        let secret = Secret::new(fixed("the function's secret", secret)?);
        Ok(Self(Sealing::new(&secret, shape(cells, words)?)))
    }

    #[allow(clippy::too_many_arguments)] // one for each of the labels
    fn table<'py>(
        &self,
        py: Python<'py>,
        columns: usize,
        salt: &[u8],
        digests: PyBackedBytes,
        values: PyBackedBytes,
        seed: &[u8],
        attempt: u32,
        channel: &str,
        step: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (words, []) = values.as_chunks::<8>() else {
            return Err(refuse("E_FORMAT", "words have 8 bytes each"));
        };
        let salt = salt_of(salt)?;
        let filler = Stream::new(&Secret::new(fixed("seed", seed)?), attempt, channel, step);
        let table = py.detach(|| {
            let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
            self.0.table(&salt, columns, &digests, &words, filler)
        });
        Ok(PyBytes::new(py, &table.map_err(refused)?))
    }
}

/// Queries that were prepared, at either side.
enum Pool {
    Asker(Asker),
    Holder(Holder),
}

#[pyclass(module = "atoll._core")]
struct TotalsPool(Pool);

#[pymethods]
impl TotalsPool {
    #[getter]
    fn left(&self) -> usize {
        match &self.0 {
            Pool::Asker(pool) => pool.left(),
            Pool::Holder(pool) => pool.left(),
        }
    }

    /// The next query; the holder's needs the sealing of its table.
    #[pyo3(signature = (sealing=None))]
    fn query(
        &mut self,
        py: Python<'_>,
        sealing: Option<Py<TotalsSealing>>,
    ) -> PyResult<TotalsQuery> {
        let found = match (&mut self.0, &sealing) {
            (Pool::Asker(pool), None) => pool.query(),
            (Pool::Holder(pool), Some(sealing)) => pool.query(&sealing.bind(py).get().0),
            _ => Err(Refusal::new(
                "E_STATE",
                "the holder has a sealing, the asker none",
            )),
        };
        found.map(TotalsQuery).map_err(refused)
    }
}

#[pyclass(module = "atoll._core")]
struct TotalsPreparation {
    machine: Option<Preparation>,
    role: Role,
}

impl TotalsPreparation {
    fn machine(&mut self) -> PyResult<&mut Preparation> {
        let used = || refuse("E_STATE", "the preparation was taken");
        self.machine.as_mut().ok_or_else(used)
    }
}

#[pymethods]
impl TotalsPreparation {
    #[new]
    #[allow(clippy::too_many_arguments)] // one for each of the labels
    fn new(
        py: Python<'_>,
        seed: &[u8],
        attempt: u32,
        channel: String,
        context: Vec<u8>,
        asker: bool,
        cells: usize,
        words: usize,
        queries: usize,
        threads: usize,
    ) -> PyResult<Self> {
        let seed = Secret::new(fixed("a job seed", seed)?);
        let role = if asker { Role::Asker } else { Role::Holder };
        let parameters = Parameters {
            attempt,
            channel,
            context,
            role,
            shape: shape(cells, words)?,
            queries,
            threads,
        };
        let machine = py.detach(|| Preparation::new(&seed, parameters));
        Ok(Self {
            machine: Some(machine.map_err(refused)?),
            role,
        })
    }

    #[allow(clippy::type_complexity)]
    fn next_message<'py>(
        &mut self,
        py: Python<'py>,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, String, bool)>> {
        let machine = self.machine()?;
        let message = py.detach(|| machine.next_message()).map_err(refused)?;
        Ok(message.map(|m| (PyBytes::new(py, &m.bytes), m.step, m.opens)))
    }

    fn receive(&mut self, py: Python<'_>, message: PyBackedBytes) -> PyResult<()> {
        let machine = self.machine()?;
        py.detach(|| machine.receive(&message)).map_err(refused)
    }

    #[getter]
    fn done(&mut self) -> PyResult<bool> {
        Ok(self.machine()?.done())
    }

    /// The prepared queries; the preparation is of no more use.
    fn pool(&mut self, py: Python<'_>) -> PyResult<TotalsPool> {
        self.machine()?;
        let role = self.role;
        let taken = self.machine.take();
        let made = py.detach(|| match (taken, role) {
            (Some(machine), Role::Asker) => machine.asker().map(Pool::Asker),
            (Some(machine), Role::Holder) => machine.holder().map(Pool::Holder),
            (None, _) => Err(Refusal::new("E_STATE", "the preparation was taken")),
        });
        made.map(TotalsPool).map_err(refused)
    }
}

#[pyclass(module = "atoll._core")]
struct TotalsQuery(Query);

#[pymethods]
impl TotalsQuery {
    /// Gives the asker's side its id and column.
    fn ask(&mut self, id: &[u8], column: PyBackedBytes) -> PyResult<()> {
        let id = digest(id)?;
        self.0.ask(&id).map_err(refused)?;
        self.0.column(&column).map_err(refused)
    }

    fn next_message<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let message = py.detach(|| self.0.next_message()).map_err(refused)?;
        Ok(message.map(|m| PyBytes::new(py, &m.bytes)))
    }

    fn receive(&mut self, py: Python<'_>, message: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.0.receive(&message)).map_err(refused)
    }

    #[getter]
    fn done(&self) -> bool {
        self.0.done()
    }

    fn shares<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        long_words(py, self.0.shares().map_err(refused)?)
    }
}

#[pyfunction]
fn totals_column(id: &[u8], salt: &[u8], columns: usize) -> PyResult<usize> {
    if columns == 0 {
        return Err(refuse("E_RANGE", "a table has columns"));
    }
    Ok(column(&digest(id)?, &salt_of(salt)?, columns))
}

/// Bytes of a cell; of one preparation, of one query: the asker's and the holder's; rounds of a query.
type Numbers = (usize, [u64; 2], [u64; 2], u64);

#[pyfunction]
fn totals_sizes(cells: usize, words: usize, queries: usize) -> PyResult<Numbers> {
    let shape = shape(cells, words)?;
    let found = sizes(&Parameters {
        attempt: 0,
        channel: String::new(),
        context: Vec::new(),
        role: Role::Asker,
        shape,
        queries,
        threads: 1,
    });
    let found = found.map_err(refused)?;
    Ok((
        shape.cell_bytes(),
        found.preparation,
        found.query,
        found.rounds,
    ))
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(totals_column, m)?)?;
    m.add_function(wrap_pyfunction!(totals_sizes, m)?)?;
    m.add_class::<TotalsSealing>()?;
    m.add_class::<TotalsPool>()?;
    m.add_class::<TotalsPreparation>()?;
    m.add_class::<TotalsQuery>()
}
