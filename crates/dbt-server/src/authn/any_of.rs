//! Every configured method beside the others: which are asked, and what somebody has proved then.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use dbt_core::clock::Clock;

use super::api_tokens::{ApiTokens, Look};
use super::guesses::Guesses;
use super::jwt::Jwt;
use super::keys::Algorithm;
use super::replay::{InMemory, Replay};
use super::users::AddedUsers;
use super::{
    AGENT, Attempt, Authenticator, BadCredential, Caller, Credential, Identity, Mode, Presented,
    Proof, Scope, Subject, Verdict, Vouching, Why, federation, static_token,
};

/// Every configured method, in order, each with what it is valid for.
pub struct AnyOf {
    methods: Vec<(Vec<Scope>, Arc<dyn Authenticator>)>,
    api_tokens: Option<ApiTokens>,
    added: Option<AddedUsers>,
    replay: Arc<dyn Replay>,
    guesses: Arc<Guesses>,
    mode: Option<Mode>,
    clock: Clock,
}

impl AnyOf {
    /// Begins without any method. `clock` is asked whether proofs are still valid.
    pub fn new(clock: Clock) -> Self {
        let replay = Arc::new(InMemory::new(clock.now()));
        let (methods, api_tokens, added) = (Vec::new(), None, None);
        Self { methods, api_tokens, added, replay, guesses: Arc::default(), mode: None, clock }
    }

    /// Accepts tokens of this server's own, too.
    #[must_use]
    pub fn with_api_tokens(self, tokens: ApiTokens) -> Self {
        Self { api_tokens: Some(tokens), ..self }
    }

    /// Knows people whom somebody added, whose only proof are tokens of this server's own.
    #[must_use]
    pub fn with_added_users(self, added: AddedUsers) -> Self {
        Self { added: Some(added), ..self }
    }

    /// Says whether people may show tokens of this server's own.
    pub fn admits_own_tokens(&self) -> bool {
        self.mode.is_none_or(Mode::admits_own_tokens)
    }

    /// Takes of people only the kinds of proof that a mode admits.
    #[must_use]
    pub fn in_mode(self, mode: Option<Mode>) -> Self {
        Self { mode, ..self }
    }

    /// Believes tokens that were issued since then: for tests, whose tokens are old.
    #[must_use]
    pub fn started_at(self, since: SystemTime) -> Self {
        self.remembering(Arc::new(InMemory::new(since)))
    }

    /// Remembers there which tokens were seen.
    #[must_use]
    pub fn remembering(self, replay: Arc<dyn Replay>) -> Self {
        Self { replay, ..self }
    }

    /// Goes on with what another knows of tokens that were seen and of guesses: a configuration
    /// that is read again must forget neither.
    #[must_use]
    pub fn continuing(self, earlier: &Self) -> Self {
        let (replay, guesses) = (Arc::clone(&earlier.replay), Arc::clone(&earlier.guesses));
        Self { replay, guesses, ..self }
    }

    /// Adds a method.
    pub fn add(&mut self, scopes: &[Scope], method: Box<dyn Authenticator>) {
        self.share(scopes, Arc::from(method));
    }

    /// Adds a method that others may use too.
    pub fn share(&mut self, scopes: &[Scope], method: Arc<dyn Authenticator>) {
        self.methods.push((scopes.to_vec(), method));
    }

