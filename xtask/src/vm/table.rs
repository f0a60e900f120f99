//! What is run on each kernel. A test that needs another kernel than the host's gets
//! a row here.

use std::time::Duration;

/// Modules that the guest loads before the first step: what tests make links,
/// tunnels and queues of. Several are missing from small kernels such as the host's.
pub const MODULES: &[&str] = &[
    "veth",
    "dummy",
    "8021q",
    "ipip",
    "ip6_tunnel",
    "sit",
    "fou",
    "fou6",
    "ip_vs",
    "ip_vs_mh",
    "ip_vs_rr",
    "nf_tables",
    "nft_chain_nat",
    "nft_numgen",
    "sch_tbf",
    "sch_netem",
    "virtio_net",
];

/// A program to run in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A binary of the tests' package; all that it says is shown.
    Binary(&'static str),
    /// A test binary of that package (`cargo test --test …`), and the part of the
    /// names of the tests to run; all of them when it is empty.
    Tests(&'static str, &'static str),
}

/// One line of what is run.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub title: &'static str,
    pub program: Program,
    /// What the kernel must have for it: the tests find it or fail (`FLOWGATE_REQUIRE`),
    /// and those that are ignored elsewhere for want of it run too. Empty for nothing.
    pub requires: &'static str,
    /// By then it hangs. Emulation is some twenty times slower than the host.
    pub limit: Duration,
}

/// What tests on the guest's network cards require.
pub const CARDS: &str = "cards";

/// The program that prints the verifier's figures, in the guest and on the host.
pub const VERIFIER: &str = "flowgate-verifier";

/// The program that measures what a packet costs.
pub const BENCHMARK: &str = "flowgate-bench";

/// The program that measures packets' whole way.
pub const PATH: &str = "flowgate-path";

/// All that is run, in this order.
pub const ROWS: &[Row] = &[
    Row {
        title: "the kernel's verifier",
        program: Program::Binary(VERIFIER),
        requires: "",
        limit: Duration::from_secs(600),
    },
    Row {
        title: "single packets",
        program: Program::Tests("packet", ""),
        requires: "",
        limit: Duration::from_secs(1_200),
    },
    Row {
        title: "requests through namespaces",
        program: Program::Tests("traffic", "requests_are_answered_by_both_servers"),
        requires: "",
        limit: Duration::from_secs(600),
    },
    Row {
        title: "a narrow way inside a tunnel",
        program: Program::Tests("paths", "narrow_ipip_ipv4_to_ipv6_servers"),
        requires: "tunnels",
        limit: Duration::from_secs(600),
    },
    Row {
        title: "VLAN trunks",
        program: Program::Tests("modes", "trunk"),
        requires: "vlan",
        limit: Duration::from_secs(900),
    },
    Row {
        title: "mixed IP versions, through the kernel's tunnel devices",
        program: Program::Tests("modes", "mixed"),
        requires: "tunnels",
        limit: Duration::from_secs(900),
    },
    Row {
        title: "GUE, through the kernel's tunnel devices",
        program: Program::Tests("modes", "gue"),
        requires: "tunnels",
        limit: Duration::from_secs(900),
    },
    Row {
        title: "virtio network cards",
        program: Program::Tests("cards", ""),
        requires: CARDS,
        limit: Duration::from_secs(600),
    },
];
