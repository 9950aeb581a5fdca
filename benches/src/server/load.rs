//! Clients that keep their connections: as fast as the server lets them, or at a given rate.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use dbt_bench::Fault;
use dbt_bench::measure::{Sample, percentile};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::goals::TOKEN;
use crate::servers::Server;

/// How many clients there are where nothing else is said.
pub(crate) const CLIENTS: u32 = 8;

/// How much is read or sent at once.
const CHUNK: usize = 256 * 1024;

/// How long a client waits for a server that says nothing.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is asked for, over and over.
#[derive(Clone)]
pub(crate) struct Request {
    text: String,
}

impl Request {
    /// Asks for a path; `header` is whole lines.
    pub(crate) fn get(path: &str, header: &str) -> Self {
        Self { text: format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n") }
    }
}

/// A client with its connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(server: &Server) -> Result<Self, Fault> {
        let stream = TcpStream::connect(server.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: vec![0; CHUNK] })
    }

    /// Asks, and reads the whole answer, which must be a 200. Returns its length.
    pub(crate) fn get(&mut self, request: &Request) -> Result<u64, Fault> {
        self.stream.write_all(request.text.as_bytes())?;
        self.answer(&["200"])
    }

    /// Sends a file of zeros, which must be taken.
    pub(crate) fn put(&mut self, path: &str, bytes: u64) -> Result<(), Fault> {
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Length: {bytes}\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes())?;
        let zeros = vec![0; CHUNK];
        let mut left = bytes;
        let mut cut = None;
        while left > 0 && cut.is_none() {
            let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            cut = self.stream.write_all(zeros.get(..count).unwrap_or_default()).err();
            left -= count as u64;
        }
        let answer = self.answer(&["200", "201", "204"]);
        match (cut, answer) {
            (None, answer) => answer.map(drop),
            // A server that takes no more has said why, or is gone.
            (Some(cut), Err(fault)) => {
                Err(format!("{path}: {cut}, {left} bytes left: {fault}").into())
            }
            (Some(cut), Ok(_)) => Err(format!("{path}: {cut}, {left} bytes left").into()),
        }
    }

    fn answer(&mut self, wanted: &[&str]) -> Result<u64, Fault> {
        let mut filled = 0;
        let end = loop {
            let space = self.buffer.get_mut(filled..).unwrap_or_default();
            let count = self.stream.read(space)?;
            if count == 0 {
                return Err("the server ended the connection".into());
            }
            filled += count;
            let head = self.buffer.get(..filled).unwrap_or_default();
            if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = str::from_utf8(self.buffer.get(..end).unwrap_or_default())?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !wanted.contains(&status) {
            // What it says besides has come with it, or comes next.
            self.stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            let space = self.buffer.get_mut(filled..).unwrap_or_default();
            filled += self.stream.read(space).unwrap_or(0);
            let said = String::from_utf8_lossy(self.buffer.get(..filled).unwrap_or_default());
            return Err(format!("the server answered {said}").into());
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let length: u64 = if status == "204" { 0 } else { length.ok_or("a length is missing")? };
        let mut left = length.saturating_sub((filled - end) as u64);
        while left > 0 {
            let count = self.stream.read(&mut self.buffer)?;
            if count == 0 {
                return Err("the server ended its answer".into());
            }
            left = left.saturating_sub(count as u64);
        }
        Ok(length)
    }
}

/// Has clients ask as fast as they are answered, each so many times, and says what that took of
/// the clock and of the server's processors.
pub(crate) fn closed(
    server: &Server,
    request: &Request,
    clients: u32,
    each: u32,
) -> Result<Sample, Fault> {
    let mut ready = Vec::new();
    for _ in 0..clients {
        let mut client = Client::connect(server)?;
        client.get(request)?;
        ready.push(client);
    }
    let (used, began) = (server.used()?, Instant::now());
    in_threads(ready, |_number, client| {
        for _ in 0..each {
            client.get(request)?;
        }
        Ok(())
    })?;
    Ok(Sample { wall: began.elapsed(), cpu: server.used_since(used)? })
}

/// A client that asks at its times.
struct Paced {
    client: Client,
    /// When it is to ask next.
    due: Instant,
    /// How often it has to ask yet.
    left: u32,
    /// Since when an answer is waited for.
    asked: Option<Instant>,
    /// It was to ask while it still waited.
    was_waiting: bool,
}

/// Asks over some connections at a rate (requests a second, all together), so many times over each, and
/// returns the 99th percentile of how long the answers took, in seconds.
///
/// One thread does it all: threads that sleep and wake beside the server's would be most of what is
/// measured. Where an answer comes after the next request was due, that one is counted from when it was
/// due: otherwise a slow server would be asked less often and look better.
pub(crate) fn paced(
    server: &Server,
    request: &Request,
    rate: f64,
    each: u32,
) -> Result<f64, Fault> {
    let interval = Duration::from_secs_f64(f64::from(CLIENTS) / rate);
    let began = Instant::now() + Duration::from_millis(20);
    let mut all = Vec::new();
    for number in 0..CLIENTS {
        let due = began + interval * number / CLIENTS;
        all.push(Paced {
            client: Client::connect(server)?,
            due,
            left: each,
            asked: None,
            was_waiting: false,
        });
    }
    let mut taken = Vec::new();
    while all.iter().any(|one| one.left > 0 || one.asked.is_some()) {
        for one in &mut all {
            let now = Instant::now();
            if one.asked.is_none() && one.left > 0 && one.due <= now {
                one.client.stream.write_all(request.text.as_bytes())?;
                one.asked = Some(if one.was_waiting { one.due } else { now });
                one.was_waiting = false;
                one.left -= 1;
                one.due += interval;
            }
        }
        for index in answered(&all)? {
            let Some(one) = all.get_mut(index) else { continue };
            one.client.answer(&["200"])?;
            if let Some(asked) = one.asked.take() {
                let now = Instant::now();
                taken.push((now - asked).as_secs_f64());
                one.was_waiting = one.due < now;
            }
        }
    }
    taken.sort_by(f64::total_cmp);
    Ok(percentile(&taken, 99))
}

/// Waits until somebody is answered or is to ask, and returns who is answered.
fn answered(all: &[Paced]) -> Result<Vec<usize>, Fault> {
    let is_waiting = |one: &&Paced| one.asked.is_some();
    let next = all.iter().filter(|one| !is_waiting(one) && one.left > 0).map(|one| one.due).min();
    let wait = next.map_or(PATIENCE, |due| due.saturating_duration_since(Instant::now()));
    let timeout = Timespec::try_from(wait)?;
    let (indices, mut polled): (Vec<usize>, Vec<PollFd<'_>>) = all
        .iter()
        .enumerate()
        .filter(|(_index, one)| one.asked.is_some())
        .map(|(index, one)| (index, PollFd::new(&one.client.stream, PollFlags::IN)))
        .unzip();
    let count = poll(&mut polled, Some(&timeout))?;
    if count == 0 && next.is_none() {
        return Err("the server does not answer".into());
    }
    let ready = indices.into_iter().zip(&polled).filter(|(_index, one)| !one.revents().is_empty());
    Ok(ready.map(|(index, _one)| index).collect())
}

/// Gives every client a thread, and returns what each came to.
pub(crate) fn in_threads<T: Send>(
    clients: Vec<Client>,
    work: impl Fn(u32, &mut Client) -> Result<T, Fault> + Sync,
) -> Result<Vec<T>, Fault> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(clients)
            .map(|(number, mut client)| {
                scope.spawn(move || work(number, &mut client).map_err(|fault| fault.to_string()))
            })
            .collect();
        let ended = threads.into_iter().map(|thread| match thread.join() {
            Ok(result) => result.map_err(Fault::from),
            Err(_panic) => Err("a client panicked".into()),
        });
        ended.collect()
    })
}
