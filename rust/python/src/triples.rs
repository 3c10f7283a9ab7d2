//! Python face of correlated randomness of two parties.

use atoll_primitives::stream::Secret;
use atoll_triples::bits::{BitTriples as Machine, Source};
use atoll_triples::matrices::{MatrixProduct as MatrixMachine, Plan};
use atoll_triples::transfers::{self, Transfers, WordTransfers as TransferMachine};
use atoll_triples::words::{WideTriples as WideMachine, WordTriples as WordMachine};
use atoll_triples::{Outgoing, Role, Session};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::buffers::Words as Entries;
use crate::circuit::long_words;
use crate::masks::fixed;
use crate::pir::refused;

/// A message, its step, and that it opens nothing.
type Sent<'py> = Option<(Bound<'py, PyBytes>, String, bool)>;
/// a, b and c, little-endian.
type Words<'py> = (
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
);

fn session(
    seed: &[u8],
    attempt: u32,
    channel: String,
    context: Vec<u8>,
    role: Role,
    threads: usize,
) -> PyResult<Session> {
    Ok(Session {
        seed: Secret::new(fixed("a job seed", seed)?),
        attempt,
        channel,
        context,
        role,
        threads,
    })
}

fn sent(py: Python<'_>, message: Option<Outgoing>) -> Sent<'_> {
    message.map(|m| (PyBytes::new(py, &m.bytes), m.step, false))
}

#[pyclass(module = "atoll._core")]
struct BitTriples(Machine);

#[pymethods]
impl BitTriples {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        seed: &[u8],
        attempt: u32,
        channel: String,
        context: Vec<u8>,
        role: &str,
        field: Option<u32>,
        count: u64,
        threads: usize,
    ) -> PyResult<Self> {
        let role = Role::parse(role).map_err(refused)?;
        let session = session(seed, attempt, channel, context, role, threads)?;
        let source = field.map_or(Source::Thin, |field| Source::Rich { field });
        py.detach(|| Machine::new(session, source, count))
            .map(Self)
            .map_err(refused)
    }

    fn next_message<'py>(&mut self, py: Python<'py>) -> PyResult<Sent<'py>> {
        let message = py.detach(|| self.0.next_message()).map_err(refused)?;
        Ok(sent(py, message))
    }

    fn receive(&mut self, py: Python<'_>, message: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.0.receive(&message)).map_err(refused)
    }

    #[getter]
    fn done(&self) -> bool {
        self.0.done()
    }

    fn progress(&self) -> (u64, u64) {
        self.0.progress()
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Words<'py>> {
        let out = py.detach(|| self.0.finish()).map_err(refused)?;
        Ok((
            long_words(py, &out.a)?,
            long_words(py, &out.b)?,
            long_words(py, &out.c)?,
        ))
    }

    fn again(&mut self, py: Python<'_>, count: u64) -> PyResult<()> {
        py.detach(|| self.0.again(count)).map_err(refused)
    }
}

#[pyclass(module = "atoll._core")]
struct WordTriples(WordMachine);

#[pymethods]
impl WordTriples {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        seed: &[u8],
        attempt: u32,
        channel: String,
        context: Vec<u8>,
        role: &str,
        count: u64,
        threads: usize,
    ) -> PyResult<Self> {
        let role = Role::parse(role).map_err(refused)?;
        let session = session(seed, attempt, channel, context, role, threads)?;
        py.detach(|| WordMachine::new(session, count))
            .map(Self)
            .map_err(refused)
    }

    fn next_message<'py>(&mut self, py: Python<'py>) -> PyResult<Sent<'py>> {
        let message = py.detach(|| self.0.next_message()).map_err(refused)?;
        Ok(sent(py, message))
    }

    fn receive(&mut self, py: Python<'_>, message: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.0.receive(&message)).map_err(refused)
    }

    #[getter]
    fn done(&self) -> bool {
        self.0.done()
    }

    fn progress(&self) -> (u64, u64) {
        self.0.progress()
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Words<'py>> {
        let out = py.detach(|| self.0.finish()).map_err(refused)?;
        Ok((
            long_words(py, &out.a)?,
            long_words(py, &out.b)?,
            long_words(py, &out.c)?,
        ))
    }

    fn again(&mut self, py: Python<'_>, count: u64) -> PyResult<()> {
        py.detach(|| self.0.again(count)).map_err(refused)
    }
}

#[pyclass(module = "atoll._core")]
struct WideTriples(WideMachine);

