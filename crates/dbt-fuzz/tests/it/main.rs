//! Every target over its committed corpus, on any compiler.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

mod corpus;
