//! All raw views of foreign memory. Each constructor checks dtype, device, shape, contiguity and writability once and
//! keeps the owner alive; behind it there are only slices.

use crate::errors;
use draftwood_base::Error;
use draftwood_forward::LiveTensor;
use draftwood_weights::GgmlType;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods};
use std::ffi::c_void;

fn refuse(py: Python<'_>, what: &str, expected: &str, got: String, hint: &str) -> PyErr {
    errors::raise(py, Error::invalid(what, expected, got, hint))
}

/// Head of DLPack's `DLManagedTensor` (dlpack.h, version 0): the fields that a consumer reads.
#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *const i64,
    strides: *const i64,
    byte_offset: u64,
}

const DL_CPU: i32 = 1;
const DL_FLOAT: u8 = 2;
const DL_BFLOAT: u8 = 4;

/// Logit rows of an executor, [rows, vocabulary] f32 on the CPU, borrowed through DLPack without a copy.
pub struct LogitRows {
    data: *const f32,
    len: usize,
    /// Rows and columns.
    pub shape: (usize, usize),
    _owner: Py<PyCapsule>,
}

// SAFETY: the memory belongs to the capsule held in `_owner`; the executor protocol forbids writing to rows between
// `forward` and the end of `verify`, so a shared read from another thread races with nobody.
unsafe impl Send for LogitRows {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for LogitRows {}

impl LogitRows {
    /// Borrows any object with `__dlpack__` (a torch tensor, a NumPy array).
    pub fn borrow(tensor: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = tensor.py();
        let hint = "an executor returns detached float32 CPU rows, one per entry of plan.head_rows";
        let fail =
            |expected: &str, got: String| Err(refuse(py, "the logits of an executor", expected, got, hint));
        let Ok(method) = tensor.getattr("__dlpack__") else {
            return fail("a tensor with __dlpack__", tensor.get_type().to_string());
        };
        let capsule = method.call0()?.cast_into::<PyCapsule>()?;
        let pointer = capsule.pointer_checked(Some(c"dltensor"))?;
        // SAFETY: a capsule named "dltensor" holds a DLManagedTensor whose first member is the tensor description; it
        // stays valid while the capsule lives, and the capsule is kept in `_owner`. It is not renamed, so its own
        // destructor gives the memory back.
        let t = unsafe { pointer.cast::<DlTensor>().as_ref() };
        if t.device_type != DL_CPU {
            return fail(
                "on the CPU",
                format!("a tensor on DLPack device {}:{}", t.device_type, t.device_id),
            );
        }
        if (t.code, t.bits, t.lanes) != (DL_FLOAT, 32, 1) {
            return fail("float32", format!("DLPack type {} of {} bits × {}", t.code, t.bits, t.lanes));
        }
        if t.ndim != 2 {
            return fail("2-dimensional", format!("{} dimensions", t.ndim));
        }
        // SAFETY: DLPack gives `ndim` entries in `shape`, and in `strides` unless it is null.
        let (shape, strides) = unsafe {
            (
                std::slice::from_raw_parts(t.shape, 2),
                (!t.strides.is_null()).then(|| std::slice::from_raw_parts(t.strides, 2)),
            )
        };
        let (Ok(rows), Ok(columns)) = (usize::try_from(shape[0]), usize::try_from(shape[1])) else {
            return fail("of non-negative size", format!("{shape:?}"));
        };
        if let Some(strides) = strides
            && rows > 0
            && columns > 0
            && ((columns > 1 && strides[1] != 1) || (rows > 1 && strides[0] != shape[1]))
        {
            return fail("contiguous", format!("strides {strides:?} for shape {shape:?}"));
        }
        let Some(len) = rows.checked_mul(columns) else {
            return fail("of a size that fits memory", format!("{shape:?}"));
        };
        let address = t.data as usize + t.byte_offset as usize;
        if len > 0 && (t.data.is_null() || !address.is_multiple_of(align_of::<f32>())) {
            return fail("aligned to 4 bytes", format!("address {address:#x}"));
        }
        // SAFETY: `byte_offset` lies inside the allocation that `data` points to (DLPack).
        let data = unsafe { t.data.cast::<u8>().add(t.byte_offset as usize) }.cast::<f32>().cast_const();
        Ok(Self { data, len, shape: (rows, columns), _owner: capsule.unbind() })
    }

