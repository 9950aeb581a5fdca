//! The least that a program in Rust does: what a process costs by itself.

fn main() {}
