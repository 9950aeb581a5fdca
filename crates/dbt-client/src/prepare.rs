//! The main flow: makes a tool present and verified, and says where it is.
//!
//! Ask the server once, confirm the truststore, choose, obtain, verify, install. A cached copy
//! takes the same road as a fresh one: what is on disk is not trusted because we once put it
//! there.

use std::cell::Cell;
use std::time::{Instant, SystemTime};

use dbt_core::layout::{Location, WITHDRAWN_FILE};
use dbt_core::listing::Listing;
use dbt_core::name::ToolName;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::select;
use dbt_core::timestamp::Timestamp;
use dbt_core::trust::history::Deviation;
use dbt_core::trust::keys::KeyringError;
use dbt_core::trust::{Confirmation, Endorsement, TrustStore};
use dbt_core::version::{Version, Wanted};

use crate::anchor::{self, AnchorError};
use crate::cached_copy::CachedCopies;
use crate::download::DownloadError;
use crate::notice::Notice;
use crate::obtain::{Job, ObtainError, Obtained};
use crate::repository::{Question, Survey, bytes_of};
use crate::self_update::{self, Replaced};
use crate::session::Session;
use crate::settings::Updates;
use crate::source::{Answer, Class, FetchError, Patience};
use crate::state::{Hold, InstalledVersion, ToolRecord};
use crate::store::Installed;

mod cached;
mod error;
mod failure;
mod withdrawn;

pub use error::PrepareError;

use failure::{Failure, reason_of};
use withdrawn::withdrawn_reason;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The tool.
    pub tool: ToolName,
    /// The version, if one was named; otherwise pins, holds and the newest count.
    pub wanted: Option<Wanted>,
    /// How eagerly the server is asked.
    pub eagerness: Eagerness,
}

/// How eagerly the server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eagerness {
    /// As the configuration says.
    AsConfigured,
    /// Now, whatever the interval or an earlier failure says.
    Now,
}

/// A tool that may be started.
#[derive(Debug)]
pub struct Prepared {
    /// Where it is.
    pub installed: Installed,
    /// What it is.
    pub id: ArtifactId,
    /// Who stands behind it.
    pub endorsement: Endorsement,
    /// This run installed it.
    pub fresh: bool,
    /// Why the server did not confirm that it is the right one now, if it did not.
    pub unconfirmed: Option<String>,
}

/// How preparing ended.
#[derive(Debug)]
pub enum Outcome {
    /// The tool may be started.
    Ready(Box<Prepared>),
    /// dbt has replaced itself; the new one must be started with the same arguments.
    Replaced(Replaced),
}

/// How often another process may get in the way before that is an error.
const TRIES: u32 = 3;

/// Makes the requested tool present and verified.
pub fn prepare(session: &Session<'_>, request: &Request) -> Result<Outcome, PrepareError> {
    let mut outcome = attempt(session, request);
    for _further in 1..TRIES {
        match &outcome {
            Err(error) if error.may_pass() => outcome = attempt(session, request),
            _ => break,
        }
    }
    session.remember_signatures();
    if let Some(reason) = session.state.forgetting() {
        session.say(Notice::NotRemembered { reason: reason.to_owned() });
    }
    outcome
}

fn attempt(session: &Session<'_>, request: &Request) -> Result<Outcome, PrepareError> {
    let mut run = Run::begin(session, request)?;
    if run.goes_on() {
        session.state.may_forget();
    }
    match run.reason_not_to_ask()? {
        Some(Rest::Wanted(reason)) => return run.use_cache(reason),
        Some(Rest::LeftAlone(reason)) => return run.go_without(&reason),
        None => {}
    }
    session.anchor().refuse_blind_first_use().map_err(PrepareError::Trust)?;
    let Survey { truststore, repository, tool, checksum, withdrawn } = run.survey()?;
    let repository = repository.and_then(Result::ok);
    let trust = match run.confirm_trust(truststore, repository.as_ref()) {
        Ok(trust) => trust,
        Err(failure) => return run.after_failure(failure),
    };
    let began = Instant::now();
    if let Some(replaced) = run.update_program(repository.as_ref(), &trust) {
        return Ok(Outcome::Replaced(replaced));
    }
    // What a refused candidate took, download and trial, is not the tool's time.
    run.patience = run.patience.clone().later(began.elapsed());
    match run.choose_and_obtain(Answers { tool, checksum, withdrawn }, &trust) {
        Ok(prepared) => Ok(Outcome::Ready(Box::new(prepared))),
        Err(failure) => run.after_failure(failure),
    }
}

