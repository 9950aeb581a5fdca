//! Reading JSON into the configuration: keys in any case, as the reference does, and none that is
//! unknown. Which keys there are is what the types say, through their schema.

use std::collections::BTreeSet;
use std::path::Path;

use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ConfigError;
use super::file::Written;
use crate::strict_json;

/// The largest configuration that is read.
const SIZE_LIMIT: usize = 1024 * 1024;

/// Reads a configuration file.
pub(super) fn read(path: &Path) -> Result<Written, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(failed)?;
    if bytes.len() > SIZE_LIMIT {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    let place = format!("the configuration `{}`", path.display());
    let value = strict_json::parse(&bytes)
        .map_err(|source| ConfigError::Syntax { place: place.clone(), source })?;
    typed(&place, value, &schema())
}

/// Reads a setting that is JSON in a variable: the part of the configuration under `key`.
pub(super) fn part<T: DeserializeOwned>(
    place: &str,
    key: &str,
    text: &str,
) -> Result<T, ConfigError> {
    let value = strict_json::parse(text.as_bytes())
        .map_err(|source| ConfigError::Syntax { place: place.to_owned(), source })?;
    let schema = schema();
    let below = schema.pointer(&format!("/properties/{key}")).unwrap_or(&Value::Null);
    typed(place, value, below)
}

/// Returns the JSON Schema of the configuration.
pub(super) fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Written>().to_value();
    without_defaults(&mut schema);
    schema
}

/// Takes out the defaults: that what is not written is not there needs no saying.
fn without_defaults(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.remove("default");
            object.values_mut().for_each(without_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(without_defaults),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn typed<T: DeserializeOwned>(place: &str, value: Value, schema: &Value) -> Result<T, ConfigError> {
    let value = canonical(place, "", value, schema)?;
    serde_path_to_error::deserialize(value).map_err(|error| ConfigError::Value {
        place: place.to_owned(),
        key: error.path().to_string(),
        reason: error.inner().to_string(),
    })
}

/// Spells every key as it is known, and refuses those that are not.
fn canonical(place: &str, at: &str, value: Value, schema: &Value) -> Result<Value, ConfigError> {
    let schema = without_null(schema);
    match value {
        Value::Object(object) => match schema.get("properties").and_then(Value::as_object) {
            Some(known) => keys(place, at, object, known).map(Value::Object),
            None => Ok(Value::Object(object)),
        },
        Value::Array(_) if schema.get("properties").is_some() => {
            let key = if at.is_empty() { "." } else { at }.to_owned();
            let reason = "it is a list and should be an object".to_owned();
            Err(ConfigError::Value { place: place.to_owned(), key, reason })
        }
        Value::Array(items) => {
            let below = schema.get("items").unwrap_or(&Value::Null);
            let item = |(index, item)| canonical(place, &format!("{at}[{index}]"), item, below);
            items.into_iter().enumerate().map(item).collect::<Result<_, _>>().map(Value::Array)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(value),
    }
}

fn keys(
    place: &str,
    at: &str,
    object: Map<String, Value>,
    known: &Map<String, Value>,
) -> Result<Map<String, Value>, ConfigError> {
    let mut spelt = Map::new();
    let mut seen = BTreeSet::new();
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    for (key, value) in object {
        let Some((name, schema)) = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(&key))
        else {
            let nearest = below(nearest(&key, known.keys().map(String::as_str)));
            let (place, key) = (place.to_owned(), below(&key));
            return Err(ConfigError::UnknownKey { place, key, nearest });
        };
        if !seen.insert(name) {
            return Err(ConfigError::TwoKeys { place: place.to_owned(), key: below(&key) });
        }
        // `null` is how the reference's tools write "not set".
        if !value.is_null() {
            spelt.insert(name.clone(), canonical(place, &below(name), value, schema)?);
        }
    }
    Ok(spelt)
}

/// Returns what a setting is where it is not `null`.
fn without_null(schema: &Value) -> &Value {
    let choices = schema.get("anyOf").and_then(Value::as_array);
    let not_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) != Some("null");
    choices.and_then(|choices| choices.iter().find(not_null)).unwrap_or(schema)
}

/// Returns the known name that takes the fewest changes to reach.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    known
        .min_by_key(|known| distance(&name.to_lowercase(), &known.to_lowercase()))
        .unwrap_or_default()
}

/// Counts the insertions, deletions and replacements between two texts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let cost =
                |index: usize, row: &[usize]| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = cost(j, &row) + usize::from(from != *to);
            next.push(replaced.min(cost(j + 1, &row) + 1).min(cost(j, &next) + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
