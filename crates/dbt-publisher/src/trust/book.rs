//! The signed metadata of a repository: read and verified as clients do, changed, signed, written.
//!
//! What it begins with is the root that this machine knows, so that whoever can write to the repository cannot have us
//! sign what he likes. Before anything is written it goes through the client's own updates.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbt_client::source::{FetchError, Patience, Replace};
use dbt_client::tuf::{self, Beside, DIRECTORY, Kept, Remote, UpdateError};
use dbt_client::url::RepositoryUrl;
use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::layout::{SIGNATURE_ENDING, Tree};
use dbt_core::name::ToolName;
use dbt_core::release::Subject;
use dbt_core::repo_path::RepoPath;
use dbt_core::timestamp;
use dbt_core::trust::Document;
use dbt_core::trust::metadata::{
    self, CUSTOM, MetadataError, ROOT_LIMIT, RemoteFile, RoleName, TIMESTAMP_LIMIT, Trusted,
};
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;
use serde_json::{Value, json};

use super::beginning::{Beginning, empty, first_roles};
use super::error::TrustError;
use super::keys::{Keys, PublicKey};
use super::pin::Pin;
use super::published::Entry;
use crate::exchange::{Exchange, Spot, content_of};
use crate::place::Place;
use crate::signer::{self, Signer};
use crate::stop::Stop;

const DAY: Duration = Duration::from_hours(24);

/// How long what is signed at the desks of administrators is good.
const YEAR_AND_A_MONTH: Duration = DAY.saturating_mul(396);

/// How long a tool's own role is good: that it is fresh, the timestamp says.
const THREE_YEARS: Duration = DAY.saturating_mul(3 * 365);

/// How long the role of new tools is good.
const HALF_A_YEAR: Duration = DAY.saturating_mul(182);

/// How long snapshot and timestamp are good where nobody signs them every day by himself.
const A_MONTH: Duration = DAY.saturating_mul(30);

/// How long before its end a timestamp is worth a word.
const WEEK: Duration = DAY.saturating_mul(7);

/// The role of tools that have no role of their own yet: signed by the online key.
pub(crate) const NEW: &str = "new";

/// The metadata of one repository, as it was verified, with what is to be changed.
pub(crate) struct Book<'a> {
    exchange: &'a Exchange,
    repository: RepositoryUrl,
    pin: Pin,
    /// What is signed of each role that was read or made.
    roles: BTreeMap<String, Value>,
    /// Those that are to be signed anew.
    changed: BTreeSet<String>,
    /// Nothing for a repository that has no metadata yet.
    trusted: Option<Trusted>,
    /// Further files, which nothing replaces: written before what names them.
    further: Vec<(String, Vec<u8>)>,
    now: SystemTime,
}

impl<'a> Book<'a> {
    /// Reads the metadata of a repository; nothing where it has none.
    pub(crate) fn open(
        place: &Place,
        exchange: &'a Exchange,
        pin: Pin,
        now: SystemTime,
        printer: &Printer,
    ) -> Result<Option<Self>, Stop> {
        let repository = place.tree(Tree::Repository)?.clone();
        if !exists(exchange, place)? {
            return Ok(None);
        }
        let mut book = Self::empty(exchange, repository, pin, now);
        let trusted = book.refresh(printer)?;
        for role in ["root", "timestamp", "snapshot", "targets"] {
            book.read_kept(role)?;
        }
        book.trusted = Some(trusted);
        Ok(Some(book))
    }

    /// Begins the metadata of a repository that has none.
    pub(crate) fn begin(
        place: &Place,
        exchange: &'a Exchange,
        pin: Pin,
        now: SystemTime,
        beginning: &Beginning<'_>,
    ) -> Result<Self, Stop> {
        let repository = place.tree(Tree::Repository)?.clone();
        if exists(exchange, place)? {
            let message = format!("`{repository}` has signed metadata already");
            return Err(Stop::usage(message).hint("`publisher trust status` shows it"));
        }
        let url = repository.to_string();
        let mut book = Self::empty(exchange, repository, pin, now);
        for (role, signed) in first_roles(beginning, &url) {
            book.roles.insert(role.to_owned(), signed);
            book.changed.insert(role.to_owned());
        }
        Ok(book)
    }

