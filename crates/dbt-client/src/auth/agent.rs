//! Asking the user's SSH agent for signatures (draft-miller-ssh-agent).
//!
//! Keys stay in the agent: it is told which of them is meant and what to sign, and its answer is
//! all that is read. What it signs, and whether it should, is for the caller to know.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// How long an agent may take: long enough to find and touch a hardware key, or to answer the
/// question of one that asks each time.
const LIMIT: Duration = Duration::from_secs(30);

/// The longest message that is read. An agent with hundreds of keys and certificates says less.
const MESSAGE_LIMIT: u32 = 256 * 1024;

/// Messages of the protocol (draft-miller-ssh-agent, 6.1).
mod message {
    pub(super) const FAILURE: u8 = 5;
    pub(super) const REQUEST_IDENTITIES: u8 = 11;
    pub(super) const IDENTITIES_ANSWER: u8 = 12;
    pub(super) const SIGN_REQUEST: u8 = 13;
    pub(super) const SIGN_RESPONSE: u8 = 14;
}

/// How an agent is asked to sign with an RSA key (draft-miller-ssh-agent, 3.6.1); other keys have
/// one way, and agents ignore it for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsaHash {
    /// SHA-1: what keys sign with when nothing is said. Only for those who accept nothing else.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl RsaHash {
    const fn flags(self) -> u32 {
        match self {
            Self::Sha1 => 0,
            Self::Sha256 => 2,
        }
    }
}

/// The agent of the user who runs this program. Nothing is asked until somebody needs it.
#[derive(Debug, Clone)]
pub struct Agent {
    socket: Option<PathBuf>,
}

/// A key that an agent holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldKey {
    /// The public key in the form of the SSH protocol.
    pub blob: Vec<u8>,
    /// What its owner calls it.
    pub comment: String,
}

impl HeldKey {
    /// Returns its name among people, as `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        super::ssh_key::fingerprint(&self.blob)
    }
}

/// What an agent signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The algorithm that it says it used, as `rsa-sha2-256`.
    pub algorithm: String,
    /// The signature itself, in that algorithm's own form.
    pub blob: Vec<u8>,
}

impl Agent {
    /// Names the socket (on Windows: the pipe) of the agent, which `SSH_AUTH_SOCK` says.
    pub fn at(socket: Option<PathBuf>) -> Self {
        let usual = || cfg!(windows).then(|| PathBuf::from(r"\\.\pipe\openssh-ssh-agent"));
        Self { socket: socket.or_else(usual) }
    }

    /// Lists the keys that it holds, in its order: none while it is locked.
    pub fn keys(&self, limit: Duration) -> Result<Vec<HeldKey>, AgentError> {
        let answer = self.ask(&[message::REQUEST_IDENTITIES], limit)?;
        let body = body_of(&answer, message::IDENTITIES_ANSWER)?;
        let (count, mut rest) = take_number(body).ok_or(AgentError::Malformed)?;
        let mut keys = Vec::new();
        for _key in 0..count {
            let (blob, after) = take_string(rest).ok_or(AgentError::Malformed)?;
            let (comment, after) = take_string(after).ok_or(AgentError::Malformed)?;
            let comment = String::from_utf8_lossy(comment).into_owned();
            keys.push(HeldKey { blob: blob.to_vec(), comment });
            rest = after;
        }
        Ok(keys)
    }

    /// Has bytes signed with the key whose public half this is, and waits no longer than `limit`.
    pub fn sign(
        &self,
        key: &[u8],
        bytes: &[u8],
        hash: RsaHash,
        limit: Duration,
    ) -> Result<Signature, AgentError> {
        let mut request = vec![message::SIGN_REQUEST];
        put_string(&mut request, key);
        put_string(&mut request, bytes);
        request.extend(hash.flags().to_be_bytes());
        let answer = self.ask(&request, limit)?;
        let body = body_of(&answer, message::SIGN_RESPONSE)?;
        let (signature, _rest) = take_string(body).ok_or(AgentError::Malformed)?;
        let (algorithm, rest) = take_string(signature).ok_or(AgentError::Malformed)?;
        let (blob, _flags_of_security_keys) = take_string(rest).ok_or(AgentError::Malformed)?;
        let algorithm = String::from_utf8_lossy(algorithm).into_owned();
        Ok(Signature { algorithm, blob: blob.to_vec() })
    }

