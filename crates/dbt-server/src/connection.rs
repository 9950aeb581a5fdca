//! One connection: what it is doing, and when that takes too long.
//!
//! A client that says nothing, says it too slowly, or does not take what it asked for, holds a
//! descriptor and memory. The connection's own reads and writes say which of these it is.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::content::Body;
use crate::limits::Limits;
use crate::operate::Running;
use crate::operate::clients::Visit;
use crate::operate::gate::Pass;

/// What a connection is doing. Clones look at the same one.
#[derive(Clone, Debug)]
pub struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    spoken: Spoken,
    requests: u32,
    quiet_since: Instant,
    head_since: Option<Instant>,
    stuck_since: Option<Instant>,
    /// When each answer under way last gave something, by a number of its own.
    answers: BTreeMap<u64, Instant>,
    next_answer: u64,
}

/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    /// So many bytes of [`PREFACE`], and nothing else yet.
    Preface(usize),
    /// HTTP/1: whatever comes between two requests begins the next one.
    Heads,
    /// HTTP/2: what comes may be about nothing but the connection.
    Frames,
}

impl Spoken {
    fn after(self, bytes: &[u8]) -> Self {
        let Self::Preface(known) = self else { return self };
        let rest = PREFACE.get(known..).unwrap_or_default();
        if bytes.starts_with(rest) {
            Self::Frames
        } else if rest.starts_with(bytes) {
            Self::Preface(known + bytes.len())
        } else {
            Self::Heads
        }
    }
}

/// Why a connection should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The head of a request began, and did not end.
    SlowHead,
    /// Nothing was asked for.
    Idle,
    /// What was asked for is not taken.
    AnswerNotTaken,
}

impl Overdue {
    /// Returns the word for it in what is counted.
    pub const fn label(self) -> &'static str {
        match self {
            Self::SlowHead => "slow-head",
            Self::Idle => "idle",
            Self::AnswerNotTaken => "answer-not-taken",
        }
    }
}

impl Activity {
    /// A connection that was just made. Its first request is awaited like a head that began.
    pub fn new() -> Self {
        let now = Instant::now();
        let head_since = Some(now);
        Self(Arc::new(Mutex::new(State {
            spoken: Spoken::Preface(0),
            requests: 0,
            quiet_since: now,
            head_since,
            stuck_since: None,
            answers: BTreeMap::new(),
            next_answer: 0,
        })))
    }

    /// Says why the connection should end, if it should.
    pub fn overdue(&self, limits: &Limits) -> Option<Overdue> {
        let state = self.state();
        let longer_than =
            |since: Option<Instant>, limit: Duration| since.is_some_and(|s| s.elapsed() > limit);
        if longer_than(state.stuck_since, limits.stall_time) {
            return Some(Overdue::AnswerNotTaken);
        }
        // In HTTP/2 a client can take other answers meanwhile, or nothing but control frames.
        if state.answers.values().any(|since| since.elapsed() > limits.stall_time) {
            return Some(Overdue::AnswerNotTaken);
        }
        if state.requests > 0 {
            return None;
        }
        if longer_than(state.head_since, limits.header_time) {
            return Some(Overdue::SlowHead);
        }
        (state.quiet_since.elapsed() > limits.idle_time).then_some(Overdue::Idle)
    }

    /// Marks the beginning of a request, which ends when the result is dropped.
    pub fn request(&self) -> InRequest {
        let mut state = self.state();
        let is_beside_others = state.requests > 0;
        state.requests += 1;
        state.head_since = None;
        drop(state);
        InRequest { activity: self.clone(), is_beside_others, room: None }
    }

