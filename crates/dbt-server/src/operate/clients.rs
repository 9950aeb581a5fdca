//! How much one client does: its connections, and how often it asks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many clients are told apart. Further ones share a place, so that memory is bounded.
const TOLD_APART: usize = 50_000;

/// Over how long requests are counted.
const MINUTE: Duration = Duration::from_mins(1);

/// A client: an address, or what somebody with IPv6 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    One(IpAddr),
    Others,
}

impl Key {
    fn of(address: IpAddr) -> Self {
        Self::One(match address.to_canonical() {
            IpAddr::V6(address) => {
                // Who has one address of these has all of them.
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// What a client does.
#[derive(Clone, Copy, Debug)]
struct Client {
    connections: u32,
    /// Until when its requests so far take, if it asks as often as it may.
    spent_until: Instant,
}

/// What all clients do. Clones look at the same.
#[derive(Clone, Debug, Default)]
pub struct Clients(Arc<Mutex<HashMap<Key, Client>>>);

/// A connection of a client, until this goes.
#[derive(Debug)]
pub struct Visit {
    clients: Clients,
    key: Key,
}

impl Clients {
    /// Counts a connection, or says that the client has too many. 0 is no limit.
    pub fn visit(&self, address: IpAddr, limit: u32) -> Option<Visit> {
        let now = Instant::now();
        let mut clients = self.locked();
        let key = place(&mut clients, address, now);
        let client = clients.entry(key).or_insert(Client { connections: 0, spent_until: now });
        if limit > 0 && client.connections >= limit {
            return None;
        }
        client.connections += 1;
        Some(Visit { clients: self.clone(), key })
    }

    /// Counts a request, or says when the client may ask again. 0 is no limit.
    pub fn ask(&self, address: IpAddr, per_minute: u32) -> Result<(), Duration> {
        if per_minute == 0 {
            return Ok(());
        }
        let now = Instant::now();
        let mut clients = self.locked();
        let key = place(&mut clients, address, now);
        let client = clients.entry(key).or_insert(Client { connections: 0, spent_until: now });
        let until = client.spent_until.max(now) + MINUTE / per_minute;
        let ahead = until.duration_since(now);
        if ahead > MINUTE {
            return Err(ahead.saturating_sub(MINUTE));
        }
        client.spent_until = until;
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Key, Client>> {
        // Every change is a single number, so a panic elsewhere left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds the place of a client, after making room if there is none.
fn place(clients: &mut HashMap<Key, Client>, address: IpAddr, now: Instant) -> Key {
    let key = Key::of(address);
    if clients.len() >= TOLD_APART && !clients.contains_key(&key) {
        clients.retain(|_key, client| client.connections > 0 || client.spent_until > now);
        if clients.len() >= TOLD_APART {
            return Key::Others;
        }
    }
    key
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut clients = self.clients.locked();
        let Some(client) = clients.get_mut(&self.key) else { return };
        client.connections = client.connections.saturating_sub(1);
        if client.connections == 0 && client.spent_until <= Instant::now() {
            clients.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_client_has_so_many_connections_and_no_more() {
        let clients = Clients::default();
        let one = address("192.0.2.1");
        let first = clients.visit(one, 2).unwrap();
        let _second = clients.visit(one, 2).unwrap();
        assert!(clients.visit(one, 2).is_none());
        assert!(clients.visit(address("::ffff:192.0.2.1"), 2).is_none(), "the same client");
        assert!(clients.visit(address("192.0.2.2"), 2).is_some());
        assert!(clients.visit(one, 0).is_some(), "no limit");
        drop(first);
        assert!(clients.visit(one, 2).is_some());
        let _six = clients.visit(address("2001:db8::1"), 1).unwrap();
        assert!(clients.visit(address("2001:db8::2"), 1).is_none(), "of the same network");
        assert!(clients.visit(address("2001:db8:0:1::1"), 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_ask_so_often_in_a_minute_and_is_told_when_again() {
        let clients = Clients::default();
        let one = address("192.0.2.1");
        for _request in 0..60 {
            assert_eq!(clients.ask(one, 60), Ok(()));
        }
        assert_eq!(clients.ask(one, 60), Err(Duration::from_secs(1)));
        assert_eq!(clients.ask(address("192.0.2.2"), 60), Ok(()));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(clients.ask(one, 60), Ok(()));
        assert_eq!(clients.ask(one, 60), Ok(()));
        assert!(clients.ask(one, 60).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_who_is_gone_makes_room() {
        let clients = Clients::default();
        for number in 0..u32::try_from(TOLD_APART).unwrap() {
            let _asked = clients.ask(IpAddr::V4(number.into()), 1);
        }
        let (late, later) = (address("203.0.113.1"), address("203.0.113.2"));
        assert_eq!(clients.ask(late, 1), Ok(()));
        assert!(clients.ask(later, 1).is_err(), "they share a place");
        assert_eq!(clients.locked().len(), TOLD_APART + 1);
        tokio::time::sleep(MINUTE).await;
        assert_eq!(clients.ask(later, 1), Ok(()));
        assert_eq!(clients.locked().len(), 1);
    }
}
