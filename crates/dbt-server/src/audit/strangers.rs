//! What strangers cause: counted by the minute, what they asked and the network they came from,
//! so that nobody fills the record who may not write to the repository.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::Outcome;
use crate::action::Kind;

/// How many failed sign-ins of a minute are recorded each by itself.
const SIGN_INS: u32 = 60;

/// How many networks of a minute are told apart.
const NETWORKS: usize = 64;

/// The network of those that are too many to be told apart.
const OTHERS: &str = "others";

const MINUTE: Duration = Duration::from_mins(1);

/// The counts of the current minute.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    began: Option<SystemTime>,
    sign_ins: u32,
    counts: BTreeMap<(&'static str, &'static str, String), u64>,
}

impl Strangers {
    /// Counts a request without a credential that needed one.
    pub(super) fn refused(&mut self, kind: Kind, peer: &str) {
        self.count("refused without a credential", kind, peer);
    }

    /// Says whether a failed sign-in is recorded by itself; otherwise it is counted.
    pub(super) fn may_record_sign_in(&mut self, kind: Kind, peer: &str, now: SystemTime) -> bool {
        self.began.get_or_insert(now);
        self.sign_ins += 1;
        if self.sign_ins > SIGN_INS {
            self.count("further failed sign-ins", kind, peer);
        }
        self.sign_ins <= SIGN_INS
    }

    /// Returns the counts when a minute is over, or anyway, and begins anew.
    pub(super) fn counted(
        &mut self,
        now: SystemTime,
        anyway: bool,
    ) -> Vec<(&'static str, Outcome)> {
        let began = *self.began.get_or_insert(now);
        // A clock that went back ends the minute too.
        if !anyway && now.duration_since(began).is_ok_and(|passed| passed < MINUTE) {
            return Vec::new();
        }
        let counts = std::mem::take(self).counts.into_iter();
        counts
            .map(|((effect, action, network), count)| {
                (action, Outcome::Counted { effect, count, network })
            })
            .collect()
    }

    fn count(&mut self, effect: &'static str, kind: Kind, peer: &str) {
        let key = (effect, kind.as_str(), network(peer));
        if self.counts.len() >= NETWORKS && !self.counts.contains_key(&key) {
            *self.counts.entry((effect, kind.as_str(), OTHERS.to_owned())).or_default() += 1;
        } else {
            *self.counts.entry(key).or_default() += 1;
        }
    }
}

/// Returns the network that somebody usually has.
fn network(peer: &str) -> String {
    match peer.parse().map(|ip: IpAddr| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, c, _host] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Ok(IpAddr::V6(ip)) => {
            let [a, b, c, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
        Err(_none) => OTHERS.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn lines(counted: Vec<(&'static str, Outcome)>) -> Vec<String> {
        counted
            .into_iter()
            .map(|(action, outcome)| match outcome {
                Outcome::Counted { effect, count, network } => {
                    format!("{action} {effect} {network} {count}")
                }
                Outcome::Attempted
                | Outcome::Done { .. }
                | Outcome::Failed { .. }
                | Outcome::Refused { .. }
                | Outcome::Noted { .. } => panic!("{outcome:?}"),
            })
            .collect()
    }

    #[test]
    fn refusals_are_counted_by_minute_kind_and_network() {
        let mut strangers = Strangers::default();
        assert!(strangers.counted(at(0), false).is_empty());
        for peer in ["192.0.2.1", "192.0.2.77", "::ffff:192.0.2.3", "2001:db8:1:2::9"] {
            strangers.refused(Kind::Read, peer);
        }
        strangers.refused(Kind::Write, "192.0.2.1");
        assert!(strangers.counted(at(59), false).is_empty());
        assert_eq!(
            lines(strangers.counted(at(60), false)),
            [
                "read refused without a credential 192.0.2.0/24 3",
                "read refused without a credential 2001:db8:1::/48 1",
                "write refused without a credential 192.0.2.0/24 1",
            ]
        );
        assert!(strangers.counted(at(120), true).is_empty());
    }

    #[test]
    fn whoever_comes_from_everywhere_makes_no_more_records_than_networks_are_told_apart() {
        let mut strangers = Strangers::default();
        for host in 0..10_000_u32 {
            let peer = IpAddr::from(u32::to_be_bytes(host << 8)).to_string();
            strangers.refused(Kind::Read, &peer);
            let _counted = strangers.may_record_sign_in(Kind::Write, &peer, at(1));
        }
        let counted = strangers.counted(at(61), true);
        assert!(counted.len() <= NETWORKS + 2, "{}", counted.len());
        let sum: u64 = counted
            .iter()
            .map(|(_action, outcome)| match outcome {
                Outcome::Counted { count, .. } => *count,
                Outcome::Attempted
                | Outcome::Done { .. }
                | Outcome::Failed { .. }
                | Outcome::Refused { .. }
                | Outcome::Noted { .. } => 0,
            })
            .sum();
        assert_eq!(sum, 20_000 - u64::from(SIGN_INS), "none is forgotten");
    }

    #[test]
    fn failed_sign_ins_are_recorded_until_there_are_many() {
        let mut strangers = Strangers::default();
        let mut may = |now| strangers.may_record_sign_in(Kind::Write, "192.0.2.1", at(now));
        assert_eq!((0..100).filter(|_number| may(1)).count(), SIGN_INS as usize);
        let counted = lines(strangers.counted(at(70), false));
        assert_eq!(counted, ["write further failed sign-ins 192.0.2.0/24 40"]);
        assert!(strangers.may_record_sign_in(Kind::Write, "192.0.2.1", at(71)));
    }
}
