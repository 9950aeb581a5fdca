//! The client.

use std::process::ExitCode;

use dbt_sys::memory::Momentary;

#[global_allocator]
static MEMORY: Momentary = Momentary::new();

fn main() -> ExitCode {
    dbt_cli::main_with(dbt_cli::version::version())
}
