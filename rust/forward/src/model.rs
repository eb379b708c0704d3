//! A model's weights, repacked for the kernels.

use crate::lanes::WIDTH;
use crate::panels::{Layout, Panels};
use crate::spec::Spec;
use draftwood_base::pool::Pool;
use draftwood_base::{Error, Result};

/// Where weights come from: rows of named tensors as f32. Names are those of GGUF.
pub trait Weights: Sync {
    /// Shape of a tensor, rows first; None if there is no such tensor.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// Writes one row (the whole of a vector is row 0).
    ///
    /// # Errors
    /// For values that are not finite, or a type that is not built.
    fn row(&self, name: &str, row: usize, to: &mut [f32]) -> Result<()>;
}

/// One decoder layer. Heads are padded to whole panels.
#[derive(Debug)]
pub struct Layer {
    /// Weights of the norm before attention, padded.
    pub attention_norm: Vec<f32>,
    /// [(heads + 2 · kv_heads) · padded head, hidden]: q, k, v head by head.
    pub qkv: Panels,
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

/// All weights.
#[derive(Debug)]
pub struct Model {
    /// Its numbers.
    pub spec: Spec,
    /// Decoder layers.
    pub layers: Vec<Layer>,
    /// Weights of the last norm, padded.
    pub final_norm: Vec<f32>,
    /// [vocab, hidden]; the head too when tied.
    pub embedding: Panels,
    /// [vocab, hidden] unless tied.
    pub head: Option<Panels>,
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
    /// One pass over the source on all threads, and 4 bytes per weight.
    pub fn load(spec: Spec, weights: &dyn Weights, pool: &Pool) -> Result<Self> {
        let packer = Packer { spec: &spec, weights, pool };
        let layers = (0..spec.layers).map(|layer| packer.layer(layer)).collect::<Result<_>>()?;
        let (vocab, hidden) = (spec.vocab, spec.hidden);
        let matrix = |name: &str| packer.matrix(&[(name.to_owned(), vocab)], hidden, vocab, &Some);
        let final_norm = packer.vector("output_norm.weight", hidden)?;
        let embedding = matrix("token_embd.weight")?;
        let head = if spec.tied { None } else { Some(matrix("output.weight")?) };
        let frequencies = crate::rope::inverse_frequencies(spec.rope_base, spec.head_dim);
        Ok(Self { layers, final_norm, embedding, head, frequencies, spec })
    }

    /// The matrix of the head.
    pub fn head(&self) -> &Panels {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Bytes of weights that a step of one row reads: all matrices once, of an untied embedding one row.
    pub fn step_bytes(&self) -> usize {
        let layer = |l: &Layer| l.qkv.bytes() + l.output.bytes() + l.gate_up.bytes() + l.down.bytes();
        self.layers.iter().map(layer).sum::<usize>() + self.head().bytes()
    }
}

struct Packer<'a> {
    spec: &'a Spec,
    weights: &'a dyn Weights,
    pool: &'a Pool,
}

impl Packer<'_> {
    fn layer(&self, layer: usize) -> Result<Layer> {
        let Spec { hidden, feed_forward, heads, kv_heads, head_dim, .. } = *self.spec;
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        let gated = feed_forward.next_multiple_of(GATED);
        Ok(Layer {
            attention_norm: self.vector(&name("attn_norm"), hidden)?,
            qkv: self.matrix(
                &[(name("attn_q"), queries), (name("attn_k"), keys), (name("attn_v"), keys)],
                hidden,
                (heads + 2 * kv_heads) * head_dim.next_multiple_of(WIDTH),
                &|row| self.head_row(row),
            )?,
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

    /// From a row of padded heads to the row of the stacked tensors, rope pairs as halves.
    fn head_row(&self, row: usize) -> Option<usize> {
        let Spec { heads, kv_heads, head_dim, rope_neighbours, .. } = *self.spec;
        let padded = head_dim.next_multiple_of(WIDTH);
        let (head, d) = (row / padded, row % padded);
        let turned = head < heads + kv_heads;
        let half = head_dim / 2;
        let stored = match (rope_neighbours && turned, d < half) {
            (false, _) => d,
            (true, true) => 2 * d,
            (true, false) => 2 * (d - half) + 1,
        };
        (d < head_dim).then_some(head * head_dim + stored)
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
        for (name, rows) in parts {
            self.expect(name, &[*rows, columns])?;
        }
        let mut panels = Panels::zeroed(Layout::F32, rows, columns)?;
        panels.fill_f32(self.pool, source, &|mut row, to| {
            for (name, rows) in parts {
                if row < *rows {
                    return self.weights.row(name, row, to);
                }
                row -= rows;
            }
            Err(Error::Internal(format!("row {row} beyond the tensors {parts:?}")))
        })?;
        Ok(panels)
    }

    fn expect(&self, name: &str, shape: &[usize]) -> Result<()> {
        match self.weights.shape(name) {
            Some(got) if got == shape => Ok(()),
            got => {
                let got = got.map_or("none".to_owned(), |got| format!("{got:?}"));
                Err(Error::invalid(format!("tensor \"{name}\""), format!("of shape {shape:?}"), got, ""))
            }
        }
    }
}
