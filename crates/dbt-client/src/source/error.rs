//! Why something could not be read or written.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use dbt_core::listing::ListingError;

use super::BucketProblem;
use crate::auth::CredentialsError;
use crate::url::Origin;

/// Something could not be read from a repository, or written to one.
///
/// Its source is the [`Failure`].
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} `{url}`{}", said_id(request_id.as_deref()))]
pub struct FetchError {
    action: &'static str,
    /// Without any query.
    url: String,
    request_id: Option<String>,
    #[source]
    failure: Box<Failure>,
}

fn said_id(id: Option<&str>) -> String {
    id.map(|id| format!(" (request {id})")).unwrap_or_default()
}

impl FetchError {
    /// Makes the error of an action on a place.
    pub(crate) fn new(action: &'static str, url: String, failure: Failure) -> Self {
        Self { action, url, request_id: None, failure: Box::new(failure) }
    }

    pub(super) fn with_request_id(mut self, id: Option<String>) -> Self {
        self.request_id = id;
        self
    }

    /// Returns what was asked for, without any query.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns what went wrong.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Returns what the server calls the request, for its administrator to look up.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Returns the row of the outage table that this is (product, behaviour).
    pub fn class(&self) -> Class {
        self.failure.class()
    }

    /// Says whether the configured credentials could not be had, so that no server was asked.
    pub fn is_about_credentials(&self) -> bool {
        matches!(*self.failure, Failure::Credentials(_))
    }

    /// Returns when the server wants to be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.failure.retry_after()
    }

    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        self.failure.hint()
    }
}

