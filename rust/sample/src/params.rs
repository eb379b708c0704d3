//! How a token is drawn from a row.

use draftwood_base::{Error, Result};

/// Temperature and filters, applied in the order top-k, top-p, min-p. The default is greedy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// 0 takes the most likely token; otherwise 1e-6 … 1e6.
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the fewest tokens that hold this part of the mass; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this likely relative to the most likely one; 0 keeps all.
    pub min_p: f32,
}

impl Default for Params {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 }
    }
}

impl Params {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] naming the first field that is out of range (NaN always is).
    pub fn validate(&self) -> Result<()> {
        let &Self { temperature, top_p, min_p, .. } = self;
        if !(temperature == 0.0 || (1e-6..=1e6).contains(&temperature)) {
            let hint = "0 takes the most likely token";
            return Err(Error::invalid("temperature", "0 or 1e-6 … 1e6", temperature, hint));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Error::invalid("top_p", "above 0 and at most 1", top_p, "1 keeps every token"));
        }
        if !(0.0..=1.0).contains(&min_p) {
            return Err(Error::invalid("min_p", "0 … 1", min_p, "0 keeps every token"));
        }
        Ok(())
    }

    /// Whether no noise is read.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_checked_by_name() {
        assert!(Params::default().validate().is_ok());
        assert!(Params { temperature: 0.7, top_k: 50, top_p: 0.9, min_p: 0.1 }.validate().is_ok());
        let ok = Params::default();
        let cases = [
            (Params { temperature: f32::NAN, ..ok }, "temperature must be 0 or 1e-6 … 1e6, got NaN"),
            (Params { temperature: f32::INFINITY, ..ok }, "temperature must be 0 or 1e-6 … 1e6, got inf"),
            (Params { temperature: -0.5, ..ok }, "temperature must be 0 or 1e-6 … 1e6, got -0.5"),
            (Params { temperature: 1e-30, ..ok }, "temperature must be"),
            (Params { top_p: 0.0, ..ok }, "top_p must be above 0 and at most 1, got 0"),
            (Params { top_p: 1.5, ..ok }, "top_p must be above 0 and at most 1, got 1.5"),
            (Params { top_p: f32::NAN, ..ok }, "top_p must be above 0 and at most 1, got NaN"),
            (Params { min_p: -0.1, ..ok }, "min_p must be 0 … 1, got -0.1"),
            (Params { min_p: f32::NAN, ..ok }, "min_p must be 0 … 1, got NaN"),
        ];
        for (params, text) in cases {
            let error = params.validate().unwrap_err().to_string();
            assert!(error.starts_with(text), "{error} is not {text}");
        }
    }
}
