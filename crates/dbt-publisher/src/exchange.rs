//! Reading from and writing to repositories: every write is retried, and read back.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use dbt_client::auth::Credentials;
use dbt_client::settings::{KEPT_CREDENTIALS, Network};
use dbt_client::source::{
    self, Answer, Ask, BucketProblem, Cancel, Class, Connector, Content, Failure, FetchError, PART,
    Patience, Releases, Replace, open_destination, root_above,
};
use dbt_client::url::RepositoryUrl;
use dbt_core::digest::{Digest, READ_SIZE};
use dbt_core::layout::Location;
use dbt_core::listing::Listing;
use dbt_core::repo_path::RepoPath;
use dbt_ui::bar::Bar;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::env::{Environment, NotText, Variable};
use crate::index;
use crate::place::Place;
use crate::stop::{Explained, Stop};

/// One file: a repository, and the path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The repository.
    pub(crate) base: RepositoryUrl,
    /// The path in it.
    pub(crate) path: RepoPath,
}

impl Spot {
    /// Returns the place of a file of one of the two trees.
    pub(crate) fn of(place: &Place, location: &Location) -> Result<Self, Stop> {
        Ok(Self { base: place.tree(location.tree)?.clone(), path: location.path.clone() })
    }

    /// Returns the place of a file that has a URL of its own.
    pub(crate) fn at(url: &RepositoryUrl) -> Result<Self, Stop> {
        let (base, path) = url
            .split_last()
            .ok_or_else(|| Stop::usage(format!("`{url}` is not the URL of a file")))?;
        Ok(Self { base, path })
    }

    /// Returns the URL, for people.
    pub(crate) fn url(&self) -> RepositoryUrl {
        self.base.join(&self.path)
    }
}

/// Something that is uploaded, from a file or from memory.
pub(crate) trait Body: Read + Seek + Send {}

impl<T: Read + Seek + Send> Body for T {}

/// How what is published compares with what is to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// There is nothing.
    Absent,
    /// There are the same bytes.
    Same {
        /// Nobody sees them yet but whoever writes them.
        is_draft: bool,
    },
    /// There are other bytes.
    Different,
}

/// A small file that is there.
pub(crate) struct Known {
    pub(crate) bytes: Vec<u8>,
    /// Nobody sees it yet but whoever writes it.
    pub(crate) is_draft: bool,
}

/// Reads and writes repositories. Several threads may use one.
pub(crate) struct Exchange {
    connector: Arc<Connector>,
    credentials: Credentials,
    bar: Bar,
    /// Set when what is being written is not worth going on with.
    ended: Cancel,
}

/// How often a write is tried.
const ATTEMPTS: u32 = 4;

/// How long is waited before the second attempt; each further wait is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(300);

