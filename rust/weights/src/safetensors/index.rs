//! `model.safetensors.index.json`: which shard holds which tensor.

use draftwood_base::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Real indexes have a hundred bytes per tensor.
const MAX_BYTES: usize = 1 << 26;

/// Shards by name, each with the tensors that it must hold.
pub type Shards = BTreeMap<String, Vec<String>>;

/// Reads an index; `file` is its path, for messages.
///
/// Names of shards are plain file names: an index cannot reach outside its folder.
pub fn read(bytes: &[u8], file: &str) -> Result<Shards> {
    let refuse = |at: usize, what: String, expected: &str, got: String| {
        Error::model_format(file, at as u64, what, expected, got, "fetch the index again")
    };
    if bytes.len() > MAX_BYTES {
        let expected = format!("at most {MAX_BYTES} bytes");
        return Err(refuse(0, "the index".into(), &expected, format!("{} bytes", bytes.len())));
    }
    let place = |key: &str| {
        let spelled = serde_json::to_string(key).unwrap_or_default();
        bytes.windows(spelled.len().max(1)).position(|w| w == spelled.as_bytes()).unwrap_or(0)
    };
    let index: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
        let before: usize = bytes
            .split_inclusive(|&b| b == b'\n')
            .take(error.line().saturating_sub(1))
            .map(<[u8]>::len)
            .sum();
        let at = before + error.column().saturating_sub(1);
        refuse(at, "the index".into(), "a JSON object", format!("an error ({error})"))
    })?;
    let expected = "a table from tensors to files";
    let table = match index.get("weight_map") {
        Some(Value::Object(table)) if !table.is_empty() => table,
        Some(other) => {
            let got = other.to_string().chars().take(40).collect();
            return Err(refuse(place("weight_map"), "weight_map".into(), expected, got));
        }
        None => return Err(refuse(0, "weight_map".into(), expected, "none".into())),
    };
    let mut shards = Shards::new();
    for (tensor, shard) in table {
        match shard.as_str().filter(|name| is_plain(name)) {
            Some(name) => shards.entry(name.to_owned()).or_default().push(tensor.clone()),
            None => {
                let what = format!("the file of tensor \"{tensor}\"");
                let expected = "the name of a .safetensors file beside the index";
                return Err(refuse(place(tensor), what, expected, shard.to_string()));
            }
        }
    }
    Ok(shards)
}

fn is_plain(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn refused(text: &str, words: &[&str]) {
        let error = read(text.as_bytes(), "i.json").unwrap_err();
        assert!(matches!(error, Error::ModelFormat { .. }), "{error}");
        let text = error.to_string();
        words.iter().for_each(|word| assert!(text.contains(word), "no {word:?} in {text}"));
    }

    #[test]
    fn shards_by_name() {
        let text = r#"{"metadata": {"total_size": 4},
            "weight_map": {"b": "2.safetensors", "a": "1.safetensors", "c": "2.safetensors"}}"#;
        let shards = read(text.as_bytes(), "").unwrap();
        let expected = [("1.safetensors", vec!["a"]), ("2.safetensors", vec!["b", "c"])];
        assert!(
            shards.iter().map(|(k, v)| (k.as_str(), v.iter().map(String::as_str).collect())).eq(expected)
        );
    }

    #[test]
    fn refusals() {
        refused("", &["i.json: at byte 0", "JSON object"]);
        refused("{\n \"weight_map\": ]", &["at byte 17"]);
        refused("[]", &["a JSON object"]);
        refused("{}", &["weight_map must be a table", "none"]);
        refused(r#"{"weight_map": {}}"#, &["at byte 1: weight_map must be a table"]);
        refused(r#"{"weight_map": "x"}"#, &["got \"x\""]);
        for name in ["../a.safetensors", "/a.safetensors", "a\\\\b.safetensors", "a.bin", "c:a.safetensors"] {
            let text = format!(r#"{{"weight_map": {{"w": "{name}"}}}}"#);
            refused(&text, &["at byte 16: the file of tensor \"w\" must be the name", "beside the index"]);
        }
        refused(r#"{"weight_map": {"w": 3}}"#, &["got 3"]);
        refused(&"[".repeat(100_000), &["JSON object"]);
    }

    proptest! {
        #[test]
        fn damaged_indexes_are_refused_or_read(at in 0usize..70, byte in any::<u8>(), cut in 0usize..140) {
            let mut bytes = br#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}, "m": {}}"#.to_vec();
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            bytes.truncate(cut);
            match read(&bytes, "") {
                Ok(shards) => prop_assert!(shards.keys().all(|name| is_plain(name))),
                Err(Error::ModelFormat { .. }) => {}
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
