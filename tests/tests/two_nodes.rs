//! What an operator of two nodes does and is told: tracking, notification, another VIP,
//! hand-over, refusals.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use flowgate_tests::{
    bpffs::PinDir,
    flowgate::{self, Flowgate},
    pair::bed::{Bed, PORT, Side, VIP, web_address},
    pair::way::Way,
    steal,
    wait::eventually,
};
use rustix::process::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
/// A VIP that comes later.
const LATER: &str = "203.0.113.77";

/// A daemon on its host.
struct Node<'a> {
    side: Side,
    bed: &'a Bed,
    flowgate: Flowgate,
    _pins: PinDir,
}

impl<'a> Node<'a> {
    /// Starts it.
    fn start(bed: &'a Bed, side: Side) -> Result<Self> {
        let folder = bed.scratch().join(side.name());
        fs::create_dir_all(&folder)?;
        let notify = folder.join("notify");
        let told = folder.join("told");
        fs::write(
            &notify,
            format!("#!/bin/sh\necho \"$1|$2|$3\" >> {}\n", told.display()),
        )?;
        fs::set_permissions(&notify, fs::Permissions::from_mode(0o755))?;
        write_key(&folder.join("cluster.key"), 7)?;
        let pins = PinDir::new()?;
        let text = configuration(side, &folder, "");
        let mut flowgate = Flowgate::installed(&flowgate::binary()?, &folder, pins.path(), &text)?;
        flowgate.launch(&bed.node(side).host)?;
        Ok(Self {
            side,
            bed,
            flowgate,
            _pins: pins,
        })
    }

    fn folder(&self) -> std::path::PathBuf {
        self.bed.scratch().join(self.side.name())
    }

    fn status(&self) -> Result<Value> {
        self.flowgate.json(&["vip", "status"])
    }

    /// Waits until it is in that state.
    fn becomes(&self, state: &str) -> Result<Value> {
        let what = format!("{} is {state}", self.side.name());
        eventually(SOON, &what, || {
            let group = self.status()?["groups"][0].clone();
            Ok((group["state"] == state).then_some(group))
        })
    }

    /// Waits until it knows the other one's flows.
    fn in_sync(&self) -> Result<()> {
        eventually(SOON, "replication is in sync", || {
            Ok((self.status()?["replication"]["in_sync"] == true).then_some(()))
        })
    }

    /// Takes another configuration, with this at its end.
    fn reload(&self, more: &str) -> Result<()> {
        let text = configuration(self.side, &self.folder(), more);
        fs::write(self.flowgate.configuration(), text)?;
        self.flowgate.said(&["reload"]).map(drop)
    }

    /// What its program was told: states and reasons.
    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder().join("told")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn ip(&self, command: &str) -> Result<()> {
        self.bed.node(self.side).host.ip(command)
    }
}

fn write_key(path: &Path, byte: u8) -> Result<()> {
    fs::write(path, format!("{:02x}", byte).repeat(31) + "00\n")?;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o600),
    )?)
}

fn configuration(side: Side, folder: &Path, more: &str) -> String {
    let folder = folder.display();
    let priority = match side {
        Side::First => 150,
        Side::Second => 100,
    };
    let mut text = format!(
        "[node]\ninterfaces = [\"front\", \"back\"]\nmax_flows = 4096\n\n[[vrrp]]\nname = \"site\"\n\
         interface = \"front\"\nvrid = 51\npriority = {priority}\ninterval = \"200ms\"\n\
         notify = \"{folder}/notify\"\n\n[[vrrp.track]]\ninterface = \"back\"\npenalty = 100\n\n\
         [[vrrp.track]]\nservice = \"echo\"\nbackends = 2\n\n[replication]\n\
         key_file = \"{folder}/cluster.key\"\nlisten = \"{}:5151\"\npeer = \"{}:5151\"\n\n\
         [[service]]\nname = \"echo\"\nvip = \"{VIP}\"\nport = {PORT}\nprotocol = \"tcp\"\n\
         forward = \"dsr\"\n",
        side.front(),
        side.other().front()
    );
    for number in 1..=2 {
        let address = web_address(Way::Dsr, number);
        text +=
            &format!("\n[[service.backend]]\nname = \"web{number}\"\naddress = \"{address}\"\n");
    }
    text + more
}

/// Both nodes, of which the first one is active.
fn pair(bed: &Bed) -> Result<[Node<'_>; 2]> {
    let first = Node::start(bed, Side::First)?;
    first.becomes("active")?;
    let second = Node::start(bed, Side::Second)?;
    second.becomes("standby")?;
    second.in_sync()?;
    Ok([first, second])
}