    fn empty(exchange: &'a Exchange, repository: RepositoryUrl, pin: Pin, now: SystemTime) -> Self {
        let (roles, changed, further) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Self { exchange, repository, pin, roles, changed, trusted: None, further, now }
    }

    /// Updates what this machine knows of the metadata. What has expired can still be read by whoever may sign it
    /// anew, and that is said.
    fn refresh(&self, printer: &Printer) -> Result<Trusted, Stop> {
        let source = self.exchange.reading(&self.repository);
        let remote = Beside::of(source.as_ref(), Patience::without_cached_copy(1.0));
        let kept = self.pin.kept();
        match tuf::refresh(kept, &remote, self.now) {
            Err(UpdateError::Refused(MetadataError::Expired { role, expires })) => {
                printer.warning(format!("the {role} metadata expired at {expires}"));
                Ok(tuf::refresh(kept, &remote, UNIX_EPOCH)?)
            }
            outcome => Ok(outcome?),
        }
    }

    fn read_kept(&mut self, role: &str) -> Result<(), Stop> {
        let name = RoleName::new(role).map_or_else(|_top_level| role.to_owned(), |it| it.escaped());
        if let Some(bytes) = self.pin.kept().read(&format!("{name}.json"))? {
            let mut document: Value = serde_json::from_slice(&bytes).map_err(Report::internal)?;
            self.roles.insert(role.to_owned(), document["signed"].take());
        }
        Ok(())
    }

    /// Returns what is signed of a role.
    pub(crate) fn role(&self, role: &str) -> Option<&Value> {
        self.roles.get(role)
    }

    /// Returns what is signed of a role, to be changed.
    pub(crate) fn change(&mut self, role: &str) -> Result<&mut Value, Stop> {
        self.changed.insert(role.to_owned());
        self.roles
            .get_mut(role)
            .ok_or_else(|| Report::internal(format!("there is no role `{role}`")).into())
    }

    /// Returns the root's own words: what clients of ours read besides the specification's.
    pub(crate) fn own_words(&self) -> &Value {
        self.roles.get("root").map_or(&Value::Null, |root| &root["x-dbt"])
    }

    /// Says whether clients decide by this metadata alone.
    pub(crate) fn is_enforced(&self) -> bool {
        self.own_words()["enforce"] != false
    }

    /// Says whether a tool has a role of its own.
    pub(crate) fn has_own_role(&self, tool: &ToolName) -> bool {
        !self.signers_of(&own_role(tool)).0.is_empty()
    }

    /// Returns the administrator's key that is here.
    pub(crate) fn admin_of(&self, keys: &Keys<'_>) -> Result<PublicKey, Stop> {
        let (ids, threshold) = self.signers_of("targets");
        let name = ids.iter().find_map(|id| keys.name_of(id));
        let name = name.ok_or_else(|| TrustError::NotEnoughKeys {
            role: "targets".to_owned(),
            found: 0,
            threshold,
            ids: ids.clone(),
        })?;
        keys.called(name).cloned()
    }

    /// Says whether enough keys of a role are here.
    pub(crate) fn has_keys_of(&self, role: &str, keys: &Keys<'_>) -> bool {
        let (ids, threshold) = self.signers_of(role);
        let here = ids.iter().filter(|id| keys.name_of(id).is_some()).count();
        here as u64 >= threshold
    }

    /// Checks that enough keys of a role are here, and unlocks them.
    pub(crate) fn can_sign(&self, role: &str, keys: &Keys<'_>) -> Result<(), Stop> {
        for role in [role, "snapshot", "timestamp"] {
            self.sign(role, keys)?;
        }
        Ok(())
    }

