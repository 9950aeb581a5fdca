//! Clients that read and publish without a pause over connections that they keep, check each answer,
//! and know when the server is being restarted: only then may an answer be missing.

use std::fmt;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use crate::dying::is_whole;
use crate::world::{AUTHORIZED, Reply, sha256};

const READERS: u64 = 4;
const WRITERS: u64 = 4;

/// How many files are replaced again and again: one of each writer.
pub(crate) const REPLACED: u64 = WRITERS;

/// No answer takes longer, and nothing that is waited for stands still for longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// The clients of a server, and what they know of it.
pub(crate) struct Load {
    /// Odd while the server is being restarted.
    epoch: AtomicU64,
    address: Mutex<SocketAddr>,
    /// The files that are published and stay as they are.
    known: RwLock<Vec<Arc<File>>>,
    /// How many of them are read: those that were published first.
    read: AtomicUsize,
    replaced: Vec<Replaced>,
    /// How many versions may be published by now, are being, and were.
    allowed: AtomicU64,
    begun: AtomicU64,
    published: AtomicU64,
    uploading: AtomicU64,
    has_ended: AtomicBool,
    has_failed: AtomicBool,
    told: Told,
}

/// What came of the requests.
#[derive(Default)]
struct Told {
    reads: AtomicU64,
    created: AtomicU64,
    replaced: AtomicU64,
    /// Requests without an answer, because the server was restarted.
    cut_reads: AtomicU64,
    cut_writes: AtomicU64,
    /// Uploads without an answer that had happened.
    unheard: AtomicU64,
}

type File = (String, Vec<u8>);

/// A file that is replaced, its contents numbered.
#[derive(Default)]
struct Replaced {
    begun: AtomicU64,
    answered: AtomicU64,
}

/// Returns bytes that are the same for the same words, and like no others.
fn bytes_of(words: &str, length: usize) -> Vec<u8> {
    let mut state = words.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut bytes = words.as_bytes().to_vec();
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

/// Returns the files of a version, in the order in which they are published.
pub(crate) fn files_of(version: u64) -> [File; 3] {
    let tool = format!("tool-{}", version % 20);
    let path = format!("/dbt-tools/{tool}/{version}.0.0/linux/amd64/{tool}");
    let length = if version % 50 == 7 { 1 << 20 } else { 1 << (10 + version % 6) };
    let artifact = bytes_of(&path, length);
    let sum = sha256(&artifact).into_bytes();
    [
        (path.clone(), artifact),
        (format!("{path}.asc"), format!("signature of {path}").into_bytes()),
        (format!("{path}.sha256"), sum),
    ]
}

/// Returns what a writer's own file is the `number`th time.
pub(crate) fn replacement(writer: u64, number: u64) -> File {
    (format!("/dbt/newest-{writer}"), bytes_of(&format!("{number}\n"), 3000))
}

impl Load {
    /// Prepares clients of the server at an address.
    pub(crate) fn on(address: SocketAddr) -> Self {
        Self {
            epoch: AtomicU64::new(0),
            address: Mutex::new(address),
            known: RwLock::default(),
            read: AtomicUsize::new(usize::MAX),
            replaced: (0..REPLACED).map(|_writer| Replaced::default()).collect(),
            allowed: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            published: AtomicU64::new(0),
            uploading: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            told: Told::default(),
        }
    }

    /// Lets clients work while something else is done.
    pub(crate) fn run<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        self.has_ended.store(false, SeqCst);
        std::thread::scope(|scope| {
            let _ends = Ends(self);
            for reader in 0..READERS {
                scope.spawn(move || self.watched(|client| client.read_on(reader)));
            }
            for writer in 0..WRITERS {
                scope.spawn(move || self.watched(|client| client.write_on(writer)));
            }
            meanwhile()
        })
    }

    fn watched(&self, work: impl FnOnce(&mut Client<'_>)) {
        let _fails = Fails(self);
        work(&mut Client { load: self, kept: None });
    }

    /// Replaces the server by another. Only meanwhile answers may be missing.
    pub(crate) fn during_a_restart<T>(&self, restart: impl FnOnce() -> (SocketAddr, T)) -> T {
        self.epoch.fetch_add(1, SeqCst);
        let (address, server) = restart();
        *self.address.lock().unwrap() = address;
        self.epoch.fetch_add(1, SeqCst);
        server
    }

    /// Waits while the clients get on with their work.
    pub(crate) fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let mut last = (Instant::now(), self.reads());
        while !is_so() {
            assert!(!self.has_failed.load(SeqCst), "a client has failed");
            if self.reads() != last.1 {
                last = (Instant::now(), self.reads());
            }
            assert!(last.0.elapsed() < PATIENCE, "{what}: never; {self}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets only so many of the files be read: those that were published first.
    pub(crate) fn read_only(&self, files: usize) {
        self.read.store(files, SeqCst);
    }

    /// Lets so many versions be published altogether.
    pub(crate) fn allow(&self, versions: u64) {
        self.allowed.store(versions, SeqCst);
    }

    pub(crate) fn allowed(&self) -> u64 {
        self.allowed.load(SeqCst)
    }

    pub(crate) fn are_published(&self) -> bool {
        self.published.load(SeqCst) == self.allowed()
    }

    pub(crate) fn is_uploading(&self) -> bool {
        self.uploading.load(SeqCst) > 0
    }

    pub(crate) fn reads(&self) -> u64 {
        self.told.reads.load(SeqCst)
    }

    /// Returns the number of what a writer's own file is now.
    pub(crate) fn last_of(&self, writer: u64) -> u64 {
        self.replaced_by(writer).answered.load(SeqCst)
    }

    fn replaced_by(&self, writer: u64) -> &Replaced {
        &self.replaced[usize::try_from(writer).unwrap()]
    }

    /// Returns the next version that may be published.
    fn next_version(&self) -> Option<u64> {
        let next = |begun: u64| (begun < self.allowed()).then_some(begun + 1);
        self.begun.fetch_update(SeqCst, SeqCst, next).ok()
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(SeqCst)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { reads, created, replaced, cut_reads, cut_writes, unheard } = &self.told;
        let [reads, created, replaced, cut_reads, cut_writes, unheard] =
            [reads, created, replaced, cut_reads, cut_writes, unheard].map(|it| it.load(SeqCst));
        write!(
            to,
            "{reads} files read, {created} created, {replaced} replaced; without an answer: \
             {cut_reads} reads, {cut_writes} uploads, of which {unheard} had happened"
        )
    }
}

/// Ends the clients, also where the test fails.
struct Ends<'a>(&'a Load);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.has_ended.store(true, SeqCst);
    }
}