    /// Finds out who sent a request.
    ///
    /// The first method that accepts a credential names the caller; the proof counts for every
    /// scope in which the same subject is accepted.
    pub async fn identify(&self, presented: &Presented<'_>) -> Result<Caller, BadCredential> {
        let offered = Credential::all_of(presented.headers)?;
        let mut refused = None;
        for credential in &offered {
            let attempt = Attempt { credential, presented, now: self.clock.now() };
            // Nobody finds such a token by trying, so whoever has one waits for nobody who guesses.
            let meant = match self.look(&attempt).await {
                Ok(Look::Other) => Meant::Anything,
                Ok(Look::Proven(caller)) => return Ok(*caller),
                Ok(Look::Unknown(bad)) => {
                    refused = Some(BadCredential::both(refused, bad));
                    Meant::OwnToken
                }
                Err(bad) => {
                    refused = Some(BadCredential::both(refused, bad));
                    continue;
                }
            };
            if !self.methods.iter().any(|(_scopes, method)| meant.is_for(method.as_ref())) {
                continue;
            }
            let turn = match self.guesses.turn(credential, presented.peer).await {
                Ok(turn) => turn,
                Err(bad) => {
                    refused = Some(BadCredential::both(refused, bad));
                    continue;
                }
            };
            let attempt = Attempt { now: self.clock.now(), ..attempt };
            match self.judge(&attempt, meant).await {
                Ok(Some((identity, proofs))) => {
                    turn.right();
                    if let Some(once) = &identity.once {
                        self.replay.admit(once, attempt.presented.scope, attempt.now).await?;
                    }
                    return Ok(Caller::of(identity, proofs));
                }
                Ok(None) => turn.not_judged(),
                Err(bad) => {
                    // What could not be judged was not wrong, but has cost as much.
                    if !bad.is_away() {
                        turn.wrong();
                    }
                    refused = Some(BadCredential::both(refused, bad));
                }
            }
        }
        if offered.is_empty() {
            return Ok(Caller::anonymous());
        }
        let refused = refused.unwrap_or_else(|| {
            BadCredential::default().noting("no configured method takes this kind of credential")
        });
        Err(offered
            .iter()
            .filter_map(said_issuer)
            .fold(refused, |all, said| BadCredential::both(Some(all), said)))
    }

    async fn judge(
        &self,
        attempt: &Attempt<'_>,
        meant: Meant,
    ) -> Result<Option<(Identity, Vec<Proof>)>, BadCredential> {
        let mut proven: Option<(Identity, Vec<Proof>)> = None;
        let mut refused = None;
        let asked = self.methods.iter().filter(|(_scopes, method)| meant.is_for(method.as_ref()));
        for (scopes, method) in asked {
            if proven.as_ref().is_some_and(|(first, _)| !method.could_prove(&first.subject)) {
                continue;
            }
            match method.identify(attempt).await {
                Verdict::NotMine => {}
                Verdict::Refused(bad) => refused = Some(BadCredential::both(refused, bad)),
                Verdict::Proven(identity) => match &mut proven {
                    None => proven = Some((*identity, proofs(scopes, method.as_ref()).collect())),
                    Some((first, so_far)) if first.subject == identity.subject => {
                        so_far.extend(proofs(scopes, method.as_ref()));
                    }
                    Some(_somebody_else) => {}
                },
            }
        }
        match (proven, refused) {
            (None, Some(bad)) => Err(bad),
            (proven, _) => Ok(proven),
        }
    }

    /// Looks among this server's own tokens.
    async fn look(&self, attempt: &Attempt<'_>) -> Result<Look, BadCredential> {
        let peer = attempt.presented.peer;
        let identity = match &self.api_tokens {
            Some(tokens) => match tokens.look(attempt.credential, peer, attempt.now)? {
                Ok(identity) => identity,
                Err(look) => return Ok(look),
            },
            None if attempt.credential.is_meant_as_api_token() => {
                return Ok(Look::Unknown(BadCredential::default()));
            }
            None => return Ok(Look::Other),
        };
        let caller = self.bearer(identity, peer, attempt.now).await?;
        Ok(Look::Proven(Box::new(caller)))
    }

