//! One object of the file, read key by key: what is wrong is named by its path, and what nobody
//! asked for is remembered.

use std::collections::BTreeSet;

use dbt_core::name::ToolName;

use super::json::Value;
use super::{ConfigError, Text};
use crate::nearest;

/// A value that may be written in two ways.
pub(super) enum NumberOrText {
    /// A number.
    Number(f64),
    /// A text.
    Text(Text),
}

/// An object and its place in the file.
pub(super) struct Object<'a> {
    path: String,
    members: &'a [(String, Value)],
    asked: BTreeSet<usize>,
    /// The keys that somebody has asked for, whether they are there or not.
    known: Vec<&'static str>,
}

/// A key that nothing reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// Its path.
    pub path: String,
    /// The key that was probably meant.
    pub nearest: Option<&'static str>,
}

impl<'a> Object<'a> {
    /// Takes the whole document.
    pub(super) fn top(document: &'a Value) -> Result<Self, ConfigError> {
        Self::at(String::new(), document)
    }

    fn at(path: String, value: &'a Value) -> Result<Self, ConfigError> {
        let members = value.members().ok_or_else(|| wrong_type(&path, "an object", value))?;
        Ok(Self { path, members, asked: BTreeSet::new(), known: Vec::new() })
    }

    /// Returns the value of a key. Keys match without regard to case, as the reference's do, and
    /// `null` and the empty string are as good as nothing.
    pub(super) fn get(&mut self, key: &'static str) -> Result<Option<&'a Value>, ConfigError> {
        self.known.push(key);
        let mut found = None;
        for (index, (name, value)) in self.members.iter().enumerate() {
            if !name.eq_ignore_ascii_case(key) {
                continue;
            }
            self.asked.insert(index);
            if found.replace(value).is_some() {
                return Err(ConfigError::Twice { key: self.path_of(key) });
            }
        }
        let nothing = |value: &&Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
        };
        Ok(found.filter(|value| !nothing(value)))
    }

    /// Returns a key's object.
    pub(super) fn object(&mut self, key: &'static str) -> Result<Option<Object<'a>>, ConfigError> {
        let value = self.get(key)?;
        value.map(|value| Object::at(self.path_of(key), value)).transpose()
    }

    /// Returns a key's text.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<Text>, ConfigError> {
        let value = self.get(key)?;
        value.map(|value| text_at(self.path_of(key), value)).transpose()
    }

    /// Returns a key's text where it is no secret and no variables are looked for.
    pub(super) fn plain_text(&mut self, key: &'static str) -> Result<Option<String>, ConfigError> {
        Ok(self.text(key)?.map(|text| text.as_written().expose().clone()))
    }

    /// Returns whether a key is true or false.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        match self.get(key)? {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong_type(&self.path_of(key), "true or false", other)),
        }
    }

    /// Returns a key's number, or its text.
    pub(super) fn number_or_text(
        &mut self,
        key: &'static str,
    ) -> Result<Option<NumberOrText>, ConfigError> {
        let path = self.path_of(key);
        match self.get(key)? {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64().map(NumberOrText::Number)),
            Some(Value::String(text)) => Ok(Some(NumberOrText::Text(Text::new(path, text)))),
            Some(other @ (Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_))) => {
                Err(wrong_type(&path, "a number or a string", other))
            }
        }
    }

    /// Returns a key's list of names of tools.
    pub(super) fn words(&mut self, key: &'static str) -> Result<BTreeSet<ToolName>, ConfigError> {
        let path = self.path_of(key);
        let mut words = BTreeSet::new();
        for text in
            self.get(key)?.map(|value| texts_at(&path, value)).transpose()?.unwrap_or_default()
        {
            let name = text.as_written().expose().parse();
            words
                .insert(name.map_err(|error: dbt_core::name::InvalidToolName| text.refuse(error))?);
        }
        Ok(words)
    }

    /// Returns every member as an object, in the order written.
    pub(super) fn objects(self) -> Result<Vec<(String, Object<'a>)>, ConfigError> {
        self.members()
            .map(|(name, path, value)| Ok((name.clone(), Object::at(path?, value)?)))
            .collect()
    }

    /// Returns every member as a text, in the order written.
    pub(super) fn texts(self) -> Result<Vec<(String, Text)>, ConfigError> {
        self.members()
            .map(|(name, path, value)| Ok((name.clone(), text_at(path?, value)?)))
            .collect()
    }

    /// Returns every member as a list of texts, or as one text.
    pub(super) fn lists_of_texts(self) -> Result<Vec<(String, Vec<Text>)>, ConfigError> {
        let list = |path: &str, value: &Value| match value {
            Value::String(_) => Ok(vec![text_at(path.to_owned(), value)?]),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => texts_at(path, value),
        };
        self.members().map(|(name, path, value)| Ok((name.clone(), list(&path?, value)?))).collect()
    }

    /// Returns the keys that nobody asked for.
    pub(super) fn unknown(&self) -> Vec<UnknownKey> {
        let members = self.members.iter().enumerate();
        let unknown = members.filter(|(index, _member)| !self.asked.contains(index));
        let unknown = unknown.map(|(_index, (name, _value))| UnknownKey {
            path: self.path_of(name),
            nearest: self.nearest(name),
        });
        unknown.collect()
    }

    /// Finds the known key that was probably meant: a third of its letters may be wrong.
    fn nearest(&self, written: &str) -> Option<&'static str> {
        let written = written.to_ascii_lowercase();
        let distance = |known: &str| nearest::distance(&written, &known.to_ascii_lowercase());
        let near = self.known.iter().map(|known| (distance(known), *known));
        let near = near.filter(|(distance, known)| *distance <= (known.len() / 3).max(1));
        near.min().map(|(_distance, known)| known)
    }

    /// Goes through members whose keys are names; exactly the same name twice is refused.
    fn members(
        &self,
    ) -> impl Iterator<Item = (&'a String, Result<String, ConfigError>, &'a Value)> {
        self.members.iter().enumerate().map(|(index, (name, value))| {
            let path = self.path_of(name);
            let before = self.members.iter().take(index);
            let twice = before.clone().any(|(earlier, _value)| earlier == name);
            (name, if twice { Err(ConfigError::Twice { key: path }) } else { Ok(path) }, value)
        })
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn text_at(path: String, value: &Value) -> Result<Text, ConfigError> {
    if let Value::String(text) = value {
        return Ok(Text::new(path, text));
    }
    Err(wrong_type(&path, "a string", value))
}

fn texts_at(path: &str, value: &Value) -> Result<Vec<Text>, ConfigError> {
    let Value::Array(items) = value else {
        return Err(wrong_type(path, "a list of strings", value));
    };
    let indexed = items.iter().enumerate();
    indexed.map(|(index, item)| text_at(format!("{path}[{index}]"), item)).collect()
}

fn wrong_type(path: &str, expected: &'static str, found: &Value) -> ConfigError {
    let key = if path.is_empty() { "the configuration" } else { path };
    ConfigError::WrongType { key: key.to_owned(), expected, found: found.kind() }
}
