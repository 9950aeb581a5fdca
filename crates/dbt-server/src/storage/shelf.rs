//! A part of the catalog as it lies in the tree, whoever asks for it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use dbt_core::name::ToolName;

/// Tools one after the other, as many as one answer may have.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// They, in the order of their names.
    pub tools: Vec<Shelved>,
    /// There are more behind the last one.
    pub goes_on: bool,
}

/// A tool.
#[derive(Clone, Debug)]
pub struct Shelved {
    /// Its name.
    pub name: ToolName,
    /// Its versions, as their directories are spelt, the newest first.
    pub versions: Vec<String>,
    /// Those of them that its publisher has withdrawn: no client runs them any more.
    pub withdrawn: Vec<String>,
    /// The newest release of each platform that is not withdrawn, as `os/arch`.
    pub platforms: BTreeMap<String, Standing>,
    /// The version whose description it is, and the beginning of that.
    pub description: Option<(String, String)>,
}

/// What there is for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// In which version, as its directory is spelt.
    pub version: String,
    /// How many bytes it has.
    pub size: u64,
    /// When it came.
    pub modified: Option<SystemTime>,
}
