//! `leftovers DIRECTORY`: looks for the secrets that tests plant in everything that a run of them
//! has left there, its output and its temporary files. `scripts/test` runs it after the tests.

#![expect(clippy::print_stdout, reason = "what was looked at is said to who started it")]
#![expect(clippy::print_stderr, reason = "what was found is said beside it")]

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use dbt_testkit::planted;

/// What the tests said, in the directory.
const OUTPUT: &str = "output";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [directory] = arguments.as_slice() else {
        eprintln!("usage: leftovers DIRECTORY");
        return ExitCode::FAILURE;
    };
    match look(Path::new(directory)) {
        // Without words of the tests, this looks in the wrong place.
        Ok(Seen { words: 0, .. }) => {
            eprintln!("error: nothing was said by tests in {}", Path::new(directory).display());
            ExitCode::FAILURE
        }
        Ok(Seen { words, files, found }) if found.is_empty() => {
            println!(
                "no secret is in {words} bytes that the tests said and {files} files they left"
            );
            ExitCode::SUCCESS
        }
        Ok(Seen { found, .. }) => {
            for (place, secret) in found {
                eprintln!("error: a secret is in {place}: {secret}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: failed to look through {}: {error}", Path::new(directory).display());
            ExitCode::FAILURE
        }
    }
}

/// What was looked at, and where what was found.
#[derive(Default)]
struct Seen {
    words: usize,
    files: usize,
    found: Vec<(String, &'static str)>,
}

/// Looks through what was said, and through every file, and its name.
fn look(directory: &Path) -> io::Result<Seen> {
    let output = fs::read(directory.join(OUTPUT))?;
    let mut seen = Seen { words: output.len(), ..Seen::default() };
    look_at_output(&output, &mut seen);
    for path in planted::files_below(directory) {
        let name = path.strip_prefix(directory).unwrap_or(&path);
        if name == Path::new(OUTPUT) {
            continue;
        }
        seen.files += 1;
        if let Some(secret) = planted::found_in(name.as_os_str().as_encoded_bytes()) {
            // Said without the name.
            seen.found.push((format!("the name of a file below {}", directory.display()), secret));
        } else if path.symlink_metadata()?.is_file() {
            let found = planted::found_in(&fs::read(&path)?);
            seen.found.extend(found.map(|secret| (path.display().to_string(), secret)));
        }
    }
    Ok(seen)
}

/// Looks through what was said, by the tests that said it.
fn look_at_output(output: &[u8], seen: &mut Seen) {
    let (mut program, mut place, mut said) = (String::new(), String::new(), Vec::new());
    let mut look = |place: &str, said: &mut Vec<u8>| {
        let found = planted::found_in(said);
        seen.found.extend(found.map(|secret| (format!("what is said by {place}"), secret)));
        said.clear();
    };
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if let Some(name) = text.strip_prefix("Running ").or(text.strip_prefix("Doc-tests ")) {
            look(&place, &mut said);
            name.clone_into(&mut program);
            place.clone_from(&program);
        } else if let Some(name) = text.strip_prefix("---- ") {
            look(&place, &mut said);
            place = format!("`{}` of {program}", name.trim_end_matches(" stdout ----"));
        } else if text.starts_with("successes:") || text.starts_with("failures:") {
            look(&place, &mut said);
            place.clone_from(&program);
        }
        said.extend_from_slice(line);
    }
    look(&place, &mut said);
}
