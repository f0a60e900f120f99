//! What the command line says, and with which exit status.

mod fake;

use std::path::Path;

use clap::{CommandFactory, Parser};
use fake::Daemon;
use flowgate::cli::{Cli, RunArgs, Screen, UnloadArgs, execute};

/// Standard output, standard error and exit status of a command line.
fn typed(socket: &Path, words: &[&str]) -> (String, String, u8) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let head = ["flowgate", "--socket", socket.to_str().unwrap()];
    let status = match Cli::try_parse_from(head.iter().chain(words)) {
        Ok(cli) => {
            let screen = Screen {
                out: &mut out,
                err: &mut err,
            };
            let run = |_: RunArgs| anyhow::bail!("run was called");
            let unload = |_: UnloadArgs| anyhow::bail!("unload was called");
            execute(cli, screen, run, unload)
        }
        Err(error) => {
            err = error.to_string().into_bytes();
            error.exit_code().try_into().unwrap()
        }
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(out), text(err), status)
}

/// A whole exchange as text, with the test's own directory taken out.
fn session(socket: &Path, lines: &[&str]) -> String {
    let dir = socket.parent().unwrap().to_str().unwrap();
    let mut text = String::new();
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        let (out, err, status) = typed(socket, &words);
        text.push_str(&format!("$ flowgate {line}\n{out}{err}[{status}]\n\n"));
    }
    text.replace(dir, "DIR")
}

