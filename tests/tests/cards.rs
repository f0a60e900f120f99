//! Network cards as hypervisors make them, which `cargo xtask vm test` gives the guest
//! (`xtask/src/vm/nic.rs`).
//!
//! ```text
//!   client ──────── front  lb  back ──────── web1
//!   card 1          card 2     card 3        card 4
//!   198.51.100.10   198.51.100.2  10.0.1.1   10.0.1.11
//! ```

use ::flowgate::{
    datapath::{
        Attachment, Place,
        advice::{Situation, advice},
    },
    net::card,
};
use anyhow::{Context, Result, ensure};
use flowgate_tests::{
    bpffs::PinDir,
    card::plug,
    client,
    flowgate::{self, Flowgate},
    interrupt,
    link::End,
    marks,
    netns::{Namespace, run},
    nginx::Nginx,
    xdp::{Attached, PASS},
};
use rustix::io::Errno;

const VIP: &str = "198.51.100.80:80";
const CONFIGURATION: &str = r#"
[node]
interfaces = ["front", "back"]

[[service]]
name = "web"
vip = "198.51.100.80"
port = 80
protocol = "tcp"
forward = "nat"
scheduler = "round-robin"

[[service.backend]]
name = "web1"
address = "10.0.1.11"
port = 8080
"#;
/// What is said of a card with three queues, of which two are in use, on two CPUs.
const FEWER_QUEUES: &str = "`ethtool -L back combined 1`";

#[test]
#[ignore = "needs virtio network cards, which `cargo xtask vm test` has"]
fn requests_pass_from_card_to_card_in_native_mode() -> Result<()> {
    interrupt::install();
    let (client, lb) = (Namespace::new("client")?, Namespace::new("lb")?);
    let web = Namespace::new("web1")?;
    plug(1, &client, "eth0")?;
    client.ip("addr add 198.51.100.10/24 dev eth0")?;
    plug(2, &lb, "front")?;
    lb.ip("addr add 198.51.100.2/24 dev front")?;
    plug(3, &lb, "back")?;
    lb.ip("addr add 10.0.1.1/24 dev back")?;
    plug(4, &web, "eth0")?;
    web.ip("addr add 10.0.1.11/24 dev eth0")?;
    web.ip("route add default via 10.0.1.1")?;
    // Nobody on the load balancer asks for a client's MAC address: mostly there is a router.
    lb.ip("neigh replace 198.51.100.10 lladdr 02:f1:00:00:00:01 dev front nud permanent")?;
    let scratch = tempfile::Builder::new()
        .prefix(&marks::unique("files-"))
        .tempdir()?;
    let _nginx = Nginx::start(&web, "web1", &[8080], scratch.path())?;
    let pins = PinDir::new()?;
    let binary = flowgate::binary()?;
    let mut flowgate = Flowgate::installed(&binary, scratch.path(), pins.path(), CONFIGURATION)?;
    flowgate.start(&lb)?;
    let report = client::requests(&client, VIP.parse()?, 50)?;
    let seen = || format!("{:?}\n{}", report.reasons(), flowgate.describe());
    assert_eq!((report.failed(), report.of("web1")), (0, 50), "{}", seen());
    let status = flowgate.json(&["status"])?;
    for (number, name) in ["front", "back"].into_iter().enumerate() {
        let view = &status["interfaces"][number];
        assert_eq!(
            (view["name"].as_str(), view["mode"].as_str()),
            (Some(name), Some("native"))
        );
        let trouble = view["trouble"].as_str().unwrap_or_default();
        // Of the card with too few queues both status and log tell.
        let is_told = trouble.contains(FEWER_QUEUES);
        assert_eq!(is_told, name == "back", "{view}");
        assert!(is_told || trouble.is_empty(), "{view}");
    }
    assert!(flowgate.log().contains(FEWER_QUEUES), "{}", seen());
    Ok(())
}

/// What drivers say, by the smallest of programs, and what is advised then. (Emulated, the verifier
/// takes half a minute for the one of Flowgate, each time.)
#[test]
#[ignore = "needs virtio network cards, which `cargo xtask vm test` has"]
fn what_is_advised_is_what_helps() -> Result<()> {
    interrupt::install();
    let host = Namespace::new("lb")?;
    plug(5, &host, "merging")?;
    host.ip("addr add 10.0.5.1/24 dev merging")?;
    plug(6, &host, "few")?;
    host.ip("addr add 10.0.6.1/24 dev few")?;
    let (merging, few) = (End::new(&host, "merging"), End::new(&host, "few"));

    let advice = advised(merging, 1_500)?.context("it takes no program")?;
    ensure!(advice.contains("ctrl_guest_offloads=on"), "{advice}");
    // What may seem to help doesn't, as is said.
    ethtool(merging, &["-K", "merging", "lro", "off", "gro", "off"])?;
    ensure!(advised(merging, 1_500)?.is_some_and(|again| again == advice));

    let queues = advised(few, 1_500)?.context("it has too few queues")?;
    ensure!(queues.contains("`ethtool -L few combined 1`"), "{queues}");
    ethtool(few, &["-L", "few", "combined", "1"])?;
    ensure!(advised(few, 1_500)?.is_none());

    host.ip("link set few mtu 9000")?;
    // Linux 6.3 and later take it.
    if let Some(advice) = advised(few, 9_000)? {
        ensure!(
            advice.contains("`ip link set dev few mtu 3500`"),
            "{advice}"
        );
        host.ip("link set few mtu 3500")?;
        ensure!(advised(few, 3_500)?.is_none());
    }
    Ok(())
}

/// What is advised when a program is attached there, which is detached again.
fn advised(end: End<'_>, mtu: u32) -> Result<Option<String>> {
    let card = end.host.run(|| card(end.device))?;
    let how = match Attached::new(end, &PASS) {
        Ok(_attached) => Attachment {
            place: Place::Native,
            is_multi_buffer: true,
            refused: None,
        },
        Err(error) => {
            let mut causes = error.chain();
            let errno = causes.find_map(|cause| Errno::from_io_error(cause.downcast_ref()?));
            Attachment {
                place: Place::Generic,
                is_multi_buffer: false,
                refused: Some(errno.context(error)?),
            }
        }
    };
    Ok(advice(Situation::here(end.device, mtu, &card), how))
}

fn ethtool(end: End<'_>, arguments: &[&str]) -> Result<()> {
    let mut command = end.host.command("ethtool")?;
    run(command.args(arguments)).map(drop)
}