/// One preparation under way.
struct Run<'a> {
    session: &'a Session<'a>,
    request: &'a Request,
    subject: Subject,
    record: ToolRecord,
    wanted: Wanted,
    /// The hold that decided what is wanted: nothing was typed, and nothing is pinned.
    held: Option<Hold>,
    /// A verified version that the request admits is here.
    has_cached_copy: bool,
    copies: CachedCopies<'a>,
    patience: Patience,
    now: SystemTime,
    /// It has been said that the server's truststore is refused.
    refusal_said: Cell<bool>,
}

/// Why a run makes no request.
enum Rest {
    /// It was told not to.
    Wanted(&'static str),
    /// The server failed lately, for this reason.
    LeftAlone(String),
}

/// What the server said about the tool.
struct Answers {
    tool: Result<Listing, FetchError>,
    checksum: Option<Result<Answer, FetchError>>,
    withdrawn: Option<Result<Answer, FetchError>>,
}

/// What came of a version that may be what is wanted.
enum Build {
    /// It is here, verified.
    Obtained(Box<Obtained>),
    /// Its publisher has withdrawn it, for this reason.
    Withdrawn(String),
    /// It is not completely published for this platform.
    Incomplete,
}

impl<'a> Run<'a> {
    fn begin(session: &'a Session<'a>, request: &'a Request) -> Result<Self, PrepareError> {
        let subject = Subject::Tool(request.tool.clone());
        let record = session.record(&subject)?;
        let pin = || session.settings.server.pins.get(&request.tool).cloned();
        let asked = request.wanted.clone().or_else(pin);
        let held = if asked.is_none() { record.hold.clone() } else { None };
        let stays_on = held.as_ref().map(|hold| Wanted::Exactly(hold.version.clone()));
        let wanted = asked.or(stays_on).unwrap_or(Wanted::Newest);
        let run = Self {
            session,
            request,
            subject,
            record,
            wanted,
            held,
            has_cached_copy: false,
            copies: CachedCopies::of(&session.store, session.now()),
            patience: session.patience(false),
            now: session.now(),
            refusal_said: Cell::new(false),
        };
        let has_cached_copy = run
            .cached_versions(&run.record)
            .any(|entry| entry.id(&run.subject).is_some_and(|id| run.copies.open_ahead(id, entry)));
        Ok(Self { has_cached_copy, patience: session.patience(has_cached_copy), ..run })
    }

    /// Returns why this run makes no request, if it makes none.
    fn reason_not_to_ask(&self) -> Result<Option<Rest>, PrepareError> {
        let settings = self.session.settings;
        if settings.offline {
            return Ok(Some(Rest::Wanted("offline")));
        }
        if self.request.eagerness == Eagerness::Now || !self.has_cached_copy {
            return Ok(None);
        }
        let rests = match settings.server.updates {
            Updates::Always => false,
            Updates::After | Updates::Manual => true,
            Updates::Every(interval) => self.record.checked.is_some_and(|Timestamp(checked)| {
                self.now.duration_since(checked).is_ok_and(|age| age < interval)
            }),
        };
        if rests {
            return Ok(Some(Rest::Wanted("the server is not asked on this run")));
        }
        Ok(self.session.state.server()?.left_alone(self.now).map(Rest::LeftAlone))
    }

    /// Sends the one round of requests of a warm run.
    fn survey(&self) -> Result<Survey, PrepareError> {
        let server = self.session.state.server()?;
        let guess = self.guess();
        let truststore_etag = self.session.state.truststore_etag()?;
        let question = Question {
            subject: &self.subject,
            truststore_etag: truststore_etag.as_deref(),
            with_program: server.trust.is_first_contact()
                || (self_update::is_wanted(self.session) && !server.program_rests(self.now)),
            guess: guess.as_ref(),
            withdrawn_etag: self.record.withdrawn_etag.as_deref(),
        };
        let read_ahead = |look: &dyn Fn()| self.copies.read_ahead(look);
        let survey = self.session.repository().survey(&question, &self.patience, read_ahead);
        if let (Ok(_answered), Some(Err(error))) = (&survey.truststore, &survey.repository) {
            self.session.detail(|| anchor::in_one_line(error));
            self.session.state.change_server(|record| {
                record.program_failed = Some(Timestamp(self.now));
            })?;
        }
        Ok(survey)
    }