fn described(nodes: &[Node<'_>; 2], error: &anyhow::Error) -> anyhow::Error {
    let logs = nodes.each_ref().map(|node| node.flowgate.log());
    anyhow!("{error:#}\n── first\n{}\n── second\n{}", logs[0], logs[1])
}

/// One test at a time: a node that waits behind other tests' loading of programs doesn't take
/// over within the time that a hand-over gives it.
fn run(test: impl Fn(&Bed, &mut [Node<'_>; 2]) -> Result<()>) -> Result<()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    steal::despite(|| {
        let bed = Bed::build()?;
        bed.reset(Way::Dsr)?;
        let mut nodes = pair(&bed)?;
        test(&bed, &mut nodes).map_err(|error| described(&nodes, &error))
    })
}

/// A node that can serve less steps down, and takes the VIPs back when all is well again;
/// one that can't serve takes no part. Its program is told of each state, in their order.
#[test]
fn a_node_that_cannot_serve_steps_down() -> Result<()> {
    run(|_, [first, second]| {
        first.ip("link set back down")?;
        let group = first.becomes("standby")?;
        ensure!(group["priority"] == 50, "{group}");
        ensure!(group["tracked"][0] == "back is down", "{group}");
        second.becomes("active")?;
        first.ip("link set back up")?;
        first.becomes("active")?;

        first.flowgate.said(&["backend", "drain", "echo", "web1"])?;
        let group = first.becomes("fault")?;
        ensure!(
            group["tracked"][0] == "service echo has 1 of 2 backends",
            "{group}"
        );
        second.becomes("active")?;
        first
            .flowgate
            .said(&["backend", "enable", "echo", "web1"])?;
        first.becomes("active")?;
        second.becomes("standby")?;

        let state = |line: &String| line.split('|').nth(1).unwrap_or_default().to_owned();
        eventually(SOON, "the program was told everything", || {
            let told = first.told();
            let mut states: Vec<String> = told.iter().map(state).collect();
            states.dedup();
            // How it began depends on when its servers were found.
            let expected = ["active", "standby", "active", "fault", "standby", "active"];
            ensure!(told.len() < 20, "{told:?}");
            Ok(states.ends_with(&expected.map(str::to_owned)).then_some(()))
        })?;
        ensure!(
            first.told().iter().all(|line| line.starts_with("site|")),
            "{:?}",
            first.told()
        );
        Ok(())
    })
}

/// A hand-over stays; a reload brings a VIP to both, and can't change what is on the wire.
#[test]
fn an_operator_hands_over_and_reloads() -> Result<()> {
    run(|_, [first, second]| {
        let said = first.flowgate.said(&["vip", "failover"])?;
        ensure!(
            said == format!("site: handed over to {}\n", Side::Second.front()),
            "{said}"
        );
        second.becomes("active")?;
        first.in_sync()?;
        // Its priority is higher, it is in sync, and yet it doesn't take them back.
        ensure!(
            first.becomes("standby")?["reason"]
                .as_str()
                .is_some_and(|why| why.contains("handed over"))
        );
        let refused = first.flowgate.command(&["vip", "failover"])?;
        let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.contains("active in none"), "{refused}");

        let later = format!(
            "\n[[service]]\nname = \"later\"\nvip = \"{LATER}\"\nport = 80\nprotocol = \"tcp\"\nforward = \"dsr\"\n"
        );
        for node in [&*first, &*second] {
            node.reload(&later)?;
            let addresses = node.status()?["groups"][0]["addresses"].clone();
            ensure!(
                addresses.as_array().is_some_and(|all| all.len() == 2),
                "{addresses}"
            );
        }
        let text =
            configuration(first.side, &first.folder(), &later).replace("vrid = 51", "vrid = 52");
        fs::write(first.flowgate.configuration(), text)?;
        let refused = first.flowgate.command(&["reload"])?;
        let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.contains("[[vrrp]]"), "{refused}");

        // The standby stops, and then the active one has nobody to hand over to.
        first.flowgate.stop(Signal::TERM)?;
        let kept = second.flowgate.command(&["vip", "failover"])?;
        let kept = String::from_utf8_lossy(&kept.stderr).into_owned();
        ensure!(kept.contains("this node keeps it"), "{kept}");
        second.becomes("active").map(drop)
    })
}

/// A node with another key isn't taken for a standby, and both sides say why; nor does one
/// start with another key than its loaded table has, or with one that others may read.
#[test]
fn another_key_is_refused_and_named() -> Result<()> {
    run(|bed, [first, second]| {
        let host = &bed.node(Side::Second).host;
        let key = second.folder().join("cluster.key");
        second.flowgate.stop(Signal::TERM)?;
        write_key(&key, 9)?;
        let loaded = second
            .flowgate
            .launch(host)
            .err()
            .context("it must not start")?;
        ensure!(
            format!("{loaded:#}").contains("flowgate unload"),
            "{loaded:#}"
        );
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
        let readable = second
            .flowgate
            .launch(host)
            .err()
            .context("it must not start")?;
        ensure!(
            format!("{readable:#}").contains("chmod 600"),
            "{readable:#}"
        );
        write_key(&key, 9)?;

        second.flowgate.unload(host)?;
        second.flowgate.launch(host)?;
        second.becomes("standby")?;
        for node in [&*first, &*second] {
            eventually(SOON, "the refusal is told", || {
                let replication = node.status()?["replication"].clone();
                ensure!(
                    replication["in_sync"] == false || node.side == Side::First,
                    "{replication}"
                );
                let reason = replication["refused"]["reason"]
                    .as_str()
                    .unwrap_or_default();
                Ok(reason.contains("cluster key").then_some(()))
            })?;
        }
        first.becomes("active").map(drop)
    })
}