    /// Returns whoever shows a token of this server's own: with no more than its subject, and whoever
    /// the token comes from, could prove otherwise.
    pub(crate) async fn bearer(
        &self,
        identity: Identity,
        peer: IpAddr,
        now: SystemTime,
    ) -> Result<Caller, BadCredential> {
        let Identity { subject, token, .. } = &identity;
        let Some(token) = token else { return Err(BadCredential::default()) };
        let gone = |who: &str, is: &str| {
            let id = &token.id;
            Err(BadCredential::default().noting(format!(
                "the token {id} {is} `{who}`, who could not sign in otherwise any more"
            )))
        };
        // A job has what its rules say. For what they count is what it proved.
        if subject.method == federation::WORD {
            let proofs = token.proven.clone();
            return Ok(Caller::of(Identity { default_rights: false, ..identity }, proofs));
        }
        if !token.is_of_agent && !self.admits_own_tokens() {
            let told = "people sign in with their identity provider here, and not with such tokens";
            let noted =
                format!("the token {} is of `{subject}`, and no agent's (`auth.mode`)", token.id);
            return Err(BadCredential::new(told).because(Why::Elsewhere).noting(noted));
        }
        let mut known = if subject.method == AGENT {
            Known { proofs: Scope::ALL.map(Proof::from).to_vec(), default_rights: true }
        } else {
            self.known(subject, Some(&token.proven), peer, now).await?
        };
        if known.proofs.is_empty() {
            return gone(&subject.to_string(), "is of");
        }
        // What comes from a token of the settings is good for no more than that is today.
        if let Some(name) = token.origin.strip_prefix("static-token:") {
            let origin = Subject::local(static_token::NAME, name);
            let counts = self.known(&origin, None, peer, now).await?.proofs;
            known.proofs.retain(|proof| counts.iter().any(|it| it.scope == proof.scope));
            if known.proofs.is_empty() {
                return gone(&token.origin, "comes from");
            }
        }
        let default_rights = identity.default_rights && known.default_rights;
        Ok(Caller::of(Identity { default_rights, ..identity }, known.proofs))
    }

    /// Asks every method for what it knows somebody. Without `proven`, they may have proved anything.
    async fn known(
        &self,
        subject: &Subject,
        proven: Option<&[Proof]>,
        peer: IpAddr,
        now: SystemTime,
    ) -> Result<Known, BadCredential> {
        let mut known = Known { proofs: Vec::new(), default_rights: true };
        let mut failed = None;
        for (scopes, method) in &self.methods {
            let counts = |proof: &Proof| proven.is_none_or(|proven| proven.contains(proof));
            let found = proofs(scopes, method.as_ref());
            let found: Vec<Proof> = match method.vouches_for(subject, peer, now).await {
                Ok(Vouching::No) => continue,
                Ok(Vouching::Yes) => found.collect(),
                Ok(Vouching::AsProven) => found.filter(counts).collect(),
                Err(bad) => {
                    failed = Some(BadCredential::both(failed, bad));
                    continue;
                }
            };
            known.default_rights &= method.gives_default_rights();
            known.proofs.extend(found);
        }
        match self.added.as_ref().map(|added| added.include(subject)) {
            Some(Ok(true)) => known.proofs.extend(Scope::ALL.map(Proof::from)),
            Some(Err(bad)) => failed = Some(BadCredential::both(failed, bad)),
            Some(Ok(false)) | None => {}
        }
        match failed.filter(|_bad| known.proofs.is_empty()) {
            Some(bad) => Err(bad),
            None => Ok(known),
        }
    }

    /// Returns the challenges of the methods that are valid for something, each once.
    pub fn challenges(&self, scope: Scope) -> Vec<String> {
        let mut challenges = Vec::new();
        let own = self.api_tokens.as_ref().and_then(|tokens| tokens.challenge(scope));
        challenges.extend(own);
        for (valid_for, method) in &self.methods {
            let challenge = method.challenge();
            if valid_for.contains(&scope) && !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
        }
        challenges
    }
}

/// For what methods a credential may be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meant {
    /// For any.
    Anything,
    /// For none, because it begins as a token of this server's own; only the settings may say that it
    /// is one of theirs.
    OwnToken,
}

impl Meant {
    fn is_for(self, method: &dyn Authenticator) -> bool {
        self == Self::Anything || method.is_of_settings()
    }
}

/// What methods know of somebody.
struct Known {
    proofs: Vec<Proof>,
    default_rights: bool,
}

/// Returns what a method that is valid for something proves.
fn proofs(scopes: &[Scope], method: &dyn Authenticator) -> impl Iterator<Item = Proof> {
    let demands = method.demands();
    scopes.iter().map(move |scope| Proof { scope: *scope, demands: demands.clone() })
}

/// Says for the record who a token says it is from, which nobody has checked.
fn said_issuer(credential: &Credential) -> Option<BadCredential> {
    let token = Jwt::parse(credential.token()?.expose(), &Algorithm::ALL).ok()?;
    let issuer: String = token.text("iss")?.chars().take(200).collect();
    let noted = format!("it says it is from `{}`", issuer.escape_debug());
    Some(BadCredential::default().noting(noted))
}
