//! A model's weights: repacked for the kernels, or left where they are.

use crate::lanes::WIDTH;
use crate::linear::Form;
use crate::machine::Machine;
use crate::memory::Arena;
use crate::panels::{Layout, Lying, PANEL, Panels, RowsInPlace};
use crate::spec::{NormKind, RopeScaling, Spec};
use draftwood_base::pool::Pool;
use draftwood_base::{Error, Result};
use draftwood_weights::GgmlType;
use std::sync::Arc;

/// Where weights come from: rows of named tensors. Names are those of GGUF, with q, k and v apart.
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

    /// The tensor was copied: memory that it holds may go. Its rows can still be read.
    fn release(&self, _name: &str) {}

    /// Where the rows of a tensor lie as they are stored, if they may be read there as long as `self` lives: as many
    /// rows and columns as [`Weights::info`] tells.
    fn lying(&self, _name: &str) -> Option<Lying> {
        None
    }
}

/// Where matrices are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// In memory of our own, in the order of the kernels.
    Packed,
    /// Where their source has them: packed again, tile by tile, in each step. Those that are not kept in their stored
    /// bits, or whose source tells no place, are packed once all the same.
    InPlace,
}

/// In which bits matrices are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// Those of the file, tensor by tensor, where there is a kernel for them; else f32.
    Stored,
    /// f32, dequantised at load.
    F32,
}

/// A norm of the residual stream; vectors are padded.
#[derive(Debug)]
pub enum Norm {
    /// RMSNorm.
    Rms {
        /// Weights.
        weight: Vec<f32>,
    },
    /// LayerNorm.
    Layer {
        /// Weights.
        weight: Vec<f32>,
        /// Biases.
        bias: Vec<f32>,
    },
}

/// A matrix and, where the model has one, a bias per row.
#[derive(Debug)]
pub struct Linear {
    /// The matrix.
    pub weights: Panels,
    /// A value per row of all panels.
    pub bias: Option<Vec<f32>>,
}

/// One decoder layer. Heads are padded to whole panels.
#[derive(Debug)]
pub struct Layer {
    /// Before attention.
    pub attention_norm: Norm,
    /// Queries, keys and values, [heads · padded head, hidden] each; their types may differ.
    pub qkv: [Linear; 3],
    /// Weights of the norms of heads of q and of k, padded.
    pub head_norms: Option<[Vec<f32>; 2]>,
    /// [hidden, heads · head_dim].
    pub output: Linear,
    /// Before the feed-forward layer.
    pub feed_forward_norm: Norm,
    /// Per [`GATED`] outputs so many rows of gate, if there is one, then as many of up; or, where their types differ, gate
    /// and up, each for itself.
    pub gate_up: Vec<Linear>,
    /// [hidden, feed_forward].
    pub down: Linear,
}

/// Outputs of the feed-forward layer that one thread computes together: whole quantisation blocks.
pub const GATED: usize = 32;

/// The tensor that tokens are looked up in.
const EMBEDDING: &str = "token_embd.weight";
/// Learned positions.
const POSITIONS: &str = "position_embd.weight";
/// Divisors of the rotary embedding's frequencies.
const DIVISORS: &str = "rope_freqs.weight";

/// All weights.
pub struct Model {
    /// Its numbers.
    pub spec: Spec,
    /// Decoder layers.
    pub layers: Vec<Layer>,
    /// The last norm.
    pub final_norm: Norm,
    /// [vocab, hidden]; the embedding's values when tied.
    pub head: Panels,
    /// Embedding rows are read from where they are stored: a step needs one per token.
    source: Arc<dyn Weights>,
    /// [context][hidden], if positions are learned.
    positions: Option<Vec<f32>>,
    /// Inverse frequencies of each rotary embedding.
    pub frequencies: Vec<Vec<f32>>,
}

