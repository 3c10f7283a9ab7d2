//! Python face of the row tree. Buffers come as for key digests; records go back and forth as plain bytes.

use atoll_psi::keys::{Bitmap, Column, Values as Key};
use atoll_psi::{Refusal, pool};
use atoll_rows::cells::{Cells, Values};
use atoll_rows::records::{self, Record, RowKeys};
use atoll_rows::tree::Tree;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::keys::Buffers;
use crate::psi::{refused, words};
use crate::refuse;

type Parts<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>);

#[pyclass(module = "atoll._core")]
struct RowHasher {
    keys: RowKeys,
    columns: Vec<String>,
    id: Vec<usize>,
    workers: rayon::ThreadPool,
    rows: u64,
    without_id: u64,
}

fn unknown(name: &str, kind: &str) -> Refusal {
    Refusal {
        code: "E_TYPE",
        text: format!("column {name}: {kind} cannot identify rows"),
    }
}

impl RowHasher {
    fn add(&mut self, buffers: &[Buffers], rows: usize) -> Result<Vec<Record>, Refusal> {
        let mut cells = Vec::with_capacity(buffers.len());
        let mut ids = Vec::with_capacity(self.id.len());
        for (name, (kind, values, data, offset, validity, _)) in self.columns.iter().zip(buffers) {
            let validity = validity
                .as_ref()
                .map(|bits| Bitmap::new(bits, *offset, rows))
                .transpose()?;
            let values = match kind.as_str() {
                "utf8" => Values::Utf8(values, data.as_deref().unwrap_or_default()),
                "int64" => Values::Int64(values),
                "float64" => Values::Float64(values),
                "date32" => Values::Date32(values),
                "bool" => Values::Bool(Bitmap::new(values, *offset, rows)?),
                "decimal128" => Values::Decimal128(values),
                "timestamp" => Values::TimestampUs(values),
                other => return Err(unknown(name, other)),
            };
            cells.push(Cells::new(name, values, validity, rows)?);
        }
        for &at in &self.id {
            let name = &self.columns[at];
            let (kind, values, data, offset, validity, scale) = &buffers[at];
            let validity = validity
                .as_ref()
                .map(|bits| Bitmap::new(bits, *offset, rows))
                .transpose()?;
            let values = match kind.as_str() {
                "utf8" => Key::Utf8(values, data.as_deref().unwrap_or_default()),
                "int64" => Key::Int64(values),
                "date32" => Key::Date32(values),
                "bool" => Key::Bool(Bitmap::new(values, *offset, rows)?),
                "decimal128" => Key::Decimal128(values, *scale),
                "timestamp" => Key::TimestampUs(values),
                other => return Err(unknown(name, other)),
            };
            ids.push(Column::new(name, values, validity, &[], rows)?);
        }
        let (found, without) = self
            .workers
            .install(|| records::records(&self.keys, &ids, &cells, rows, self.rows))?;
        self.rows += rows as u64;
        self.without_id += without;
        Ok(found)
    }
}

#[pymethods]
impl RowHasher {
    #[new]
    fn new(secret: &[u8], columns: Vec<String>, id: Vec<usize>, threads: usize) -> PyResult<Self> {
        let secret: &[u8; 32] = secret
            .try_into()
            .map_err(|_| refuse("E_FORMAT", "the secret of a row tree has 32 bytes"))?;
        if id.is_empty() || id.iter().any(|i| *i >= columns.len()) {
            return Err(refuse("E_COLUMN", "an id is made of the table's columns"));
        }
        Ok(Self {
            keys: RowKeys::derive(secret),
            columns,
            id,
            workers: pool(threads).map_err(refused)?,
            rows: 0,
            without_id: 0,
        })
    }

    /// The records of the next rows, in order.
    fn push<'py>(
        &mut self,
        py: Python<'py>,
        buffers: Vec<Buffers>,
        rows: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        if buffers.len() != self.columns.len() {
            return Err(refuse("E_STATE", "the batch does not fit the columns"));
        }
        let found = py.detach(|| self.add(&buffers, rows)).map_err(refused)?;
        Ok(PyBytes::new(py, found.as_flattened()))
    }

    #[getter]
    fn without_id(&self) -> u64 {
        self.without_id
    }

    fn tag_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.keys.tag_key())
    }

    fn salt<'py>(&self, py: Python<'py>, row: u64) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.keys.salt(row))
    }
}

#[pyclass(module = "atoll._core")]
struct RowTree {
    tree: Tree,
    workers: rayon::ThreadPool,
}

#[pymethods]
impl RowTree {
    #[new]
    fn new(threads: usize) -> PyResult<Self> {
        Ok(Self {
            tree: Tree::default(),
            workers: pool(threads).map_err(refused)?,
        })
    }

    fn push(&mut self, py: Python<'_>, records: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.workers.install(|| self.tree.push(&records)))
            .map_err(refused)
    }

    #[getter]
    fn size(&self) -> u64 {
        self.tree.size()
    }

    fn root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.tree.root())
    }
}

/// Records in 256 groups by one byte of their tags; the groups' sizes as 256 little-endian u32.
#[pyfunction]
fn rows_partition<'py>(
    py: Python<'py>,
    records: PyBackedBytes,
    byte: usize,
) -> PyResult<Parts<'py>> {
    let (parts, counts) = py
        .detach(|| records::partition(&records, byte))
        .map_err(refused)?;
    Ok((PyBytes::new(py, parts.as_flattened()), words(py, &counts)?))
}

/// Records in order of their tags.
#[pyfunction]
fn rows_sort<'py>(py: Python<'py>, records: PyBackedBytes) -> PyResult<Bound<'py, PyBytes>> {
    let sorted = py.detach(|| records::sort(&records)).map_err(refused)?;
    Ok(PyBytes::new(py, sorted.as_flattened()))
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(rows_partition, m)?)?;
    m.add_function(wrap_pyfunction!(rows_sort, m)?)?;
    m.add_class::<RowHasher>()?;
    m.add_class::<RowTree>()
}