    /// Returns the roles that end so soon that they should be signed anew.
    pub(crate) fn that_end_soon(&self) -> Vec<String> {
        let ends_soon = |role: &String| {
            let notice = if role == "timestamp" || role == "snapshot" { WEEK } else { A_MONTH };
            let expires = self.roles.get(role).and_then(|signed| signed["expires"].as_str());
            let expires = expires.and_then(timestamp::parse);
            expires.is_some_and(|expires| expires < self.now + notice)
        };
        self.all_roles().into_iter().filter(ends_soon).collect()
    }

    /// Returns the keys that may sign a role, and how many of them must.
    pub(crate) fn signers_of(&self, role: &str) -> (Vec<String>, u64) {
        let root = self.roles.get("root").map_or(&Value::Null, |root| &root["roles"][role]);
        let delegated = || {
            let delegations = self.roles.get("targets")?["delegations"]["roles"].as_array()?;
            delegations.iter().find(|one| one["name"] == role)
        };
        let listed = if root.is_null() { delegated().unwrap_or(&Value::Null) } else { root };
        let ids = listed["keyids"].as_array().into_iter().flatten();
        let ids = ids.filter_map(|id| id.as_str().map(str::to_owned)).collect();
        (ids, listed["threshold"].as_u64().unwrap_or(1))
    }

    /// Returns the roles that there are, in the order in which they are shown.
    pub(crate) fn all_roles(&self) -> Vec<String> {
        let mut names = ["root", "targets", "snapshot", "timestamp"].map(str::to_owned).to_vec();
        let targets = self.roles.get("targets").map_or(&Value::Null, |targets| targets);
        let delegated = targets["delegations"]["roles"].as_array().into_iter().flatten();
        names.extend(delegated.filter_map(|one| one["name"].as_str().map(str::to_owned)));
        names
    }

    /// Returns the role that may list a subject, after reading it: the tool's own one, or that of new tools.
    pub(crate) fn role_of(&mut self, subject: &Subject) -> Result<String, Stop> {
        let Subject::Tool(tool) = subject else { return Ok("targets".to_owned()) };
        let role = if self.has_own_role(tool) { own_role(tool) } else { NEW.to_owned() };
        self.read(&role)?;
        Ok(role)
    }

    /// Reads a role that the targets delegate to, unless it was read.
    pub(crate) fn read(&mut self, role: &str) -> Result<(), Stop> {
        if self.roles.contains_key(role) {
            return Ok(());
        }
        if let Some(trusted) = &mut self.trusted {
            let source = self.exchange.reading(&self.repository);
            let remote = Beside::of(source.as_ref(), Patience::without_cached_copy(1.0));
            look_into(trusted, role, self.pin.kept(), &remote)?;
        }
        self.read_kept(role)
    }

    /// Gives a tool a role of its own, which this key signs, or has another key sign the one it has.
    pub(crate) fn delegate(&mut self, tool: &ToolName, key: &PublicKey) -> Result<(), Stop> {
        let (name, tools) = (own_role(tool), brand::TOOLS_PATH);
        self.role_of(&Subject::Tool(tool.clone()))?;
        if self.signers_of(&name).0 == [key.id.clone()] {
            return Ok(());
        }
        let paths = [format!("{tools}/{tool}/*/*/*/*"), format!("{tools}/{tool}/*/*")];
        let delegation = json!({
            "name": name, "keyids": [key.id], "threshold": 1, "terminating": true, "paths": paths,
        });
        let delegations = &mut self.change("targets")?["delegations"];
        delegations["keys"][&key.id] = key.value.clone();
        let roles = delegations["roles"].as_array_mut();
        let roles = roles.ok_or_else(|| Report::internal("there are no delegations"))?;
        match roles.iter_mut().find(|one| one["name"] == name.as_str()) {
            Some(known) => *known = delegation,
            // In front of the role of new tools, which is the last one.
            None => roles.insert(0, delegation),
        }
        self.roles.entry(name.clone()).or_insert_with(|| empty("targets", json!({})));
        self.changed.insert(name);
        Ok(())
    }

