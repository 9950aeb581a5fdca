//! Sizes, times and rates, each with the attack it stops.

use std::time::Duration;

/// How much of a refused upload is read, so that the answer is not lost in a connection reset.
pub const DRAIN_BYTES: u64 = 64 * 1024;

/// How long a refused upload is read. A client that dribbles must not hold us longer.
pub const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How much of a file is read and sent at a time.
pub const CHUNK: usize = 256 * 1024;

/// The most bytes of a request's head: more is an attack on our memory.
pub const HEAD_BYTES: usize = 64 * 1024;

/// The most header lines of a request: each costs work to look at.
pub const HEADER_LINES: usize = 100;

/// The most ranges answered one by one. More are answered with the whole file, so that a small
/// request cannot make us assemble thousands of parts.
pub const RANGES: usize = 8;

/// Files up to this size are hashed when first asked for; larger ones in the background, with a
/// weak entity tag until then. At about 1 GB/s the answer waits a few milliseconds at most.
pub const HASH_AT_ONCE: u64 = 8 * 1024 * 1024;

/// How many hashes are remembered before all are forgotten. A tree with more files only costs
/// hashing again; an attacker cannot grow our memory by asking.
pub const REMEMBERED_HASHES: usize = 100_000;

/// How long the files of a version that is not whole are kept after the last one came. Longer
/// than any pipeline takes; a forgotten one must not fill the disk or keep its name for ever.
pub const DRAFT_LIFE: Duration = Duration::from_hours(24);

/// How often what has expired is looked for.
pub const SWEEP: Duration = Duration::from_hours(1);

/// The longest credential that is looked at.
pub const CREDENTIAL_BYTES: usize = 16 * 1024;

/// How many tokens that count once are remembered. Only the owner of a key can make one, and each
/// is forgotten after some minutes.
pub const REMEMBERED_TOKENS: usize = 100_000;

/// How long another server may take to answer: a caller waits for it.
pub const ASKING_TIME: Duration = Duration::from_secs(5);

/// The longest answer of another server. The keys of the largest identity providers are a tenth.
pub const ANSWER_BYTES: usize = 512 * 1024;

/// The most keys that an identity provider may have: each may have to be tried.
pub const PROVIDER_KEYS: usize = 100;

/// The longest life of a token of an identity provider. One that is valid for longer is no proof
/// that somebody signed in, and cannot be taken back.
pub const TOKEN_LIFE: Duration = Duration::from_hours(24);

/// How long the keys of an identity provider count that cannot be asked any more.
pub const STALE_KEYS: Duration = Duration::from_hours(24);

/// How long an identity provider is not asked again for a key that it did not have: strangers must
/// not make us ask.
pub const UNKNOWN_KEY_PAUSE: Duration = Duration::from_mins(1);

/// How long a server that did not answer is left alone at first; longer than it is waited for, so
/// that requests do not queue up behind each other.
pub const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// How long a server that does not answer is left alone at most.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The longest name and password that a directory service is asked about.
pub const USER_BYTES: usize = 256;

/// See [`USER_BYTES`].
pub const PASSWORD_BYTES: usize = 1024;

/// How many conversations with a directory service there are at once: a flood of passwords must
/// not become one of connections.
pub const DIRECTORY_CONVERSATIONS: usize = 16;

/// How long a directory service that did not answer is left alone.
pub const DIRECTORY_PAUSE: Duration = Duration::from_secs(5);

/// The most groups that somebody may be in.
pub const DIRECTORY_GROUPS: u32 = 1000;

/// How long a password that a directory service accepted counts without asking again.
pub const PASSWORD_TIME: Duration = Duration::from_mins(1);

/// How long a password that it refused is not asked about again, so that a program that repeats
/// it does not get its user locked out.
pub const WRONG_PASSWORD_TIME: Duration = Duration::from_secs(10);

/// How many passwords are remembered; each is 32 bytes and a verdict.
pub const REMEMBERED_PASSWORDS: usize = 10_000;

/// Limits that an administrator may set.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest upload, in bytes: a writer must not fill the disk with one request.
    pub upload_bytes: u64,
    /// How many uploads run at once; each holds a file and a buffer.
    pub uploads: u32,
    /// How many connections are open at once; each holds a descriptor.
    pub connections: usize,
    /// How long a client may take to send a request's head (slowloris).
    pub header_time: Duration,
    /// How long a connection may stay open without a request.
    pub idle_time: Duration,
    /// How long a client may refuse to take the bytes it asked for.
    pub stall_time: Duration,
    /// How many bytes a body must bring in [`Limits::floor_window`].
    pub floor_bytes: u64,
    /// The time in which [`Limits::floor_bytes`] must arrive. There is no limit on the whole
    /// upload: a slow line is no attack, a line that carries nothing is.
    pub floor_window: Duration,
    /// How long what was deleted can be restored.
    pub keep_deleted: Duration,
    /// How long requests may go on after the order to stop.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload_bytes: 4 * 1024 * 1024 * 1024,
            uploads: 64,
            connections: 16_384,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            stall_time: Duration::from_mins(2),
            floor_bytes: 30 * 1024,
            floor_window: Duration::from_secs(30),
            keep_deleted: Duration::from_hours(30 * 24),
            shutdown_grace: Duration::from_secs(25),
        }
    }
}