/// The longest that a server may ask us to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Exchange {
    /// Prepares connections. Nothing is sent yet.
    pub(crate) fn open(place: &Place, environment: &Environment) -> Result<Self, Stop> {
        Self::connected(place, environment, Connector::new)
    }

    /// Prepares for very many small requests, with more connections at once.
    pub(crate) fn wide(place: &Place, environment: &Environment) -> Result<Self, Stop> {
        Self::connected(place, environment, Connector::wide)
    }

    fn connected(
        place: &Place,
        environment: &Environment,
        connector: impl FnOnce(&Network, Option<&Path>, &str) -> Arc<Connector>,
    ) -> Result<Self, Stop> {
        let agent = format!("{}/{}", crate::args::PROGRAM, env!("CARGO_PKG_VERSION"));
        let mut network = Network::of(environment).map_err(NotText::from)?;
        network.aws.home = environment.path(Variable::UserHome);
        let state = environment.our_home().map(|home| home.join("state"));
        network.aws.kept = state.map(|state| state.join(KEPT_CREDENTIALS));
        let connector = connector(&network, place.ca_file.as_deref(), &agent);
        let dumb = environment.text(Variable::Term)?.is_some_and(|term| term == "dumb");
        let visible = !dumb && io::IsTerminal::is_terminal(&io::stderr());
        let (credentials, bar) = (place.credentials.clone(), Bar::new(visible));
        Ok(Self { connector, credentials, bar, ended: Cancel::default() })
    }

    /// Ends what other threads are writing.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// Reads from now on as whoever writes; says whether more may be seen than before.
    pub(crate) fn begin_writing(&self) -> bool {
        self.credentials.begin_writing()
    }

    /// Reads a document, or nothing if there is none.
    pub(crate) fn get(&self, spot: &Spot, limit: u64) -> Result<Option<Vec<u8>>, Stop> {
        let ask = Ask::document(limit, &Patience::without_cached_copy(1.0));
        let answer = self.source(spot).get(&spot.path, &ask);
        Ok(present(answer)?.and_then(|answer| match answer {
            Answer::Document { bytes, etag: _ } => Some(bytes),
            Answer::NotModified => None,
        }))
    }

    /// Reads the page of a directory, or nothing if there is none.
    pub(crate) fn get_page(&self, spot: &Spot, limit: u64) -> Result<Option<Vec<u8>>, Stop> {
        let mut ask = Ask::document(limit, &Patience::without_cached_copy(1.0));
        ask.accepts_html = true;
        let answer = present(self.source(spot).get(&spot.path, &ask))?;
        Ok(answer.and_then(|answer| match answer {
            Answer::Document { bytes, etag: _ } => Some(bytes),
            Answer::NotModified => None,
        }))
    }

    /// Writes the page of a directory, which is not read back: nothing else may be a page.
    pub(crate) fn put_page(&self, spot: &Spot, text: &str) -> Result<(), Stop> {
        let content = content_of(text.as_bytes());
        let destination = self.writing(&spot.base);
        let put = || {
            let (mut body, patience) = (Cursor::new(text), Patience::for_upload(1.0));
            destination.put(&spot.path, &mut body, &content, Replace::Allowed, &patience)
        };
        asked_again(put).map_err(not_written)
    }

    /// Reads a small file as [`Exchange::get`] does, and says whether others see it.
    pub(crate) fn look(&self, spot: &Spot, limit: u64) -> Result<Option<Known>, Stop> {
        let patience = Patience::without_cached_copy(1.0);
        let Some(opened) = present(self.source(spot).open(&spot.path, 0, None, &patience))? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = opened.reader.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| unreadable(&spot.url(), error))?;
        if bytes.len() as u64 > limit {
            return Err(ExchangeError::TooLong { url: spot.url(), limit }.into());
        }
        Ok(Some(Known { bytes, is_draft: opened.is_draft }))
    }

    /// Lists a directory, or nothing if there is none.
    pub(crate) fn list(&self, spot: &Spot) -> Result<Option<Listing>, Stop> {
        let patience = Patience::without_cached_copy(1.0);
        Ok(present(self.source(spot).list(&spot.path, &patience))?)
    }

    /// Downloads a file, or says that there is none.
    pub(crate) fn download(&self, spot: &Spot, to: &mut dyn Write) -> Result<Option<Digest>, Stop> {
        let patience = Patience::for_artifact(1.0);
        let Some(opened) = present(self.source(spot).open(&spot.path, 0, None, &patience))? else {
            return Ok(None);
        };
        self.bar.begin(&format!("reading {}", spot.url()), opened.length);
        let mut copied = Tee { from: opened.reader, to, bar: Some(&self.bar) };
        let outcome = Digest::of_reader(&mut copied);
        self.bar.end();
        let failed = |error| unreadable(&spot.url(), error);
        outcome.map(|(digest, _length)| Some(digest)).map_err(failed)
    }

    /// Returns how long a file is, if the server says so and there is one.
    pub(crate) fn length(&self, spot: &Spot) -> Result<Option<u64>, Stop> {
        let patience = Patience::for_artifact(1.0);
        let opened = present(self.source(spot).open(&spot.path, 0, None, &patience))?;
        Ok(opened.and_then(|opened| opened.length))
    }

    /// Returns the releases of the server whose repository this is, if it may be one that has them.
    pub(crate) fn releases(&self, repository: &RepositoryUrl) -> Option<Releases> {
        let root = root_above(repository)?;
        Releases::at(&root, &self.connector, &self.credentials)
    }

    /// Compares what is there with what should be, reading it only if nothing else decides.
    pub(crate) fn compare(&self, spot: &Spot, content: &Content) -> Result<Presence, Stop> {
        self.bar.begin(&format!("checking {}", spot.url()), Some(content.length));
        let presence = self.compare_within(spot, content, Some(&self.bar));
        self.bar.end();
        presence
    }

    /// Does so as a part of other work, or shows how far it is.
    fn compare_within(
        &self,
        spot: &Spot,
        content: &Content,
        bar: Option<&Bar>,
    ) -> Result<Presence, Stop> {
        let patience = Patience::for_artifact(1.0);
        let Some(opened) = present(self.source(spot).open(&spot.path, 0, None, &patience))? else {
            return Ok(Presence::Absent);
        };
        if opened.length.is_some_and(|length| length != content.length) {
            return Ok(Presence::Different);
        }
        let is_draft = opened.is_draft;
        // Servers of ours call a file by its digest.
        let called = opened.etag.as_deref().map(|etag| etag.trim_matches('"').parse::<Digest>());
        let digest = if let Some(Ok(digest)) = called {
            digest
        } else {
            let mut counted = Tee { from: opened.reader, to: &mut io::sink(), bar };
            let outcome = Digest::of_reader(&mut counted);
            outcome.map_err(|error| unreadable(&spot.url(), error))?.0
        };
        let is_same = digest == content.sha256;
        Ok(if is_same { Presence::Same { is_draft } } else { Presence::Different })
    }

    /// Writes a file as [`Exchange::write`] does, and in a directory brings the pages that name it
    /// up to date.
    pub(crate) fn put(
        &self,
        spot: &Spot,
        body: &mut dyn Body,
        content: &Content,
        replace: Replace,
    ) -> Result<(), Stop> {
        self.bar.begin(&format!("writing {}", spot.url()), Some(content.length));
        let written = self.write(spot, body, content, replace);
        self.bar.end();
        written?;
        self.follow(std::slice::from_ref(spot))
    }

    /// Brings the pages up to date that name these files, where there are pages.
    pub(crate) fn follow(&self, spots: &[Spot]) -> Result<(), Stop> {
        for spot in spots {
            index::follow(spot)?;
        }
        index::bucket::follow(spots, self)
    }

    /// Deletes a file.
    pub(crate) fn delete(&self, spot: &Spot) -> Result<(), Stop> {
        let patience = Patience::for_upload(1.0);
        Ok(self.writing(&spot.base).delete(&spot.path, &patience)?)
    }

    /// Writes a file as part of a work whose progress is shown, and reads it back; says whether it is a
    /// draft there. Tries again when the connection or the server fails, for as long as more of it
    /// arrives than before.
    pub(crate) fn write(
        &self,
        spot: &Spot,
        body: &mut dyn Body,
        content: &Content,
        replace: Replace,
    ) -> Result<bool, Stop> {
        let destination = open_destination(&spot.base, &self.connector, &self.credentials);
        let (mut attempt, mut pause, mut furthest) = (1, FIRST_PAUSE, 0);
        loop {
            let from = |error| unreadable(&spot.url(), error);
            body.seek(SeekFrom::Start(0)).map_err(from)?;
            let ended = &self.ended;
            let mut counted = Sent { from: &mut *body, bar: &self.bar, ended, count: 0 };
            let patience = Patience::for_upload(1.0).cancelled_by(ended.clone());
            let outcome = destination.put(&spot.path, &mut counted, content, replace, &patience);
            let count = counted.count;
            let Err(error) = outcome else { break };
            self.bar.back(count);
            if count >= furthest + PART {
                (attempt, pause, furthest) = (1, FIRST_PAUSE, count);
            }
            if attempt == ATTEMPTS || !may_pass(&error) {
                return Err(not_written(error));
            }
            attempt += 1;
            let wanted = error.retry_after().unwrap_or(pause);
            thread::sleep(wanted.min(LONGEST_PAUSE));
            pause *= 2;
            // It may have been written, and only the answer was lost.
            if let Ok(Presence::Same { is_draft }) = self.compare_within(spot, content, None) {
                self.bar.advance(content.length);
                return Ok(is_draft);
            }
        }
        match self.compare_within(spot, content, None)? {
            Presence::Same { is_draft } => Ok(is_draft),
            Presence::Absent | Presence::Different => {
                Err(ExchangeError::NotKept { url: spot.url() }.into())
            }
        }
    }

    /// Says whether nobody sees a file yet but whoever writes it.
    pub(crate) fn is_draft(&self, spot: &Spot) -> Result<bool, Stop> {
        let patience = Patience::for_artifact(1.0);
        let opened = present(self.source(spot).open(&spot.path, 0, None, &patience))?;
        Ok(opened.is_some_and(|opened| opened.is_draft))
    }

    fn source(&self, spot: &Spot) -> Box<dyn source::Source> {
        self.reading(&spot.base)
    }

    /// Returns what draws progress.
    pub(crate) const fn bar(&self) -> &Bar {
        &self.bar
    }

    /// Returns a repository, for reading.
    pub(crate) fn reading(&self, base: &RepositoryUrl) -> Box<dyn source::Source> {
        source::open(base, &self.connector, &self.credentials)
    }

    /// Returns a repository, for deleting from it.
    pub(crate) fn writing(&self, base: &RepositoryUrl) -> Box<dyn source::Destination> {
        open_destination(base, &self.connector, &self.credentials)
    }
}

