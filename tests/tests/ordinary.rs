//! With the program on its interface, the load balancer still is an ordinary host.
//!
//! ```text
//!   client ─────── router ─────── front (a switch) ──┬──────────┬─────────┐
//!                                                    lb         web1      web2
//!                                                    native XDP, IPv4 and IPv6
//! ```
//!
//! Each step is something that any host can do, and names the counters that show that
//! the packets went past the program.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use flowgate_tests::{
    counters,
    frames::Frames,
    link::End,
    netns::{Namespace, run},
    ping::ping,
    site::{Description, Family, Network, Site, Way, Wiring},
    stream,
    wait::eventually,
};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};
use socket2::{Domain, Protocol, Socket, Type};

const SOON: Duration = Duration::from_secs(5);
/// What isn't there by then is sent again.
const AGAIN: Duration = Duration::from_millis(200);
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

type Step = fn(&Site) -> Result<()>;

/// What is done, and the counters that rise.
const STEPS: [(&str, Step, &[&str]); 7] = [
    ("ssh to the node", ssh, &["pass_not_vip"]),
    ("pings", pings, &["pass_not_vip"]),
    ("the node's own connections", outgoing, &["pass_not_vip"]),
    (
        "addresses are resolved",
        resolution,
        &["pass_arp", "pass_neighbour"],
    ),
    ("multicast", multicast, &["pass_group"]),
    ("an unknown EtherType", unknown_type, &["pass_protocol"]),
    ("VRRP", vrrp, &["pass_group"]),
];

#[test]
fn an_ordinary_host() -> Result<()> {
    // The one site whose load balancer has addresses of both families.
    let both = Description {
        way: Way::Ipip,
        vip: Family::V4,
        servers: Family::V6,
        wiring: Wiring::Switches,
    };
    Site::test(both, |site| {
        let status = site.flowgate.json(&["status"])?;
        let mode = &status["interfaces"][0]["mode"];
        ensure!(*mode == "native", "attached: {mode}");
        for (name, step, labels) in STEPS {
            let before = counters::of_verdicts(&site.flowgate)?;
            step(site).context(name)?;
            let after = counters::of_verdicts(&site.flowgate)?;
            for &label in labels {
                ensure!(after[label] > before[label], "{name}: {label} didn't rise");
            }
            let dropped: Vec<_> = after
                .iter()
                .filter(|(label, count)| label.starts_with("drop_") && **count > 0)
                .collect();
            ensure!(dropped.is_empty(), "{name}: {dropped:?}");
        }
        Ok(())
    })
}

fn node(family: Family) -> IpAddr {
    family.host(Network::Front, 2)
}

fn ssh(site: &Site) -> Result<()> {
    FAMILIES
        .into_iter()
        .try_for_each(|family| stream::echoes(&site.lb, &site.client, (node(family), 22).into()))
}

fn outgoing(site: &Site) -> Result<()> {
    FAMILIES.into_iter().try_for_each(|family| {
        let client = family.host(Network::Clients, 10);
        stream::echoes(&site.client, &site.lb, (client, 443).into())
    })
}

fn pings(site: &Site) -> Result<()> {
    for family in FAMILIES {
        ping(&site.client, node(family), 1400)?;
        ping(&site.lb, family.host(Network::Clients, 10), 1400)?;
    }
    Ok(())
}

fn resolution(site: &Site) -> Result<()> {
    for host in [&site.lb, &site.router] {
        for family in ["-4", "-6"] {
            let mut ip = host.command("ip")?;
            run(ip.args([family, "neigh", "flush", "all"]))?;
        }
    }
    pings(site)?;
    for family in FAMILIES {
        let mut ip = site.router.command("ip")?;
        let known = run(ip.args(["neigh", "show", &node(family).to_string()]))?;
        ensure!(known.contains("02:00:00:00:00:02"), "{family:?}: {known:?}");
    }
    Ok(())
}

fn multicast(site: &Site) -> Result<()> {
    let (v4, v6) = (
        Ipv4Addr::new(239, 1, 2, 3),
        "ff05::123".parse::<Ipv6Addr>()?,
    );
    let at = |any: IpAddr, port: u16| site.lb.run(|| UdpSocket::bind((any, port)));
    let member = at(Ipv4Addr::UNSPECIFIED.into(), 5004)?;
    let (own, router) = (v4_of(2)?, v4_of(1)?);
    member.join_multicast_v4(&v4, &own)?;
    let sender = site
        .router
        .run(|| Socket::new(Domain::IPV4, Type::DGRAM, None))?;
    sender.set_multicast_if_v4(&router)?;
    arrives(&sender.into(), (v4, 5004).into(), &member)?;

    let member = at(Ipv6Addr::UNSPECIFIED.into(), 5006)?;
    member.join_multicast_v6(&v6, index(&site.lb)?)?;
    let sender = site
        .router
        .run(|| Socket::new(Domain::IPV6, Type::DGRAM, None))?;
    sender.set_multicast_if_v6(index(&site.router)?)?;
    arrives(&sender.into(), (v6, 5006).into(), &member)
}

/// Sends to a group until a member has it.
fn arrives(sender: &UdpSocket, group: SocketAddr, member: &UdpSocket) -> Result<()> {
    const WORD: &[u8] = b"to all of the group";
    member.set_read_timeout(Some(AGAIN))?;
    eventually(SOON, &format!("a member of {group} receives"), || {
        sender.send_to(WORD, group)?;
        let mut buffer = [0; 128];
        match member.recv(&mut buffer) {
            // A raw socket of IPv4 tells the IP header too.
            Ok(length) => Ok(buffer[..length].ends_with(WORD).then_some(())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
}

fn vrrp(site: &Site) -> Result<()> {
    let group = Ipv4Addr::new(224, 0, 0, 18);
    let open = |host: &Namespace| {
        let vrrp = Some(Protocol::from(112));
        host.run(|| Socket::new(Domain::IPV4, Type::RAW, vrrp))
    };
    let member = open(&site.lb)?;
    member.join_multicast_v4(&group, &v4_of(2)?)?;
    let sender = open(&site.router)?;
    sender.set_multicast_if_v4(&v4_of(1)?)?;
    sender.set_multicast_ttl_v4(255)?;
    arrives(&sender.into(), (group, 0).into(), &member.into())
}

fn unknown_type(site: &Site) -> Result<()> {
    /// IEEE 802's EtherType for local experiments.
    const EXPERIMENT: u16 = 0x88b5;
    let receiver = Frames::open(End::new(&site.lb, "front"), EXPERIMENT, AGAIN)?;
    let sender = Frames::open(End::new(&site.router, "front"), EXPERIMENT, AGAIN)?;
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(EXPERIMENT.to_be_bytes());
    frame.extend((0..100).map(|at| at as u8));
    eventually(SOON, "a frame of an unknown type arrives", || {
        sender.send(&frame)?;
        Ok(receiver.next()?.filter(|got| *got == frame).map(drop))
    })
}

fn v4_of(number: u8) -> Result<Ipv4Addr> {
    match Family::V4.host(Network::Front, number) {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => anyhow::bail!("an IPv6 address of the family IPv4"),
    }
}

/// The number of the interface `front`.
fn index(host: &Namespace) -> Result<u32> {
    host.run(|| {
        let probe = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        Ok(name_to_index(&probe, "front")?)
    })
}
