//! The catalog in one document, as servers of ours say it, in its parts.

use std::collections::BTreeSet;

use dbt_client::catalog::{CatalogEntry, index};
use dbt_client::source::{Memory, Patience};
use dbt_core::name::ToolName;
use dbt_core::platform::Platform;
use dbt_core::repo_path::RepoPath;
use dbt_core::version::Version;
use serde_json::{Value, json};

use crate::input::{Input, parts};

/// Where servers say it.
const PLACE: &str = "-/api/v1/catalog";

/// The most parts that are asked for.
const PARTS: usize = 100;

/// Reads documents: any bytes, or ones that say what servers say.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    if input.byte() & 1 == 0 {
        any(input.0);
    } else {
        made(&mut input);
    }
}

/// What is read of any bytes is legal, there once, and paid for in bytes.
fn any(data: &[u8]) {
    let parts = parts(data);
    let source = Memory::new();
    let mut place = PLACE.to_owned();
    for part in &parts {
        let Ok(path) = place.parse::<RepoPath>() else { break };
        source.put(&path, *part);
        let document: Value = serde_json::from_slice(part).unwrap_or_default();
        let Some(next) = document["next"].as_str() else { break };
        place = format!("{PLACE}/after/{next}");
    }
    let entries = read(&source);
    let (mut held, all) = (0, parts.iter().map(|part| part.len()).sum::<usize>());
    for entry in entries.iter().flatten() {
        held += entry.tool.as_str().len() + entry.description.as_ref().map_or(0, String::len);
        let spellings = entry.versions.iter().map(|version| version.spelling().len());
        held +=
            spellings.chain(entry.platforms.values().map(|it| it.spelling().len())).sum::<usize>();
    }
    // A byte that is not UTF-8 becomes three; an escape of six bytes becomes fewer.
    assert!(held <= 3 * all, "{held} bytes out of {all}");
}

/// Lets the client read, and checks what does not depend on the document.
fn read(source: &Memory) -> Option<Vec<CatalogEntry>> {
    let read = index::read(source, || Patience::without_cached_copy(1.0));
    let asked = source.take_requests();
    assert!(asked.len() <= PARTS, "{} parts", asked.len());
    assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), asked.len(), "{asked:?}");
    let after = format!("get {PLACE}/after/");
    for (at, request) in asked.iter().enumerate() {
        let tool = request.strip_prefix(&after).map(str::parse::<ToolName>);
        let is_next = at > 0 && tool.is_some_and(|tool| tool.is_ok());
        assert!(is_next || (at == 0 && *request == format!("get {PLACE}")), "{asked:?}");
    }
    let entries = read.ok().flatten()?;
    let mut before: Option<&ToolName> = None;
    for entry in &entries {
        assert!(before < Some(&entry.tool), "{before:?} before {:?}", entry.tool);
        before = Some(&entry.tool);
        assert!(entry.tool.as_str().parse::<ToolName>().as_ref() == Ok(&entry.tool));
        assert!(entry.versions.is_sorted_by(|one, other| one > other), "{:?}", entry.versions);
        assert!(entry.problem.is_none(), "{entry:?}");
        let text = entry.description.as_deref();
        assert!(text.is_none_or(|text| !text.is_empty() && text.trim() == text), "{text:?}");
        let newest = entry.newest();
        assert!(newest.is_none_or(|newest| entry.versions.contains(&newest)));
    }
    Some(entries)
}

/// What a server of ours says is read as it is said, however many parts it is in.
fn made(input: &mut Input<'_>) {
    const VERSIONS: [&str; 6] = ["1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1", "0.1.0", "v3.0.0"];
    let mut tools = BTreeSet::new();
    for _tool in 0..input.below(9) {
        tools.insert(format!("tool-{}", input.byte() % 32));
    }
    let mut said = Vec::new();
    for name in tools {
        let mut versions: Vec<Version> = Vec::new();
        for _version in 0..input.below(4) {
            let version: Version = input.one_of(&VERSIONS).parse().unwrap();
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        versions.sort_by(|one, other| other.cmp(one));
        let platforms: Vec<Platform> =
            Platform::ALL.into_iter().filter(|_it| input.byte() & 1 == 1).collect();
        let description = (input.byte() & 1 == 1).then(|| format!("does {}", input.byte()));
        said.push((name, versions, platforms, description));
    }
    let source = Memory::new();
    let size = 1 + input.below(4);
    let mut place = PLACE.to_owned();
    let count = said.len().div_ceil(size).max(1);
    for at in 0..count {
        let part = said.iter().skip(at * size).take(size);
        let last = part.clone().next_back().map(|(name, ..)| name.clone());
        let shown = part.map(|(name, versions, platforms, description)| {
            let newest = versions.first().filter(|_it| !platforms.is_empty());
            let newest = newest.map(|version| json!({"version": version, "size": 1, "modifiedAt": null}));
            let newest = platforms.iter().filter_map(|it| Some((it.to_string(), newest.clone()?)));
            let newest: serde_json::Map<String, Value> = newest.collect();
            json!({"name": name, "description": description, "versions": versions, "platforms": newest})
        });
        let tools: Vec<Value> = shown.collect();
        let next = last.filter(|_last| at + 1 < count);
        let document = json!({"tools": tools, "next": next});
        source.put(&place.parse().unwrap(), document.to_string());
        place = format!("{PLACE}/after/{}", next.unwrap_or_default());
    }
    let entries = read(&source).expect("it is as servers say it");
    assert_eq!(entries.len(), said.len());
    for (entry, (name, versions, platforms, description)) in entries.iter().zip(said) {
        assert_eq!((entry.tool.as_str(), &entry.versions), (name.as_str(), &versions));
        assert_eq!(entry.description, description);
        let platforms = if versions.is_empty() { Vec::new() } else { platforms };
        assert_eq!(
            entry.platforms.keys().copied().collect::<BTreeSet<_>>(),
            platforms.into_iter().collect()
        );
    }
}
