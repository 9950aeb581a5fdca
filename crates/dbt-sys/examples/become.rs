//! Becomes another program, for the tests: `become [--by-descriptor] PATH NAME [ARGUMENT...]`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use dbt_sys::exec::Image;

#[expect(clippy::print_stderr, reason = "a program for tests has no other way to complain")]
#[expect(clippy::disallowed_methods, reason = "it hands its own environment on")]
fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let by_descriptor = arguments.first().is_some_and(|first| first == "--by-descriptor");
    if by_descriptor {
        arguments.remove(0);
    }
    let Some((path, arguments)) = arguments.split_first() else {
        eprintln!("usage: become [--by-descriptor] PATH NAME [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let environment: Vec<_> = std::env::vars_os().collect();
    let error = match Image::new(Path::new(path), arguments, &environment) {
        Err(error) => error,
        Ok(image) if by_descriptor => open_and_replace(path, &image),
        Ok(image) => image.replace(),
    };
    eprintln!("{error}");
    ExitCode::from(126)
}

fn open_and_replace(path: &OsString, image: &Image) -> std::io::Error {
    match std::fs::File::open(path) {
        Ok(file) => image.replace_by_descriptor(&file),
        Err(error) => error,
    }
}