    /// Lists artifacts, in place of what was listed at their paths; says whether that changes anything.
    pub(crate) fn list(&mut self, subject: &Subject, entries: &[Entry]) -> Result<bool, Stop> {
        let role = self.role_of(subject)?;
        let known = self.roles.get(&role).map_or(&Value::Null, |signed| &signed["targets"]);
        let is_known = |entry: &Entry| {
            known[&entry.path]["hashes"]["sha256"] == entry.sha256.to_string().as_str()
        };
        let new: Vec<&Entry> = entries.iter().filter(|entry| !is_known(entry)).collect();
        if new.is_empty() {
            return Ok(false);
        }
        let released = timestamp::format(self.now);
        let targets = &mut self.change(&role)?["targets"];
        for entry in new {
            targets[&entry.path] = entry.listed(&released);
        }
        Ok(true)
    }

    /// Lists the truststore, and puts it where it is found by its digest.
    pub(crate) fn list_truststore(&mut self, bytes: Vec<u8>) -> Result<bool, Stop> {
        let path = format!("{}/truststore", brand::REPOSITORY_PATH);
        let sha256 = Digest::of(&bytes).to_string();
        let targets = &self.roles.get("targets").map_or(&Value::Null, |signed| &signed["targets"]);
        if targets[&path]["hashes"]["sha256"] == sha256.as_str() {
            return Ok(false);
        }
        self.change("targets")?["targets"][&path] = json!({
            "length": bytes.len(), "hashes": {"sha256": sha256},
            "custom": {CUSTOM: {"schema": 1, "kind": "truststore"}},
        });
        self.further.push((format!("targets/{sha256}.truststore"), bytes));
        Ok(true)
    }

    /// Raises the versions of what has changed, so that it can be signed.
    fn raise(&mut self, role: &str) -> Result<(), Stop> {
        let lifetime = match role {
            "root" | "targets" => YEAR_AND_A_MONTH,
            "snapshot" | "timestamp" => A_MONTH,
            NEW => HALF_A_YEAR,
            _ => THREE_YEARS,
        };
        let now = self.now;
        let signed = self.change(role)?;
        let version = signed["version"].as_u64().unwrap_or_default() + 1;
        // A server that is restored from a backup goes on with a version that nobody has seen.
        let version = match role {
            "snapshot" | "timestamp" => version.max(seconds(now)),
            _ => version,
        };
        signed["version"] = version.into();
        signed["expires"] = timestamp::format(now + lifetime).into();
        Ok(())
    }

    /// Signs what has changed, and a snapshot and a timestamp for it; lets the client's own updates judge all of it; and
    /// writes it, the timestamp last.
    ///
    /// A root is also signed by a key of the truststore, for machines that know nothing else yet.
    pub(crate) fn publish(
        mut self,
        keys: &Keys<'_>,
        countersigner: Option<&dyn Signer>,
    ) -> Result<Vec<u8>, Stop> {
        let lists: Vec<String> = self
            .changed
            .iter()
            .filter(|role| !["root", "snapshot", "timestamp"].contains(&role.as_str()))
            .cloned()
            .collect();
        if let Some(countersigner) = countersigner.filter(|_| self.changed.contains("root")) {
            self.raise("root")?;
            self.countersign(countersigner, keys)?;
        }
        for role in &lists {
            self.raise(role)?;
            let version = self.roles.get(role).map_or(Value::Null, |it| it["version"].clone());
            self.change("snapshot")?["meta"][format!("{role}.json")] = json!({"version": version});
        }
        self.raise("snapshot")?;
        self.raise("timestamp")?;
        let version = |book: &Self, role| {
            book.roles.get(role).map_or(Value::Null, |signed| signed["version"].clone())
        };
        let (snapshot, root) = (version(&self, "snapshot"), version(&self, "root"));
        let timestamp = self.change("timestamp")?;
        timestamp["meta"] = json!({"snapshot.json": {"version": snapshot}});
        timestamp["x-dbt"]["root_version"] = root;

        let files = self.signed(&lists, keys)?;
        self.judge(&files)?;
        self.write(&files)?;
        self.root_bytes()
    }

