//! What only the operating system's own interface can do: becoming another program, with the
//! process exactly as it was handed to us, reaching files so that nobody can put others in their place,
//! letting the kernel keep a file as it is, and handing out memory.
//!
//! This is the only crate with `unsafe` code. It decides nothing and knows nothing of tools,
//! stores or signatures; whoever calls [`exec::Image::replace`] has made sure of what runs.

pub mod cause;
#[cfg(any(windows, test))]
mod command_line;
pub mod exec;
pub mod files;
pub mod memory;
pub mod search_path;
#[cfg(unix)]
mod startup;
pub mod verity;
#[cfg(windows)]
mod windows;
