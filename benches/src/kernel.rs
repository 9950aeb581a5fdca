//! What only the operating system's own interface can do: what a process used, networks of our
//! own, and a network device that is a file.
//!
//! The only file of what is never shipped with `unsafe` code.

#![expect(unsafe_code, reason = "a few system calls that no safe interface has")]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// Waits for a child, and returns how it ended and the processor time of it and of what it waited
/// for.
pub fn wait(child: Child) -> io::Result<(ExitStatus, Duration)> {
    let id = child.id().cast_signed();
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to places of ours, which live as long as the call.
        if unsafe { libc::wait4(id, &raw mut status, 0, usage.as_mut_ptr()) } == id {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: `rusage` is numbers, of which any bits are some.
    let usage = unsafe { usage.assume_init() };
    let time = |value: libc::timeval| {
        let part = |number: i64| u64::try_from(number).unwrap_or_default();
        Duration::from_secs(part(value.tv_sec)) + Duration::from_micros(part(value.tv_usec))
    };
    Ok((ExitStatus::from_raw(status), time(usage.ru_utime) + time(usage.ru_stime)))
}

/// Returns the processor time of a running process so far, of all of its threads.
pub fn used_by(process: u32) -> io::Result<Duration> {
    let mut clock = 0;
    // SAFETY: the pointer is to a place of ours, which lives as long as the call.
    let found = unsafe { libc::clock_getcpuclockid(process.cast_signed(), &raw mut clock) };
    if found != 0 {
        return Err(io::Error::from_raw_os_error(found));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as above.
    done(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    let seconds = u64::try_from(time.tv_sec).map_err(io::Error::other)?;
    Ok(Duration::from_secs(seconds)
        + Duration::from_nanos(u64::try_from(time.tv_nsec).map_err(io::Error::other)?))
}

/// Gives the calling thread a network of its own, with nothing in it but an idle loopback.
pub fn leave_the_network() -> io::Result<()> {
    // SAFETY: no pointers; only the calling thread's view of the network changes.
    done(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Puts the calling thread, and what it starts, into a network.
pub fn enter_network(network: &File) -> io::Result<()> {
    // SAFETY: no pointers; the file is open as long as it is borrowed.
    done(unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Opens a network device in the calling thread's network: what is read from the file was sent
/// through the device, what is written to it arrives there.
pub fn open_device(name: &str) -> io::Result<File> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: `ifreq` is numbers and arrays of them, of which any bits are some.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    let room = request.ifr_name.len() - 1;
    for (place, byte) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *place = byte.cast_signed();
    }
    // Packets as they are, without a header of the device's.
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: the request is of the form that this call reads and writes.
    done(unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(device)
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