    /// Guesses which version the server will name: the newest one that is here.
    fn guess(&self) -> Option<ArtifactId> {
        self.cached_versions(&self.record).next()?.id(&self.subject)
    }

    /// Decides what is trusted in this run, and whether the server has just confirmed it.
    fn confirm_trust(
        &self,
        truststore: Result<Answer, FetchError>,
        listing: Option<&Listing>,
    ) -> Result<TrustStore, Failure> {
        let answer = match truststore {
            Ok(answer) => answer,
            Err(error) => return self.unconfirmed(error),
        };
        let repository = self.session.repository();
        let manifest_listed = listing.is_some_and(|listing| repository.shows_manifest(listing));
        let anchored = self
            .session
            .anchor()
            .confirm(answer, repository, manifest_listed, &self.patience)
            .map_err(Self::not_trusted)?;
        for notice in anchored.notices {
            if matches!(notice, Notice::TruststoreRefused { .. }) {
                self.refusal_said.set(true);
            }
            self.session.say(notice);
        }
        Ok(anchored.store)
    }

    /// Tells a server that gives no truststore from one that gives a bad one.
    fn not_trusted(error: AnchorError) -> Failure {
        // Certificates none of which is accepted are a truststore, and a bad one.
        let is_bad = matches!(&error, AnchorError::Unreadable(KeyringError::NothingUsable { .. }));
        if !is_bad && matches!(error, AnchorError::Unreadable(_) | AnchorError::NothingToConfirm) {
            return Failure::Outage { reason: anchor::in_one_line(&error), hint: None };
        }
        if let AnchorError::Manifest(source) = error {
            return source.into();
        }
        PrepareError::Trust(error).into()
    }

    /// Goes on under the last good truststore when only the truststore cannot be had.
    fn unconfirmed(&self, error: FetchError) -> Result<TrustStore, Failure> {
        let reason = reason_of(&error);
        match error.class() {
            Class::SignIn | Class::Forbidden => return Err(error.into()),
            Class::Outage | Class::NotFound | Class::Refused => {}
        }
        let last_good = self.session.anchor().last_good(&reason).map_err(PrepareError::Trust)?;
        let outage = || Failure::Outage { reason: reason.clone(), hint: error.hint() };
        let last_good = last_good.ok_or_else(outage)?;
        // It may have been waited for, which the next runs need not do again.
        self.remember_failure(&reason)?;
        Ok(last_good)
    }

    /// Takes over a newer dbt from the home server, before the tool is looked at.
    fn update_program(&self, listing: Option<&Listing>, trust: &TrustStore) -> Option<Replaced> {
        if !self_update::is_wanted(self.session) {
            return None;
        }
        self_update::update(self.session, &listing?.versions(), trust, &self.patience)
    }

    /// Chooses among the published versions and obtains the first that is complete.
    fn choose_and_obtain(&self, answers: Answers, trust: &TrustStore) -> Result<Prepared, Failure> {
        let Answers { tool, checksum, withdrawn } = answers;
        let listing = match tool {
            Ok(listing) => listing,
            Err(error) if error.class() == Class::NotFound => return Err(self.no_such_tool(error)),
            Err(error) => return Err(error.into()),
        };
        if let Some(withdrawn) =
            withdrawn.or_else(|| self.first_withdrawn(listing.contains(WITHDRAWN_FILE)))
        {
            self.take_withdrawn(withdrawn, trust)?;
        }
        let record = self.session.record(&self.subject).map_err(PrepareError::from)?;
        let published = listing.versions();
        let mut guessed = self.guess().zip(checksum);
        let job = Job {
            session: self.session,
            record: &record,
            trust,
            patience: &self.patience,
            copies: &self.copies,
            has_copy: self.goes_on(),
            now: self.now,
        };
        let (mut newer_elsewhere, mut withdrawn) = (None, None);
        for version in candidates(self.held.as_ref(), &self.wanted, &published) {
            let wanted = self.wanted_of(&version);
            match self.build_of(&version, wanted, &job, &mut guessed)? {
                Build::Obtained(obtained) => {
                    let is_newest = *wanted == Wanted::Newest;
                    let mut prepared =
                        self.accept(&record, *obtained, is_newest, newer_elsewhere)?;
                    prepared.unconfirmed = self.say_unconfirmed(trust);
                    return Ok(prepared);
                }
                Build::Withdrawn(reason) => {
                    withdrawn.get_or_insert(reason);
                }
                Build::Incomplete => {
                    let (tool, version) = (self.request.tool.clone(), version);
                    self.session.say(Notice::Incomplete { tool, version: version.clone() });
                    newer_elsewhere.get_or_insert(version);
                }
            }
        }
        let (tool, wanted) = (self.request.tool.clone(), self.wanted.clone());
        if let Some(reason) = withdrawn.filter(|_reason| newer_elsewhere.is_none()) {
            return Err(PrepareError::AllWithdrawn { tool, wanted, reason }.into());
        }
        let cached = self.has_cached_copy;
        Err(PrepareError::NoVersion { tool, wanted, published, cached }.into())
    }

