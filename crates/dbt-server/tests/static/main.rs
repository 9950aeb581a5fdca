//! The image as it is released: `make test-static` builds the program for it and runs this.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

#[path = "../it/world.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod world;

mod image;
