//! The rules of `NO_PROXY`: which servers are reached without a proxy.

// Addresses alone; what could open something is elsewhere.
use core::net::IpAddr;

/// Says whether one rule means this server: a name with all below it, an address, a range like
/// `10.0.0.0/8`, any of the first two with a port, or `*`. Names are not resolved for this.
pub fn excepts(rule: &str, host: &str, port: u16) -> bool {
    let rule = rule.trim().to_ascii_lowercase();
    if rule == "*" {
        return true;
    }
    if let Some((network, bits)) = rule.split_once('/') {
        return in_range(network, bits, host);
    }
    let (rule, of_port) = split_port(&rule);
    if of_port.is_some_and(|of_port| of_port != port.to_string()) {
        return false;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if let (Ok(rule), Ok(host)) = (rule.parse::<IpAddr>(), host.parse::<IpAddr>()) {
        return rule == host;
    }
    let domain = rule.strip_prefix('*').unwrap_or(rule);
    let domain = domain.strip_prefix('.').unwrap_or(domain);
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let below = || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    !domain.is_empty() && (host == domain || below())
}

/// Splits `host:port`; addresses of version 6 stand in brackets if there is a port.
fn split_port(rule: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = rule.strip_prefix('[').and_then(|rule| rule.split_once(']')) {
        return (address, rest.strip_prefix(':'));
    }
    match rule.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        Some(_) | None => (rule, None),
    }
}

/// Says whether an address is in a range like `10.0.0.0/8`.
fn in_range(network: &str, bits: &str, host: &str) -> bool {
    let (Ok(network), Ok(host)) = (network.parse::<IpAddr>(), host.parse::<IpAddr>()) else {
        return false;
    };
    let Ok(bits) = bits.parse::<u32>() else { return false };
    match (network, host) {
        (IpAddr::V4(network), IpAddr::V4(host)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == host.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(host)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == host.to_bits() & mask
        }
        (IpAddr::V4(_) | IpAddr::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_ranges_and_ports_are_told_apart() {
        for (rule, host, port, excepted) in [
            ("example.com", "id.example.com", 443, true),
            (" .EXAMPLE.com. ", "example.com", 443, true),
            ("example.com", "evilexample.com", 443, false),
            ("example.com:8443", "example.com", 443, false),
            ("example.com:8443", "example.com", 8443, true),
            ("10.0.0.0/8", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("10.0.0.0/8", "ten.example.com", 443, false),
            ("[2001:db8::1]:443", "2001:db8::1", 443, true),
            ("2001:db8::/32", "2001:db8::1", 443, true),
            ("2001:db8::/129", "2001:db8::1", 443, false),
            ("*", "anything", 1, true),
            ("", "example.com", 443, false),
            (".", "example.com", 443, false),
        ] {
            assert_eq!(excepts(rule, host, port), excepted, "{rule} {host}:{port}");
        }
    }
}