/// The rows of the outage table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// There is no usable answer: a verified copy may run.
    Outage,
    /// The server does not know who asks.
    SignIn,
    /// The server knows, and says no.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// There is an answer that no honest server gives, or the work was ended here.
    Refused,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The host's name has no address.
    #[error("the name `{host}` cannot be resolved")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No connection.
    #[error("cannot connect")]
    Connect {
        /// What the system said.
        source: io::Error,
    },
    /// No connection in time.
    #[error("there was no connection within {}", said(*limit))]
    ConnectTime {
        /// How long was waited.
        limit: Duration,
    },
    /// The proxy is what cannot be reached, or says no.
    #[error("the proxy `{proxy}` could not be used: {problem}")]
    Proxy {
        /// The proxy, without its password.
        proxy: String,
        /// Why.
        problem: String,
    },
    /// No secure connection.
    #[error("there is no secure connection: {0}")]
    Tls(TlsProblem),
    /// The configured certificate authorities could not be read.
    #[error("failed to read certificate authorities from `{}`", path.display())]
    CertificateFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The connection ended before an answer came.
    #[error("the connection broke")]
    Reset {
        /// What the system said.
        source: io::Error,
    },
    /// The answer came too slowly.
    #[error("less than 1 KiB/s came for {}", said(*limit))]
    Stall {
        /// For how long.
        limit: Duration,
    },
    /// The time that was given is over.
    #[error("there was no complete answer in time")]
    TimeOver,
    /// 401.
    #[error("the server wants to know who asks (401)")]
    Unauthorized,
    /// 403, or a file that this user may not read.
    #[error("access is denied (403)")]
    Forbidden,
    /// 404, or no such file.
    #[error("there is no such file or directory (404)")]
    NotFound,
    /// 404 for the repository's root, or no such directory: nothing can be said about what is in
    /// it.
    #[error("there is no repository here (404)")]
    RootMissing,
    /// 429.
    #[error("the server is asked too often (429)")]
    Busy {
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// 5xx.
    #[error("the server failed ({status})")]
    Server {
        /// The status.
        status: u16,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// A status that is no answer to this request.
    #[error("the server gave an unexpected answer ({status})")]
    Status {
        /// The status.
        status: u16,
    },
    /// What was to be written exists, and may not be replaced.
    #[error("it exists already")]
    Exists,
    /// A server of ours says why it does not write something.
    #[error("the server refuses it: {detail} ({status})")]
    Declined {
        /// The status of its answer.
        status: u16,
        /// Its words.
        detail: String,
    },
    /// 507: there is no room for what was to be written, or its share is used up.
    #[error("the server has no room left for it (507)")]
    Full,
    /// Other bytes have arrived than were sent.
    #[error("what arrived at the server is not what was sent (422)")]
    Garbled,
    /// An upload in parts has expired, or somebody else goes on with it.
    #[error("what was sent before is not at the server any more as it was")]
    Interrupted,
    /// A redirect that is not followed.
    #[error("the server redirects {0}")]
    Redirect(RedirectProblem),
    /// A page where data is due: a sign-in page of the network, or an error page.
    #[error("`{host}` answered with a page ({content_type}) instead of data")]
    Html {
        /// Who answered.
        host: String,
        /// What it calls the answer.
        content_type: String,
    },
    /// More than the limit.
    #[error("the answer has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The connection ended within the answer.
    #[error("the answer ended after {received} of {expected} bytes")]
    Truncated {
        /// How many came.
        received: u64,
        /// How many were announced.
        expected: u64,
    },
    /// The answer is not HTTP.
    #[error("the answer is malformed: {0}")]
    Protocol(String),
    /// The answer is not a listing.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// Credentials are configured and cannot be sent.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A bucket is not as it should be, or not for whoever asks.
    #[error(transparent)]
    Bucket(#[from] BucketProblem),
    /// The work was ended from elsewhere.
    #[error("it was cancelled")]
    Cancelled,
    /// A directory or a file failed.
    #[error("failed to use `{}`", path.display())]
    Local {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A link of the directory leads out of it.
    #[error("`{}` leads out of the repository", path.display())]
    LeavesRoot {
        /// The path.
        path: PathBuf,
    },
    /// What is to be read or written could not be read here.
    #[error("the content to send could not be read")]
    Content {
        /// What the reader said.
        source: io::Error,
    },
}

impl From<RedirectProblem> for Failure {
    /// Not as its cause: the failure's words end with the problem's.
    fn from(problem: RedirectProblem) -> Self {
        Self::Redirect(problem)
    }
}

impl Failure {
    /// Returns the row of the outage table that this is.
    pub fn class(&self) -> Class {
        match self {
            Self::Unauthorized => Class::SignIn,
            Self::Credentials(error) => error.class(),
            Self::Forbidden => Class::Forbidden,
            Self::NotFound => Class::NotFound,
            Self::Redirect(problem) => problem.class(),
            Self::Bucket(problem) => problem.class(),
            Self::TooLarge { .. }
            | Self::Listing(ListingError::TooLarge | ListingError::TooMany)
            | Self::Cancelled
            | Self::LeavesRoot { .. }
            | Self::Exists
            | Self::Declined { .. }
            | Self::Garbled
            | Self::Content { .. } => Class::Refused,
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::ConnectTime { .. }
            | Self::Proxy { .. }
            | Self::Tls(_)
            | Self::CertificateFile { .. }
            | Self::Reset { .. }
            | Self::Stall { .. }
            | Self::TimeOver
            | Self::RootMissing
            | Self::Busy { .. }
            | Self::Server { .. }
            | Self::Status { .. }
            | Self::Html { .. }
            | Self::Truncated { .. }
            | Self::Protocol(_)
            | Self::Listing(_)
            | Self::Full
            | Self::Interrupted
            | Self::Local { .. } => Class::Outage,
        }
    }

    /// Returns what an error of [`super::Opened::reader`] means.
    pub(crate) fn of_reading(error: io::Error) -> Self {
        super::connector::failure_of_io(error)
    }

    /// Returns when the server wants to be asked again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        if let Self::Busy { retry_after } | Self::Server { retry_after, .. } = self {
            *retry_after
        } else {
            None
        }
    }

    /// Says whether there was an answer, and it was no good: another document may be had.
    pub(crate) fn is_about_one_document(&self) -> bool {
        matches!(
            self,
            Self::NotFound
                | Self::Server { .. }
                | Self::Status { .. }
                | Self::Redirect(_)
                | Self::Html { .. }
                | Self::TooLarge { .. }
                | Self::Truncated { .. }
                | Self::Protocol(_)
                | Self::Listing(_)
        )
    }

    /// Says whether the same request may go well in a moment.
    pub(super) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Reset { .. } | Self::Truncated { .. } | Self::Busy { .. } | Self::Server { .. }
        )
    }

    /// Returns what the user can do about it, if anything.
    #[expect(clippy::wildcard_enum_match_arm, reason = "few failures can be helped")]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Tls(
                TlsProblem::UnknownIssuer { unused, .. } | TlsProblem::SelfSigned { unused },
            ) => Some(match unused.first() {
                Some(unused) => unused.clone(),
                None => "if your organisation, or its proxy, has a certificate authority of its \
                         own, name its file as `caFile` of the server in the configuration, or in \
                         `SSL_CERT_FILE`"
                    .to_owned(),
            }),
            Self::Tls(TlsProblem::NotYetValid) => Some("check this machine's clock".to_owned()),
            Self::Redirect(RedirectProblem::OtherOrigin(there)) => {
                Some(format!("if `{there}` is right, write it into the configuration"))
            }
            Self::Html { .. } => Some("does this network want you to sign in first?".to_owned()),
            Self::Full => {
                Some("its administrator makes room, or raises the limit of this place".to_owned())
            }
            Self::Credentials(error) => error.hint(),
            Self::Bucket(problem) => problem.hint(),
            _ => None,
        }
    }
}

