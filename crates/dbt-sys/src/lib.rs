//! What only the operating system's own interface can do: becoming another program, with the
//! process exactly as it was handed to us, letting the kernel keep a file as it is, and handing out
//! memory.
//!
//! This is the only crate with `unsafe` code. It decides nothing and knows nothing of tools,
//! stores or signatures; whoever calls [`exec::Image::replace`] has made sure of what runs.

#[cfg(any(windows, test))]
mod command_line;
pub mod exec;
pub mod memory;
#[cfg(unix)]
mod startup;
pub mod verity;
#[cfg(windows)]
mod windows;