    /// Sends one request and returns the answer to it.
    ///
    /// It is done beside, because neither a connection nor a pipe of Windows can be made with a
    /// limit of time; when time is over, the thread is left behind with it.
    fn ask(&self, request: &[u8], limit: Duration) -> Result<Vec<u8>, AgentError> {
        let socket = self.socket.clone().ok_or(AgentError::NoAgent)?;
        let limit = limit.min(LIMIT);
        let mut framed = Vec::new();
        put_string(&mut framed, request);
        let failed = |source: io::Error, socket: &Path| AgentError::Connect {
            socket: socket.to_owned(),
            source: Arc::new(source),
        };
        let (give, take) = mpsc::channel();
        let there = socket.clone();
        let exchange = move || {
            let outcome = connect(&there).map_err(|error| failed(error, &there));
            let outcome = outcome.and_then(|stream| exchange(stream, &framed));
            // Whoever asked may wait no longer.
            drop(give.send(outcome));
        };
        thread::Builder::new().spawn(exchange).map_err(|error| failed(error, &socket))?;
        take.recv_timeout(limit).unwrap_or(Err(AgentError::TimeOver { limit }))
    }
}

#[cfg(unix)]
fn connect(socket: &Path) -> io::Result<impl Read + Write> {
    std::os::unix::net::UnixStream::connect(socket)
}

#[cfg(not(unix))]
fn connect(pipe: &Path) -> io::Result<impl Read + Write> {
    std::fs::File::options().read(true).write(true).open(pipe)
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Result<Vec<u8>, AgentError> {
    let broken = |source| AgentError::Exchange { source: Arc::new(source) };
    stream.write_all(request).and_then(|()| stream.flush()).map_err(broken)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(broken)?;
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_LIMIT {
        return Err(AgentError::Malformed);
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).map_err(broken)?;
    Ok(answer)
}

/// Returns what is in an answer of this kind.
fn body_of(answer: &[u8], kind: u8) -> Result<&[u8], AgentError> {
    match answer.split_first() {
        Some((found, body)) if *found == kind => Ok(body),
        Some((&message::FAILURE, _nothing)) => Err(AgentError::Refused),
        _ => Err(AgentError::Malformed),
    }
}

/// Adds a text of the SSH protocol: its length, and it (RFC 4251, section 5).
fn put_string(to: &mut Vec<u8>, bytes: &[u8]) {
    // What is signed and asked here is some hundred bytes long.
    to.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend(bytes);
}

/// Takes a number off the front.
fn take_number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*number), rest))
}

/// Takes a text of the SSH protocol off the front.
pub(super) fn take_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = take_number(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// Why an agent did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Nothing says where one is.
    #[error("no SSH agent is known: `SSH_AUTH_SOCK` is not set")]
    NoAgent,

    /// Nobody listens there.
    #[error("failed to reach the SSH agent at `{}`", socket.display())]
    Connect {
        /// Where it should be.
        socket: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },

    /// It went away before it answered.
    #[error("the SSH agent did not answer")]
    Exchange {
        /// What the system said.
        source: Arc<io::Error>,
    },

    /// It did not answer in time. Perhaps it asks somebody.
    #[error("the SSH agent did not answer within {}", super::said(*limit))]
    TimeOver {
        /// How long was waited.
        limit: Duration,
    },

    /// It said no, and does not say why.
    #[error("the SSH agent refused")]
    Refused,

    /// What it said is not the protocol.
    #[error("the SSH agent gave an answer that cannot be understood")]
    Malformed,
}