fn said(limit: Duration) -> String {
    if limit.as_millis() < 1000 {
        format!("{} ms", limit.as_millis())
    } else {
        format!("{} s", limit.as_secs())
    }
}

/// A redirect that is not followed. Completes “the server redirects”.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectProblem {
    /// To where it has been.
    #[error("in a circle")]
    Circle,
    /// Too often.
    #[error("more than {limit} times")]
    TooMany {
        /// How many are followed.
        limit: usize,
    },
    /// To where everybody on the way can change it.
    #[error("to `{0}`, without TLS")]
    PlainHttp(Origin),
    /// To another server, with what this server alone may answer.
    #[error("to another server, `{0}`")]
    OtherOrigin(Origin),
    /// To something that is no server.
    #[error("to a `{0}` URL")]
    Scheme(String),
    /// To a URL with a user name or password.
    #[error("to a URL with a user name")]
    UserInfo,
    /// To nowhere.
    #[error("without saying where to")]
    Nowhere,
    /// To something that is no URL.
    #[error("to something that is no URL")]
    Malformed,
    /// What is to be written is wanted elsewhere.
    #[error("what is to be written")]
    Write,
}

impl RedirectProblem {
    /// Networks that want one to sign in redirect to their own server: an outage. That a server
    /// asks to do without TLS, or to read a local file, is something else.
    const fn class(&self) -> Class {
        match self {
            Self::PlainHttp(_) | Self::Scheme(_) | Self::UserInfo => Class::Refused,
            Self::Circle
            | Self::TooMany { .. }
            | Self::OtherOrigin(_)
            | Self::Nowhere
            | Self::Malformed
            | Self::Write => Class::Outage,
        }
    }
}

/// Why there is no secure connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsProblem {
    /// Its time is over.
    #[error("the server's certificate has expired")]
    Expired,
    /// Its time has not come.
    #[error("the server's certificate is not valid yet")]
    NotYetValid,
    /// It is another host's.
    #[error("the server's certificate is for another host")]
    WrongHost,
    /// Nobody known vouches for it.
    #[error(
        "the server's certificate is signed by {}, and this machine does not know that authority",
        issuer.as_ref().map_or("somebody".to_owned(), |name| format!("`{name}`"))
    )]
    UnknownIssuer {
        /// Who should be known, as the certificate says.
        issuer: Option<String>,
        /// What the environment names and cannot be used.
        unused: Vec<String>,
    },
    /// Nobody vouches for it.
    #[error("the server's certificate is signed by nobody but itself")]
    SelfSigned {
        /// What the environment names and cannot be used.
        unused: Vec<String>,
    },
    /// It was withdrawn.
    #[error("the server's certificate has been revoked")]
    Revoked,
    /// Another protocol is spoken there.
    #[error("the server does not speak TLS")]
    NotTls,
    /// No version or cipher in common.
    #[error("the server speaks only forms of TLS that are no longer safe")]
    Outdated,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}
