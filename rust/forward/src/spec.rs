//! What a model is, apart from its weights: the numbers that make the layer program.

use draftwood_base::{Error, Result};
use serde::Deserialize;

/// A decoder-only transformer of the Llama family. Python reads it from a file's metadata or a config and hands it over
/// as JSON; an unknown field is refused, so that nothing that changes the mathematics is passed over.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Token ids.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the gated layer.
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
    /// Added to the mean square in RMSNorm.
    pub norm_epsilon: f64,
    /// θ of the rotary embedding.
    pub rope_base: f64,
    /// Rows of q and k are stored as neighbouring pairs (2i, 2i + 1), as GGUF files of the llama architecture do,
    /// instead of halves (i, i + d/2).
    pub rope_neighbours: bool,
    /// The head is the embedding.
    pub tied: bool,
}

/// One decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerSpec {
    /// Positions that a row sees, its own included: position j from i if i − j < window. None: all.
    pub window: Option<usize>,
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
        if let Some(layer) = self.layers.iter().find(|layer| layer.window == Some(0)) {
            return Err(Error::invalid("a layer's window", "1 or more", format!("{layer:?}"), ""));
        }
        for (what, value) in [("norm_epsilon", self.norm_epsilon), ("rope_base", self.rope_base)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::invalid(what, "a positive number", value, ""));
            }
        }
        Ok(())
    }
}