impl Model {
    /// Reads and repacks all weights, tensor by tensor, or notes where they lie.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a missing tensor or another shape; what the source reports. Matrices that are left
    /// in place are not looked at.
    ///
    /// # Cost
    /// One pass over the source on all threads, and the bytes of its matrices, or 4 per weight. In place: its vectors,
    /// and an address per row.
    pub fn load(spec: Spec, source: Arc<dyn Weights>, dtype: Dtype, keep: Keep, pool: &Pool) -> Result<Self> {
        let packer = Packer { spec: &spec, weights: &source, dtype, keep, pool, arena: Arena::default() };
        let (vocab, hidden) = (spec.vocab, spec.hidden);
        packer.expect(EMBEDDING, &[vocab, hidden])?;
        let layers = (0..spec.layers.len()).map(|layer| packer.layer(layer)).collect::<Result<_>>()?;
        let final_norm = packer.norm("output_norm")?;
        let head = if spec.tied { EMBEDDING } else { "output.weight" };
        let head = packer.matrix(&[(head.to_owned(), vocab)], hidden, vocab, &Some)?;
        let positions = if spec.learned_positions { Some(packer.positions()?) } else { None };
        let frequencies = spec.ropes.iter().map(|rope| {
            let divisors = match rope.scaling {
                Some(RopeScaling::Divisors) => packer.vector(DIVISORS, spec.head_dim / 2)?,
                _ => Vec::new(),
            };
            Ok(crate::rope::inverse_frequencies(rope, spec.head_dim, &divisors))
        });
        let frequencies = frequencies.collect::<Result<_>>()?;
        Ok(Self { layers, final_norm, head, positions, frequencies, spec, source })
    }

    /// Writes the embedding [hidden] of a token, without a position. Values that are not finite become NaN, which the
    /// head's rows then show.
    pub fn embed(&self, token: usize, to: &mut [f32]) {
        if self.source.row(EMBEDDING, token, to).is_err() {
            to.fill(f32::NAN);
        }
    }

    /// Adds what the model has learned about a position, if it does so.
    pub fn add_position(&self, position: usize, to: &mut [f32]) {
        if let Some(positions) = &self.positions {
            let row = &positions[position * to.len()..][..to.len()];
            to.iter_mut().zip(row).for_each(|(to, p)| *to += p);
        }
    }

    /// Bytes of weights that a step of one row reads: all matrices once, and one row of the embedding.
    pub fn step_bytes(&self) -> usize {
        self.layers.iter().flat_map(Layer::matrices).chain([&self.head]).map(Panels::bytes).sum()
    }

    /// Whether matrices are read where their source has them.
    pub fn reads_in_place(&self) -> bool {
        let mut matrices = self.layers.iter().flat_map(Layer::matrices).chain([&self.head]);
        matrices.any(|matrix| matrix.rows_in_place().is_some())
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
        self.qkv.iter().chain(&self.gate_up).chain([&self.output, &self.down]).map(|linear| &linear.weights)
    }
}

struct Packer<'a> {
    spec: &'a Spec,
    weights: &'a Arc<dyn Weights>,
    dtype: Dtype,
    keep: Keep,
    pool: &'a Pool,
    arena: Arena,
}

