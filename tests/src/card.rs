//! Virtual machines' own network cards, which `cargo xtask vm` numbers by their MAC
//! addresses.

use std::{fs, process::Command, time::Duration};

use anyhow::Result;

use crate::{
    netns::{Namespace, run},
    wait::eventually,
};

/// By then the kernel has taken a card back from a host that is no more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes the card of that number to a host, as its interface `device`, and switches it on.
pub fn plug(number: u8, host: &Namespace, device: &str) -> Result<()> {
    let mac = format!("02:f1:00:00:00:{number:02x}");
    let name = eventually(PATIENCE, &format!("the card {mac} is there"), || {
        let devices = fs::read_dir("/sys/class/net")?;
        let mut names = devices.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.find(|name| permanent_mac(name).is_some_and(|own| own == mac)))
    })?;
    let mut ip = Command::new("ip");
    ip.args(["link", "set", "dev", &name, "name", device]);
    run(ip.args(["netns", host.name()]))?;
    host.ip(&format!("link set {device} up"))
}

/// The MAC address that a card was made with.
fn permanent_mac(name: &str) -> Option<String> {
    let text = run(Command::new("ethtool").args(["--show-permaddr", name])).ok()?;
    Some(text.trim().rsplit(' ').next()?.to_owned())
}
