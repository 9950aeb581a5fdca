//! What a program sees after another has become it. The whole comparison, with tools of every
//! kind, is with the client's tests; here is what this crate alone answers for.
#![cfg(target_os = "linux")]

#[cfg(test)]
mod exec;
