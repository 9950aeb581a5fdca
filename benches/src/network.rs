//! Two networks on this machine, joined by a link with a delay: what is sent into a device in one
//! comes out of a device in the other, later. Other machines are not needed, nor a kernel that can
//! delay by itself; the right to have networks of one's own is. All of it goes with the process.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::measure::Program;
use crate::{Fault, kernel};

/// What the device of each network is called. They do not see each other.
const DEVICE: &str = "link0";

/// The largest packet, as on most networks: it decides how fast a new connection gets.
const MTU: usize = 1500;

/// How many packets may wait in a device, so that a burst loses none.
const QUEUE: &str = "20000";

/// Two networks and the link between them.
pub struct Network {
    near: File,
    far: File,
    around: File,
    delay: Arc<AtomicU64>,
}

impl Network {
    /// Makes both, with these addresses. Fails where this user may not.
    pub fn create(near: IpAddr, far: IpAddr) -> Result<Self, Fault> {
        let around = current()?;
        let (near, near_device) = end(near)?;
        let (far, far_device) = end(far)?;
        let delay = Arc::new(AtomicU64::new(0));
        for (from, to) in [(&near_device, &far_device), (&far_device, &near_device)] {
            let (sender, receiver) = channel();
            let (from, to, delay) = (from.try_clone()?, to.try_clone()?, Arc::clone(&delay));
            thread::spawn(move || drop(take(from, &delay, &sender)));
            thread::spawn(move || drop(deliver(to, &receiver)));
        }
        Ok(Self { near, far, around, delay })
    }

    /// Sets how long it takes to the other end and back.
    pub fn set_round_trip(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros() / 2).unwrap_or(u64::MAX);
        self.delay.store(micros, Ordering::Relaxed);
    }

    /// Does something, and starts programs, at the near end.
    pub fn at_the_near_end<T>(&self, act: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        self.within(&self.near, act)
    }

    /// Does something, and starts programs, at the far end.
    pub fn at_the_far_end<T>(&self, act: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        self.within(&self.far, act)
    }

    fn within<T>(
        &self,
        network: &File,
        act: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        kernel::enter_network(network)?;
        let outcome = act();
        kernel::enter_network(&self.around)?;
        outcome
    }
}

/// Makes one end, in a thread that nobody needs afterwards: the network stays as long as its file
/// is open.
fn end(address: IpAddr) -> Result<(File, File), Fault> {
    let made = thread::spawn(move || -> Result<(File, File), String> {
        let make = || -> Result<(File, File), Fault> {
            kernel::leave_the_network()?;
            let device = kernel::open_device(DEVICE)?;
            let ip = |words: &[&str]| Program::new("ip").args(words).output();
            let (mtu, address) = (MTU.to_string(), format!("{address}/24"));
            ip(&["address", "add", &address, "dev", DEVICE])?;
            ip(&["link", "set", DEVICE, "mtu", &mtu, "txqueuelen", QUEUE, "up"])?;
            ip(&["link", "set", "lo", "up"])?;
            // What one connection learns of the link must not help the next.
            fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1")?;
            Ok((current()?, device))
        };
        make().map_err(|fault| fault.to_string())
    });
    Ok(made.join().map_err(|_panic| "a network could not be made")??)
}

/// Returns the network of this thread.
fn current() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// A packet under way, and when it arrives.
type Packet = (Instant, Vec<u8>);

fn take(mut device: File, delay: &AtomicU64, sender: &Sender<Packet>) -> io::Result<()> {
    let mut buffer = vec![0; 2 * MTU];
    loop {
        let count = device.read(&mut buffer)?;
        let due = Instant::now() + Duration::from_micros(delay.load(Ordering::Relaxed));
        let packet = buffer.get(..count).unwrap_or_default().to_vec();
        if sender.send((due, packet)).is_err() {
            return Ok(());
        }
    }
}

fn deliver(mut device: File, receiver: &Receiver<Packet>) -> io::Result<()> {
    while let Ok((due, packet)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        device.write_all(&packet)?;
    }
    Ok(())
}
