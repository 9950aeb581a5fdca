//! Serving until the order to stop, and stopping without cutting anybody off.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::app::App;
use crate::event_loops::EventLoops;
use crate::limits;
use crate::listen::{self, Accepting};
use crate::operate::live::Live;
use crate::operate::probes;
use crate::operate::socket::Socket;
use crate::tokens;

/// Held by everything that must end before the server does.
pub type Alive = mpsc::Sender<Infallible>;

/// How many orders wait to be carried out.
const ORDERS: usize = 4;

/// Where requests come from.
pub struct Listeners {
    /// For everybody.
    pub public: TcpListener,
    /// For metrics and health alone.
    pub metrics: Option<TcpListener>,
    /// For commands on this machine.
    pub host: Option<Socket>,
}

/// Serves until a signal says to stop, and then until the requests under way have ended or the
/// time for that is over. A second signal ends the waiting.
pub async fn serve(live: Arc<Live>, listeners: Listeners, signals: Signals) -> io::Result<()> {
    let Signals { stop: mut signals, hangup } = signals;
    let (stop, stopping) = watch::channel(false);
    let (alive, mut ended) = mpsc::channel(1);
    let mut beside = beside(&live, hangup).await;
    let running = Arc::clone(&live.current().running);

    let loops = EventLoops::start()?;
    let accepting = Accepting { live: &live, stopping, alive, loops: &loops };
    let accept = async {
        tokio::join!(
            listen::public(&accepting, &listeners.public),
            listen::metrics(&accepting, listeners.metrics.as_ref()),
            listen::host(&accepting, listeners.host.as_ref()),
        )
    };
    let told = async {
        let how = signals.next().await;
        running.health.stop();
        // Who stops it by hand has nobody in front of it that needs time.
        if how == Order::Terminate {
            tracing::info!("told to stop; not ready any more");
            tokio::select! {
                () = sleep(live.current().limits.drain_delay) => {}
                _again = signals.next() => {}
            }
        }
    };
    tokio::select! {
        _never = accept => {}
        () = told => {}
    }
    drop(accepting);
    drop(listeners);
    stop.send_replace(true);
    tracing::info!("stopping");
    let app = live.current();
    let all_ended = async {
        let _none_is_ever_sent = ended.recv().await;
        // A write goes on after its client has left.
        app.writes.idle().await;
    };
    tokio::select! {
        waited = timeout(app.limits.shutdown_grace, all_ended) => {
            if waited.is_err() {
                tracing::warn!("some requests did not end in time and are cut off");
            }
        }
        _again = signals.next() => tracing::warn!("told to stop at once"),
    }
    beside.abort_all();
    keep_uses_once(&app).await;
    app.audit.finish().await;
    Ok(())
}

/// Starts what goes on beside the requests.
async fn beside(live: &Arc<Live>, hangup: Signal) -> JoinSet<()> {
    let mut beside = JoinSet::new();
    // Nobody is told that all is well before somebody has looked.
    probes::look(&live.current()).await;
    let (orders, taken) = mpsc::channel(ORDERS);
    live.current().running.take_orders(orders);
    beside.spawn(Arc::clone(live).govern(hangup, taken));
    let audit = Arc::clone(&live.current().audit);
    beside.spawn(async move { audit.keep().await });
    let one = Arc::clone(live);
    beside.spawn(async move { probes::watch(&one).await });
    let one = Arc::clone(live);
    beside.spawn(async move { sweep(&one).await });
    let one = Arc::clone(live);
    beside.spawn(async move { count(&one).await });
    let one = Arc::clone(live);
    beside.spawn(async move { keep_uses(&one).await });
    beside
}

/// Keeps when tokens were last used, for ever.
async fn keep_uses(live: &Live) {
    let mut watch = interval(tokens::USE_KEPT_TO);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        watch.tick().await;
        keep_uses_once(&live.current()).await;
    }
}

async fn keep_uses_once(app: &App) {
    if !app.edge.read_only {
        app.tokens.keep_uses().await;
        app.users.keep_seen().await;
    }
}

/// Removes what has expired, for ever.
async fn sweep(live: &Live) {
    let mut watch = interval(limits::SWEEP);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        watch.tick().await;
        let app = live.current();
        app.storage.sweep(app.clock.now()).await;
    }
}

/// Counts what lies in the tree, for ever: whenever it is not known, and now and then because of
/// what comes by hand.
async fn count(live: &Live) {
    loop {
        let storage = Arc::clone(&live.current().storage);
        // An error is told of there. Whatever it was, it is not looked at again and again.
        let _counted_or_late = timeout(limits::COUNT, storage.uncounted()).await;
        storage.count().await;
    }
}

/// How the order to stop was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Terminate,
    Interrupt,
}

/// The signals that mean something here.
pub struct Signals {
    stop: Stop,
    hangup: Signal,
}

struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes them from now on. The first process of a container is ended by no signal that it
    /// does not take, and any other by one that asks for new settings.
    pub fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let stop = Stop { terminate, interrupt: signal(SignalKind::interrupt())? };
        Ok(Self { stop, hangup: signal(SignalKind::hangup())? })
    }
}

impl Stop {
    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.terminate.recv() => Order::Terminate,
            _ = self.interrupt.recv() => Order::Interrupt,
        }
    }
}