    /// All rows, one after the other.
    pub fn as_slice(&self) -> &[f32] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: `data` is aligned and points to `len` contiguous f32 (checked in `borrow`) of memory that `_owner`
        // keeps alive; see the Send note for why nobody writes to it.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// Weights of another library: a contiguous tensor of floats on the CPU, of one or two dimensions, lent through DLPack.
pub struct LentTensor(LiveTensor);

impl LentTensor {
    /// Borrows any object with `__dlpack__`; `name` is the tensor's, for errors.
    pub fn borrow(tensor: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        let (py, what) = (tensor.py(), format!("tensor \"{name}\""));
        let hint = "the executor of transformers takes such modules";
        let fail = |expected: &str, got: String| Err(refuse(py, &what, expected, got, hint));
        let Ok(method) = tensor.getattr("__dlpack__") else {
            return fail("a tensor with __dlpack__", tensor.get_type().to_string());
        };
        let capsule = method.call0()?.cast_into::<PyCapsule>()?;
        let pointer = capsule.pointer_checked(Some(c"dltensor"))?;
        // SAFETY: as in `LogitRows::borrow`; the capsule is kept by the tensor made below.
        let t = unsafe { pointer.cast::<DlTensor>().as_ref() };
        if t.device_type != DL_CPU {
            return fail("on the CPU", format!("DLPack device {}:{}", t.device_type, t.device_id));
        }
        let kind = match (t.code, t.bits, t.lanes) {
            (DL_FLOAT, 32, 1) => GgmlType::F32,
            (DL_FLOAT, 16, 1) => GgmlType::F16,
            (DL_BFLOAT, 16, 1) => GgmlType::BF16,
            (code, bits, lanes) => {
                let got = format!("DLPack type {code} of {bits} bits × {lanes}");
                return fail("float32, float16 or bfloat16", got);
            }
        };
        let dims = usize::try_from(t.ndim).unwrap_or(0);
        if dims == 0 {
            return fail("of one or two dimensions", format!("{dims}"));
        }
        // SAFETY: DLPack gives `ndim` entries in `shape`, and in `strides` unless it is null.
        let (shape, strides) = unsafe {
            (
                std::slice::from_raw_parts(t.shape, dims),
                (!t.strides.is_null()).then(|| std::slice::from_raw_parts(t.strides, dims)),
            )
        };
        let sizes: Option<Vec<usize>> = shape.iter().map(|&n| usize::try_from(n).ok()).collect();
        let sizes = sizes.filter(|sizes| {
            sizes.iter().try_fold(4, |bytes: usize, &n| bytes.checked_mul(n)).is_some_and(|n| n > 0)
        });
        let Some(sizes) = sizes else {
            return fail("of positive size", format!("{shape:?}"));
        };
        if let Some(strides) = strides {
            let mut expected = 1;
            for (&size, &stride) in shape.iter().zip(strides).rev() {
                if size > 1 && stride != expected {
                    return fail("contiguous", format!("strides {strides:?} for shape {shape:?}"));
                }
                expected *= size;
            }
        }
        if t.data.is_null() {
            return fail("in memory", "address 0".to_owned());
        }
        // SAFETY: `byte_offset` lies inside the allocation that `data` points to (DLPack).
        let start = unsafe { t.data.cast::<u8>().add(t.byte_offset as usize) }.cast_const();
        let owner = Box::new(capsule.unbind());
        // SAFETY: contiguous floats of these sizes (checked above) in memory that the capsule holds. Python changes
        // weights between steps only: the executor's rule, which its version check watches.
        match unsafe { LiveTensor::new(start, kind, &sizes, owner) } {
            Some(tensor) => Ok(Self(tensor)),
            None => fail("of one or two dimensions", format!("{dims}")),
        }
    }

    /// For the forward pass.
    pub fn into_live(self) -> LiveTensor {
        self.0
    }
}

/// A writable, contiguous f32 buffer of the caller (`out=` arguments).
pub struct F32Out(PyBuffer<f32>);

impl F32Out {
    /// Borrows `out` of `len` values; `what` names the argument in errors.
    pub fn borrow(out: &Bound<'_, PyAny>, what: &str, len: usize) -> PyResult<Self> {
        let this = Self::borrow_any(out, what)?;
        let got = this.0.item_count();
        if got != len {
            let (expected, hint) = (format!("{len} values"), "pass numpy.empty(n, numpy.float32)");
            return Err(refuse(out.py(), what, &expected, got.to_string(), hint));
        }
        Ok(this)
    }

