//! Which kinds of proof people may show (`auth.mode`). Programs with tokens of their own are not concerned.

/// Which kinds of proof people may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Tokens of this server's own.
    Token,
    /// Tokens of identity providers.
    Oidc,
    /// Both.
    Both,
}

impl Mode {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Oidc => "oidc",
            Self::Both => "both",
        }
    }

    /// Says whether people may show tokens of this server's own.
    pub const fn admits_own_tokens(self) -> bool {
        match self {
            Self::Token | Self::Both => true,
            Self::Oidc => false,
        }
    }

    /// Says whether people may show tokens of identity providers.
    pub const fn admits_providers(self) -> bool {
        match self {
            Self::Oidc | Self::Both => true,
            Self::Token => false,
        }
    }
}
