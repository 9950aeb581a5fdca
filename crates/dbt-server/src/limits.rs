//! Sizes, times and rates, each with the attack it stops.

use std::time::Duration;

use dbt_core::repo_path::RepoPath;

/// How much of a refused upload is read, so that the answer is not lost in a connection reset.
pub const DRAIN_BYTES: u64 = 64 * 1024;

/// How long a refused upload is read. A client that dribbles must not hold us longer.
pub const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How much of a file is read and sent at a time. Twice as much takes more memory, and saves nothing.
pub const CHUNK: usize = 128 * 1024;

/// How many chunks of that size the answers of connections that many share hold together: 64 MiB.
pub const LENT_CHUNKS: usize = 512;

/// The size of their other chunks: each answer holds up to two for as long as its client does not
/// take them. A frame of HTTP/2 carries no more, unless its client asks for it.
pub const SHARED_CHUNK: usize = 16 * 1024;

/// The most bytes of the head of a request or an answer: more is an attack on our memory.
pub const HEAD_BYTES: usize = 64 * 1024;

/// The most header lines of a request or an answer: each costs work to look at.
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

/// How many good signatures are remembered of a provider's tokens, or of SSH keys', before all are
/// forgotten: each is 32 bytes, and a token that comes again only has to be verified again.
pub const REMEMBERED_SIGNATURES: usize = 1000;

/// How long the files of a version that is not whole are kept after the last one came. Longer
/// than any pipeline takes; a forgotten one must not fill the disk or keep its name for ever.
pub const DRAFT_LIFE: Duration = Duration::from_hours(24);

/// How long a version is kept that somebody has staged for others to sign: over a long weekend.
pub const STAGED_LIFE: Duration = Duration::from_hours(7 * 24);

/// How many uploads in parts are open at once, whoever's they are: each is a directory.
pub const OPEN_UPLOADS: usize = 1024;

/// Of how many uploads in parts is remembered that they were committed; each is a small file.
/// For a further one, the one that was begun first is forgotten.
pub const COMMITTED_UPLOADS: usize = 10_000;

/// How many tools one part of the catalog has, and after how many versions it has no more: an answer
/// is held in memory whole.
pub const SHELF_TOOLS: usize = 1000;
/// See [`SHELF_TOOLS`].
pub const SHELF_VERSIONS: usize = 50_000;

/// How many of a tool's newest releases are looked at for the catalog. A platform that was given up
/// before those is not in it; the list of the tool has it.
pub const SHELF_RELEASES: usize = 8;

/// How many bytes of a description the catalog has: a list shows a line.
pub const SHELF_DESCRIPTION: u64 = 512;

/// For how long a part of the catalog is kept. What comes by a request is in it at once, and what is
/// put into the tree by hand after this time.
pub const SHELF_KEPT: Duration = Duration::from_secs(10);

/// How many parts of the catalog are kept.
pub const SHELVES_KEPT: usize = 4;

/// How often what has expired is looked for.
pub const SWEEP: Duration = Duration::from_hours(1);

/// How often what lies in the tree is counted although all is known: files come by hand, and nobody
/// tells.
pub const COUNT: Duration = Duration::from_hours(1);

/// The longest credential that is looked at.
pub const CREDENTIAL_BYTES: usize = 16 * 1024;

/// How many tokens that count once are remembered. Only the owner of a key can make one, and each
/// is forgotten after some minutes.
pub const REMEMBERED_TOKENS: usize = 200_000;

/// How many of one owner: nobody fills the memory for all. It is a token every 36 milliseconds.
pub const TOKENS_OF_OWNER: usize = 10_000;

/// Of the places that are left for tokens, one owner has at most one in so many: nor do twenty fill
/// the memory. Each leaves the most of what the ones before have left.
pub const PLACES_OF_OWNER: usize = 16;

/// How often tokens that have expired are looked for where there is little place: it takes
/// milliseconds in which no other token is admitted.
pub const EXPIRED_TOKENS: Duration = Duration::from_secs(1);