    fn begin_answer(&self) -> u64 {
        let mut state = self.state();
        let number = state.next_answer;
        state.next_answer += 1;
        state.answers.insert(number, Instant::now());
        number
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.spoken = state.spoken.after(bytes);
        if state.spoken == Spoken::Frames {
            // They may be answers to our own. A head that does not end makes no request, so that
            // the connection is an idle one, and how much of it is kept is bounded.
            state.head_since = None;
        } else if !bytes.is_empty() && state.requests == 0 && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    fn wrote<T>(&self, result: &Poll<io::Result<T>>) {
        let mut state = self.state();
        state.stuck_since = match result {
            Poll::Ready(_) => None,
            Poll::Pending => state.stuck_since.or_else(|| Some(Instant::now())),
        };
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct InRequest {
    activity: Activity,
    is_beside_others: bool,
    /// What counts it among all that is under way.
    room: Option<(Pass, Visit)>,
}

impl InRequest {
    /// Says whether others of the same connection were under way when it came.
    pub const fn is_beside_others(&self) -> bool {
        self.is_beside_others
    }

    /// Keeps something until it has ended.
    pub fn hold(&mut self, room: Option<(Pass, Visit)>) {
        self.room = room;
    }
}

impl Drop for InRequest {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.requests = state.requests.saturating_sub(1);
        state.quiet_since = Instant::now();
    }
}

/// A connection that tells what it does.
pub struct Watched<S> {
    stream: S,
    activity: Activity,
    running: Arc<Running>,
}

impl<S> Watched<S> {
    /// Watches a connection, and counts its bytes.
    pub const fn new(stream: S, activity: Activity, running: Arc<Running>) -> Self {
        Self { stream, activity, running }
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        self.activity.wrote(result);
        if let Poll::Ready(Ok(count)) = result {
            self.running.metrics.sent.fetch_add(*count as u64, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let arrived = buffer.filled().get(before..).unwrap_or_default();
        self.activity.arrived(arrived);
        self.running.metrics.received.fetch_add(arrived.len() as u64, Ordering::Relaxed);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A body that keeps its request in progress until it is sent or given up.
pub struct Answering {
    body: Body,
    request: InRequest,
    number: u64,
}

impl Answering {
    /// Ties a body to its request.
    pub fn new(body: Body, request: InRequest) -> Self {
        let number = request.activity.begin_answer();
        Self { body, request, number }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.request.activity.state().answers.remove(&self.number);
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let number = self.number;
        // It is asked for more only when the client has taken what was sent before.
        self.request.activity.state().answers.insert(number, Instant::now());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_cut_for_a_slow_head_and_for_long_silence() {
        let limits = Limits::default();
        let activity = Activity::new();
        sleep(Duration::from_secs(11)).await;
        assert!(activity.overdue(&limits).is_some(), "nothing ever came");

        let activity = Activity::new();
        drop(activity.request());
        sleep(Duration::from_secs(11)).await;
        assert_eq!(activity.overdue(&limits), None, "kept alive between requests");
        activity.arrived(b"G");
        sleep(Duration::from_secs(11)).await;
        assert_eq!(activity.overdue(&limits), Some(Overdue::SlowHead), "one that did not end");

        let activity = Activity::new();
        drop(activity.request());
        sleep(Duration::from_secs(76)).await;
        assert_eq!(activity.overdue(&limits), Some(Overdue::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn in_http_2_what_comes_between_requests_is_no_slow_head_and_no_reason_to_stay() {
        let limits = Limits::default();
        for cut in 0..=PREFACE.len() {
            let activity = Activity::new();
            let (first, second) = PREFACE.split_at(cut);
            activity.arrived(first);
            activity.arrived(second);
            sleep(Duration::from_secs(11)).await;
            assert_eq!(activity.overdue(&limits), None, "cut at {cut}");
            drop(activity.request());
            for _ in 0..7 {
                activity.arrived(b"control frames");
                sleep(Duration::from_secs(10)).await;
                assert_eq!(activity.overdue(&limits), None);
            }
            activity.arrived(b"half a head");
            sleep(Duration::from_secs(6)).await;
            assert_eq!(activity.overdue(&limits), Some(Overdue::Idle));
        }
        for start in ["PRI", "PRI * HTTP/1.1", "GET / HTTP/1.1", "PRI * HTTP/2.0\r\n\r\nSN"] {
            let activity = Activity::new();
            activity.arrived(start.as_bytes());
            sleep(Duration::from_secs(11)).await;
            assert_eq!(activity.overdue(&limits), Some(Overdue::SlowHead), "{start}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_cuts_the_connection_whatever_else_it_does() {
        let limits = Limits::default();
        let activity = Activity::new();
        let mut taken = Answering::new(crate::content::bytes("taken"), activity.request());
        let stalled = Answering::new(crate::content::bytes("stalled"), activity.request());
        for _ in 0..3 {
            sleep(Duration::from_secs(50)).await;
            let mut context = Context::from_waker(std::task::Waker::noop());
            let _frame = Pin::new(&mut taken).poll_frame(&mut context);
        }
        assert!(activity.overdue(&limits).is_some());
        drop(stalled);
        assert_eq!(activity.overdue(&limits), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_take_long_but_its_client_must_take_the_answer() {
        let limits = Limits::default();
        let activity = Activity::new();
        let _request = activity.request();
        sleep(Duration::from_secs(10_000)).await;
        assert_eq!(activity.overdue(&limits), None);
        activity.wrote(&Poll::<io::Result<()>>::Pending);
        sleep(Duration::from_secs(121)).await;
        assert!(activity.overdue(&limits).is_some());
        activity.wrote(&Poll::Ready(Ok(())));
        assert_eq!(activity.overdue(&limits), None);
    }
}
