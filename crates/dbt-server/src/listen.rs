//! Taking connections, and the requests of each.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper::{Request, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::connection::{Activity, Answering, Overdue, Watched};
use crate::event_loops::EventLoops;
use crate::limits::Limits;
use crate::log::causes;
use crate::operate::clients::Visit;
use crate::operate::gate::{Full, Pass};
use crate::operate::live::Live;
use crate::operate::metrics::Counter;
use crate::operate::socket::Socket;
use crate::pipeline::{self, Door};
use crate::serve::Alive;

/// How long to wait when no descriptor is left for a new connection.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// How often each connection is looked at.
const WATCH: Duration = Duration::from_secs(1);

/// How many streams of a connection are answered at once.
const STREAMS: u32 = 100;

/// What every connection is given.
pub struct Accepting<'a> {
    /// The settings in force.
    pub live: &'a Arc<Live>,
    /// Whether the server stops.
    pub stopping: watch::Receiver<bool>,
    /// Held until the connection has ended.
    pub alive: Alive,
    /// Where connections from everybody are served.
    pub loops: &'a EventLoops,
}

/// Takes connections from everybody, for ever.
pub async fn public(accepting: &Accepting<'_>, listener: &TcpListener) {
    let descriptors = descriptors();
    let slots = accepting.live.current().running.connections.clone();
    loop {
        let Some((stream, peer)) = next(listener.accept().await).await else { continue };
        let app = accepting.live.current();
        let Some(visit) = visit(&app, peer) else {
            app.running.metrics.count(Counter::TurnedAway, &["connections".into()]);
            continue;
        };
        // A connection that is sending a file has two descriptors.
        slots.set_limit(app.limits.connections.min(descriptors / 2).max(1));
        // Without a free slot this one waits, and those behind it in the system's queue.
        let slot = slots.acquire().await;
        // It waits on the event loop that accepted it, and is to be served by another.
        let Some(stream) = next(stream.into_std()).await else { continue };
        let serving = serving(accepting, (visit, slot), move |live, stopping| async move {
            let Some(stream) = next(TcpStream::from_std(stream)).await else { return };
            encrypted(&live, stream, peer, stopping).await;
        });
        accepting.loops.serve(serving);
    }
}

/// Takes connections for metrics and health, for ever.
pub async fn metrics(accepting: &Accepting<'_>, listener: Option<&TcpListener>) {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        let Some((stream, peer)) = next(listener.accept().await).await else { continue };
        let serving = serving(accepting, (), move |live, stopping| async move {
            connection(|| live.current(), stream, Door::Metrics(peer), stopping).await;
        });
        tokio::spawn(serving);
    }
}

/// Takes connections of commands on this machine, for ever.
pub async fn host(accepting: &Accepting<'_>, socket: Option<&Socket>) {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        let Some((stream, user)) = next(socket.accept().await).await else { continue };
        let serving = serving(accepting, (), move |live, stopping| async move {
            connection(|| live.current(), stream, Door::Host(user), stopping).await;
        });
        tokio::spawn(serving);
    }
}

async fn next<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(error = causes(&error), "a connection could not be accepted");
            sleep(OUT_OF_DESCRIPTORS).await;
            None
        }
    }
}

/// Returns all that is done with a connection. What it holds goes when it has ended.
fn serving<H, F, S>(
    accepting: &Accepting<'_>,
    held: H,
    serve: S,
) -> impl Future<Output = ()> + Send + use<H, F, S>
where
    H: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
    S: FnOnce(Arc<Live>, watch::Receiver<bool>) -> F,
{
    let alive = accepting.alive.clone();
    let serving = serve(Arc::clone(accepting.live), accepting.stopping.clone());
    async move {
        serving.await;
        drop((held, alive));
    }
}

/// Asks the system for as many descriptors as it gives, and returns how many. Some are kept for
/// the files that are served.
fn descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let current = match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        Err(_kept_as_it_was) => getrlimit(Resource::Nofile).current,
    };
    current.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX)
}

