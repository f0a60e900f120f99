//! What can become of a packet: one enum, its numbers stable.

/// What the kernel is told to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The packet goes on to the node's own network stack.
    Pass,
    /// The packet is sent out of the interface that its egress names.
    Transmit,
    /// The packet ends here.
    Drop,
}

macro_rules! verdicts {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $action:ident, $label:literal;)+) => {
        /// What became of a packet. The number indexes the counter map and never
        /// changes its meaning; the label is the name in metrics and on screen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Verdict {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl Verdict {
            /// Every verdict, in the order of the numbers.
            pub const ALL: &'static [Verdict] = &[$(Verdict::$name,)+];

            /// What the kernel does with such a packet.
            #[must_use]
            #[inline(always)]
            pub const fn action(self) -> Action {
                match self {
                    $(Verdict::$name => Action::$action,)+
                }
            }

            /// Its name in metrics and on screen.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Verdict::$name => $label,)+
                }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Verdict::$name => concat!($($doc),+),)+
                }
            }
        }
    };
}

verdicts! {
    /// Neither IP nor ARP: the node's own business.
    PassProtocol = 0, Pass, "pass_protocol";
    /// The frame is for another host; seen because the interface is promiscuous or the switch floods.
    PassOtherHost = 1, Pass, "pass_other_host";
    /// Too broken to tell whom it is for; the kernel's to judge.
    PassMalformed = 2, Pass, "pass_malformed";
    /// ARP that asks for none of our VIPs.
    PassArp = 3, Pass, "pass_arp";
    /// IP to an address that is none of our VIPs.
    PassNotVip = 4, Pass, "pass_not_vip";
    /// A server's answer, translated back, to a client whose next hop is unknown: the kernel routes it.
    ReturnKernel = 5, Pass, "return_kernel";
    /// Neighbour discovery that asks for none of our VIPs.
    PassNeighbour = 6, Pass, "pass_neighbour";
    /// IP to a multicast or broadcast MAC address: the node's own business.
    PassGroup = 7, Pass, "pass_group";

    /// To the backend that the flow table names.
    ForwardKnown = 16, Transmit, "forward_known";
    /// First packet of a connection: scheduled and entered in the flow table.
    ForwardNew = 17, Transmit, "forward_new";
    /// Middle of a connection that the flow table doesn't know: scheduled by its hash and entered.
    ForwardAdopted = 18, Transmit, "forward_adopted";
    /// Scheduled by its hash without an entry: it ends a connection, or its bucket holds established flows only.
    ForwardUntracked = 19, Transmit, "forward_untracked";
    /// Its backend is down or gone: scheduled again.
    ForwardMoved = 20, Transmit, "forward_moved";
    /// A server's answer, translated back, to the client.
    ReturnNat = 21, Transmit, "return_nat";
    /// Later fragment, to the backend that its first one went to.
    ForwardFragment = 22, Transmit, "forward_fragment";
    /// Later fragment of a server's answer, translated back, to the client.
    ReturnFragment = 23, Transmit, "return_fragment";
    /// ICMP error about a flow, to the flow's backend.
    ForwardError = 24, Transmit, "forward_error";
    /// ICMP error about a flow from behind us, translated back, to the client.
    ReturnError = 25, Transmit, "return_error";
    /// To the backend that its hash alone tells: its place in the wheel isn't changing hands.
    ForwardStable = 26, Transmit, "forward_stable";

    /// ARP request for a VIP that we hold: answered.
    AnswerArp = 32, Transmit, "answer_arp";
    /// Echo request to a VIP that we hold: answered.
    AnswerEcho = 33, Transmit, "answer_echo";
    /// Neighbour solicitation for a VIP that we hold: answered.
    AnswerSolicitation = 34, Transmit, "answer_solicitation";
    /// Too long for the way to its backend: the sender is told.
    AnswerTooBig = 35, Transmit, "answer_too_big";
    /// A router in a tunnel found a packet too long: the client is told.
    RelayTooBig = 36, Transmit, "relay_too_big";

    /// To a VIP, but to a port that no service has.
    DropClosedPort = 48, Drop, "drop_closed_port";
    /// To a VIP, by a protocol that we neither balance nor answer.
    DropVipProtocol = 49, Drop, "drop_vip_protocol";
    /// Fragment to a VIP whose first one hasn't come before it, or that nobody balances.
    DropFragment = 50, Drop, "drop_fragment";
    // 51 was drop_ip_options.
    /// To a VIP, shorter than its headers say.
    DropMalformed = 52, Drop, "drop_malformed";
    /// To a service without a backend that takes new connections.
    DropNoBackend = 53, Drop, "drop_no_backend";
    /// Its time to live has run out.
    DropTtl = 54, Drop, "drop_ttl";
    /// Asks for a VIP whose lease we don't hold.
    DropNotHeld = 55, Drop, "drop_not_held";
    /// A map record points to where nothing is: a defect in Flowgate.
    DropInternal = 56, Drop, "drop_internal";
    /// To a VIP, with IPv6 extension headers that are too many, too long or out of place.
    DropExtension = 57, Drop, "drop_extension";
    /// No source port of the full-nat pool is free for it.
    DropNoPort = 58, Drop, "drop_no_port";
    /// Too long for the way to its backend, and its sender may not be told, or has just been.
    DropTooBig = 59, Drop, "drop_too_big";
    /// The driver left no room before the packet for another header.
    DropNoHeadroom = 60, Drop, "drop_no_headroom";
    /// ICMP error to a VIP about none of its flows.
    DropError = 61, Drop, "drop_error";
}

/// Counters in the verdict map: more than the highest number, a power of two.
pub const VERDICT_SLOTS: u32 = 64;

/// Packets with lower numbers pass; from here on they are transmitted.
pub const FIRST_TRANSMIT: u32 = 16;
/// From here on packets are dropped.
pub const FIRST_DROP: u32 = 48;

const _: () = {
    let mut i = 0;
    while i < Verdict::ALL.len() {
        let number = Verdict::ALL[i] as u32;
        assert!(number < VERDICT_SLOTS);
        assert!(match Verdict::ALL[i].action() {
            Action::Pass => number < FIRST_TRANSMIT,
            Action::Transmit => number >= FIRST_TRANSMIT && number < FIRST_DROP,
            Action::Drop => number >= FIRST_DROP,
        });
        assert!(i == 0 || (Verdict::ALL[i - 1] as u32) < (Verdict::ALL[i] as u32));
        i += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_metric_names_and_tell_the_action() {
        for verdict in Verdict::ALL {
            let label = verdict.label();
            assert!(
                label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{label}"
            );
            assert_eq!(
                label.starts_with("drop_"),
                verdict.action() == Action::Drop,
                "{label}"
            );
        }
    }

    #[test]
    fn labels_are_unique() {
        let labels: std::collections::BTreeSet<_> =
            Verdict::ALL.iter().map(|verdict| verdict.label()).collect();
        assert_eq!(labels.len(), Verdict::ALL.len());
    }
}