/// How often a read is tried.
const READ_ATTEMPTS: u32 = 3;

/// Asks, and asks again where the same request may go well in a moment.
pub(crate) fn asked_again<T>(
    mut ask: impl FnMut() -> Result<T, FetchError>,
) -> Result<T, FetchError> {
    let mut pause = FIRST_PAUSE;
    for _attempt in 1..READ_ATTEMPTS {
        match ask() {
            Err(error) if may_pass(&error) => {
                let wanted = error.retry_after().unwrap_or(pause);
                thread::sleep(wanted.min(LONGEST_PAUSE));
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
    ask()
}

/// Describes bytes in memory.
pub(crate) fn content_of(bytes: &[u8]) -> Content {
    Content { length: bytes.len() as u64, sha256: Digest::of(bytes) }
}

/// Turns "not found" into nothing. A directory that nobody has made yet is an empty repository.
pub(crate) fn present<T>(outcome: Result<T, FetchError>) -> Result<Option<T>, FetchError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if error.class() == Class::NotFound
                || matches!(error.failure(), Failure::RootMissing) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Says whether the same request may go well in a moment.
fn may_pass(error: &FetchError) -> bool {
    matches!(
        error.failure(),
        Failure::Reset { .. }
            | Failure::Stall { .. }
            | Failure::TimeOver
            | Failure::Busy { .. }
            | Failure::Server { .. }
            | Failure::Truncated { .. }
            | Failure::Garbled
            | Failure::Interrupted
            | Failure::Bucket(
                BucketProblem::Moved { .. }
                    | BucketProblem::Conflict { .. }
                    | BucketProblem::Renewed { .. }
            )
    )
}

fn not_written(error: FetchError) -> Stop {
    if matches!(error.failure(), Failure::Declined { .. }) {
        return Report::new(ExitCode::REFUSED, error).into();
    }
    if matches!(error.failure(), Failure::Exists) {
        let report = Report::new(ExitCode::REFUSED, error);
        return Stop(
            report.hint(
                "the server keeps what was published as it is; publish a new version instead",
            ),
        );
    }
    error.into()
}

fn unreadable(url: &RepositoryUrl, error: io::Error) -> Stop {
    Report::because(ExitCode::UNREACHABLE, format!("failed to read `{url}`"), error).into()
}

/// Counts what is sent, until nobody wants it any more.
struct Sent<'a> {
    from: &'a mut dyn Body,
    bar: &'a Bar,
    ended: &'a Cancel,
    count: u64,
}

impl Read for Sent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended.is_cancelled() {
            return Err(io::Error::other("something else could not be written"));
        }
        let count = self.from.read(buffer)?;
        self.bar.advance(count as u64);
        self.count += count as u64;
        Ok(count)
    }
}

/// Counts and copies what is read through it.
struct Tee<'a, R> {
    from: R,
    to: &'a mut dyn Write,
    bar: Option<&'a Bar>,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = buffer.len().min(READ_SIZE);
        let room = buffer.get_mut(..limit).unwrap_or_default();
        let count = self.from.read(room)?;
        self.to.write_all(room.get(..count).unwrap_or_default())?;
        if let Some(bar) = self.bar {
            bar.advance(count as u64);
        }
        Ok(count)
    }
}

/// Why something is not where it was put.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("`{url}` does not hold what was written there")]
    NotKept { url: RepositoryUrl },
    #[error("`{url}` has more than {limit} bytes")]
    TooLong { url: RepositoryUrl, limit: u64 },
}

impl Explained for ExchangeError {
    fn code(&self) -> ExitCode {
        ExitCode::VERIFICATION_REFUSED
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotKept { .. } => vec!["does somebody else publish the same version?".to_owned()],
            Self::TooLong { .. } => Vec::new(),
        }
    }
}
