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
pub mod report;
pub mod web;
pub mod world;

/// What went wrong, in words. Nobody reacts to it but a person.
pub type Fault = Box<dyn std::error::Error>;