/// Begins TLS, where there is a certificate, and serves the requests.
async fn encrypted(
    live: &Arc<Live>,
    stream: TcpStream,
    peer: SocketAddr,
    stopping: watch::Receiver<bool>,
) {
    // Small answers must not wait for more to send. If the connection is gone, reading says so.
    let _already_gone = stream.set_nodelay(true);
    let app = live.current();
    let Some(tls) = app.edge.tls.clone() else {
        return connection(|| live.current(), stream, Door::Network(peer), stopping).await;
    };
    match timeout(app.limits.header_time, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => {
            connection(|| live.current(), stream, Door::Network(peer), stopping).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, error = causes(&error), "TLS did not begin"),
        Err(_late) => cut(&app, "slow-tls"),
    }
}

fn cut(app: &App, reason: &'static str) {
    app.running.metrics.count(Counter::ConnectionsCut, &[reason.into()]);
}

/// Finds room for an answer of a connection that has others under way. Each may hold a file open,
/// so that it counts like a connection of its own: otherwise a client with few of them could have
/// every descriptor.
fn room_beside_others(app: &App, peer: SocketAddr) -> Result<(Pass, Visit), Full> {
    let turned_away = |Full| {
        app.running.metrics.count(Counter::TurnedAway, &["answers".into()]);
        Full
    };
    let pass = app.running.connections.try_acquire().map_err(turned_away)?;
    Ok((pass, visit(app, peer).ok_or(Full).map_err(turned_away)?))
}

/// Counts something that holds descriptors as its client's, unless that has too many. Proxies that
/// are trusted come for many clients, and have no limit.
fn visit(app: &App, peer: SocketAddr) -> Option<Visit> {
    let is_proxy = app.edge.proxies.trust(peer.ip());
    let limit = if is_proxy { 0 } else { app.limits.connections_per_client };
    app.running.clients.visit(peer.ip(), limit)
}

/// Serves the requests of one connection, until it ends or takes too long. Each request has the
/// settings that are `current` when it comes.
pub async fn connection(
    current: impl Fn() -> Arc<App>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    door: Door,
    mut stopping: watch::Receiver<bool>,
) {
    let app = current();
    let activity = Activity::new();
    let io = TokioIo::new(Watched::new(stream, activity.clone(), Arc::clone(&app.running)));
    let service = service_fn(|request: Request<Incoming>| {
        let app = current();
        let mut in_request = activity.request();
        let room = match door {
            Door::Network(peer) if in_request.is_beside_others() => {
                room_beside_others(&app, peer).map(Some)
            }
            Door::Network(_) | Door::Host(_) | Door::Metrics(_) => Ok(None),
        };
        let is_turned_away = room.is_err();
        in_request.hold(room.ok().flatten());
        async move {
            let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            if is_turned_away {
                request.extensions_mut().insert(pipeline::TurnedAway);
            }
            let response = pipeline::serve(&app, request, door).await;
            Ok::<_, Infallible>(response.map(|body| Answering::new(body, in_request)))
        }
    });
    let builder = builder(&app.limits);
    let mut serving = pin!(builder.serve_connection(io, service));
    let mut watch = interval(WATCH);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    let mut leaving: Option<Instant> = None;
    loop {
        tokio::select! {
            result = serving.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(?door, error = causes(error.as_ref()), "a connection ended in an error");
                }
                return;
            }
            _ = watch.tick() => match (activity.overdue(&app.limits), leaving) {
                (None, _) => {}
                (Some(Overdue::Idle), None) => {
                    // Who is told so sends no request that nobody would answer.
                    cut(&app, Overdue::Idle.label());
                    leaving = Some(Instant::now());
                    serving.as_mut().graceful_shutdown();
                }
                (Some(Overdue::Idle), Some(since))
                    if since.elapsed() <= app.limits.header_time => {}
                (Some(Overdue::Idle), Some(_)) => return,
                (Some(reason), _) => {
                    tracing::debug!(?door, reason = reason.label(), "a connection was cut");
                    return cut(&app, reason.label());
                }
            },
            _ = stopping.wait_for(|stopping| *stopping), if !told => {
                told = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Our own watch tells a slow head from a quiet connection; this one does not.
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.header_lines);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30));
    builder
}
