//! Advertisements that nobody should send: malformed, spoofed, replayed and oversized ones
//! change nothing, and are counted.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use ::flowgate::vrrp::{Convention, Interval, MAX_MESSAGE, Packet, Version as Number};
use anyhow::{Context, Result, anyhow, ensure};
use flowgate_tests::{
    flowgate::{self, Flowgate},
    frames::Frames,
    interop::{
        answers::{Answers, EVERY, checksum},
        bed::{Bed, WATCHER},
        capture::Capture,
        keepalived::{Keepalived, State},
        wire::{Cast, Family, HIGH, LOW, Node, Part, VRID, Version, Wire, host, vip},
    },
    link::End,
    steal,
    wait::{eventually, let_pass},
};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

const SOON: Duration = Duration::from_secs(20);
/// Every EtherType (`ETH_P_ALL`).
const ALL: u16 = 3;
const VRRP: u8 = 112;

/// A node that takes part alone, a link to send forged packets on, and who answers.
struct Stage {
    wire: Wire,
    forger: Frames,
    answers: Answers,
    capture: Option<Capture>,
    flowgate: Flowgate,
    bed: Bed,
}

/// How a forged packet is addressed.
#[derive(Clone, Copy)]
struct Head {
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
}

impl Stage {
    fn test(
        cast: Cast,
        family: Family,
        priority: u8,
        test: impl Fn(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let wire = Wire {
            version: Version::V3,
            cast,
            family,
        };
        steal::despite(|| Self::once(wire, priority, &test))
    }

    fn once(wire: Wire, priority: u8, test: impl Fn(&mut Self) -> Result<()>) -> Result<()> {
        let bed = Bed::build(false)?;
        let part = Part {
            priority,
            preempt: true,
        };
        let text = wire.flowgate(part);
        let binary = flowgate::binary()?;
        let mut stage = Self {
            wire,
            forger: Frames::open(End::new(&bed.theirs, "eth0"), ALL, EVERY)?,
            answers: Answers::start(&bed)?,
            capture: Some(Capture::start(bed.port())?),
            flowgate: Flowgate::installed(&binary, bed.scratch(), bed.pins(), &text)?,
            bed,
        };
        test(&mut stage).map_err(|error| {
            let vip = stage.group().map(|group| format!("{group:#}"));
            let log = stage.flowgate.describe();
            anyhow!("{error:#}\n{log}\n{}", vip.unwrap_or_default())
        })
    }

    fn group(&self) -> Result<Value> {
        Ok(self.flowgate.json(&["vip", "status"])?["groups"][0].clone())
    }

    /// Starts Flowgate and waits until it alone answers for the VIPs.
    fn active(&mut self) -> Result<()> {
        self.flowgate.launch(&self.bed.ours)?;
        self.answers.only(Node::Ours, Instant::now(), SOON)
    }

    /// As the peer would send it.
    fn head(&self) -> Head {
        let (family, cast) = (self.wire.family, self.wire.cast);
        Head {
            source: Node::Theirs.address(family),
            destination: match (cast, family) {
                (Cast::Unicast, _) => Node::Ours.address(family),
                (_, Family::V4) => IpAddr::from([224, 0, 0, 18]),
                (_, Family::V6) => "ff02::12".parse().expect("an address"),
            },
            hop_limit: 255,
        }
    }

    /// A message that would be believed, coming with that head.
    fn message(&self, priority: u8, head: Head) -> Vec<u8> {
        let packet = Packet {
            vrid: VRID,
            priority,
            interval: Interval::from_centiseconds(Number::V3, 10).expect("in range"),
            addresses: vec![vip(self.wire.family)],
        };
        let mut buffer = [0; MAX_MESSAGE];
        let way = Convention::PseudoHeader;
        let encoded = packet.encode(head.source, head.destination, way, &mut buffer);
        encoded.expect("it fits").to_vec()
    }

    fn send(&self, head: Head, message: &[u8]) -> Result<()> {
        Ok(self.forger.send(&frame(head, message))?)
    }

    /// Sends that message, which is to be discarded for that reason.
    fn discards(&self, label: &str, head: Head, message: &[u8]) -> Result<()> {
        self.counts(label, || self.send(head, message))
    }

    fn counts(&self, label: &str, send: impl FnOnce() -> Result<()>) -> Result<()> {
        let count =
            || -> Result<u64> { Ok(self.group()?["discarded"][label].as_u64().unwrap_or(0)) };
        let before = count()?;
        send()?;
        let what = format!("it is counted as {label}");
        eventually(SOON, &what, || Ok((count()? > before).then_some(())))?;
        ensure!(count()? == before + 1, "{label} was counted several times");
        Ok(())
    }

    /// Checks that during `work` the node's state stays, and who answers.
    fn unmoved(&self, node: Node, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let (before, begin) = (self.group()?, Instant::now());
        work()?;
        // Whatever it might lead to, it would by then.
        let_pass(self.wire.down(1))?;
        let after = self.group()?;
        for key in ["state", "transitions", "priority"] {
            ensure!(before[key] == after[key], "{key} has changed: {after:#}");
        }
        self.answers.only(node, Instant::now(), SOON)?;
        let span = self.answers.span(begin);
        // Some questions may go unanswered on a busy machine. Whoever gives up the VIPs is silent
        // for three intervals, and more.
        let longest = self.wire.interval() * 2;
        ensure!(
            span.both.is_zero() && span.silence <= longest,
            "{span:?}, not {longest:?}"
        );
        Ok(())
    }

    fn named(&self, words: &str) -> Result<()> {
        let what = format!("status names: {words}");
        eventually(SOON, &what, || {
            let group = self.group()?;
            Ok(group["clashes"].to_string().contains(words).then_some(()))
        })
    }
}

/// An Ethernet frame with an IP packet of VRRP.
fn frame(head: Head, message: &[u8]) -> Vec<u8> {
    let length = message.len() as u16;
    match (head.source, head.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let [_, b, c, d] = destination.octets();
            let mac = match destination.is_multicast() {
                true => [1, 0, 0x5e, b & 0x7f, c, d],
                false => Node::Ours.mac(),
            };
            let mut ip = vec![0x45, 0xc0];
            ip.extend((length + 20).to_be_bytes());
            ip.extend([0, 0, 0, 0, head.hop_limit, VRRP, 0, 0]);
            ip.extend(source.octets());
            ip.extend(destination.octets());
            let sum = checksum(&ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            [&mac[..], &Node::Theirs.mac(), &[8, 0], &ip, message].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let last = destination.octets();
            let mac = match destination.is_multicast() {
                true => [0x33, 0x33, last[12], last[13], last[14], last[15]],
                false => Node::Ours.mac(),
            };
            let mut ip = vec![0x6c, 0, 0, 0];
            ip.extend(length.to_be_bytes());
            ip.extend([VRRP, head.hop_limit]);
            ip.extend(source.octets());
            ip.extend(destination.octets());
            [&mac[..], &Node::Theirs.mac(), &[0x86, 0xdd], &ip, message].concat()
        }
        _ => unreachable!("one version of IP"),
    }
}

/// The message with other bytes, and a checksum that goes with them.
fn with(message: &[u8], changes: &[(usize, u8)], head: Head) -> Vec<u8> {
    let mut changed = message.to_vec();
    for &(at, byte) in changes {
        changed[at] = byte;
    }
    changed[6..8].fill(0);
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut all = [octets(head.source), octets(head.destination)].concat();
    all.extend([0, changed.len() as u8, 0, VRRP]);
    all.extend(&changed);
    let sum = checksum(&all);
    changed[6..8].copy_from_slice(&sum.to_be_bytes());
    changed
}

fn malformed(stage: &mut Stage) -> Result<()> {
    stage.active()?;
    let head = stage.head();
    // Of an owner: whoever believed it would give up the VIPs.
    let good = stage.message(255, head);
    stage.unmoved(Node::Ours, || {
        stage.discards("length", head, &good[..7])?;
        stage.discards("length", head, &[&good[..], &[0; 4]].concat())?;
        stage.discards("length", head, &[&good[..], &[0; 1200]].concat())?;
        stage.discards("version", head, &with(&good, &[(0, 0x41)], head))?;
        stage.discards("type", head, &with(&good, &[(0, 0x32)], head))?;
        stage.discards("no_address", head, &with(&good[..8], &[(3, 0)], head))?;
        stage.discards("interval", head, &with(&good, &[(4, 0), (5, 0)], head))?;
        let mut broken = good.clone();
        broken[9] ^= 1;
        stage.discards("checksum", head, &broken)?;
        // Of another group: none of our business.
        stage.send(head, &with(&good, &[(1, VRID + 1)], head))
    })?;
    // The same thing well formed does move it, or this test would prove nothing.
    // Again and again, as an owner would: what doesn't hear it any more is soon active again.
    eventually(SOON, "it believes an owner", || {
        stage.send(head, &good)?;
        Ok((stage.group()?["state"] == "standby").then_some(()))
    })
}

fn spoofed(stage: &mut Stage) -> Result<()> {
    stage.active()?;
    let head = stage.head();
    let good = stage.message(255, head);
    let far = Head {
        hop_limit: 254,
        ..head
    };
    // Where its advertisements come from.
    let address = match stage.wire.family {
        Family::V4 => Node::Ours.address(Family::V4),
        Family::V6 => link_local(Node::Ours),
    };
    let astray = Head {
        destination: address,
        ..head
    };
    let own = Head {
        source: address,
        ..head
    };
    stage.unmoved(Node::Ours, || {
        stage.discards("hop_limit", far, &good)?;
        let (astray, own) = [astray, own]
            .map(|head| (head, stage.message(255, head)))
            .into();
        match stage.wire.family {
            // IPv4's kernel hands on neither: it has no socket for the one, and takes nothing
            // that claims to come from itself.
            Family::V4 => {
                stage.send(astray.0, &astray.1)?;
                stage.send(own.0, &own.1)
            }
            Family::V6 => {
                stage.discards("destination", astray.0, &astray.1)?;
                stage.send(own.0, &own.1)?;
                stage.named("own address")
            }
        }
    })
}

/// The address that a node's kernel makes of its MAC.
fn link_local(node: Node) -> IpAddr {
    let [a, b, c, d, e, f] = node.mac().map(u16::from);
    let words = [(a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f];
    Ipv6Addr::new(0xfe80, 0, 0, 0, words[0], words[1], words[2], words[3]).into()
}

fn strangers(stage: &mut Stage) -> Result<()> {
    stage.active()?;
    let head = stage.head();
    let stranger = Head {
        source: host(stage.wire.family, WATCHER),
        ..head
    };
    let far = Head {
        hop_limit: 1,
        ..head
    };
    stage.unmoved(Node::Ours, || {
        stage.discards("stranger", stranger, &stage.message(255, stranger))?;
        stage.discards("hop_limit", far, &stage.message(255, far))
    })
}

/// What the node has sent itself, and what a standby's past was.
fn replayed(stage: &mut Stage) -> Result<()> {
    stage.active()?;
    let capture = stage.capture.take().context("captured once")?;
    let frames = capture.finish();
    let is_advert = |frame: &[u8]| match stage.wire.family {
        Family::V4 => frame[12..14] == [8, 0] && frame[23] == VRRP,
        Family::V6 => frame[12..14] == [0x86, 0xdd] && frame[20] == VRRP,
    };
    let own: Vec<_> = frames
        .into_iter()
        .map(|frame| frame.bytes)
        .filter(|bytes| is_advert(bytes))
        .collect();
    ensure!(!own.is_empty(), "it has advertised nothing");
    let head = stage.head();
    stage.unmoved(Node::Ours, || {
        for frame in own.iter().cycle().take(50) {
            stage.forger.send(frame)?;
        }
        for priority in [LOW, 0, 1].into_iter().cycle().take(60) {
            stage.send(head, &stage.message(priority, head))?;
        }
        Ok(())
    })?;
    if stage.wire.family == Family::V6 {
        stage.named("own address")?;
    }
    let received = stage.group()?["received"].as_u64();
    ensure!(received >= Some(60), "{received:?} were received");
    Ok(())
}

/// In fragments, which the kernel puts together.
fn oversized(stage: &mut Stage) -> Result<()> {
    stage.active()?;
    let head = stage.head();
    let (domain, here) = match stage.wire.family {
        Family::V4 => (Domain::IPV4, SocketAddr::new(head.source, 0)),
        Family::V6 => (Domain::IPV6, SocketAddr::new(head.source, 0)),
    };
    let mut message = stage.message(255, head);
    message.resize(MAX_MESSAGE + 100, 0);
    stage.unmoved(Node::Ours, || {
        stage.counts("oversized", || {
            stage.bed.theirs.run(|| {
                let protocol = Protocol::from(i32::from(VRRP));
                let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
                socket.bind_device(Some(b"eth0"))?;
                socket.bind(&here.into())?;
                match stage.wire.family {
                    Family::V4 => socket.set_multicast_ttl_v4(255)?,
                    Family::V6 => socket.set_multicast_hops_v6(255)?,
                }
                let to = SocketAddr::new(head.destination, 0);
                socket.send_to(&message, &to.into())?;
                Ok(())
            })
        })
    })
}

/// Nobody but the active node makes a standby believe that it has resigned.
fn resigned_for(stage: &mut Stage) -> Result<()> {
    let mut keepalived = Keepalived::new(&stage.bed)?;
    let part = Part {
        priority: HIGH,
        preempt: true,
    };
    let text = stage.wire.keepalived(part, &keepalived.fifo());
    keepalived.start(&stage.bed, &text)?;
    eventually(SOON, "keepalived is active", || {
        Ok((keepalived.state()? == Some(State::Master)).then_some(()))
    })?;
    stage.flowgate.launch(&stage.bed.ours)?;
    // A node that has just come up hasn't joined its group yet.
    eventually(SOON, "Flowgate stands by for keepalived", || {
        let group = stage.group()?;
        let follows = group["state"] == "standby" && group["received"].as_u64() > Some(0);
        Ok(follows.then_some(()))
    })?;
    let head = stage.head();
    let far = Head {
        hop_limit: 254,
        ..head
    };
    let stranger = Head {
        source: host(stage.wire.family, WATCHER),
        ..head
    };
    stage.unmoved(Node::Theirs, || {
        stage.discards("hop_limit", far, &stage.message(0, far))?;
        stage.discards("stranger", stranger, &stage.message(0, stranger))
    })?;
    Ok(())
}

macro_rules! tests {
    ($($name:ident: $cast:ident, $family:ident, $priority:ident, $test:ident;)+) => {$(
        #[test]
        fn $name() -> Result<()> {
            Stage::test(Cast::$cast, Family::$family, $priority, $test)
        }
    )+};
}

tests! {
    malformed_ipv4: Multicast, V4, HIGH, malformed;
    malformed_ipv6: Multicast, V6, HIGH, malformed;
    spoofed_ipv4: Multicast, V4, HIGH, spoofed;
    spoofed_ipv6: Multicast, V6, HIGH, spoofed;
    strangers_ipv4: Unicast, V4, HIGH, strangers;
    strangers_ipv6: Unicast, V6, HIGH, strangers;
    replayed_ipv4: Multicast, V4, HIGH, replayed;
    replayed_ipv6: Multicast, V6, HIGH, replayed;
    oversized_ipv4: Multicast, V4, HIGH, oversized;
    oversized_ipv6: Multicast, V6, HIGH, oversized;
    resigned_for_by_others: Unicast, V4, LOW, resigned_for;
}