impl AgentError {
    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoAgent => Some(
                "start one (`eval \"$(ssh-agent)\"`, then `ssh-add`), or log in with agent forwarding (`ssh -A`)"
                    .to_owned(),
            ),
            Self::Connect { .. } | Self::Exchange { .. } => Some(
                "is the agent that `SSH_AUTH_SOCK` names still running? `ssh-add -l` asks it"
                    .to_owned(),
            ),
            Self::TimeOver { .. } => Some(
                "does it ask for a confirmation, or wait for a key to be touched?".to_owned(),
            ),
            Self::Refused => Some(
                "was a confirmation denied, or has the key expired? `ssh-add -l` lists the keys"
                    .to_owned(),
            ),
            Self::Malformed => None,
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    /// An agent that gives one answer to whatever it is asked, and says what that was.
    fn answering(answer: &[u8]) -> (tempfile::TempDir, Agent, mpsc::Receiver<Vec<u8>>) {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("agent")).unwrap();
        let (give, take) = mpsc::channel();
        let answer = answer.to_vec();
        thread::spawn(move || {
            let (mut stream, _peer) = listener.accept().unwrap();
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request).unwrap();
            give.send(request).unwrap();
            // In two pieces, as a stream may.
            let (first, rest) = answer.split_at(answer.len() / 2);
            stream.write_all(first).unwrap();
            stream.write_all(rest).unwrap();
            stream
        });
        let agent = Agent::at(Some(directory.path().join("agent")));
        (directory, agent, take)
    }

    fn message(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = [&[kind][..], &parts.concat()].concat();
        let mut framed = Vec::new();
        put_string(&mut framed, &body);
        framed
    }

    fn string(bytes: &[u8]) -> Vec<u8> {
        let mut framed = Vec::new();
        put_string(&mut framed, bytes);
        framed
    }

    #[test]
    fn a_signature_is_asked_for_and_taken_out_of_its_frames() {
        let inner = [string(b"rsa-sha2-256"), string(b"signed")].concat();
        let (_place, agent, asked) = answering(&message(14, &[&string(&inner)]));
        let signature = agent.sign(b"key", b"bytes", RsaHash::Sha256, LIMIT).unwrap();
        let expected = Signature { algorithm: "rsa-sha2-256".to_owned(), blob: b"signed".to_vec() };
        assert_eq!(signature, expected);
        let request = [&[13][..], &string(b"key"), &string(b"bytes"), &[0, 0, 0, 2]].concat();
        assert_eq!(asked.recv().unwrap(), request);
    }

    #[test]
    fn keys_are_listed_in_the_agents_order() {
        let parts =
            [string(b"one"), string(b"a comment"), string(b"two"), string(b"\xFF")].concat();
        let (_place, agent, asked) = answering(&message(12, &[&[0, 0, 0, 2], &parts]));
        let keys = agent.keys(LIMIT).unwrap();
        let listed: Vec<_> =
            keys.iter().map(|key| (key.blob.as_slice(), key.comment.as_str())).collect();
        assert_eq!(listed, [(&b"one"[..], "a comment"), (b"two", "\u{FFFD}")]);
        assert_eq!(asked.recv().unwrap(), [11]);
    }

    #[test]
    fn what_is_not_the_protocol_and_what_says_no_are_told_apart() {
        let sign = |agent: &Agent| agent.sign(b"k", b"b", RsaHash::Sha1, LIMIT).unwrap_err();
        let (_place, agent, _asked) = answering(&message(5, &[]));
        assert!(matches!(sign(&agent), AgentError::Refused));
        for answer in [
            message(14, &[b"\0\0\0\x09short"]),
            message(12, &[]),
            message(14, &[&string(b"")]),
            string(b""),
            [0xFF; 8].to_vec(),
        ] {
            let (_place, agent, _asked) = answering(&answer);
            assert!(matches!(sign(&agent), AgentError::Malformed), "{answer:?}");
        }
        let (_place, agent, _asked) = answering(&message(12, &[&[0xFF; 4]]));
        assert!(matches!(agent.keys(LIMIT), Err(AgentError::Malformed)));
        // Half a message, and then nothing.
        let (_place, agent, _asked) = answering(&[0, 0, 0, 9, 14]);
        assert!(matches!(sign(&agent), AgentError::Exchange { .. }));
    }

    #[test]
    fn an_agent_that_is_not_there_or_does_not_answer_is_said_to_be_so() {
        let none = Agent { socket: None }.keys(LIMIT).unwrap_err();
        assert_eq!(none.to_string(), "no SSH agent is known: `SSH_AUTH_SOCK` is not set");
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent");
        let agent = Agent::at(Some(socket.clone()));
        let gone = agent.keys(LIMIT).unwrap_err();
        assert_eq!(
            gone.to_string(),
            format!("failed to reach the SSH agent at `{}`", socket.display())
        );
        let _silent = UnixListener::bind(&socket).unwrap();
        let late = agent.keys(SHORT).unwrap_err();
        assert_eq!(late.to_string(), "the SSH agent did not answer within 50 ms");
    }
}
