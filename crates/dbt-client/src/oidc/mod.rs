//! Signing in with an identity provider: what it gives, and what that says of itself.

mod claims;
mod tokens;

pub use claims::UnverifiedClaims;
pub use tokens::Tokens;
pub(crate) use tokens::is_token;
