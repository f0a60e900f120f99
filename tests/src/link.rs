//! Cables and switches.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::netns::{Namespace, run};

/// One end of a cable.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// The host that it is plugged into.
    pub host: &'a Namespace,
    /// The interface's name there, at most 15 bytes.
    pub device: &'a str,
}

impl<'a> End<'a> {
    /// The end at `host`'s interface `device`.
    pub fn new(host: &'a Namespace, device: &'a str) -> Self {
        Self { host, device }
    }
}

/// Lays a cable (a veth pair) between two hosts, both ends up, each with one queue.
///
/// All transmit offloads are off on both ends: over veth a frame with an
/// offloaded checksum or segmentation is never finished by hardware, and an XDP
/// program would forward it as it is. GRO is off so that frames keep their size, and
/// VLAN tags are in the frame, not beside it.
pub fn cable(a: End<'_>, b: End<'_>) -> Result<()> {
    cable_with_queues(a, b, 1)
}

/// As [`cable`], each end with so many queues: as many CPUs can send and receive at once
/// without waiting for one another.
pub fn cable_with_queues(a: End<'_>, b: End<'_>, queues: usize) -> Result<()> {
    let queues = format!("numrxqueues {queues} numtxqueues {queues}");
    a.host.ip(&format!(
        "link add {} {queues} type veth peer name {} {queues} netns {}",
        a.device,
        b.device,
        b.host.name()
    ))?;
    for end in [a, b] {
        let mut ethtool = end.host.command("ethtool")?;
        ethtool.args(["-K", end.device]);
        for feature in ["tx", "tso", "gso", "gro", "txvlan", "rxvlan"] {
            ethtool.args([feature, "off"]);
        }
        run(&mut ethtool)?;
        end.host.ip(&format!("link set {} up", end.device))?;
    }
    Ok(())
}

/// Has what arrives at an interface handled on these CPUs (receive packet steering), not on the one that it
/// was sent from, as over veth otherwise: with it the queues of all that it goes on to would come to that CPU.
pub fn receive_on(end: End<'_>, cpus: &[usize]) -> Result<()> {
    // What is seen in /sys is the namespace that it was mounted in.
    let mut unshare = end.host.command("unshare")?;
    let script = format!(
        "mount -t sysfs none /sys && echo {} > /sys/class/net/{}/queues/rx-0/rps_cpus",
        mask(cpus),
        end.device
    );
    run(unshare.args(["--mount", "sh", "-e", "-c", &script]))?;
    Ok(())
}

/// CPUs as the kernel reads them: words of 32 bits in hexadecimal, the highest first.
fn mask(cpus: &[usize]) -> String {
    let words = cpus.iter().max().map_or(0, |last| last / 32 + 1);
    let mut mask = vec![0u32; words];
    cpus.iter()
        .for_each(|cpu| mask[cpu / 32] |= 1 << (cpu % 32));
    let words: Vec<_> = mask.iter().rev().map(|word| format!("{word:x}")).collect();
    words.join(",")
}

/// Gives an interface a MAC address that tells whose it is (`02:00` and the
/// address's four bytes), and the address.
pub fn address(end: End<'_>, address: Ipv4Addr, prefix: u8) -> Result<()> {
    let [a, b, c, d] = address.octets();
    let device = end.device;
    end.host.ip(&format!(
        "link set {device} address 02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}\n\
         addr add {address}/{prefix} dev {device}"
    ))
}

/// Adds a switch (a bridge) named `device` to `host`.
pub fn switch(host: &Namespace, device: &str) -> Result<()> {
    host.ip(&format!(
        "link add {device} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
         link set {device} up"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_words_of_a_mask() {
        assert_eq!(mask(&[0]), "1");
        assert_eq!(mask(&[1, 3, 31]), "8000000a");
        assert_eq!(mask(&[0, 33]), "2,1");
    }
}
