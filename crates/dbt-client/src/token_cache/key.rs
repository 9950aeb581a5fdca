//! Whose token it is, and for whom.

use dbt_core::digest::Digest;
use dbt_core::name::ServerName;

use crate::url::Origin;

/// Who gave the tokens of jobs: the name of no issuer, which are URLs.
const JOB: &str = "job";

/// Who is sent a token.
///
/// A server is where its repository is. Where it has something elsewhere, another server may be at
/// home: then what is sent there for the one is not what is sent for the other, so that no entry of a
/// configuration uses, replaces or forgets what another one's users have given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient {
    /// The scheme, host and port, and no other.
    pub origin: Origin,
    /// The name of the server that has something there and is at home elsewhere; empty for the one
    /// that is at home.
    pub guest: String,
}

impl Recipient {
    /// The server that is at home there.
    pub const fn at_home(origin: Origin) -> Self {
        Self { origin, guest: String::new() }
    }

    /// A server that has something there.
    pub fn guest(origin: Origin, server: &ServerName) -> Self {
        Self { origin, guest: server.to_string() }
    }

    /// Returns what a server is sent, whose repository is at `home`, at each of its origins.
    pub fn all<'a>(
        server: &ServerName,
        home: Option<&Origin>,
        origins: impl IntoIterator<Item = &'a Origin>,
    ) -> Vec<Self> {
        let of = |origin: &Origin| {
            if home == Some(origin) {
                Self::at_home(origin.clone())
            } else {
                Self::guest(origin.clone(), server)
            }
        };
        origins.into_iter().map(of).collect()
    }

    /// Says whether another server may be at home there.
    pub const fn is_guest(&self) -> bool {
        !self.guest.is_empty()
    }
}

/// Whose token it is, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Who gave it: the issuer's URL as configured; empty for a token of the server's own.
    pub issuer: String,
    /// The client's name at the issuer.
    pub client: String,
    /// Whom it is meant for.
    pub audience: String,
    /// The server that is shown it, and no other.
    pub to: Recipient,
    /// In whose name the configuration asks for it, as a digest: one person may have two entries for
    /// one server, their own and a program's. Empty where it names nobody. Where keys of an SSH agent
    /// signed for it, and the configuration names none, it has their digest, too.
    pub who: String,
}

impl Key {
    /// Returns the key of a token that a server gave itself, for `login --token`.
    pub fn of_server(to: Recipient) -> Self {
        let (issuer, client, audience) = (String::new(), String::new(), String::new());
        Self { issuer, client, audience, to, who: String::new() }
    }

    /// Returns the key of a token that a server gave for the identity of a job.
    pub fn of_job(job: String, origin: Origin) -> Self {
        let (audience, to) = (origin.to_string(), Recipient::at_home(origin));
        Self { issuer: JOB.to_owned(), client: job, audience, to, who: String::new() }
    }

    /// Returns the key of tokens for which an SSH agent signed that holds these keys, whose
    /// fingerprints these are: nobody who brings another agent has them.
    #[must_use]
    pub fn signed_by(&self, fingerprints: &[String]) -> Self {
        let mut sorted = fingerprints.to_vec();
        sorted.sort();
        let agent = Digest::of(sorted.join("\n").as_bytes());
        Self { who: format!("{}+{agent}", self.who), ..self.clone() }
    }

    /// Says whether another key is for the same, whichever agent signed.
    pub fn is_same_but_for_agent(&self, other: &Self) -> bool {
        let without_agent = |key: &Self| {
            let who = key.who.split('+').next().unwrap_or_default().to_owned();
            Self { who, ..key.clone() }
        };
        without_agent(self) == without_agent(other)
    }

    /// Says whether it is of a token that a server gave itself.
    pub(super) const fn is_of_server(&self) -> bool {
        self.issuer.is_empty()
    }

    pub(super) fn is_of_job(&self) -> bool {
        self.issuer == JOB
    }

    /// Returns a name for files: the same for the same key, and no other's.
    pub(super) fn short(&self) -> String {
        let Self { issuer, client, audience, to: Recipient { origin, guest }, who } = self;
        let text = format!("{issuer}\n{client}\n{audience}\n{origin}\n{guest}\n{who}");
        Digest::of(text.as_bytes()).to_string().chars().take(16).collect()
    }
}