    /// Obtains the best build of a version. What is withdrawn is passed over, unless it is what was
    /// named.
    fn build_of(
        &self,
        version: &Version,
        wanted: &Wanted,
        job: &Job<'_>,
        guessed: &mut Option<(ArtifactId, Result<Answer, FetchError>)>,
    ) -> Result<Build, Failure> {
        let is_named = matches!(wanted, Wanted::Exactly(_));
        let tool = || self.request.tool.clone();
        if let Some(reason) = withdrawn_reason(job.record, version) {
            if is_named {
                let version = version.clone();
                return Err(PrepareError::Withdrawn { tool: tool(), version, reason }.into());
            }
            return Ok(Build::Withdrawn(reason));
        }
        for id in self.builds_of(version) {
            let checksum = guessed.take_if(|(guess, _)| *guess == id).map(|(_, answer)| answer);
            self.refuse_rollback(job.record, version, wanted)?;
            let reason = match job.obtain(&id, checksum.map(bytes_of)) {
                Ok(Some(obtained)) => return Ok(Build::Obtained(Box::new(obtained))),
                Ok(None) => continue,
                Err(ObtainError::Withdrawn { reason }) => reason,
                Err(error) => return Err(self.failed(error)),
            };
            let version = version.clone();
            if is_named {
                return Err(PrepareError::WithdrawnBytes { tool: tool(), version, reason }.into());
            }
            let said = reason.clone();
            self.session.say(Notice::WithdrawnBytes { tool: tool(), version, reason: said });
            return Ok(Build::Withdrawn(reason));
        }
        Ok(Build::Incomplete)
    }

    /// Says whether a version is newer than the one that was left behind.
    fn ends_hold(&self, version: &Version) -> bool {
        ends_hold(self.held.as_ref(), version)
    }

    fn wanted_of(&self, version: &Version) -> &Wanted {
        if self.ends_hold(version) { &Wanted::Newest } else { &self.wanted }
    }

    /// Lists the platforms to try, best first.
    fn builds_of(&self, version: &Version) -> impl Iterator<Item = ArtifactId> {
        let platform = self.session.settings.platform;
        let subject = self.subject.clone();
        let version = version.clone();
        [Some(platform), platform.fallback()].into_iter().flatten().map(move |platform| {
            ArtifactId { subject: subject.clone(), version: version.clone(), platform }
        })
    }

    /// Under `strict`, what is older than what was seen before is refused before it is fetched.
    fn refuse_rollback(
        &self,
        record: &ToolRecord,
        version: &Version,
        wanted: &Wanted,
    ) -> Result<(), PrepareError> {
        if !self.session.settings.server.strict {
            return Ok(());
        }
        let compared = match wanted {
            Wanted::Newest => record.history.compare_newest(version),
            Wanted::Under { .. } => record.history.compare_under(wanted, version),
            Wanted::Exactly(_) => None,
        };
        match compared {
            Some(Deviation::Removed { seen, now, said: _ }) => {
                Err(PrepareError::Rollback { tool: self.request.tool.clone(), seen, now })
            }
            Some(Deviation::Withdrawn { .. } | Deviation::Changed { .. }) | None => Ok(()),
        }
    }

