//! What to switch so that a card runs the program as fast as it can.

use rustix::io::Errno;

use super::{Attachment, Place};
use crate::net::{Card, Queues};

/// The driver of the cards that hypervisors make.
const VIRTIO: &str = "virtio_net";
/// A program that takes frames in one buffer gets no longer ones from any driver, with
/// what the kernel keeps in a page beside them; in bytes.
const LARGEST_MTU: u32 = 3_500;
/// What each link carries; in bytes.
const ORDINARY_MTU: u32 = 1_500;
/// A program that is put in the place of another is attached as that was.
const AFTERWARDS: &str =
    "Then `flowgate unload`, and start it again: a program stays as it was attached";

/// What the host alone can switch.
const UNFINISHED: &str = "the host merges packets for this card or leaves their checksums unfinished, and gives \
    this machine no switch for it; ethtool can't help. In the host, start the machine with \
    ctrl_guest_offloads=on for the card, or with \
    guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off (and from QEMU 8.1 on \
    guest_uso4=off,guest_uso6=off); then `flowgate unload`, and start it again";

/// An interface to which a program has been attached.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The interface's name.
    pub name: &'a str,
    /// Its largest IP packet, in bytes.
    pub mtu: u32,
    /// The card as it was before.
    pub card: &'a Card,
    /// The kernel's number of CPUs.
    pub cpus: u32,
}

impl<'a> Situation<'a> {
    /// That of an interface of this machine.
    pub fn here(name: &'a str, mtu: u32, card: &'a Card) -> Self {
        Self {
            name,
            mtu,
            card,
            cpus: aya::util::nr_cpus().unwrap_or(1) as u32,
        }
    }
}

/// What is to be done about the way in which a program is attached; `None` when it is
/// as fast as it can be, or nothing is known that would help.
pub fn advice(on: Situation<'_>, how: Attachment) -> Option<String> {
    match (how.place, how.refused) {
        (Place::Generic, Some(errno)) => Some(after_refusal(on, errno)),
        (Place::Native, _) if on.card.driver == VIRTIO => after_sharing(on, on.card.queues?),
        _ => None,
    }
}

/// The driver took no program.
fn after_refusal(on: Situation<'_>, errno: Errno) -> String {
    let Situation { name, mtu, .. } = on;
    let driver = &on.card.driver;
    let is_virtio = driver == VIRTIO;
    if errno == Errno::OPNOTSUPP && is_virtio {
        return UNFINISHED.to_owned();
    }
    if errno != Errno::OPNOTSUPP && mtu > ORDINARY_MTU {
        let largest = if is_virtio { LARGEST_MTU } else { ORDINARY_MTU };
        let newer = if is_virtio {
            ", or run Linux 6.3 or later, which needs no smaller one"
        } else {
            ""
        };
        return format!(
            "{driver} takes no program with an MTU of {mtu}: `ip link set dev {name} mtu {largest}`{newer}. \
             {AFTERWARDS}"
        );
    }
    let switches = [
        format!("`ethtool -K {name} lro off`"),
        format!("half of the queues by `ethtool -L {name} combined N`"),
        format!("`ip link set dev {name} mtu {ORDINARY_MTU}`"),
    ];
    format!(
        "{driver} has no native XDP, or wants other settings for it ({errno}). Where it has, one of these mostly \
         helps: {}. {AFTERWARDS}",
        switches.join(", ")
    )
}

/// The driver shares queues between CPUs unless each has one more for itself.
fn after_sharing(on: Situation<'_>, Queues { used, most }: Queues) -> Option<String> {
    let Situation { name, cpus, .. } = on;
    if used.saturating_add(cpus) <= most {
        return None;
    }
    let missing = format!(
        "the CPUs take turns to send, which is slower: each of {cpus} wants a queue of its own beside the {used} in \
         use, and the card has {most}"
    );
    Some(match most.checked_sub(cpus) {
        Some(left @ 1..) => format!(
            "{missing}. `flowgate unload`, `ethtool -L {name} combined {left}`, and start it again"
        ),
        _ => format!(
            "{missing}. In the host, start the machine with queues={} for the card's network and mq=on for the card",
            cpus.saturating_mul(2)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(driver: &str, mtu: u32, used: u32, most: u32, how: Attachment) -> Option<String> {
        let card = Card {
            driver: driver.to_owned(),
            queues: Some(Queues { used, most }),
        };
        let on = Situation {
            name: "eth7",
            mtu,
            card: &card,
            cpus: 4,
        };
        advice(on, how)
    }

    fn attached(place: Place, refused: Option<Errno>) -> Attachment {
        Attachment {
            place,
            is_multi_buffer: false,
            refused,
        }
    }

    fn refused(driver: &str, mtu: u32, errno: Errno) -> String {
        said(driver, mtu, 1, 1, attached(Place::Generic, Some(errno))).expect("there is something")
    }

    #[test]
    fn what_only_the_host_can_switch_is_said_to_be_the_hosts() {
        let text = refused(VIRTIO, 9_000, Errno::OPNOTSUPP);
        assert!(text.contains("ctrl_guest_offloads=on"), "{text}");
        assert!(text.contains("guest_csum=off,guest_tso4=off"), "{text}");
        assert!(!text.contains("ethtool -"), "{text}");
    }

    #[test]
    fn a_large_mtu_is_blamed_where_the_driver_may_mean_it() {
        let text = refused(VIRTIO, 9_000, Errno::INVAL);
        assert!(text.contains("`ip link set dev eth7 mtu 3500`"), "{text}");
        assert!(text.contains("flowgate unload"), "{text}");
        let text = refused("ixgbe", 9_000, Errno::RANGE);
        assert!(text.contains("`ip link set dev eth7 mtu 1500`"), "{text}");
        assert!(!text.contains("6.3"), "{text}");
    }

    #[test]
    fn an_unknown_reason_gets_the_usual_ones() {
        for (mtu, errno) in [(1_500, Errno::INVAL), (9_000, Errno::OPNOTSUPP)] {
            let text = refused("ena", mtu, errno);
            for switch in ["-K eth7 lro off", "-L eth7 combined", "mtu 1500"] {
                assert!(text.contains(switch), "{text}");
            }
        }
    }

    #[test]
    fn queues_are_missed_only_by_virtio_and_only_when_too_few() {
        let native = attached(Place::Native, None);
        let queues = |used, most| said(VIRTIO, 1_500, used, most, native);
        assert_eq!(queues(4, 8), None);
        assert_eq!(queues(1, 5), None);
        let text = queues(8, 8).expect("too few are free");
        assert!(text.contains("`ethtool -L eth7 combined 4`"), "{text}");
        let text = queues(4, 4).expect("the card has too few");
        assert!(text.contains("queues=8"), "{text}");
        assert_eq!(said("ixgbe", 1_500, 8, 8, native), None);
        let replaced = attached(Place::Replaced, None);
        assert_eq!(said(VIRTIO, 1_500, 8, 8, replaced), None);
    }
}