    /// Borrows `out` of any size.
    pub fn borrow_any(out: &Bound<'_, PyAny>, what: &str) -> PyResult<Self> {
        let py = out.py();
        let hint = "pass numpy.empty(n, numpy.float32)";
        let Ok(buffer) = PyBuffer::<f32>::get(out) else {
            return Err(refuse(py, what, "a float32 buffer", out.get_type().to_string(), hint));
        };
        if buffer.readonly() || !buffer.is_c_contiguous() {
            return Err(refuse(py, what, "writable and contiguous", format!("{out:?}"), hint));
        }
        Ok(Self(buffer))
    }

    /// The memory as a slice, for work with the interpreter released.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        match self.0.as_slice_ptr() {
            // SAFETY: checked contiguous, writable f32 memory of the given length; the buffer export keeps it alive and
            // in place. The caller handed it over as an output: by contract nobody else touches it during the call.
            Some(pointer) if self.0.item_count() > 0 => unsafe { &mut *pointer.as_ptr() },
            _ => &mut [],
        }
    }
}

/// An int32 array of the caller, to read.
pub struct I32In(PyBuffer<i32>);

impl I32In {
    /// Borrows `array`; `what` names it in errors.
    pub fn borrow(array: &Bound<'_, PyAny>, what: &str) -> PyResult<Self> {
        match PyBuffer::<i32>::get(array) {
            Ok(buffer) if buffer.is_c_contiguous() => Ok(Self(buffer)),
            _ => {
                let got = array.get_type().to_string();
                Err(refuse(array.py(), what, "a contiguous int32 buffer", got, "pass a NumPy int32 array"))
            }
        }
    }

    /// All values, rows one after the other.
    pub fn as_slice(&self) -> &[i32] {
        match self.0.as_slice_ptr() {
            // SAFETY: contiguous i32 memory that this export keeps alive; the executor protocol forbids writing to a
            // plan while a forward reads it.
            Some(pointer) if self.0.item_count() > 0 => unsafe { &*pointer.as_ptr() },
            _ => &[],
        }
    }
}

/// A writable int32 block of the caller that a session fills each step.
pub struct I32Block(PyBuffer<i32>);

impl I32Block {
    /// Borrows the block; it stays exported as long as this lives, so it cannot be resized.
    pub fn borrow(block: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = block.py();
        let hint = "pass numpy.zeros(n, numpy.int32)";
        match PyBuffer::<i32>::get(block) {
            Ok(buffer) if !buffer.readonly() && buffer.is_c_contiguous() => Ok(Self(buffer)),
            _ => Err(refuse(
                py,
                "block",
                "a writable contiguous int32 buffer",
                block.get_type().to_string(),
                hint,
            )),
        }
    }

    /// Number of int32 values.
    pub fn len(&self) -> usize {
        self.0.item_count()
    }

    /// Copies `parts` one after the other to the front of the block and returns their start offsets.
    pub fn fill<const N: usize>(&self, py: Python<'_>, parts: [&[i32]; N]) -> PyResult<[usize; N]> {
        let needed: usize = parts.iter().map(|part| part.len()).sum();
        let Some(pointer) = self.0.as_slice_ptr().filter(|_| self.len() >= needed) else {
            let got = self.len().to_string();
            return Err(refuse(
                py,
                "block",
                &format!("at least {needed} values"),
                got,
                "size it by plan_capacity",
            ));
        };
        let (mut at, mut starts) = (0, [0; N]);
        for (part, start) in parts.iter().zip(&mut starts) {
            *start = at;
            // SAFETY: the block is contiguous, writable i32 memory of at least `needed` values that this export keeps
            // alive; `at + part.len() ≤ needed`. `parts` are slices of the core, so they do not overlap it, and with
            // the interpreter held no Python code reads the block meanwhile.
            unsafe {
                let to = pointer.cast::<i32>().as_ptr().add(at);
                std::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
            }
            at += part.len();
        }
        Ok(starts)
    }
}
