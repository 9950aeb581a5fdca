//! `sha256 FILE` or `sha512 FILE`: one pass over a file, and its digest.

use std::io::Write as _;
use std::path::Path;

use dbt_bench::{Fault, hash};
use sha2::{Sha256, Sha512};

fn main() -> Result<(), Fault> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let digest = match words.as_slice() {
        ["sha256", file] => hash::file::<Sha256>(Path::new(file))?,
        ["sha512", file] => hash::file::<Sha512>(Path::new(file))?,
        _ => return Err("unknown words".into()),
    };
    Ok(writeln!(std::io::stdout(), "{digest}")?)
}
