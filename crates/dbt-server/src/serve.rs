//! Listening, and stopping without cutting anybody off.

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
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::app::App;
use crate::connection::{Activity, Answering, Watched};
use crate::limits;
use crate::pipeline;

/// How long to wait when no descriptor is left for a new connection.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// How often each connection is looked at.
const WATCH: Duration = Duration::from_secs(1);

/// Held by everything that must end before the server does.
type Alive = mpsc::Sender<Infallible>;

/// Serves until a signal says to stop, and then until the requests under way have ended or the
/// time for that is over. A second signal ends the waiting.
pub async fn serve(app: Arc<App>, listener: TcpListener) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, stopping) = watch::channel(false);
    let (alive, mut ended) = mpsc::channel(1);

    tokio::select! {
        () = accept(&app, &listener, &stopping, &alive) => {}
        () = sweep(&app) => {}
        () = received(&mut terminate, &mut interrupt) => {}
    }
    drop(listener);
    drop(alive);
    stop.send_replace(true);
    tracing::info!("stopping");
    let all_ended = async {
        let _none_is_ever_sent = ended.recv().await;
        // A write goes on after its client has left.
        let _idle = app.writes.acquire_many(app.limits.uploads).await;
    };
    tokio::select! {
        waited = timeout(app.limits.shutdown_grace, all_ended) => {
            if waited.is_err() {
                tracing::warn!("some requests did not end in time and are cut off");
            }
        }
        () = received(&mut terminate, &mut interrupt) => tracing::warn!("told to stop at once"),
    }
    Ok(())
}

async fn received(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Removes what has expired, for ever.
async fn sweep(app: &App) {
    let mut watch = interval(limits::SWEEP);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        watch.tick().await;
        app.storage.sweep(app.clock.now()).await;
    }
}

/// Takes connections for ever.
async fn accept(
    app: &Arc<App>,
    listener: &TcpListener,
    stopping: &watch::Receiver<bool>,
    alive: &Alive,
) {
    let slots = Arc::new(Semaphore::new(connections(app.limits.connections)));
    loop {
        // Without a free slot, new connections wait in the system's queue.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(OUT_OF_DESCRIPTORS).await;
                continue;
            }
        };
        let (app, stopping, alive) = (Arc::clone(app), stopping.clone(), alive.clone());
        tokio::spawn(async move {
            connection(&app, stream, peer, stopping).await;
            drop((slot, alive));
        });
    }
}

/// Returns how many connections may be open, after asking the system for as many descriptors as
/// it gives. Some are kept for the files that are served.
fn connections(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let current = match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        Err(_kept_as_it_was) => getrlimit(Resource::Nofile).current,
    };
    let descriptors = current.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    // A connection that is sending a file has two.
    wanted.min(descriptors / 2).max(1)
}

/// Serves the requests of one connection, until it ends or takes too long.
pub async fn connection(
    app: &Arc<App>,
    stream: TcpStream,
    peer: SocketAddr,
    mut stopping: watch::Receiver<bool>,
) {
    // Small answers must not wait for more to send. If the connection is gone, reading says so.
    let _already_gone = stream.set_nodelay(true);
    let activity = Activity::new();
    let io = TokioIo::new(Watched::new(stream, activity.clone()));
    let service = service_fn(|request: Request<Incoming>| {
        let app = Arc::clone(app);
        let in_request = activity.request();
        async move {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            let response = pipeline::serve(&app, request, peer).await;
            Ok::<_, Infallible>(response.map(|body| Answering::new(body, in_request)))
        }
    });
    let builder = builder();
    let mut serving = pin!(builder.serve_connection(io, service));
    let mut watch = interval(WATCH);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        tokio::select! {
            result = serving.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%peer, %error, "a connection ended in an error");
                }
                return;
            }
            _ = watch.tick() => {
                if let Some(reason) = activity.overdue(&app.limits) {
                    tracing::debug!(%peer, reason, "a connection was cut");
                    return;
                }
            }
            _ = stopping.wait_for(|stopping| *stopping), if !told => {
                told = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Our own watch tells a slow head from a quiet connection; this one does not.
        .header_read_timeout(None)
        .max_buf_size(limits::HEAD_BYTES)
        .max_headers(limits::HEADER_LINES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(u32::try_from(limits::HEAD_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30));
    builder
}
