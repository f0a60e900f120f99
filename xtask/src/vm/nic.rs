//! The guest's network cards. They lead to networks that exist beside the guest only:
//! QEMU runs in a network namespace of its own, with a bridge for each network.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use super::qemu::Clock;

/// What makes network devices that a program holds the other end of.
const TUN: &str = "/dev/net/tun";

/// A virtio-net card.
#[derive(Debug, Clone, Copy)]
pub struct Nic {
    /// The last byte of its MAC address, by which tests know it. The rest is
    /// 02:f1:00:00:00.
    number: u8,
    /// The network that it is on, by number; `None` for one where nobody is.
    network: Option<u8>,
    /// Its queues; two at least.
    queues: u8,
    /// Further properties of the device.
    options: &'static str,
}

/// The cards of tests, in a guest of two CPUs. The driver takes a queue for each of
/// these, and two more for the program where there are so many.
///
/// 1 is the client's; 2 and 3 the load balancer's; 4 the server's. The others are alone.
const CARDS: &[Nic] = &[
    nic(1, Some(0), 4, ""),
    nic(2, Some(0), 4, ""),
    // It can have as many queues as it takes, if somebody says so. So can 6.
    nic(3, Some(1), 3, ""),
    nic(4, Some(1), 4, ""),
    // The host merges packets, and gives no switch for it.
    nic(5, None, 4, ",ctrl_guest_offloads=off"),
    nic(6, None, 3, ""),
];

const fn nic(number: u8, network: Option<u8>, queues: u8, options: &'static str) -> Nic {
    Nic {
        number,
        network,
        queues,
        options,
    }
}

/// The cards of a guest with that clock. Where instructions are counted there are none:
/// their interrupts would be counted too.
pub fn cards(clock: Clock) -> Vec<Nic> {
    match clock {
        Clock::Time if available() => CARDS.to_vec(),
        Clock::Host(cpus) => CARDS[..4]
            .iter()
            .map(|nic| Nic {
                queues: 2 * cpus,
                ..*nic
            })
            .collect(),
        Clock::Time | Clock::Instructions => Vec::new(),
    }
}

/// Whether guests can have cards.
pub fn available() -> bool {
    Path::new(TUN).exists()
}

/// What is missing where they can't.
pub const MISSING: &str = "/dev/net/tun is missing here, so the guest has no network cards";

/// Adds what becomes `program`, in a network namespace with these cards' networks.
pub fn run_among(command: &mut Command, nics: &[Nic], program: &Path) {
    if !nics.is_empty() {
        command.args(["unshare", "--net", "--", "sh", "-c"]);
        command.arg(networks(nics)).arg("sh");
    }
    command.arg(program);
}

/// Makes the networks, and becomes what its arguments say.
fn networks(nics: &[Nic]) -> String {
    // The host has nothing to say there.
    let mut script = String::from(
        "set -e\nquiet=/proc/sys/net/ipv6/conf/default/disable_ipv6\n\
         if [ -e $quiet ]; then echo 1 >$quiet; fi\n",
    );
    for nic in nics {
        let device = nic.device();
        script += &format!("ip tuntap add dev {device} mode tap multi_queue vnet_hdr\n");
        if let Some(network) = nic.network {
            script += &format!(
                "ip link add net{network} type bridge mcast_snooping 0 2>/dev/null || :\n\
                 ip link set net{network} up\n\
                 ip link set {device} master net{network}\n"
            );
        }
        script += &format!("ip link set {device} up\n");
    }
    script + "exec \"$@\"\n"
}

impl Nic {
    fn device(&self) -> String {
        format!("card{}", self.number)
    }

    /// QEMU's options for it.
    pub fn options(&self) -> [OsString; 4] {
        let (device, queues) = (self.device(), self.queues);
        let backend =
            format!("tap,id={device},ifname={device},script=no,downscript=no,queues={queues}");
        // A vector for each direction of each queue, and two for the card.
        let card = format!(
            "virtio-net-pci,netdev={device},mac=02:f1:00:00:00:{:02x},mq=on,vectors={}{}",
            self.number,
            2 * queues + 2,
            self.options
        );
        [
            "-netdev".into(),
            backend.into(),
            "-device".into(),
            card.into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_has_a_network_and_a_vector_for_each_queue() {
        let nics = [nic(1, Some(0), 4, ""), nic(5, None, 2, ",guest_csum=off")];
        let script = networks(&nics);
        assert!(
            script.contains("ip link set card1 master net0\n"),
            "{script}"
        );
        assert!(!script.contains("card5 master"), "{script}");
        let words = nics[1].options();
        let card = words[3].to_string_lossy();
        assert!(
            card.ends_with(":05,mq=on,vectors=6,guest_csum=off"),
            "{card}"
        );
        let backend = words[1].to_string_lossy();
        assert!(backend.ends_with(",queues=2"), "{backend}");
    }
}
