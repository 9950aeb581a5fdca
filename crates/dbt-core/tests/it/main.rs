//! What the vocabulary does with files that other people's programs made.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

mod brands;
mod openpgp_certificates;
mod openpgp_gpg;
mod openpgp_hostile;
mod openpgp_numbers;
mod openpgp_signatures;
mod openpgp_truststore;
mod trust_store;