    /// Says that the truststore was not confirmed, unless a refusal has said so already.
    fn say_unconfirmed(&self, trust: &TrustStore) -> Option<String> {
        let Confirmation::Unconfirmed(reason) = trust.confirmation() else {
            return None;
        };
        if !self.refusal_said.get() {
            let server = self.session.settings.server.repository.to_string();
            let reason = reason.clone();
            self.session.say(Notice::TruststoreUnconfirmed { server, reason });
        }
        Some(reason.clone())
    }

    /// Remembers what was obtained, and says what a person should know about it.
    fn accept(
        &self,
        record: &ToolRecord,
        obtained: Obtained,
        is_newest: bool,
        newer_elsewhere: Option<Version>,
    ) -> Result<Prepared, PrepareError> {
        let tool = &self.request.tool;
        if obtained.id.platform != self.session.settings.platform {
            let platform = obtained.id.platform;
            self.session.say(Notice::Translated { tool: tool.clone(), platform });
        }
        match record.history.compare_newest(&obtained.id.version).filter(|_| is_newest) {
            Some(Deviation::Removed { seen, now, said: false }) => {
                self.session.say(Notice::NewestRemoved { tool: tool.clone(), seen, now });
            }
            Some(Deviation::Withdrawn { seen, now, reason, said: false }) => {
                self.session.say(Notice::Withdrawn { tool: tool.clone(), seen, reason, now });
            }
            Some(_) | None => {}
        }
        if let Some(Deviation::Changed { version, before: _, after: _ }) = &obtained.changed {
            self.session.say(Notice::BytesChanged { tool: tool.clone(), version: version.clone() });
        }
        if let Some(version) = &newer_elsewhere {
            self.session
                .say(Notice::NewerElsewhere { tool: tool.clone(), version: version.clone() });
        }
        self.say_key_expiry(&obtained.endorsement);
        let fresh = self.remember(&obtained, is_newest, newer_elsewhere)?;
        let Obtained { installed, id, endorsement, .. } = obtained;
        Ok(Prepared { installed, id, endorsement, fresh, unconfirmed: None })
    }

    /// Writes down what was obtained. Says whether it is new here.
    fn remember(
        &self,
        obtained: &Obtained,
        is_newest: bool,
        newer_elsewhere: Option<Version>,
    ) -> Result<bool, PrepareError> {
        let (now, rests) = (self.now, self.session.settings.server.updates != Updates::Always);
        let mut fresh = false;
        self.session.state.change_tool(&self.subject, |record| {
            let compared = record.history.compare_newest(&obtained.id.version);
            if let Some(Deviation::Removed { now, .. } | Deviation::Withdrawn { now, .. }) =
                compared.filter(|_| is_newest)
            {
                record.history.removal_said(&now);
            }
            let (digest, bound) = (obtained.digest, obtained.endorsement.bound);
            record.history.record(&obtained.id, digest, bound, is_newest);
            fresh = record.install(obtained, now);
            record.newer_elsewhere.clone_from(&newer_elsewhere);
            if self.ends_hold(&obtained.id.version) && record.hold == self.held {
                record.hold = None;
            }
            if rests || anchor::is_due(record.checked, now) {
                record.checked = Some(Timestamp(now));
            }
        })?;
        Ok(fresh)
    }

    /// Warns from 60 days before a key's expiry; the tool runs.
    fn say_key_expiry(&self, endorsement: &Endorsement) {
        const WARNED_BEFORE: std::time::Duration = std::time::Duration::from_hours(60 * 24);
        let Some(end) = endorsement.expires else {
            return;
        };
        if end.duration_since(self.now).is_ok_and(|left| left > WARNED_BEFORE) {
            return;
        }
        let signer = endorsement.signer.to_string();
        self.session.say(Notice::KeyExpiry { signer, expires: end, expired: end <= self.now });
    }

    /// Tells a tool that does not exist from a repository that does not.
    fn no_such_tool(&self, error: FetchError) -> Failure {
        match self.session.repository().list(&Location::tools(), &self.patience) {
            Ok(listing) => {
                let names = listing.directories().filter_map(|name| name.parse().ok()).collect();
                let (tool, wanted) = (self.request.tool.clone(), self.wanted.clone());
                let cached = self.has_cached_copy;
                PrepareError::NoTool { tool, wanted, names, cached }.into()
            }
            Err(_root_missing) => error.into(),
        }
    }