/// How many wrong credentials of one name from one address are judged without a delay. People
/// mistype, and jobs start together.
pub const GUESSES_OF_NAME: u32 = 10;

/// After how long one more is judged: seventeen thousand guesses a day, for one address.
pub const GUESS_OF_NAME_EVERY: Duration = Duration::from_secs(5);

/// How many wrong credentials from one address are judged without a delay, whatever their names:
/// each may cost a comparison that is meant to be slow, or a question to a directory.
pub const GUESSES_OF_ADDRESS: u32 = 60;

/// After how long one more is judged.
pub const GUESS_OF_ADDRESS_EVERY: Duration = Duration::from_secs(1);

/// How long a credential waits to be judged, at most; so long a connection is held.
pub const LONGEST_TURN: Duration = Duration::from_secs(10);

/// How long a credential that was right is not taken for a guess. It is judged all the same.
pub const RIGHT_CREDENTIAL_TIME: Duration = Duration::from_hours(24);

/// Of how many names, addresses and credentials is remembered how often they guessed; each is some
/// tens of bytes.
pub const REMEMBERED_RATES: usize = 10_000;

/// How many tokens that the server does not have are looked up for one address without a delay: each
/// costs some microseconds in the database.
pub const FAILED_LOOKUPS: u32 = 100;

/// After how long one more is looked up.
pub const FAILED_LOOKUP_EVERY: Duration = Duration::from_millis(100);

/// How old a list of all tokens may be by which it is told, for an address that has shown too many
/// wrong ones, whether one is worth a look: a right one waits for nobody.
pub const LISTED_TOKENS_TIME: Duration = Duration::from_secs(1);

/// How many people are remembered who have signed in. Further ones sign in as well, and are not listed.
pub const USERS: u32 = 100_000;

/// How many people somebody has added: each is looked at where the roles are read that were given.
pub const ADDED_USERS: u32 = 10_000;

/// How long the list of suspended people, and that of given roles, counts for requests that only read. Whoever writes or administers
/// is looked up each time; what this server itself changes is known to it at once.
pub const LISTED_SUSPENSIONS_TIME: Duration = Duration::from_secs(1);

/// How many of the server's own tokens count at once, whoever has them: each takes a kilobyte of what
/// is backed up.
pub const TOKENS: u32 = 10_000;

/// Of how many tokens that have ended is kept that they were there. The record has them all. What others
/// were made with that count is kept as long as they do; where that alone is more, no token is made.
pub const ENDED_TOKENS: u32 = 10_000;

/// The bytes after which a page of tokens ends: each may be as long as several hundred others.
pub const PAGE_OF_TOKENS_BYTES: usize = 256 * 1024;

/// How long that is kept.
pub const ENDED_TOKEN_TIME: Duration = Duration::from_hours(90 * 24);

/// How many tokens of jobs are kept at once, those among them that ended a while ago: jobs must not take
/// the places of people, and who exchanges identities without end must not fill the disk. A quarter is for
/// those that write: who may read, from any branch, must not stop what is published.
pub const TOKENS_OF_JOBS: u32 = 20_000;

/// How many of these jobs of one subject may have, a quarter for those that write: those of a branch, within
/// an hour or so.
pub const TOKENS_OF_JOB: u32 = 1000;

/// How long it is known of a job's token that it ended, so that a job that is late learns why it is refused.
pub const ENDED_JOB_TOKEN_TIME: Duration = Duration::from_hours(1);

/// How long after its end it is remembered of an identity that it was exchanged: a clock may be put back.
pub const EXCHANGE_MARGIN: Duration = Duration::from_hours(24);

/// How many identities of jobs that prove nothing, or have no rule, are looked at for one address without
/// a delay: each may cost the verification of a signature. The runners of a company may share an address.
pub const FAILED_EXCHANGES: u32 = 60;

/// After how long one more is looked at.
pub const FAILED_EXCHANGE_EVERY: Duration = Duration::from_secs(1);