    /// Signs the root by a key of the truststore as well.
    fn countersign(&mut self, by: &dyn Signer, keys: &Keys<'_>) -> Result<(), Stop> {
        let (name, root) = (self.file_of("root")?, self.sign("root", keys)?);
        let version = self.roles.get("root").and_then(|root| root["version"].as_u64());
        let binding = Document::Root(version.unwrap_or_default()).binding();
        let countersigned = signer::sign(by, &mut Cursor::new(root), &binding, self.now)?;
        let asc = countersigned.armored().to_vec();
        self.further.push((format!("{name}{SIGNATURE_ENDING}"), asc));
        Ok(())
    }

    /// Signs every changed role, in the order in which they are written.
    fn signed(&self, lists: &[String], keys: &Keys<'_>) -> Result<Vec<(String, Vec<u8>)>, Stop> {
        let root = self.changed.contains("root").then(|| "root".to_owned());
        let last = ["snapshot", "timestamp"].map(str::to_owned);
        let mut files = self.further.clone();
        for role in root.into_iter().chain(lists.iter().cloned()).chain(last) {
            let name = self.file_of(&role)?;
            files.push((name, self.sign(&role, keys)?));
        }
        Ok(files)
    }

    /// Returns the name that a role is served under, as it stands in a directory.
    fn file_of(&self, role: &str) -> Result<String, Stop> {
        let version = self.roles.get(role).and_then(|signed| signed["version"].as_u64());
        let version = version.ok_or_else(|| Report::internal("a role has no version"))?;
        Ok(match role {
            "timestamp" => "timestamp.json".to_owned(),
            _ => format!("{version}.{role}.json"),
        })
    }

    /// Signs a role by as many of its keys as are here, of which there must be enough.
    fn sign(&self, role: &str, keys: &Keys<'_>) -> Result<Vec<u8>, Stop> {
        let signed = self.roles.get(role).unwrap_or(&Value::Null);
        let canonical = metadata::canonical(signed).map_err(Report::internal)?;
        let (ids, threshold) = self.signers_of(role);
        let mut signatures = Vec::new();
        for id in &ids {
            if signatures.len() as u64 == threshold {
                break;
            }
            if let Some(signature) = keys.sign(id, &canonical)? {
                signatures.push(json!({"keyid": id, "sig": signature}));
            }
        }
        if (signatures.len() as u64) < threshold {
            let (role, found) = (role.to_owned(), signatures.len());
            return Err(TrustError::NotEnoughKeys { role, found, threshold, ids }.into());
        }
        let document = json!({"signatures": signatures, "signed": signed});
        serde_json::to_vec_pretty(&document).map_err(|error| Report::internal(error).into())
    }

    /// Lets the client's updates judge what is about to be written, from the root that is pinned on.
    fn judge(&self, files: &[(String, Vec<u8>)]) -> Result<(), Stop> {
        let source = self.exchange.reading(&self.repository);
        let remote = Beside::of(source.as_ref(), Patience::without_cached_copy(1.0));
        let remote = Overlaid { files, remote: &remote };
        let place = tempfile::tempdir().map_err(Report::internal)?;
        let kept = Kept::open(place.path())?;
        let root = match self.pin.kept().read("root.json")? {
            Some(root) => root,
            None => file_called(files, "1.root.json").unwrap_or_default(),
        };
        tuf::init(&kept, &root, self.now)?;
        let refused = |error: UpdateError| {
            Stop::from(error).while_doing("clients would not accept what was just signed")
        };
        let mut trusted = tuf::refresh(&kept, &remote, self.now).map_err(refused)?;
        for role in &self.changed {
            look_into(&mut trusted, role, &kept, &remote).map_err(refused)?;
        }
        Ok(())
    }

