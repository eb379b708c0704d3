//! A model's weights, repacked for the kernels.

use crate::lanes::WIDTH;
use crate::linear::Form;
use crate::machine::Machine;
use crate::panels::{Layout, Panels};
use crate::spec::Spec;
use draftwood_base::pool::Pool;
use draftwood_base::{Error, Result};
use draftwood_weights::GgmlType;
use std::sync::Arc;

/// Where weights come from: rows of named tensors. Names are those of GGUF.
pub trait Weights: Send + Sync {
    /// Shape, rows first, and stored type of a tensor; None if there is no such tensor.
    fn info(&self, name: &str) -> Option<(Vec<usize>, GgmlType)>;

    /// Writes one row as f32 (the whole of a vector is row 0).
    ///
    /// # Errors
    /// For values that are not finite, or a type that is not built.
    fn row(&self, name: &str, row: usize, to: &mut [f32]) -> Result<()>;

    /// Writes one row as it is stored.
    ///
    /// # Errors
    /// If there is no such row.
    fn stored_row(&self, name: &str, row: usize, to: &mut [u8]) -> Result<()>;
}

/// In which bits matrices are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// Those of the file, tensor by tensor, where there is a kernel for them; else f32.
    Stored,
    /// f32, dequantised at load.
    F32,
}

/// One decoder layer. Heads are padded to whole panels.
#[derive(Debug)]
pub struct Layer {
    /// Weights of the norm before attention, padded.
    pub attention_norm: Vec<f32>,
    /// Queries, keys and values, [heads · padded head, hidden] each; their types may differ.
    pub qkv: [Panels; 3],
    /// [hidden, heads · head_dim].
    pub output: Panels,
    /// Weights of the norm before the gated layer, padded.
    pub feed_forward_norm: Vec<f32>,
    /// Per [`GATED`] outputs: so many rows of gate, then as many of up.
    pub gate_up: Panels,
    /// [hidden, feed_forward].
    pub down: Panels,
}

/// Outputs of the gated layer that one thread computes together: whole quantisation blocks.
pub const GATED: usize = 32;

/// The tensor that tokens are looked up in.
const EMBEDDING: &str = "token_embd.weight";

/// All weights.
pub struct Model {
    /// Its numbers.
    pub spec: Spec,
    /// Decoder layers.
    pub layers: Vec<Layer>,
    /// Weights of the last norm, padded.
    pub final_norm: Vec<f32>,
    /// [vocab, hidden]; the embedding's values when tied.
    pub head: Panels,
    /// Embedding rows are read from where they are stored: a step needs one per token.
    source: Arc<dyn Weights>,
    /// Inverse frequencies of the rotary embedding.
    pub frequencies: Vec<f32>,
}

impl Model {
    /// Reads and repacks all weights, tensor by tensor.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a missing tensor or another shape; what the source reports.
    ///
    /// # Cost
    /// One pass over the source on all threads, and the bytes of its matrices, or 4 per weight.
    pub fn load(spec: Spec, source: Arc<dyn Weights>, dtype: Dtype, pool: &Pool) -> Result<Self> {
        let packer = Packer { spec: &spec, weights: &*source, dtype, pool };
        let (vocab, hidden) = (spec.vocab, spec.hidden);
        packer.expect(EMBEDDING, &[vocab, hidden])?;
        let layers = (0..spec.layers.len()).map(|layer| packer.layer(layer)).collect::<Result<_>>()?;
        let final_norm = packer.vector("output_norm.weight", hidden)?;
        let head = if spec.tied { EMBEDDING } else { "output.weight" };
        let head = packer.matrix(&[(head.to_owned(), vocab)], hidden, vocab, &Some)?;
        let frequencies = crate::rope::inverse_frequencies(spec.rope_base, spec.head_dim);
        Ok(Self { layers, final_norm, head, frequencies, spec, source })
    }

    /// Writes a token's embedding. Values that are not finite become NaN, which the head's rows then show.
    pub fn embed(&self, token: usize, to: &mut [f32]) {
        if self.source.row(EMBEDDING, token, to).is_err() {
            to.fill(f32::NAN);
        }
    }

    /// Bytes of weights that a step of one row reads: all matrices once, and one row of the embedding.
    pub fn step_bytes(&self) -> usize {
        self.layers.iter().flat_map(Layer::matrices).chain([&self.head]).map(Panels::bytes).sum()
    }

    /// Whether a matrix takes activations as `form` on that machine.
    pub fn takes(&self, machine: Machine, form: Form) -> bool {
        let mut matrices = self.layers.iter().flat_map(Layer::matrices).chain([&self.head]);
        matrices.any(|matrix| machine.form(matrix.layout) == form)
    }

    /// How most of the bytes are stored, as GGUF spells it.
    pub fn main_type(&self) -> &'static str {
        let mut bytes: Vec<(GgmlType, usize)> = Vec::new();
        for matrix in self.layers.iter().flat_map(Layer::matrices) {
            let kind = matrix.layout.source();
            match bytes.iter_mut().find(|(other, _)| *other == kind) {
                Some((_, sum)) => *sum += matrix.bytes(),
                None => bytes.push((kind, matrix.bytes())),
            }
        }
        bytes.iter().max_by_key(|(_, sum)| *sum).map_or("F32", |(kind, _)| kind.name())
    }
}