/// How many identities of one subject are exchanged without a delay, to read or to write: what an exchange
/// is recorded in has a reserve that is for all writes. A release of many parts is begun by as many jobs.
pub const EXCHANGES_OF_SUBJECT: u32 = 1000;

/// After how long one more is. Of tokens there are fewer ([`TOKENS_OF_JOB`]); so many are fetched again.
pub const EXCHANGE_OF_SUBJECT_EVERY: Duration = Duration::from_secs(1);

/// How many commands that look for SSH keys one address may cause at once.
pub const COMMANDS_OF_ADDRESS: u32 = 30;

/// After how long it may cause one more.
pub const COMMAND_OF_ADDRESS_EVERY: Duration = Duration::from_secs(2);

/// How long another server may take to answer: a caller waits for it.
pub const ASKING_TIME: Duration = Duration::from_secs(5);

/// The longest answer of another server. The keys of the largest identity providers are a tenth.
pub const ANSWER_BYTES: usize = 512 * 1024;

/// The most browsers that are signed in at the pages. Each has an ID token, of
/// [`CREDENTIAL_BYTES`] at most.
pub const SESSIONS: usize = 4096;

/// The most browsers in which one person is signed in.
pub const SESSIONS_OF_ONE: usize = 32;

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
    /// How many uploads of one caller run at once: nobody takes all there are.
    pub uploads_each: u32,
    /// Whether an upload must say how long it is, where something in front of us demands that.
    pub require_length: bool,
    /// How many connections are open at once; each holds a descriptor.
    pub connections: usize,
    /// How many connections one client has at once: one that wants all of them must not keep
    /// others out. 0 is any number; trusted proxies are not counted.
    pub connections_per_client: u32,
    /// How many requests of one client are answered in a minute: one that asks without end must
    /// not keep the processors busy. 0 is any number.
    pub requests_per_minute: u32,
    /// How long a client may take to send a request's head (slowloris), or to begin TLS.
    pub header_time: Duration,
    /// The most bytes of a request's head: more is an attack on our memory.
    pub header_bytes: usize,
    /// The most header lines of a request: each costs work to look at.
    pub header_lines: usize,
    /// How long a connection may stay open without a request.
    pub idle_time: Duration,
    /// How long a client may refuse to take the bytes it asked for.
    pub stall_time: Duration,
    /// How many bytes a body must bring in [`Limits::floor_window`].
    pub floor_bytes: u64,
    /// The time in which [`Limits::floor_bytes`] must arrive. There is no limit on the whole
    /// upload: a slow line is no attack, a line that carries nothing is.
    pub floor_window: Duration,
    /// The most entries of a directory that is listed: a listing is made in memory.
    pub listing_entries: usize,
    /// How much may lie at or below some paths: whoever may write there must not fill the disk.
    pub quotas: Vec<Quota>,
    /// How long what was deleted can be restored.
    pub keep_deleted: Duration,
    /// How long connections are still taken after the order to stop: whoever sends them here
    /// learns only after a while that it should not.
    pub drain_delay: Duration,
    /// How long requests may go on after the order to stop.
    pub shutdown_grace: Duration,
}

/// How much may lie at or below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Where.
    pub path: RepoPath,
    /// How much, in bytes.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload_bytes: 4 * 1024 * 1024 * 1024,
            uploads: 64,
            uploads_each: 32,
            require_length: false,
            connections: 16_384,
            connections_per_client: 2048,
            requests_per_minute: 0,
            header_time: Duration::from_secs(10),
            header_bytes: HEAD_BYTES,
            header_lines: HEADER_LINES,
            idle_time: Duration::from_secs(75),
            stall_time: Duration::from_mins(2),
            floor_bytes: 30 * 1024,
            floor_window: Duration::from_secs(30),
            listing_entries: 100_000,
            quotas: Vec::new(),
            keep_deleted: Duration::from_hours(30 * 24),
            drain_delay: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(25),
        }
    }
}
