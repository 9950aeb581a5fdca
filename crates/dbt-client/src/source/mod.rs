//! Where repositories are read from, and written to.
//!
//! [`Source`] reads: a server, a bucket, a directory, or memory in tests. [`Destination`] writes, for the
//! publisher. Whatever comes out of a source is unverified; this module promises only that it is
//! bounded, whole, from where it was asked for, and that credentials went nowhere else.

mod api;
mod authorities;
mod aws;
mod body;
mod certificate;
mod connector;
mod destination;
mod endpoint;
mod error;
mod file;
mod files;
mod forward;
mod http;
#[cfg(any(test, all(target_vendor = "apple", not(feature = "system-framework"))))]
mod keychain;
mod memory;
mod names;
mod patience;
mod proxy;
mod releases;
mod s3;
mod system_store;
mod target;
mod tls;
mod turns;
mod uploads;
mod whole;
mod xml;

use std::fmt::Debug;
use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use dbt_core::listing::Listing;
use dbt_core::repo_path::RepoPath;

use crate::auth::Credentials;
use crate::url::RepositoryUrl;

pub use authorities::CertificateRoots;
pub use aws::AwsError;
pub use connector::Connector;
pub use destination::{Content, Destination, Replace, open_destination};
pub(crate) use endpoint::{Call as EndpointCall, Reply as EndpointReply};
pub use endpoint::{EndpointUrl, InvalidEndpoint};
pub use error::{Class, Failure, FetchError, RedirectProblem, TlsProblem};
pub use files::Files;
pub use memory::Memory;
pub use patience::{Cancel, Patience};
pub use proxy::shown_for as proxy_for;
pub use releases::{Begin, Release, ReleaseError, Releases, Staged, root_above};
pub use s3::BucketProblem;
pub use uploads::PART;

/// A repository that is read.
pub trait Source: Send + Sync + Debug {
    /// Reads a small document into memory.
    fn get(&self, path: &RepoPath, ask: &Ask) -> Result<Answer, FetchError>;

    /// Reads what is directly in a directory.
    fn list(&self, directory: &RepoPath, patience: &Patience) -> Result<Listing, FetchError>;

    /// Begins to read an artifact at byte `from`.
    ///
    /// A server may answer from the beginning all the same: [`Opened::offset`] says where the
    /// bytes begin. With `if_range` (an [`Opened::etag`]) it must, unless the artifact is still
    /// the same one.
    fn open(
        &self,
        path: &RepoPath,
        from: u64,
        if_range: Option<&str>,
        patience: &Patience,
    ) -> Result<Opened, FetchError>;

    /// Returns where a path is, as people may see it.
    fn place_of(&self, path: &RepoPath) -> String;
}

/// How a document is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The most bytes it may have; more is an error. Counted after decompression.
    pub limit: u64,
    /// What an earlier answer was called: if it is still the same, the answer is
    /// [`Answer::NotModified`].
    pub etag: Option<String>,
    /// Whether HTML is a possible answer. Elsewhere it comes from somebody on the way.
    pub accepts_html: bool,
    /// Where redirects may lead.
    pub redirects: Redirects,
    /// How long to wait.
    pub patience: Patience,
}

impl Ask {
    /// Asks for a document that stays in its origin and is not HTML: the truststore, checksums.
    pub fn document(limit: u64, patience: &Patience) -> Self {
        Self {
            limit,
            etag: None,
            accepts_html: false,
            redirects: Redirects::SameOrigin,
            patience: patience.clone(),
        }
    }

    /// Asks only for what differs from an earlier answer.
    #[must_use]
    pub fn unless(mut self, etag: Option<String>) -> Self {
        self.etag = etag;
        self
    }

    /// Allows redirects to other servers: for signatures and signed metadata, which need no
    /// server to be believed.
    #[must_use]
    pub fn from_anywhere(mut self) -> Self {
        self.redirects = Redirects::OtherHttps;
        self
    }
}

/// Where redirects may lead (trust design, B9). At most three are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// Within scheme, host and port.
    SameOrigin,
    /// There, and to any other `https` server. Credentials do not go with them.
    OtherHttps,
}

/// A small document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The document.
    Document {
        /// All of it.
        bytes: Vec<u8>,
        /// What it is called, to ask again with.
        etag: Option<String>,
    },
    /// It is what [`Ask::etag`] named.
    NotModified,
}

/// An artifact that is being read.
pub struct Opened {
    /// The length of the whole artifact, if the server said it.
    pub length: Option<u64>,
    /// Where the bytes of `reader` begin.
    pub offset: u64,
    /// A strong name of exactly these bytes, to go on with after a broken connection.
    pub etag: Option<String>,
    /// Whether the server shows it to whoever writes it alone: it is not published yet.
    pub is_draft: bool,
    /// The bytes. Its errors hold a [`Failure`] wherever one is known.
    pub reader: Box<dyn Read + Send>,
}

impl Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("length", &self.length)
            .field("offset", &self.offset)
            .field("etag", &self.etag)
            .field("is_draft", &self.is_draft)
            .finish_non_exhaustive()
    }
}

/// Asks a server what time it is, without saying who asks. Nothing where there is no server, or
/// it does not say.
pub fn time_at(
    url: &RepositoryUrl,
    connector: &Connector,
    patience: &Patience,
) -> Option<SystemTime> {
    http::time_at(url, connector, patience)
}

/// Returns the repository at a place. Nothing is read yet.
pub fn open(
    url: &RepositoryUrl,
    connector: &Arc<Connector>,
    credentials: &Credentials,
) -> Box<dyn Source> {
    if let Some(directory) = url.directory() {
        return Box::new(file::Directory::at(directory));
    }
    match s3::Store::at(url, connector) {
        Some(store) => Box::new(store),
        None => Box::new(http::Server::at(url, connector, credentials)),
    }
}

/// Escapes everything that means something anywhere in a URL, slashes included.
fn encoded(text: &str) -> String {
    crate::url::escaped_but(text.as_bytes(), b"-._~")
}
