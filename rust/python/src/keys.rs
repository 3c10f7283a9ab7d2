//! Python face of the key digests. Buffers come as `bytes`, cut to the batch by the caller.

use atoll_psi::distinct::{Distinct, numbered};
use atoll_psi::keys::{Bitmap, Column, KeyDigest, OnInvalid, Values, digest_into};
use atoll_psi::normalise::Step;
use atoll_psi::pool;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::psi::{refused, words};
use crate::refuse;

/// One column of a batch: kind, values, data (text only), bit offset, validity (if any), scale.
pub(crate) type Buffers = (
    String,
    PyBackedBytes,
    Option<PyBackedBytes>,
    usize,
    Option<PyBackedBytes>,
    i32,
);

#[pyclass(module = "atoll._core")]
struct KeyBuilder {
    columns: Vec<(String, Vec<Step>)>,
    on_invalid: OnInvalid,
    workers: rayon::ThreadPool,
    distinct: Distinct,
    /// Number of the first row in errors.
    first_row: u64,
    blocks: std::vec::IntoIter<Vec<KeyDigest>>,
    /// True after a refusal and after the end.
    closed: bool,
}

impl KeyBuilder {
    fn add(&mut self, buffers: &[Buffers], rows: usize) -> Result<(), atoll_psi::Refusal> {
        let mut columns = Vec::with_capacity(buffers.len());
        for ((name, steps), (kind, values, data, offset, validity, scale)) in
            self.columns.iter().zip(buffers)
        {
            let validity = validity
                .as_ref()
                .map(|bits| Bitmap::new(bits, *offset, rows))
                .transpose()?;
            let text = data.as_deref().unwrap_or_default();
            let values = match kind.as_str() {
                "utf8" => Values::Utf8(values, text),
                "large_utf8" => Values::LargeUtf8(values, text),
                "int64" => Values::Int64(values),
                "int32" => Values::Int32(values),
                "date32" => Values::Date32(values),
                "bool" => Values::Bool(Bitmap::new(values, *offset, rows)?),
                "decimal128" => Values::Decimal128(values, *scale),
                "timestamp" => Values::TimestampUs(values),
                "timestamp_utc" => Values::TimestampUtcUs(values),
                other => {
                    return Err(atoll_psi::Refusal {
                        code: "E_TYPE",
                        text: format!("column {name}: a key cannot be of type {other}"),
                    });
                }
            };
            columns.push(Column::new(name, values, validity, steps, rows)?);
        }
        let first = self.first_row.saturating_add(self.distinct.len() as u64);
        let (distinct, on_invalid) = (&mut self.distinct, self.on_invalid);
        self.workers.install(|| {
            distinct.push(rows, |digests, keyed| {
                digest_into(&columns, first, on_invalid, digests, keyed)
            })
        })
    }
}

#[pymethods]
impl KeyBuilder {
    #[new]
    #[pyo3(signature = (columns, on_invalid, threads, first_row=0))]
    fn new(
        columns: Vec<(String, Vec<String>)>,
        on_invalid: &str,
        threads: usize,
        first_row: u64,
    ) -> PyResult<Self> {
        let parse = |(name, steps): (String, Vec<String>)| {
            let steps = steps
                .iter()
                .map(|s| Step::parse(s))
                .collect::<Result<_, _>>()
                .map_err(refused)?;
            Ok((name, steps))
        };
        Ok(Self {
            columns: columns.into_iter().map(parse).collect::<PyResult<_>>()?,
            on_invalid: match on_invalid {
                "refuse" => OnInvalid::Refuse,
                "no_key" => OnInvalid::NoKey,
                other => {
                    return Err(refuse(
                        "E_FORMAT",
                        format!("on_invalid is refuse or no_key, not {other:?}"),
                    ));
                }
            },
            workers: pool(threads).map_err(refused)?,
            distinct: Distinct::default(),
            first_row,
            blocks: Vec::new().into_iter(),
            closed: false,
        })
    }

    /// Adds a batch of rows; after a refusal the builder is of no more use.
    fn push(&mut self, py: Python<'_>, buffers: Vec<Buffers>, rows: usize) -> PyResult<()> {
        if self.closed || buffers.len() != self.columns.len() {
            return Err(refuse(
                "E_STATE",
                "the batch does not fit the builder, or it is closed",
            ));
        }
        let added = py.detach(|| self.add(&buffers, rows));
        self.closed = added.is_err();
        added.map_err(refused)
    }

    /// `(rows, multiplicity, nulls, duplicates)`; the digests follow from `next_digests`. No batch can be added
    /// afterwards.
    #[allow(clippy::type_complexity)]
    fn finish<'py>(
        &mut self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, u64, u64)> {
        self.closed = true;
        let distinct = std::mem::take(&mut self.distinct);
        let found = py.detach(|| self.workers.install(|| distinct.finish()));
        let duplicates = found.duplicates();
        let (rows, multiplicity) = (words(py, &found.rows)?, words(py, &found.multiplicity)?);
        self.blocks = found.digests.into_blocks();
        Ok((rows, multiplicity, found.nulls, duplicates))
    }

    /// The next digests in order, a block of 32 bytes each; `None` after the last.
    fn next_digests<'py>(&mut self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.blocks
            .next()
            .map(|block| PyBytes::new(py, block.as_flattened()))
    }
}

/// For each digest the number of its key, u32 little-endian.
#[pyfunction]
fn key_numbers<'py>(
    py: Python<'py>,
    digests: PyBackedBytes,
    threads: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let found = py.detach(|| numbered(&digests, threads)).map_err(refused)?;
    words(py, &found)
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(key_numbers, m)?)?;
    m.add_class::<KeyBuilder>()
}
