//! Updates of signed metadata: what is accepted, what is refused, and what is on disk after it.

mod delegations;
mod lists;
mod roots;
mod signatures;
mod targets;
mod world;
