//! One server's repositories, and what is asked of them in one round.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use dbt_core::digest::CHECKSUM_FILE_LIMIT;
use dbt_core::layout::{CHECKSUM_ENDING, Location, MANIFEST_ENDING, SIGNATURE_ENDING, Tree};
use dbt_core::listing::Listing;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::repo_path::RepoPath;
use dbt_core::trust::Companions;
use dbt_core::trust::keys::TRUSTSTORE_LIMIT;
use dbt_core::trust::manifest::MANIFEST_LIMIT;
use dbt_core::trust::openpgp::SIGNATURE_LIMIT;
use dbt_core::trust::withdrawn::WITHDRAWN_LIMIT;

use crate::beside;
use crate::round::{self, Task, Work};
use crate::settings::Server;
use crate::source::{self, Answer, Ask, Class, Connector, FetchError, Patience, Source};

/// A server's two trees and its truststore, ready to be asked.
#[derive(Debug)]
pub struct Repository {
    own: Box<dyn Source>,
    tools: Box<dyn Source>,
    truststore: Box<dyn Source>,
    truststore_path: RepoPath,
    /// The truststore lies in the repository's own directory, so its listing shows the manifest.
    manifest_is_listed: bool,
    moment: Duration,
}

/// How long an answer is waited for before the other requests of a round go out too: longer than a
/// server takes that is near, and far less than one that is far away.
const MOMENT: Duration = Duration::from_millis(2);

/// The same where the connection has to be made secure before anything is asked.
const SECURE_MOMENT: Duration = Duration::from_millis(4);

/// What one round of requests brought: all of them are sent together.
#[derive(Debug)]
pub struct Survey {
    /// The truststore, or that it is still the one last accepted.
    pub truststore: Result<Answer, FetchError>,
    /// The repository of dbt itself; nothing when nobody wants to know.
    pub repository: Option<Result<Listing, FetchError>>,
    /// The tool's directory.
    pub tool: Result<Listing, FetchError>,
    /// The checksum of the version that is probably the newest.
    pub checksum: Option<Result<Answer, FetchError>>,
    /// The tool's withdrawn versions, where it is known to have some.
    pub withdrawn: Option<Result<Answer, FetchError>>,
}

/// What a round should ask for.
#[derive(Debug)]
pub struct Question<'a> {
    /// The tool.
    pub subject: &'a Subject,
    /// The entity tag of the truststore last accepted.
    pub truststore_etag: Option<&'a str>,
    /// Ask for the versions of dbt itself too.
    pub with_program: bool,
    /// The version that is probably the newest, because it was before.
    pub guess: Option<&'a ArtifactId>,
    /// The tool has a list of withdrawn versions, last seen with this entity tag.
    pub withdrawn_etag: Option<&'a str>,
}

impl Repository {
    /// Prepares to ask a server. Nothing is sent yet.
    pub fn open(server: &Server, connector: &Arc<Connector>) -> Self {
        let (base, path) = server
            .truststore
            .split_last()
            .unwrap_or_else(|| (server.truststore.clone(), RepoPath::root()));
        let open = |url| source::open(url, connector, &server.credentials);
        Self {
            own: open(&server.repository),
            tools: open(&server.tools),
            manifest_is_listed: base == server.repository,
            moment: if server.tools.is_plain_http() { MOMENT } else { SECURE_MOMENT },
            truststore: open(&base),
            truststore_path: path,
        }
    }

    /// Sends one round of requests and waits for the answers: all together, unless they are there at
    /// once. Does something else `meanwhile`, which calls what it is given every now and then.
    pub fn survey(
        &self,
        question: &Question<'_>,
        patience: &Patience,
        meanwhile: impl FnOnce(&dyn Fn()),
    ) -> Survey {
        let Question { subject, truststore_etag, with_program, guess, withdrawn_etag } = question;
        let versions = Location::versions_of(subject);
        // The tool can do without the versions of dbt, so they must leave it time.
        let shorter = patience.half();
        let withdrawn_at = match subject {
            Subject::Tool(name) => withdrawn_etag.map(|etag| (Location::withdrawn(name), etag)),
            Subject::Program => None,
        };

        let truststore = Task::new(|| self.truststore(*truststore_etag, patience));
        let tool = Task::new(|| self.list(&versions, patience));
        let guess = guess.map(Location::artifact);
        let checksum = guess.as_ref().map(|at| Task::new(move || self.checksum(at, patience)));
        let repository = with_program.then(|| Task::new(|| self.program_versions(&shorter)));
        let withdrawn = withdrawn_at.as_ref().map(|(at, etag)| {
            Task::new(move || self.get(at, WITHDRAWN_LIMIT, Some(etag), patience))
        });

        let mut tasks: Vec<&dyn Work> = vec![&truststore, &tool];
        tasks.extend(checksum.iter().map(|task| task as &dyn Work));
        tasks.extend(repository.iter().map(|task| task as &dyn Work));
        tasks.extend(withdrawn.iter().map(|task| task as &dyn Work));
        round::run(&tasks, self.moment, meanwhile);

        Survey {
            truststore: truststore.outcome(),
            repository: repository.map(Task::outcome),
            tool: tool.outcome(),
            checksum: checksum.map(Task::outcome),
            withdrawn: withdrawn.map(Task::outcome),
        }
    }

