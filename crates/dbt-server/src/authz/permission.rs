//! What can be permitted: one word for each thing a caller may do.

use std::fmt;
use std::str::FromStr;

/// One thing that a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// Reading files.
    Read,
    /// Listing directories.
    List,
    /// Writing a file where there is none, and sending again what is there.
    Create,
    /// Putting other bytes in the place of a file.
    Replace,
    /// Removing files and directories.
    Delete,
    /// Withdrawing versions.
    Withdraw,
    /// Blocking a tool at once.
    ToolBlock,
    /// Managing everybody's tokens.
    TokenManage,
    /// Making tokens for oneself.
    TokenCreateOwn,
    /// Revoking one's own tokens.
    TokenRevokeOwn,
    /// Managing users.
    UserManage,
    /// Reading the policy.
    PolicyRead,
    /// Reading the audit record.
    AuditRead,
    /// Reading metrics.
    MetricsRead,
}

impl Permission {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 14] = [
        Self::Read,
        Self::List,
        Self::Create,
        Self::Replace,
        Self::Delete,
        Self::Withdraw,
        Self::ToolBlock,
        Self::TokenManage,
        Self::TokenCreateOwn,
        Self::TokenRevokeOwn,
        Self::UserManage,
        Self::PolicyRead,
        Self::AuditRead,
        Self::MetricsRead,
    ];

    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::Withdraw => "withdraw",
            Self::ToolBlock => "tool.block",
            Self::TokenManage => "token.manage",
            Self::TokenCreateOwn => "token.create_own",
            Self::TokenRevokeOwn => "token.revoke_own",
            Self::UserManage => "user.manage",
            Self::PolicyRead => "policy.read",
            Self::AuditRead => "audit.read",
            Self::MetricsRead => "metrics.read",
        }
    }

    /// Says whether it changes nothing. Whoever proved only that they may read has no other.
    pub const fn only_reads(self) -> bool {
        matches!(
            self,
            Self::Read | Self::List | Self::PolicyRead | Self::AuditRead | Self::MetricsRead
        )
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        let known = Self::ALL.into_iter().find(|permission| permission.as_str() == text);
        known.ok_or_else(|| UnknownPermission(text.to_owned()))
    }
}

/// A word is no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no permission", .0.escape_debug())]
pub struct UnknownPermission(String);
