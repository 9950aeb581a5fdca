//! What dbt costs, in ratios to what a machine does anyway: the parts of `make bench`.
//!
//! Nothing passes or fails here, because no test may depend on how fast a machine is. What can be
//! counted instead is in the tests.

pub mod authority;
pub mod hash;
pub mod http;
pub mod kernel;
pub mod measure;
pub mod network;
pub mod page;
pub mod report;
pub mod rounds;
pub mod web;
pub mod world;

use std::path::{Path, PathBuf};

/// Returns a program as it is released, where there is one (`make static`), or else the one in
/// `programs`. Fails if that is not built.
pub fn built(programs: &Path, name: &str) -> Result<PathBuf, Fault> {
    let released = programs.join("../static").join(world::PLATFORM.replace('/', "-")).join(name);
    let program = if released.exists() { released } else { programs.join(name) };
    if !program.exists() {
        return Err(format!("`{}` is not built: make build", program.display()).into());
    }
    Ok(program)
}

/// What went wrong, in words. Nobody reacts to it but a person.
pub type Fault = Box<dyn std::error::Error>;