    /// Lists the published versions of dbt itself, and what else is in its repository.
    pub fn program_versions(&self, patience: &Patience) -> Result<Listing, FetchError> {
        self.list(&Location::versions_of(&Subject::Program), patience)
    }

    /// Lists a directory.
    pub fn list(&self, at: &Location, patience: &Patience) -> Result<Listing, FetchError> {
        self.tree(at.tree).list(&at.path, patience)
    }

    /// Fetches the truststore, unless it is still the one with this entity tag.
    pub fn truststore(
        &self,
        etag: Option<&str>,
        patience: &Patience,
    ) -> Result<Answer, FetchError> {
        self.truststore.get(&self.truststore_path, &document(TRUSTSTORE_LIMIT, etag, patience))
    }

    /// Says whether the listing of the repository would show the truststore's manifest.
    pub fn shows_manifest(&self, listing: &Listing) -> bool {
        let name = self.truststore_path.file_name().unwrap_or_default();
        self.manifest_is_listed && listing.contains(&format!("{name}{MANIFEST_ENDING}"))
    }

    /// Fetches the truststore's manifest and its signature, together: the current one, or the
    /// kept one of an earlier `version`.
    pub fn manifest(
        &self,
        version: Option<u64>,
        patience: &Patience,
    ) -> Result<(Vec<u8>, Vec<u8>), FetchError> {
        let ending = match version {
            Some(version) => format!(".manifest.{version}.json"),
            None => MANIFEST_ENDING.to_owned(),
        };
        let name = self.truststore_path.file_name().unwrap_or_default();
        let path = self.truststore_path.parent().unwrap_or_else(RepoPath::root);
        let manifest =
            path.join(&format!("{name}{ending}")).unwrap_or_else(|_invalid| path.clone());
        let signature = path
            .join(&format!("{name}{ending}{SIGNATURE_ENDING}"))
            .unwrap_or_else(|_invalid| path.clone());
        let get =
            |path, limit| bytes_of(self.truststore.get(path, &document(limit, None, patience)));
        thread::scope(|scope| {
            let signature = beside::begin(scope, || get(&signature, SIGNATURE_LIMIT));
            let manifest = get(&manifest, MANIFEST_LIMIT)?;
            Ok((manifest, signature.joined()?))
        })
    }

    /// Fetches the checksum and the signature of the artifact at a place, together. Nothing when one
    /// of them is missing: then the version is not, or not yet, published for that platform.
    pub fn companions(
        &self,
        at: &Location,
        patience: &Patience,
    ) -> Result<Option<Companions>, FetchError> {
        let (checksum, signature) = thread::scope(|scope| {
            let signature = beside::begin(scope, || self.signature(at, patience));
            (self.checksum(at, patience), signature.joined())
        });
        let checksum = present(bytes_of(checksum))?;
        let signature = present(bytes_of(signature))?;
        Ok(checksum.zip(signature).map(|(checksum, signature)| Companions { checksum, signature }))
    }

    /// Fetches the signature of the artifact at a place.
    pub fn signature(&self, at: &Location, patience: &Patience) -> Result<Answer, FetchError> {
        let at = at.with_ending(SIGNATURE_ENDING);
        let ask = document(SIGNATURE_LIMIT, None, patience).from_anywhere();
        self.tree(at.tree).get(&at.path, &ask)
    }

    /// Fetches a document of one of the trees.
    pub fn get(
        &self,
        at: &Location,
        limit: u64,
        etag: Option<&str>,
        patience: &Patience,
    ) -> Result<Answer, FetchError> {
        self.tree(at.tree).get(&at.path, &document(limit, etag, patience))
    }

    /// Returns one of the trees.
    pub fn tree(&self, tree: Tree) -> &dyn Source {
        match tree {
            Tree::Repository => self.own.as_ref(),
            Tree::Tools => self.tools.as_ref(),
        }
    }

    fn checksum(&self, at: &Location, patience: &Patience) -> Result<Answer, FetchError> {
        self.get(&at.with_ending(CHECKSUM_ENDING), CHECKSUM_FILE_LIMIT, None, patience)
    }
}

fn document(limit: u64, etag: Option<&str>, patience: &Patience) -> Ask {
    Ask::document(limit, patience).unless(etag.map(str::to_owned))
}

/// Takes the bytes of an answer to an unconditional request.
pub(crate) fn bytes_of(answer: Result<Answer, FetchError>) -> Result<Vec<u8>, FetchError> {
    answer.map(|answer| match answer {
        Answer::Document { bytes, etag: _ } => bytes,
        // Nothing was said about what we have, so there is nothing that could be unchanged;
        // an empty document is refused by whoever reads it.
        Answer::NotModified => Vec::new(),
    })
}

/// Turns "not found" into nothing.
fn present<T>(outcome: Result<T, FetchError>) -> Result<Option<T>, FetchError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.class() == Class::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
