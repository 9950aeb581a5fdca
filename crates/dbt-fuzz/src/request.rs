//! Bytes on a connection to the repository server, through the real pipeline, to files in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use dbt_core::clock::Clock;
use dbt_core::repo_path::RepoPath;
use dbt_core::secret::Secret;
use dbt_server::app::App;
use dbt_server::audit::{self, AuditLog};
use dbt_server::authn::static_token::{NamedToken, StaticTokens};
use dbt_server::authn::{AnyOf, Scope};
use dbt_server::authz::{Access, Policy};
use dbt_server::{listen, pipeline, storage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::fixtures;

/// What nobody may read, wherever it is asked for.
const HIDDEN: &str = "bytes that nobody reads";

/// What may write.
const TOKEN: &str = "open-sesame";

/// Sends bytes, says that there are no more, and reads what comes.
pub fn run(data: &[u8]) {
    let (app, files, records) = app();
    let before = files.paths();
    let answer = asked(&app, data, Behind::NothingMore);

    let text = String::from_utf8_lossy(&answer);
    assert!(!text.contains(HIDDEN), "{text}");
    assert!(answer.len() < 256 * (data.len() + 1024), "{} bytes of answers", answer.len());
    if let Some(status) = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)) {
        assert!(!matches!(status, "500" | "502" | "503"), "{text}");
    }
    let after = files.paths();
    for path in &after {
        let path: RepoPath = path.parse().expect("it is a path");
        let is_new = !before.contains(&path.to_string());
        let hidden = path.segments().any(|segment| segment.starts_with('.'));
        assert!(!is_new || !hidden, "{path} was written");
    }
    let ends = records.records().len();
    if after != before {
        assert!(shows_the_token(data), "somebody wrote who proved nothing: {after:?}");
        assert!(ends > 0, "a write that was not recorded");
    }
}

/// What a client does that has sent everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// It says that there is nothing more. A server may then take it for gone.
    NothingMore,
    /// It waits for the server to end the connection.
    Waiting,
}

/// Sends bytes to a server and returns what it answers.
pub(crate) fn asked(app: &Arc<App>, data: &[u8], behind: Behind) -> Vec<u8> {
    thread_local! {
        static RUNTIME: Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(exchange(app, data, behind)))
}

/// Says whether the request could hold the token. In HTTP/2 it may be there in another spelling.
fn shows_the_token(data: &[u8]) -> bool {
    let has = |needle: &str| data.windows(needle.len()).any(|it| it == needle.as_bytes());
    let lower = String::from_utf8_lossy(data).to_ascii_lowercase();
    has(TOKEN) || lower.contains("basic") || data.starts_with(b"PRI ")
}

fn app() -> (Arc<App>, storage::memory::Memory, audit::memory::Memory) {
    let clock = Clock::Fixed(fixtures::now());
    let files = storage::memory::Memory::new(clock);
    for (path, bytes) in [
        ("dbt/truststore", "truststore"),
        ("dbt/latest", "1.0.0"),
        ("dbt-tools/deploy/1.0.0/linux/amd64/deploy", "artifact"),
        ("dbt-tools/deploy/1.0.0/linux/amd64/deploy.sha256", "checksum"),
        ("dbt/.git/config", HIDDEN),
        (".reposerver/secret", HIDDEN),
    ] {
        files.seed(path.parse().unwrap(), bytes.to_owned());
    }
    let records = audit::memory::Memory::default();
    let mut authn = AnyOf::new(clock);
    let token = NamedToken::unnamed(&Secret::new(TOKEN.to_owned()));
    authn.add(&[Scope::Writes], Box::new(StaticTokens::new(vec![token])));
    let mut app = App::of_parts(
        authn,
        Policy::of_access(Access::Anyone, Access::Proven, true),
        Arc::new(files.clone()),
        AuditLog::new(Box::new(records.clone()), clock),
        clock,
    );
    app.limits.upload_bytes = 64 * 1024;
    // As if somebody had looked at the disk.
    app.running.health.note(None, None);
    (Arc::new(app), files, records)
}

/// A pair of connected sockets needs no port, so that none runs out.
async fn exchange(app: &Arc<App>, data: &[u8], behind: Behind) -> Vec<u8> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let theirs = std::net::TcpStream::from(OwnedFd::from(theirs));
    let theirs = tokio::net::TcpStream::from_std(theirs).unwrap();
    let ours = tokio::net::UnixStream::from_std(ours).unwrap();
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let (_never, stopping) = watch::channel(false);
    let (mut reading, mut writing) = ours.into_split();
    let door = pipeline::Door::Network(peer);
    let serving = listen::connection(|| Arc::clone(app), theirs, door, stopping);
    let sending = async {
        // The server may answer and close before it has read everything.
        let _cut = writing.write_all(data).await;
        if behind == Behind::NothingMore {
            let _cut = writing.shutdown().await;
        }
        writing
    };
    let receiving = async {
        let mut answer = Vec::new();
        let _cut = reading.read_to_end(&mut answer).await;
        answer
    };
    let ((), _writing, answer) = tokio::join!(serving, sending, receiving);
    // A write goes on after its client has left.
    app.writes.idle().await;
    answer
}
