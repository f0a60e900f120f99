//! What `flowgate flows` says of real connections.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use flowgate_tests::{
    dns,
    http::{After, Connection},
    site::{Description, Family, Site, Way, Wiring},
};
use serde_json::Value;

/// Connections that are held open, and how long each may take for anything.
const HELD: usize = 12;
const PATIENCE: Duration = Duration::from_secs(4);

macro_rules! cases {
    ($($name:ident: $way:ident, $family:ident;)+) => {$(
        #[test]
        fn $name() -> Result<()> {
            let description = Description {
                way: Way::$way,
                vip: Family::$family,
                servers: Family::$family,
                wiring: Wiring::Switches,
            };
            Site::test(description, held_connections)
        }
    )+};
}

cases! {
    dsr_ipv4: Dsr, V4;
    nat_ipv6: Nat, V6;
    full_nat_ipv4: FullNat, V4;
    full_nat_ipv6: FullNat, V6;
}

/// Connections are counted with their servers, and each is found with its own.
fn held_connections(site: &mut Site) -> Result<()> {
    let vip = site.at(80);
    let held = site.client.run(|| {
        let open = |_| -> Result<_> {
            let mut connection = Connection::open(vip, PATIENCE)?;
            let head = connection.get("/", After::Keep)?;
            connection.skip(head.length)?;
            let own = connection.own()?;
            Ok((connection, own, head.server))
        };
        (0..HELD).map(open).collect::<Result<Vec<_>>>()
    })?;
    dns::ask(&site.client, site.vip())?;

    let census = site.flowgate.json(&["flows"])?;
    for server in ["web1", "web2"] {
        let expected = held.iter().filter(|(_, _, by)| by == server).count();
        ensure!(expected > 0, "{server} has no connection");
        let counts = in_service(&census, "web", server)?;
        let ages = &counts["states"]["established"];
        ensure!(sum(ages) == expected as u64, "{server}: {counts}");
        // The clock may have ticked meanwhile.
        let young = [&ages[0], &ages[1]].into_iter().filter_map(Value::as_u64);
        ensure!(young.sum::<u64>() == expected as u64, "{server}: {counts}");
    }
    let asked = ["web1", "web2"].map(|server| in_service(&census, "dns", server));
    let asked: Vec<&Value> = asked.into_iter().collect::<Result<_>>()?;
    ensure!(asked.iter().any(|counts| counts["flows"] != 0), "{census}");

    for (_, own, server) in &held {
        let answer = find(site, *own, vip)?;
        let flow = &answer["flow"];
        ensure!(flow["backend"] == server.as_str(), "{own}: {answer}");
        ensure!(flow["state"] == "established", "{own}: {answer}");
        let translated = flow["source"].is_string();
        ensure!(
            translated == (site.description.way == Way::FullNat),
            "{own}: {answer}"
        );
    }
    never_was(site, held[0].1, vip)
}

/// What was never a connection, or of no service, is not found.
fn never_was(site: &Site, known: SocketAddr, vip: SocketAddr) -> Result<()> {
    let never = SocketAddr::new(known.ip(), 9);
    let strangers = [
        ("tcp", never, vip, "no such flow is known"),
        ("udp", known, vip, "no service takes"),
        (
            "tcp",
            known,
            SocketAddr::new(vip.ip(), 81),
            "no service takes",
        ),
    ];
    for (protocol, client, vip, reason) in strangers {
        let (client, vip) = (client.to_string(), vip.to_string());
        let output = site
            .flowgate
            .command(&["flows", "find", protocol, &client, &vip])?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{client}: {output:?}");
        ensure!(error.contains(reason), "{client}: {error}");
    }
    Ok(())
}

fn find(site: &Site, client: SocketAddr, vip: SocketAddr) -> Result<Value> {
    let (client, vip) = (client.to_string(), vip.to_string());
    site.flowgate.json(&["flows", "find", "tcp", &client, &vip])
}

fn in_service<'a>(census: &'a Value, service: &str, backend: &str) -> Result<&'a Value> {
    let named = |list: &'a Value, name: &str| {
        let list = list.as_array()?;
        list.iter().find(|one| one["name"] == name)
    };
    named(&census["services"], service)
        .and_then(|service| named(&service["backends"], backend))
        .with_context(|| format!("no {service}/{backend} in {census}"))
}

fn sum(list: &Value) -> u64 {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_u64).sum()
}
