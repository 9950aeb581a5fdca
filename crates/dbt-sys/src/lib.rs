//! What only the operating system's own interface can do: becoming another program, with the
//! process exactly as it was handed to us, and letting the kernel keep a file as it is.
//!
//! This is the only crate with `unsafe` code. It decides nothing and knows nothing of tools,
//! stores or signatures; whoever calls [`exec::Image::replace`] has made sure of what runs.

pub mod exec;
#[cfg(unix)]
mod startup;
pub mod verity;