#[pymethods]
impl WideTriples {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        seed: &[u8],
        attempt: u32,
        channel: String,
        context: Vec<u8>,
        role: &str,
        count: u64,
        threads: usize,
    ) -> PyResult<Self> {
        let role = Role::parse(role).map_err(refused)?;
        let session = session(seed, attempt, channel, context, role, threads)?;
        py.detach(|| WideMachine::new(session, count))
            .map(Self)
            .map_err(refused)
    }

    fn next_message<'py>(&mut self, py: Python<'py>) -> PyResult<Sent<'py>> {
        let message = py.detach(|| self.0.next_message()).map_err(refused)?;
        Ok(sent(py, message))
    }

    fn receive(&mut self, py: Python<'_>, message: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.0.receive(&message)).map_err(refused)
    }

    #[getter]
    fn done(&self) -> bool {
        self.0.done()
    }

    fn progress(&self) -> (u64, u64) {
        self.0.progress()
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Words<'py>> {
        let out = py.detach(|| self.0.finish()).map_err(refused)?;
        Ok((
            wide_words(py, &out.a)?,
            wide_words(py, &out.b)?,
            wide_words(py, &out.c)?,
        ))
    }

    fn again(&mut self, py: Python<'_>, count: u64) -> PyResult<()> {
        py.detach(|| self.0.again(count)).map_err(refused)
    }
}

fn wide_words<'py>(py: Python<'py>, numbers: &[u128]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, 16 * numbers.len(), |out| {
        for (slot, number) in out.as_chunks_mut::<16>().0.iter_mut().zip(numbers) {
            *slot = number.to_le_bytes();
        }
        Ok(())
    })
}

#[pyclass(module = "atoll._core")]
struct WordTransfers(TransferMachine);

#[pymethods]
impl WordTransfers {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        seed: &[u8],
        attempt: u32,
        channel: String,
        context: Vec<u8>,
        role: &str,
        field: Option<u32>,
        count: u64,
        threads: usize,
    ) -> PyResult<Self> {
        let role = transfers::role(role).map_err(refused)?;
        let session = session(seed, attempt, channel, context, role, threads)?;
        let source = field.map_or(Source::Thin, |field| Source::Rich { field });
        py.detach(|| TransferMachine::new(session, source, count))
            .map(Self)
            .map_err(refused)
    }

    fn next_message<'py>(&mut self, py: Python<'py>) -> PyResult<Sent<'py>> {
        let message = py.detach(|| self.0.next_message()).map_err(refused)?;
        Ok(sent(py, message))
    }

    fn receive(&mut self, py: Python<'_>, message: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.0.receive(&message)).map_err(refused)
    }

    #[getter]
    fn done(&self) -> bool {
        self.0.done()
    }

    fn progress(&self) -> (u64, u64) {
        self.0.progress()
    }

    /// Words of zeros and of ones at the sender, choices and words at the receiver.
    fn finish<'py>(
        &mut self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let (left, right) = match py.detach(|| self.0.finish()).map_err(refused)? {
            Transfers::Sent { zeros, ones } => (zeros, ones),
            Transfers::Chosen { choices, words } => (choices, words),
        };
        Ok((long_words(py, &left)?, long_words(py, &right)?))
    }

    fn again(&mut self, py: Python<'_>, count: u64) -> PyResult<()> {
        py.detach(|| self.0.again(count)).map_err(refused)
    }
}

#[pyclass(module = "atoll._core")]
struct MatrixProduct(MatrixMachine);

#[pymethods]
impl MatrixProduct {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        seed: &[u8],
        attempt: u32,
        channel: String,
        context: Vec<u8>,
        role: &str,
        sizes: (usize, usize, usize),
        own: Entries,
        threads: usize,
    ) -> PyResult<Self> {
        let role = Role::parse(role).map_err(refused)?;
        let session = session(seed, attempt, channel, context, role, threads)?;
        let (rows, inner, columns) = sizes;
        let plan = Plan::new(rows, inner, columns).map_err(refused)?;
        let own = own.as_slice().to_vec();
        py.detach(|| MatrixMachine::new(session, plan, own))
            .map(Self)
            .map_err(refused)
    }

    fn next_message<'py>(&mut self, py: Python<'py>) -> PyResult<Sent<'py>> {
        let message = py.detach(|| self.0.next_message()).map_err(refused)?;
        Ok(sent(py, message))
    }

    fn receive(&mut self, py: Python<'_>, message: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.0.receive(&message)).map_err(refused)
    }

    #[getter]
    fn done(&self) -> bool {
        self.0.done()
    }

    fn progress(&self) -> (u64, u64) {
        self.0.progress()
    }

    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let out = py.detach(|| self.0.finish()).map_err(refused)?;
        long_words(py, &out)
    }

    fn again(&mut self, right: Option<Entries>) -> PyResult<()> {
        let right = right.map(|right| right.as_slice().to_vec());
        self.0.again(right).map_err(refused)
    }
}

#[pyfunction]
fn matrix_bytes(rows: usize, inner: usize, columns: usize) -> PyResult<u64> {
    Ok(Plan::new(rows, inner, columns).map_err(refused)?.bytes())
}

#[pyfunction]
fn matrix_room(rows: usize, inner: usize, columns: usize) -> PyResult<u64> {
    Ok(Plan::new(rows, inner, columns).map_err(refused)?.room())
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<BitTriples>()?;
    m.add_class::<WordTriples>()?;
    m.add_class::<WideTriples>()?;
    m.add_class::<WordTransfers>()?;
    m.add_class::<MatrixProduct>()?;
    m.add_function(wrap_pyfunction!(matrix_bytes, m)?)?;
    m.add_function(wrap_pyfunction!(matrix_room, m)?)
}