#[test]
fn help_teaches() {
    for path in [
        &[][..],
        &["run"],
        &["check"],
        &["backend"],
        &["backend", "add"],
        &["backend", "remove"],
        &["unload"],
        &["flows"],
        &["flows", "find"],
        &["vip"],
        &["vip", "failover"],
    ] {
        let mut command = Cli::command().term_width(100);
        command.build();
        let found = path.iter().fold(&mut command, |command, name| {
            command.find_subcommand_mut(name).unwrap()
        });
        let name = format!("help_{}", path.join("_"));
        insta::assert_snapshot!(name, found.render_long_help().to_string());
    }
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn a_session_with_the_daemon() {
    let daemon = Daemon::start();
    let text = session(
        &daemon.socket,
        &[
            "service list",
            "backend list",
            "backend drain web web1",
            "backend drain web web1",
            "backend add web web3 10.0.0.13 --port 8080 --weight 2",
            "backend weight web web3 5",
            "backend list web",
            "backend remove web web3",
            "backend enable web web1",
            "backend list dns",
            "backend add rest rest2 2001:db8:1::32",
            "backend list rest",
            "backend add web sorry 10.0.0.99 --backup",
            "backend list web",
            "service list",
            "stats",
            "reload",
            "--output json backend drain web web1",
            "--output json service list",
            "stats --output json",
        ],
    );
    insta::assert_snapshot!("session", text);
}

#[test]
fn status_tells_the_daemon_and_the_trouble() {
    let daemon = Daemon::start();
    let (out, err, status) = typed(&daemon.socket, &["status"]);
    assert_eq!((err.as_str(), status), ("", 0));
    // The first line tells the time since the start.
    let (first, rest) = out.split_once('\n').unwrap();
    assert!(first.starts_with("flowgate 0.1.0, process 4242, up "));
    insta::assert_snapshot!("status", rest);
}

#[test]
fn who_holds_the_vips_is_told_and_they_are_handed_over() {
    let daemon = Daemon::start();
    let text = session(
        &daemon.socket,
        &[
            "vip status",
            "vip failover",
            "vip failover other",
            "vip failover site",
        ],
    );
    insta::assert_snapshot!("vip", text);
}

#[test]
fn flows_are_counted_and_found() {
    let daemon = Daemon::start();
    let text = session(
        &daemon.socket,
        &[
            "flows",
            "flows find tcp 198.51.100.7:1 203.0.113.10:80",
            "flows find tcp 198.51.100.7:2 203.0.113.10:80",
            "flows find tcp 198.51.100.7:3 203.0.113.10:80",
            "flows find udp [2001:db8:c::7]:4 [2001:db8::10]:53",
            "flows find icmp 198.51.100.7:1 203.0.113.10:80",
            "flows find tcp 198.51.100.7 203.0.113.10:80",
            "flows find tcp client:1 203.0.113.10:80",
            "flows --output json",
            "flows find tcp 198.51.100.7:3 203.0.113.10:80 --output json",
        ],
    );
    insta::assert_snapshot!("flows", text);
}

#[test]
fn new_connections_are_shown_as_they_are_told() {
    let daemon = Daemon::start();
    let text = session(
        &daemon.socket,
        &[
            "flows --watch",
            "flows --watch --service dns --rate 1000 --output json",
            "flows --watch --rate 0",
            "flows --watch --rate 100001",
            "flows --rate 10",
            "flows --service web",
            "flows --watch find tcp 198.51.100.7:1 203.0.113.10:80",
        ],
    );
    insta::assert_snapshot!("watch", text);
}

#[test]
fn refusals_of_the_daemon() {
    let daemon = Daemon::start();
    let text = session(
        &daemon.socket,
        &[
            "backend drain wbe web1",
            "backend drain web web7",
            "backend list wbe",
            "backend weight web web1 0",
            "backend weight web web1 100000",
            "backend add web web3 203.0.113.10",
            "backend add dns a 10.0.0.1 --weight 2",
            "backend add dns a 2001:db8:1::12",
            "backend add tls a 2001:db8:1::12",
            "backend add media a 10.0.0.12 --port 80",
            "--output json backend drain wbe web1",
        ],
    );
    insta::assert_snapshot!("refusals", text);
}

#[test]
fn command_lines_that_are_not_understood() {
    let dir = tempfile::tempdir().unwrap();
    let text = session(
        &dir.path().join("s"),
        &[
            "statsu",
            "backend add web web3 10.0.0.300",
            "backend add web web3 10.0.0.13:80",
            "backend add web web3 [2001:db8::13]:80",
            "backend add web web3 fe80::13%eth0",
            "backend add web web3 www.example.com",
            "backend drain web",
            "backend drain web a/b",
            "backend weight web web1 heavy",
            "backend add web web3 10.0.0.13 --port http",
            "run --sample 0",
            "--output xml status",
        ],
    );
    insta::assert_snapshot!("not_understood", text);
}

#[test]
fn a_socket_that_nobody_listens_on() {
    let dir = tempfile::tempdir().unwrap();
    let dead = dir.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let missing = dir.path().join("missing");
    let text = [
        session(&missing, &["status"]),
        session(&dead, &["status"]),
        session(&dead, &["--output json backend drain web web1"]),
    ];
    insta::assert_snapshot!("nobody_listens", text.concat());
}

#[test]
fn check_needs_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good.toml"), dir.path().join("bad.toml"));
    std::fs::write(&good, "[node]\ninterfaces = [\"eth0\", \"eth1\"]\n").unwrap();
    std::fs::write(&bad, "[node]\ninterfaces = []\n").unwrap();
    let lines = [
        format!("check {}", good.display()),
        format!("check {} --output json", good.display()),
        format!("check {}", bad.display()),
        format!("check {} --output json", bad.display()),
        format!("check {}/missing.toml", dir.path().display()),
    ];
    let lines = lines.each_ref().map(String::as_str);
    insta::assert_snapshot!("check", session(&dir.path().join("s"), &lines));
}

#[test]
fn the_example_that_help_shows_is_all_right() {
    let help = Cli::command()
        .find_subcommand_mut("check")
        .unwrap()
        .render_long_help()
        .to_string();
    let begin = help.find("  [node]").unwrap();
    let end = help.find("Exit status").unwrap();
    let text = help[begin..end].replace("\n  ", "\n");
    let config = flowgate::config::model::Config::parse("help", &text).unwrap();
    assert_eq!(config.services[0].backends.len(), 1);
}

#[test]
fn run_and_unload_are_handed_to_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    for verb in ["run", "unload"] {
        let (_, err, status) = typed(&socket, &[verb]);
        assert_eq!((err, status), (format!("error: {verb} was called\n"), 1));
    }
    let cli = Cli::try_parse_from(["flowgate", "run", "--run-dir", "/tmp/r"]).unwrap();
    let mut served = None;
    let screen = Screen {
        out: &mut Vec::new(),
        err: &mut Vec::new(),
    };
    let run = |args: RunArgs| {
        served = Some(args.socket);
        Ok(())
    };
    assert_eq!(execute(cli, screen, run, |_: UnloadArgs| Ok(())), 0);
    assert_eq!(served.unwrap(), Path::new("/tmp/r/flowgate.sock"));
}