    /// Writes files in this order, unless somebody else was at it.
    fn write(&self, files: &[(String, Vec<u8>)]) -> Result<(), Stop> {
        let known = self.pin.kept().read("timestamp.json")?;
        let there = self.exchange.get(&self.spot("timestamp.json")?, TIMESTAMP_LIMIT)?;
        if self.trusted.is_some() && there != known {
            return Err(TrustError::SomebodyElse.into());
        }
        for (name, bytes) in files {
            // A try that broke off has left lists that nothing names: they are written over. A root counts as soon as
            // it is there.
            let is_final = self.trusted.is_some() && name.ends_with(".root.json");
            let replace = if is_final { Replace::CreateOnly } else { Replace::Allowed };
            let mut body = Cursor::new(bytes.clone());
            self.exchange.put(&self.spot(name)?, &mut body, &content_of(bytes), replace)?;
        }
        if self.pin.kept().read("root.json")?.is_none()
            && let Some(root) = file_called(files, "1.root.json")
        {
            tuf::init(self.pin.kept(), &root, self.now)?;
        }
        let source = self.exchange.reading(&self.repository);
        let remote = Beside::of(source.as_ref(), Patience::without_cached_copy(1.0));
        tuf::refresh(self.pin.kept(), &remote, self.now)?;
        Ok(())
    }

    fn spot(&self, name: &str) -> Result<Spot, Stop> {
        spot(&self.repository, name)
    }

    /// Returns the root that is trusted now, as it is served.
    pub(crate) fn root_bytes(&self) -> Result<Vec<u8>, Stop> {
        Ok(self.pin.kept().read("root.json")?.unwrap_or_default())
    }
}

fn spot(repository: &RepositoryUrl, name: &str) -> Result<Spot, Stop> {
    let path: RepoPath = format!("{DIRECTORY}/{name}").parse().map_err(Report::internal)?;
    Ok(Spot { base: repository.clone(), path })
}

/// Finds the root of this digest among those of a repository.
pub(crate) fn root_with(
    exchange: &Exchange,
    repository: &RepositoryUrl,
    wanted: Digest,
) -> Result<Option<Vec<u8>>, Stop> {
    let mut version = 1;
    while let Some(root) =
        exchange.get(&spot(repository, &format!("{version}.root.json"))?, ROOT_LIMIT)?
    {
        if Digest::of(&root) == wanted {
            return Ok(Some(root));
        }
        version += 1;
    }
    Ok(None)
}

/// Says whether a repository has metadata.
pub(crate) fn exists(exchange: &Exchange, place: &Place) -> Result<bool, Stop> {
    let spot = spot(place.tree(Tree::Repository)?, "timestamp.json")?;
    Ok(exchange.get(&spot, TIMESTAMP_LIMIT)?.is_some())
}

/// Has an update take in the metadata of a role that tools are listed in.
fn look_into(
    trusted: &mut Trusted,
    role: &str,
    kept: &Kept,
    remote: &dyn Remote,
) -> Result<(), UpdateError> {
    // A tool that nobody has, for the role of new ones. No version is called so: what the search looks into is whose
    // list it would be in.
    let tool = match role.strip_prefix(OWN_ROLE) {
        Some(tool) => tool,
        None if role == NEW => "-",
        None => return Ok(()),
    };
    let path = format!("{}/{tool}/-/-/-/{tool}", brand::TOOLS_PATH);
    match tuf::find(trusted, &path, kept, remote) {
        Ok(_) | Err(UpdateError::NoTarget { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What the names of tools' own roles begin with.
const OWN_ROLE: &str = "tool.";

fn own_role(tool: &ToolName) -> String {
    format!("{OWN_ROLE}{tool}")
}

fn file_called(files: &[(String, Vec<u8>)], wanted: &str) -> Option<Vec<u8>> {
    files.iter().find(|(name, _bytes)| name == wanted).map(|(_name, bytes)| bytes.clone())
}

/// A repository as it will be.
struct Overlaid<'a> {
    files: &'a [(String, Vec<u8>)],
    remote: &'a dyn Remote,
}

impl Remote for Overlaid<'_> {
    fn metadata(&self, file: &RemoteFile) -> Result<Option<Vec<u8>>, FetchError> {
        match file_called(self.files, &file.plain_name()) {
            Some(bytes) => Ok(Some(bytes)),
            None => self.remote.metadata(file),
        }
    }

    fn target(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        self.remote.target(path, limit)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
