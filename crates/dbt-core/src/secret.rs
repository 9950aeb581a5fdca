//! Secrets that cannot be printed by accident.

use std::fmt;

use zeroize::Zeroize;

use crate::brand;

/// The variables of ours that hold secrets or say where one is, without their prefix.
const VARIABLES: [&str; 7] = [
    "REPO_TOKEN",
    "REPO_TOKEN_FILE",
    "ID_TOKEN",
    "ID_TOKEN_FILE",
    "PUBLISH_TOKEN",
    "PUBLISH_PASSWORD",
    "SIGNING_PASSPHRASE",
];

/// Returns the variables of ours that no program gets to see which any program of ours starts:
/// neither a tool, nor a command that prints credentials, nor one that signs.
pub fn withheld_variables() -> impl Iterator<Item = String> {
    VARIABLES.iter().map(|name| format!("{}{name}", brand::ENV_PREFIX))
}

/// A password, token or key. It has no `Display`, its `Debug` prints nothing of it, and its
/// memory is overwritten when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes a secret in.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the secret, for the single point where it is used.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl<'de, T: Zeroize + serde::Deserialize<'de>> serde::Deserialize<'de> for Secret<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let secret = Secret::new("hunter2".to_owned());
        assert!(!format!("{secret:?} {:?}", Some(&secret)).contains("hunter2"));
        assert_eq!(secret.expose(), "hunter2");
    }
}