/// Lets the others know when a client fails.
struct Fails<'a>(&'a Load);

impl Drop for Fails<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.has_failed.store(true, SeqCst);
        }
    }
}

/// A client that keeps its connection.
struct Client<'a> {
    load: &'a Load,
    /// Its connection, and the epoch that this is of.
    kept: Option<(u64, TcpStream)>,
}

impl Client<'_> {
    /// Sends a request and returns the answer; nothing if the server was restarted meanwhile.
    fn ask(&mut self, request: &[u8]) -> Option<Reply> {
        let (epoch, mut stream) = self.kept.take().or_else(|| self.connect())?;
        if stream.write_all(request).is_ok() {
            let reply = Reply::read(&mut stream, false);
            if reply.status != 0 && is_whole(&reply) {
                if reply.header("connection") != Some("close") {
                    self.kept = Some((epoch, stream));
                }
                return Some(reply);
            }
        }
        assert_ne!(
            self.load.epoch.load(SeqCst),
            epoch,
            "an answer is missing, and nobody is to blame"
        );
        None
    }

    /// Opens a connection to the server that runs now, and to no other that took its port.
    fn connect(&self) -> Option<(u64, TcpStream)> {
        let began = Instant::now();
        let mut epoch = self.load.epoch.load(SeqCst);
        while epoch % 2 == 1 {
            assert!(began.elapsed() < PATIENCE, "there is no server");
            std::thread::sleep(Duration::from_millis(1));
            epoch = self.load.epoch.load(SeqCst);
        }
        let address = *self.load.address.lock().unwrap();
        let stream = TcpStream::connect(address);
        if self.load.epoch.load(SeqCst) != epoch {
            return None;
        }
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Some((epoch, stream))
    }

    fn read_on(&mut self, seed: u64) {
        let mut dice = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed + 1);
        while !self.load.has_ended() {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let read = match dice % 16 {
                0 => self.read_replaced(dice >> 32),
                number => self.read_known(dice >> 32, number < 3),
            };
            let told = &self.load.told;
            match read {
                Some(true) => told.reads.fetch_add(1, SeqCst),
                Some(false) => continue,
                None => told.cut_reads.fetch_add(1, SeqCst),
            };
        }
    }

    /// Reads a file that is known, or a part of it; says whether there was any.
    fn read_known(&mut self, number: u64, only_part: bool) -> Option<bool> {
        let file = {
            let known = self.load.known.read().unwrap();
            if known.is_empty() {
                drop(known);
                std::thread::sleep(Duration::from_millis(1));
                return Some(false);
            }
            let count = known.len().min(self.load.read.load(SeqCst));
            Arc::clone(&known[usize::try_from(number).unwrap() % count])
        };
        let (path, bytes) = &*file;
        let (start, end) = (bytes.len() / 3, bytes.len() / 2);
        let range = format!("Range: bytes={start}-{end}\r\n");
        let line = if only_part { range.as_str() } else { "" };
        let reply = self.ask(format!("GET {path} HTTP/1.1\r\nHost: t\r\n{line}\r\n").as_bytes())?;
        let (status, wanted) =
            if only_part { (206, &bytes[start..=end]) } else { (200, bytes.as_slice()) };
        assert_eq!(reply.status, status, "{path}: {}", String::from_utf8_lossy(&reply.body));
        assert!(reply.body == wanted, "{path}: other bytes");
        Some(true)
    }

    /// Reads a file that somebody replaces meanwhile: one of those that it can be.
    fn read_replaced(&mut self, number: u64) -> Option<bool> {
        let writer = number % WRITERS;
        let replaced = self.load.replaced_by(writer);
        let least = replaced.answered.load(SeqCst);
        let (path, _bytes) = replacement(writer, 0);
        let reply = self.ask(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes())?;
        let most = replaced.begun.load(SeqCst);
        if reply.status == 404 {
            assert_eq!(least, 0, "{path} is gone");
            return Some(false);
        }
        assert_eq!(reply.status, 200, "{path}");
        let is_it = |number: u64| reply.body == replacement(writer, number).1;
        assert!((least..=most).any(is_it), "{path}: none of {least} to {most}");
        Some(true)
    }

    fn write_on(&mut self, writer: u64) {
        let load = self.load;
        while !load.has_ended() {
            let Some(version) = load.next_version() else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            let files = files_of(version);
            for (path, bytes) in &files {
                self.put(path, bytes, true);
            }
            load.known.write().unwrap().extend(files.map(Arc::new));

            let number = load.last_of(writer) + 1;
            let (path, bytes) = replacement(writer, number);
            let replaced = load.replaced_by(writer);
            replaced.begun.store(number, SeqCst);
            self.put(&path, &bytes, number == 1);
            replaced.answered.store(number, SeqCst);
            load.published.fetch_add(1, SeqCst);
        }
    }

    /// Publishes a file; without an answer, until there is one. A new file is answered with 201.
    fn put(&mut self, path: &str, bytes: &[u8], is_new: bool) {
        let told = &self.load.told;
        let length = bytes.len();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: {length}\r\n\r\n"
        );
        let request = [head.as_bytes(), bytes].concat();
        let mut was_cut = false;
        loop {
            self.load.uploading.fetch_add(1, SeqCst);
            let reply = self.ask(&request);
            self.load.uploading.fetch_sub(1, SeqCst);
            let Some(reply) = reply else {
                told.cut_writes.fetch_add(1, SeqCst);
                was_cut = true;
                continue;
            };
            // What had happened without an answer is there already.
            let had_happened = was_cut && is_new && reply.status == 200;
            let expected = if is_new { 201 } else { 200 };
            let is_right = reply.status == expected || had_happened;
            assert!(is_right, "{path}: {reply:?}");
            assert_eq!(reply.json()["sha256"], sha256(bytes), "{path}");
            told.unheard.fetch_add(u64::from(had_happened), SeqCst);
            let counter = if is_new { &told.created } else { &told.replaced };
            counter.fetch_add(1, SeqCst);
            return;
        }
    }
}