impl Layer {
    fn matrices(&self) -> impl Iterator<Item = &Panels> {
        self.qkv.iter().chain([&self.output, &self.gate_up, &self.down])
    }
}

struct Packer<'a> {
    spec: &'a Spec,
    weights: &'a dyn Weights,
    dtype: Dtype,
    pool: &'a Pool,
}

impl Packer<'_> {
    fn layer(&self, layer: usize) -> Result<Layer> {
        let Spec { hidden, feed_forward, heads, kv_heads, head_dim, .. } = *self.spec;
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let queries = heads * head_dim;
        let gated = feed_forward.next_multiple_of(GATED);
        Ok(Layer {
            attention_norm: self.vector(&name("attn_norm"), hidden)?,
            qkv: [
                self.heads(&name("attn_q"), heads, true)?,
                self.heads(&name("attn_k"), kv_heads, true)?,
                self.heads(&name("attn_v"), kv_heads, false)?,
            ],
            output: self.matrix(&[(name("attn_output"), hidden)], queries, hidden, &Some)?,
            feed_forward_norm: self.vector(&name("ffn_norm"), hidden)?,
            gate_up: self.matrix(
                &[(name("ffn_gate"), feed_forward), (name("ffn_up"), feed_forward)],
                hidden,
                2 * gated,
                &|row| {
                    let (unit, within) = (row / (2 * GATED), row % (2 * GATED));
                    let output = unit * GATED + within % GATED;
                    (output < feed_forward).then_some(output + within / GATED * feed_forward)
                },
            )?,
            down: self.matrix(&[(name("ffn_down"), hidden)], feed_forward, hidden, &Some)?,
        })
    }

    /// Heads padded to whole panels; of those that are `turned`, rope pairs as halves.
    fn heads(&self, name: &str, heads: usize, turned: bool) -> Result<Panels> {
        let Spec { hidden, head_dim, rope_neighbours, .. } = *self.spec;
        let padded = head_dim.next_multiple_of(WIDTH);
        let half = head_dim / 2;
        self.matrix(&[(name.to_owned(), heads * head_dim)], hidden, heads * padded, &|row| {
            let (head, d) = (row / padded, row % padded);
            let stored = match (rope_neighbours && turned, d < half) {
                (false, _) => d,
                (true, true) => 2 * d,
                (true, false) => 2 * (d - half) + 1,
            };
            (d < head_dim).then_some(head * head_dim + stored)
        })
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        self.expect(name, &[len])?;
        let mut values = vec![0.0; len.next_multiple_of(WIDTH)];
        self.weights.row(name, 0, &mut values[..len])?;
        Ok(values)
    }

    /// A matrix of `rows` rows, each from the stack of `parts` (name, rows) or zero.
    fn matrix(
        &self,
        parts: &[(String, usize)],
        columns: usize,
        rows: usize,
        source: &(dyn Fn(usize) -> Option<usize> + Sync),
    ) -> Result<Panels> {
        let mut layouts = Vec::new();
        for (name, rows) in parts {
            layouts.push(Layout::of(self.expect(name, &[*rows, columns])?));
        }
        let part = |row: usize| {
            let (mut row, mut parts) = (row, parts.iter());
            parts
                .find(|(_, rows)| {
                    row < *rows || {
                        row -= rows;
                        false
                    }
                })
                .map(|(name, _)| (name.as_str(), row))
        };
        let missing = |row: usize| Error::Internal(format!("row {row} beyond the tensors {parts:?}"));
        let stored =
            layouts[0].filter(|_| self.dtype == Dtype::Stored && layouts.iter().all(|&l| l == layouts[0]));
        let Some(layout) = stored else {
            let mut panels = Panels::zeroed(Layout::F32, rows, columns)?;
            panels.fill_f32(self.pool, source, &|row, to| {
                let (name, row) = part(row).ok_or_else(|| missing(row))?;
                self.weights.row(name, row, to)
            })?;
            return Ok(panels);
        };
        let mut panels = Panels::zeroed(layout, rows, columns)?;
        panels.fill_blocks(self.pool, source, &|row, to| {
            let (name, row) = part(row).ok_or_else(|| missing(row))?;
            self.weights.stored_row(name, row, to)
        })?;
        Ok(panels)
    }

    /// The type of a tensor of this shape.
    fn expect(&self, name: &str, shape: &[usize]) -> Result<GgmlType> {
        match self.weights.info(name) {
            Some((got, kind)) if got == shape => Ok(kind),
            got => {
                let got = got.map_or("none".to_owned(), |(got, _)| format!("{got:?}"));
                Err(Error::invalid(format!("tensor \"{name}\""), format!("of shape {shape:?}"), got, ""))
            }
        }
    }
}
