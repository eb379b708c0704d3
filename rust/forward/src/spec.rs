//! What a model is, apart from its weights: the numbers and features that make the layer program.

use draftwood_base::{Error, Result};
use serde::Deserialize;

/// A decoder-only transformer with one residual stream and a norm before each half of a layer. It says which features
/// the layers have, never which architecture has them: the table from one to the other is Python's
/// (`models/families.py`), which hands it over as JSON. An unknown field is refused, so that nothing that changes the
/// mathematics is passed over.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Token ids.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the layer between `hidden` and `hidden`.
    pub feed_forward: usize,
    /// What sets the decoder layers apart, first to last.
    pub layers: Vec<LayerSpec>,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
    /// Positions that the model was made for.
    pub context: usize,
    /// What norms the residual stream.
    pub norm: NormKind,
    /// Added under the square root of norms.
    pub norm_epsilon: f64,
    /// q and k are normed head by head (RMSNorm), before they are turned.
    pub head_norm: bool,
    /// Rotary embeddings that layers use.
    pub ropes: Vec<RopeSpec>,
    /// Rows of q and k are stored as neighbouring pairs (2i, 2i + 1), as in GGUF files of the llama architecture,
    /// instead of halves (i, i + d/2).
    pub rope_neighbours: bool,
    /// `context` learned positions are added to the embeddings.
    pub learned_positions: bool,
    /// q, k and v have biases.
    pub qkv_bias: bool,
    /// The product behind attention has one.
    pub output_bias: bool,
    /// The products of the feed-forward layer have them.
    pub feed_forward_bias: bool,
    /// Between the products of the feed-forward layer.
    pub activation: Activation,
    /// The feed-forward layer is activation(gate) · up instead of activation(up).
    pub gated: bool,
    /// The head is the embedding.
    pub tied: bool,
}

/// One decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerSpec {
    /// Positions that a row sees, its own included: position j from i if i − j < window. None: all.
    pub window: Option<usize>,
    /// Which of [`Spec::ropes`] turns q and k; None: none.
    pub rope: Option<usize>,
}

/// A rotary embedding over whole heads.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeSpec {
    /// θ.
    pub base: f64,
    /// What stretches it over longer contexts.
    pub scaling: Option<RopeScaling>,
}

/// How inverse frequencies differ from θ^(−2i/d).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RopeScaling {
    /// All are divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Those of long waves are divided, those of short ones kept, those between blended (Llama 3.1).
    Llama3 {
        /// Divisor of waves longer than original / low.
        factor: f64,
        /// Waves per original context from which the blend begins.
        low: f64,
        /// Waves per original context from which frequencies are kept.
        high: f64,
        /// Positions before stretching.
        original: f64,
    },
    /// Each is divided by its entry of the tensor `rope_freqs`.
    Divisors,
}

/// Norms of the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// RMSNorm: no mean, no bias.
    Rms,
    /// LayerNorm with bias.
    Layer,
}

/// Functions of the feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x / (1 + e⁻ˣ).
    Silu,
    /// GELU in its tanh form.
    GeluTanh,
}

impl Spec {
    /// Reads and checks it.
    ///
    /// # Errors
    /// [`Error::UnsupportedModel`] for unknown fields; [`Error::InvalidArgument`] for numbers that do not fit together.
    pub fn from_json(json: &str) -> Result<Self> {
        let spec: Self = serde_json::from_str(json).map_err(|error| Error::UnsupportedModel {
            what: format!("a model described by {error}"),
            hint: "load it with executor=\"transformers\"".into(),
        })?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<()> {
        const MOST: usize = 1 << 24;
        let sizes = [
            ("vocab", self.vocab),
            ("hidden", self.hidden),
            ("feed_forward", self.feed_forward),
            ("layers", self.layers.len()),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("context", self.context),
        ];
        for (what, size) in sizes {
            if !(1..=MOST).contains(&size) {
                return Err(Error::invalid(what, format!("from 1 to {MOST}"), size, ""));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) || !self.head_dim.is_multiple_of(2) {
            let got =
                format!("{} heads, {} kv heads, {} dimensions", self.heads, self.kv_heads, self.head_dim);
            return Err(Error::invalid("the heads", "groups of kv heads with even dimensions", got, ""));
        }
        for layer in &self.layers {
            if layer.window == Some(0) || layer.rope.is_some_and(|rope| rope >= self.ropes.len()) {
                let expected = format!("a window of 1 or more and one of {} ropes", self.ropes.len());
                return Err(Error::invalid("a layer", expected, format!("{layer:?}"), ""));
            }
        }
        if self.rope_neighbours && self.head_norm {
            let expected = "halves where heads have norms";
            return Err(Error::invalid("the stored order of q and k", expected, "neighbouring pairs", ""));
        }
        let mut numbers = vec![("norm_epsilon", self.norm_epsilon)];
        for rope in &self.ropes {
            numbers.push(("rope base", rope.base));
            match rope.scaling {
                None | Some(RopeScaling::Divisors) => {}
                Some(RopeScaling::Linear { factor }) => numbers.push(("rope factor", factor)),
                Some(RopeScaling::Llama3 { factor, low, high, original }) => numbers.extend([
                    ("rope factor", factor),
                    ("low_freq_factor", low),
                    ("high_freq_factor beyond low_freq_factor", high - low),
                    ("original context", original),
                ]),
            }
        }
        for (what, value) in numbers {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::invalid(what, "a positive number", value, ""));
            }
        }
        Ok(())
    }
}