    /// Tells what stops a run from what an older copy helps against.
    fn failed(&self, error: ObtainError) -> Failure {
        // What is wrong is neither the server nor this machine: somebody is at it.
        if matches!(error, ObtainError::Reserved { .. }) {
            let tool = self.request.tool.clone();
            return Failure::Machine(Box::new(PrepareError::Obtain {
                tool,
                source: Box::new(error),
            }));
        }
        if let ObtainError::Unconfirmed(reason) = error {
            let refused = self.refusal_said.get();
            return if refused {
                Failure::Refused(reason)
            } else {
                Failure::Outage { reason, hint: None }
            };
        }
        if let ObtainError::Fetch(error) | ObtainError::Download(DownloadError::Fetch(error)) =
            error
        {
            return error.into();
        }
        let helps = self.goes_on() && error.is_of_this_machine();
        let error =
            PrepareError::Obtain { tool: self.request.tool.clone(), source: Box::new(error) };
        if helps { Failure::Machine(Box::new(error)) } else { error.into() }
    }

    /// Says whether a copy runs where this machine cannot take in anything new: not for a person
    /// who asks for what is new.
    fn goes_on(&self) -> bool {
        self.has_cached_copy && self.request.eagerness == Eagerness::AsConfigured
    }
}

/// Lists the versions to try, best first. A hold is ended by a version that can be had, so what
/// would end it comes before the version that is held, and the version left behind not at all.
fn candidates(held: Option<&Hold>, wanted: &Wanted, published: &[Version]) -> Vec<Version> {
    let newer = held.into_iter().flat_map(|_hold| select::candidates(published, &Wanted::Newest));
    let newer = newer.filter(|version| ends_hold(held, version));
    newer.chain(select::candidates(published, wanted)).collect()
}

fn ends_hold(held: Option<&Hold>, version: &Version) -> bool {
    held.is_some_and(|hold| version.cmp_number(&hold.left).is_gt())
}

impl ToolRecord {
    /// Adds or renews the entry of an installed version, and says whether its bytes are new. The
    /// day of use is precise enough for cleaning up, and saves a write on every run.
    fn install(&mut self, obtained: &Obtained, now: SystemTime) -> bool {
        let platform = obtained.id.platform.to_string();
        let same = |entry: &&mut InstalledVersion| {
            entry.version.spelling() == obtained.id.version.spelling() && entry.platform == platform
        };
        let fresh = InstalledVersion {
            version: obtained.id.version.clone(),
            platform: platform.clone(),
            sha256: obtained.digest,
            length: obtained.length,
            signature: String::from_utf8_lossy(&obtained.companions.signature).into_owned(),
            signer: obtained.endorsement.signer.to_string(),
            installed: Timestamp(now),
            used: Timestamp(now),
        };
        let Some(entry) = self.installed.iter_mut().find(same) else {
            self.installed.push(fresh);
            return true;
        };
        let is_new = entry.sha256 != fresh.sha256;
        let installed = if is_new { fresh.installed } else { entry.installed };
        let used = if is_another_day(entry.used, now) { fresh.used } else { entry.used };
        *entry = InstalledVersion { installed, used, ..fresh };
        is_new
    }
}

fn is_another_day(Timestamp(last): Timestamp, now: SystemTime) -> bool {
    const DAY: std::time::Duration = std::time::Duration::from_hours(24);
    now.duration_since(last).map_or(true, |age| age > DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_hold_is_tried_first_and_what_was_left_behind_never() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let published: Vec<Version> =
            ["1.3.0", "1.4.0", "1.5.0", "1.6.0", "1.7.0"].map(version).into();
        let hold = Hold { version: version("1.4.0"), left: version("1.5.0") };
        let wanted = Wanted::Exactly(hold.version.clone());
        let spelt = |held| -> Vec<String> {
            let candidates = candidates(held, &wanted, &published);
            candidates.iter().map(ToString::to_string).collect()
        };
        assert_eq!(spelt(Some(&hold)), ["1.7.0", "1.6.0", "1.4.0"]);
        assert_eq!(spelt(None), ["1.4.0"]);
    }
}
