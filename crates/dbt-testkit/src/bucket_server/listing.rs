//! `ListObjectsV2`, over the files of a directory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::{META, refusal};
use crate::http::Answer;

/// Answers a question for a page.
pub(super) fn answer(root: &Path, query: &str, page: usize) -> Answer {
    let asked: BTreeMap<String, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (unescaped(name), unescaped(value)))
        .collect();
    let of = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    if of("list-type") != "2" || of("encoding-type") != "url" {
        return refusal(400, "InvalidArgument");
    }
    let prefix = of("prefix");
    // Each name once, and whether more is below it.
    let mut names: BTreeMap<String, bool> = BTreeMap::new();
    for key in keys(root, "") {
        let Some(rest) = key.strip_prefix(prefix) else { continue };
        match rest.split_once('/') {
            Some((name, _)) if of("delimiter") == "/" => {
                names.insert(format!("{prefix}{name}/"), true);
            }
            _ => {
                names.insert(key.clone(), false);
            }
        }
    }
    let after = of("continuation-token");
    let mut left = names.into_iter().filter(|(name, _)| after.is_empty() || name.as_str() > after);
    let shown: Vec<(String, bool)> = left.by_ref().take(page).collect();
    let is_cut = left.next().is_some();
    let mut body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><EncodingType>url</EncodingType><IsTruncated>{is_cut}</IsTruncated>"
    );
    if let Some((last, _)) = shown.last().filter(|_| is_cut) {
        write!(
            body,
            "<NextContinuationToken>{}</NextContinuationToken>",
            last.replace('&', "&amp;")
        )
        .expect("a string takes it");
    }
    for (name, is_prefix) in &shown {
        let name = escaped(name);
        let element = if *is_prefix {
            format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>")
        } else {
            format!("<Contents><Key>{name}</Key><Size>1</Size></Contents>")
        };
        body.push_str(&element);
    }
    body.push_str("</ListBucketResult>");
    Answer::of(200, "application/xml", body.into_bytes())
}

/// Returns the keys of everything below a directory. One of no files is nothing.
fn keys(root: &Path, below: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(below)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let key = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if entry.path().is_dir() {
            found.extend(keys(root, &key));
        } else if name == MARK {
            found.push(format!("{below}/"));
        } else if !name.starts_with(META) {
            found.push(key);
        }
    }
    found.sort();
    found
}

/// A file of this name stands for an object that only marks its directory.
pub(super) const MARK: &str = ".mark";

pub(super) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: Vec<u8> = rest.by_ref().take(2).collect();
            let digits = String::from_utf8(digits).expect("two digits");
            bytes.push(u8::from_str_radix(&digits, 16).expect("an escape"));
        } else {
            bytes.push(if byte == b'+' { b' ' } else { byte });
        }
    }
    String::from_utf8(bytes).expect("a key is text")
}

/// Escapes a key as S3 does in a listing.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._*/".contains(&byte) {
            out.push(char::from(byte));
        } else if byte == b' ' {
            out.push('+');
        } else {
            write!(out, "%{byte:02X}").expect("a string takes it");
        }
    }
    out
}
