//! Why some text is no place of a repository.

use super::{URL_LIMIT, without_secrets};

/// Some text is not a place that repositories are read from.
///
/// User names, passwords and queries are not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not the URL of a repository: {reason}")]
pub struct InvalidUrl {
    shown: String,
    reason: Reason,
}

impl InvalidUrl {
    pub(super) fn new(text: &str, reason: Reason) -> Self {
        Self { shown: without_secrets(text), reason }
    }

    /// Returns what is wrong.
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns what the user can do about it, if anything.
    pub const fn hint(&self) -> Option<&'static str> {
        match self.reason {
            Reason::UserInfo => Some(
                "write user name and password as `username` and `password` of the server in the \
                 configuration",
            ),
            Reason::ForeignHost => Some("write the host in punycode (`xn--…`)"),
            Reason::NoBucket => Some("write `s3://bucket/prefix`"),
            Reason::BucketHost => Some("write `s3://bucket/prefix?endpoint=https://HOST`"),
            Reason::BucketOption => Some(
                "`region`, `endpoint`, `style` (`path` or `host`) and `profile` may stand there",
            ),
            Reason::NoScheme => Some("write `https://host/path`, or a directory as `/path`"),
            Reason::Empty
            | Reason::TooLong
            | Reason::RelativePath
            | Reason::UnknownScheme
            | Reason::NoHost
            | Reason::BadHost
            | Reason::BadPort
            | Reason::PortZero
            | Reason::Query
            | Reason::Fragment
            | Reason::Dots
            | Reason::BadEscape
            | Reason::BadCharacter
            | Reason::BucketRegion
            | Reason::BucketEndpoint
            | Reason::FileHost
            | Reason::RelativeFile => None,
        }
    }
}

/// What is wrong with a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing was written.
    #[error("it is empty")]
    Empty,
    /// It is longer than servers accept.
    #[error("it is longer than {URL_LIMIT} bytes")]
    TooLong,
    /// A relative directory where none can be meant.
    #[error("a relative directory cannot be used here")]
    RelativePath,
    /// No scheme, and not a directory either.
    #[error("it begins neither with `https://`, `http://`, `s3://` or `file://` nor with a slash")]
    NoScheme,
    /// A scheme that is not read.
    #[error("only `https`, `http`, `s3` and `file` URLs and directories are read")]
    UnknownScheme,
    /// No bucket, or a name that no bucket has.
    #[error("it names no bucket")]
    NoBucket,
    /// A host of S3's that is not understood.
    #[error("its host is one of S3's that is not known")]
    BucketHost,
    /// Something in the query of an `s3` URL that means nothing.
    #[error("its query holds what is no option of a bucket")]
    BucketOption,
    /// A region that no host's name could hold.
    #[error("its region is none")]
    BucketRegion,
    /// An endpoint that is more or less than scheme, host and port.
    #[error("the endpoint of a bucket is scheme, host and port: `https://host:port`")]
    BucketEndpoint,
    /// No host.
    #[error("it names no host")]
    NoHost,
    /// The host is malformed.
    #[error("its host is neither a name nor an address")]
    BadHost,
    /// The host has letters that look-alikes exist of.
    #[error("its host is not ASCII")]
    ForeignHost,
    /// The port is not a number up to 65535.
    #[error("its port is not a number from 1 to 65535")]
    BadPort,
    /// Port 0.
    #[error("port 0 does not exist")]
    PortZero,
    /// A user name or password.
    #[error("a user name or password must not stand in it")]
    UserInfo,
    /// A query.
    #[error("a query (`?…`) must not stand in it")]
    Query,
    /// A fragment.
    #[error("a fragment (`#…`) must not stand in it")]
    Fragment,
    /// Relative segments.
    #[error("`.` and `..` must not stand in its path")]
    Dots,
    /// A malformed percent escape.
    #[error("`%` must be followed by two hexadecimal digits")]
    BadEscape,
    /// Spaces, control characters, backslashes, escaped slashes.
    #[error("spaces, control characters, backslashes and escaped slashes must not stand in it")]
    BadCharacter,
    /// A file of another machine.
    #[error("a `file` URL has no host: write `file:///path`")]
    FileHost,
    /// A relative file URL.
    #[error("the path of a `file` URL is absolute: write `file:///path`")]
    RelativeFile,
}
