//! A server that dies, or whose disk fails, at every step of a publication; and files larger than
//! most disks have room for. `make test-long` runs this.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

#[path = "../it/memory.rs"]
mod memory;
#[path = "../it/world.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod world;

mod counting;
mod crashes;
mod durable;
mod dying;
mod endurance;
mod every_step;
mod huge;
mod load;
mod mended;
mod operations;
