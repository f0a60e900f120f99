//! Nodes on a wire, for tests.

use std::{
    net::IpAddr,
    num::NonZeroU8,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use lb_common::abi;

use super::{
    Addresses, Announced, Command, Convention, GroupSetup, GroupStatus, Interval, Nanos, Reason,
    Report, Runner, Settings, State, Version, group::clock, lease,
};
use crate::{
    datapath::{Lease, memory::Shared},
    net::testbed::{DEADLINE, Namespace},
};

pub const VRID: u8 = 51;
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(1);
const ETH0: &str = "eth0";

/// How nodes talk.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub version: Version,
    pub ipv6: bool,
    pub multicast: bool,
}

impl Way {
    pub const PLAIN: Self = Self::new(Version::V3, false, true);
    pub const ALL: [Self; 6] = [
        Self::new(Version::V2, false, true),
        Self::new(Version::V2, false, false),
        Self::PLAIN,
        Self::new(Version::V3, false, false),
        Self::new(Version::V3, true, true),
        Self::new(Version::V3, true, false),
    ];

    const fn new(version: Version, ipv6: bool, multicast: bool) -> Self {
        Self {
            version,
            ipv6,
            multicast,
        }
    }

    /// The address of the host with that number, 1 or 11.
    pub fn address(self, host: u8) -> IpAddr {
        let address = match (self.ipv6, self.multicast) {
            (false, _) => format!("10.0.0.{host}"),
            // By the MAC of the wire's end.
            (true, true) => format!("fe80::ff:fe00:{host}"),
            (true, false) => format!("2001:db8::{host}"),
        };
        address.parse().expect("an address")
    }

    pub fn vip(self) -> IpAddr {
        let vip = if self.ipv6 {
            "2001:db8::ff"
        } else {
            "203.0.113.10"
        };
        vip.parse().expect("an address")
    }

    pub fn interval(self) -> Interval {
        let duration = match self.version {
            Version::V2 => Duration::from_secs(1),
            // A lease must outlast the longest time that a busy machine keeps a thread waiting.
            Version::V3 => Duration::from_millis(500),
        };
        Interval::new(self.version, duration).expect("an interval")
    }

    pub fn setup(self, host: u8, priority: u8, ifindex: u32, lease: Lease) -> GroupSetup {
        let settings = Settings {
            interval: self.interval(),
            priority: NonZeroU8::new(priority).expect("not 0"),
            address: self.address(host),
            preempt: true,
            preempt_delay: 0,
            announcements: 3,
            announce_every: 1_000_000,
        };
        let other = self.address(12 - host);
        let address = self.vip();
        GroupSetup {
            name: "site".into(),
            interface: ETH0.into(),
            ifindex,
            vrid: VRID,
            settings,
            convention: Convention::PseudoHeader,
            peers: if self.multicast { vec![] } else { vec![other] },
            addresses: Addresses {
                advertised: vec![address],
                announced: vec![Announced { address, ifindex }],
            },
            lease,
        }
    }
}

/// A runner with one group, and what it has told.
pub struct Node {
    pub runner: Runner,
    pub reports: Receiver<Report>,
    pub lease: Lease,
    way: Way,
}

pub fn a_lease() -> Lease {
    Lease::new(Arc::new(Shared::<abi::Lease>::zeroed(2)), 1)
}

/// The kernel gives link-local addresses in its own time.
fn await_address(namespace: &Namespace, address: IpAddr) {
    let end = Instant::now() + DEADLINE;
    let wanted = format!(" {address}/");
    loop {
        let found = namespace.ip_ask("address show dev eth0 -tentative");
        if found.contains(&wanted) {
            return;
        }
        assert!(Instant::now() < end, "no {address} in {found}");
        std::thread::sleep(POLL);
    }
}

/// The number of the wire's end.
pub fn ifindex(namespace: &Namespace) -> u32 {
    let line = namespace.ip_ask("-oneline link show dev eth0");
    let number = line
        .split(':')
        .next()
        .and_then(|number| number.parse().ok());
    number.expect("a number in front")
}

impl Node {
    /// In sync, so it may preempt.
    pub fn start(namespace: &Namespace, way: Way, host: u8, priority: u8) -> Self {
        let node = Self::start_with(namespace, way, host, priority, |_| {});
        node.runner.command(Command::InSync(true));
        node
    }

    pub fn start_with(
        namespace: &Namespace,
        way: Way,
        host: u8,
        priority: u8,
        change: impl FnOnce(&mut GroupSetup),
    ) -> Self {
        await_address(namespace, way.address(host));
        let lease = a_lease();
        let mut setup = way.setup(host, priority, ifindex(namespace), lease.clone());
        change(&mut setup);
        let (tell, reports) = channel();
        let start = || Runner::start(vec![setup], move |report| drop(tell.send(report)));
        let runner = namespace.enter(|| start().expect("a runner"));
        Self {
            runner,
            reports,
            lease,
            way,
        }
    }

    /// Waits for the report that `wanted` takes.
    pub fn report<T>(&self, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.reports.recv_timeout(left) {
                Ok(report) => match wanted(&report) {
                    Some(it) => return it,
                    None => seen.push(report),
                },
                Err(_) => panic!("not within {DEADLINE:?}; seen: {seen:#?}"),
            }
        }
    }

    /// Waits until it is in `state`, and says why it is.
    pub fn becomes(&self, wanted: State) -> Reason {
        self.report(|report| match *report {
            Report::Became { state, reason, .. } if state == wanted => Some(reason),
            _ => None,
        })
    }

    pub fn status(&self) -> GroupStatus {
        self.runner.status().remove(0)
    }

    /// Waits until `found` says so of its status.
    pub fn until(&self, found: impl Fn(&GroupStatus) -> bool) -> GroupStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            let status = self.status();
            if found(&status) {
                return status;
            }
            assert!(Instant::now() < end, "not within {DEADLINE:?}: {status:#?}");
            std::thread::sleep(POLL);
        }
    }

    /// Waits until it holds the VIPs; not later than which time it took them.
    pub fn held_since(&self) -> Nanos {
        let end = Instant::now() + DEADLINE;
        while self.lease.deadline() == 0 {
            assert!(Instant::now() < end, "no lease within {DEADLINE:?}");
            std::thread::sleep(POLL);
        }
        self.lease.deadline() - lease(self.way.interval())
    }

    pub fn holds(&self) -> bool {
        clock() < self.lease.deadline()
    }
}