impl Packer<'_> {
    fn layer(&self, layer: usize) -> Result<Layer> {
        let Spec { hidden, feed_forward, heads, kv_heads, head_dim, .. } = *self.spec;
        let Spec { output_bias, feed_forward_bias, head_norm, .. } = *self.spec;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let queries = heads * head_dim;
        let norm_of = |part: &str| self.vector(&name(part), head_dim);
        Ok(Layer {
            attention_norm: self.norm(&name("attn_norm"))?,
            qkv: [
                self.heads(name("attn_q"), heads, true)?,
                self.heads(name("attn_k"), kv_heads, true)?,
                self.heads(name("attn_v"), kv_heads, false)?,
            ],
            head_norms: match head_norm {
                true => Some([norm_of("attn_q_norm.weight")?, norm_of("attn_k_norm.weight")?]),
                false => None,
            },
            output: self.linear(&[(name("attn_output"), hidden)], queries, hidden, &Some, output_bias)?,
            feed_forward_norm: self.norm(&name("ffn_norm"))?,
            gate_up: self.gate_up(&name)?,
            down: self.linear(
                &[(name("ffn_down"), hidden)],
                feed_forward,
                hidden,
                &Some,
                feed_forward_bias,
            )?,
        })
    }

    /// See [`Layer::gate_up`].
    fn gate_up(&self, name: &dyn Fn(&str) -> String) -> Result<Vec<Linear>> {
        let Spec { hidden, feed_forward, feed_forward_bias, gated, .. } = *self.spec;
        let names = if gated { &["ffn_gate", "ffn_up"][..] } else { &["ffn_up"] };
        let parts: Vec<_> = names.iter().map(|part| (name(part), feed_forward)).collect();
        let mut layouts = Vec::new();
        for (name, rows) in &parts {
            layouts.push(Layout::of(self.expect(&format!("{name}.weight"), &[*rows, hidden])?));
        }
        let together = self.dtype == Dtype::F32 || layouts.iter().all(|&layout| layout == layouts[0]);
        let matrices = if together { vec![&parts[..]] } else { parts.chunks(1).collect() };
        let of = |parts: &[(String, usize)]| {
            let unit = parts.len() * GATED;
            let source = |row: usize| {
                let output = row / unit * GATED + row % GATED;
                (output < feed_forward).then_some(output + row % unit / GATED * feed_forward)
            };
            self.linear(parts, hidden, feed_forward.div_ceil(GATED) * unit, &source, feed_forward_bias)
        };
        matrices.into_iter().map(of).collect()
    }

    /// Heads padded to whole panels; of those that are `turned`, rope pairs as halves.
    fn heads(&self, name: String, heads: usize, turned: bool) -> Result<Linear> {
        let Spec { hidden, head_dim, rope_neighbours, qkv_bias, .. } = *self.spec;
        let padded = head_dim.next_multiple_of(WIDTH);
        let half = head_dim / 2;
        let source = |row: usize| {
            let (head, d) = (row / padded, row % padded);
            let stored = match (rope_neighbours && turned, d < half) {
                (false, _) => d,
                (true, true) => 2 * d,
                (true, false) => 2 * (d - half) + 1,
            };
            (d < head_dim).then_some(head * head_dim + stored)
        };
        self.linear(&[(name, heads * head_dim)], hidden, heads * padded, &source, qkv_bias)
    }

    /// A vector of `len` values, padded.
    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        self.expect(name, &[len])?;
        let mut values = vec![0.0; len.next_multiple_of(WIDTH)];
        self.weights.row(name, 0, &mut values[..len])?;
        Ok(values)
    }

    fn norm(&self, name: &str) -> Result<Norm> {
        let vector = |kind: &str| self.vector(&format!("{name}.{kind}"), self.spec.hidden);
        Ok(match self.spec.norm {
            NormKind::Rms => Norm::Rms { weight: vector("weight")? },
            NormKind::Layer => Norm::Layer { weight: vector("weight")?, bias: vector("bias")? },
        })
    }

    fn positions(&self) -> Result<Vec<f32>> {
        let Spec { context, hidden, .. } = *self.spec;
        self.expect(POSITIONS, &[context, hidden])?;
        let mut values = vec![0.0; context * hidden];
        for (row, to) in values.chunks_exact_mut(hidden).enumerate() {
            self.weights.row(POSITIONS, row, to)?;
        }
        self.weights.release(POSITIONS);
        Ok(values)
    }

    /// A matrix as [`Packer::matrix`] makes it from the weights of `parts`, and its bias from their biases.
    fn linear(
        &self,
        parts: &[(String, usize)],
        columns: usize,
        rows: usize,
        source: &(dyn Fn(usize) -> Option<usize> + Sync),
        biased: bool,
    ) -> Result<Linear> {
        let weights: Vec<_> = parts.iter().map(|(name, rows)| (format!("{name}.weight"), *rows)).collect();
        let weights = self.matrix(&weights, columns, rows, source)?;
        if !biased {
            return Ok(Linear { weights, bias: None });
        }
        let mut stacked = Vec::new();
        for (name, rows) in parts {
            stacked.extend_from_slice(&self.vector(&format!("{name}.bias"), *rows)?[..*rows]);
        }
        let bias = (0..rows.next_multiple_of(PANEL)).map(|row| {
            let stored = if row < rows { source(row) } else { None };
            stored.map_or(0.0, |stored| stacked[stored])
        });
        Ok(Linear { weights, bias: Some(bias.collect()) })
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
        let find = |row: usize| {
            let mut row = row;
            let number = parts.iter().position(|(_, rows)| {
                row < *rows || {
                    row -= rows;
                    false
                }
            });
            number.map(|number| (number, row))
        };
        let part = |row: usize| find(row).map(|(number, row)| (parts[number].0.as_str(), row));
        let missing = |row: usize| Error::Internal(format!("row {row} beyond the tensors {parts:?}"));
        let same = layouts[0].filter(|_| layouts.iter().all(|&layout| layout == layouts[0]));
        let stored = same.filter(|_| self.dtype == Dtype::Stored);
        let keeps_bits = same.filter(|&layout| self.dtype == Dtype::Stored || layout == Layout::F32);
        if let (Some(layout), Some(lying)) = (keeps_bits, self.places(parts)) {
            let address = |row: usize| {
                let stored = if row < rows { source(row) } else { None };
                let Some((number, row)) =
                    stored.map(|row| find(row).ok_or_else(|| missing(row))).transpose()?
                else {
                    return Ok(std::ptr::null());
                };
                Ok(lying[number].start.wrapping_add(row * lying[number].row_step))
            };
            let addresses = (0..rows.next_multiple_of(PANEL)).map(address).collect::<Result<_>>()?;
            let owner = Arc::new(Arc::clone(self.weights));
            let rows_in_place = RowsInPlace::new(addresses, lying[0].step, owner);
            // SAFETY: `Weights::lying` promises rows of the shape that `info` told, which was checked above, as long as
            // the source lives, which the matrix holds.
            return unsafe { Panels::in_place(layout, rows, columns, rows_in_place) };
        }
        let mut panels = Panels::zeroed_in(&self.arena, stored.unwrap_or(Layout::F32), rows, columns)?;
        if stored.is_some() {
            let filled = panels.fill_blocks(self.pool, source, &|row, to| {
                let (name, row) = part(row).ok_or_else(|| missing(row))?;
                self.weights.stored_row(name, row, to)
            });
            filled.or_else(|error| self.first_fault(parts, columns).and(Err(error)))?;
        } else {
            panels.fill_f32(self.pool, source, &|row, to| {
                let (name, row) = part(row).ok_or_else(|| missing(row))?;
                self.weights.row(name, row, to)
            })?;
        }
        parts.iter().for_each(|(name, _)| self.weights.release(name));
        Ok(panels)
    }

    /// Reads all rows as values, whose source tells the tensor, the file and the place of the first that is not finite.
    fn first_fault(&self, parts: &[(String, usize)], columns: usize) -> Result<()> {
        let mut values = vec![0.0; columns];
        parts.iter().try_for_each(|(name, rows)| {
            (0..*rows).try_for_each(|row| self.weights.row(name, row, &mut values))
        })
    }

    /// Where the tensors of a matrix lie, if it is to be read there and they are alike.
    fn places(&self, parts: &[(String, usize)]) -> Option<Vec<Lying>> {
        if self.keep == Keep::Packed {
            return None;
        }
        let lying: Vec<_> = parts.iter().map(|(name, _)| self.weights.lying(name)).collect::<Option<_>>()?;
        lying.iter().all(|place| place.step == lying[0].step).then_some(lying)
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
