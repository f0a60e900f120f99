//! Network namespaces for tests. They have no names: the last file descriptor
//! or thread in them holds them, so they vanish with the test however it ends.

use std::{
    fs::File,
    future::Future,
    io::Write,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use tokio::{sync::watch::Receiver, time::timeout};

use crate::net::NetState;

/// For what should take milliseconds.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// An empty network namespace with its loopback up.
pub struct Namespace(OwnedFd);

impl Namespace {
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes network namespaces: run it as root"
        );
        let made = std::thread::spawn(|| {
            // SAFETY: only UnshareFlags::FILES is unsafe, which would leave other threads'
            // descriptors behind; here only this thread's network namespace changes.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("unshare");
            OwnedFd::from(File::open("/proc/thread-self/ns/net").expect("own namespace"))
        });
        let namespace = Self(made.join().expect("the thread didn't panic"));
        namespace.ip("link set lo up");
        namespace
    }

    /// A path by which other processes find it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs `work` on a thread inside.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("setns");
            work()
        };
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Runs `work` on a tokio runtime of one thread inside.
    pub fn run<F: Future>(&self, work: impl FnOnce() -> F + Send) -> F::Output
    where
        F::Output: Send,
    {
        self.enter(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(work())
        })
    }

    /// `ip …` inside; arguments are split at blanks.
    pub fn ip(&self, arguments: &str) {
        if let Err(errors) = self.ip_try(arguments) {
            panic!("ip {arguments}: {errors}");
        }
    }

    /// `ip …` inside that may fail.
    ///
    /// # Errors
    /// What it says then.
    pub fn ip_try(&self, arguments: &str) -> Result<(), String> {
        let output = self.command(arguments, "");
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            Ok(())
        } else {
            Err(errors.into_owned())
        }
    }

    /// `ip …` inside that may fail; gives what it prints.
    pub fn ip_ask(&self, arguments: &str) -> String {
        String::from_utf8(self.command(arguments, "").stdout).expect("UTF-8")
    }

    /// Many `ip` commands, one a line; those that fail are passed over.
    pub fn ip_batch(&self, lines: &str) {
        self.command("-force -batch -", lines);
    }

    fn command(&self, arguments: &str, input: &str) -> Output {
        let spawn = || {
            Command::new("ip")
                .args(arguments.split_whitespace())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("iproute2 is installed")
        };
        let mut child = self.enter(spawn);
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        child.wait_with_output().expect("it ends")
    }

    /// Writes `/proc/sys/net/…` inside.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{name}");
        self.enter(|| std::fs::write(&path, value)).expect(name);
    }

    /// A wire to another one, `eth0` at both ends, no addresses yet. Up at that end.
    pub fn wire(&self, there: &Self) {
        let path = there.path();
        self.ip(&format!(
            "link add eth0 address 02:00:00:00:00:01 mtu 1400 type veth \
             peer name eth0 address 02:00:00:00:00:11 netns {path}"
        ));
        there.ip("link set eth0 up");
    }
}

/// Two hosts, at 10.0.0.1 and .11 and 2001:db8::1 and ::11, that can talk at once: no
/// duplicate address detection.
pub fn two_hosts() -> (Namespace, Namespace) {
    let hosts = [Namespace::new(), Namespace::new()];
    for host in &hosts {
        host.sysctl("ipv6/conf/default/accept_dad", "0");
    }
    let [here, there] = hosts;
    here.wire(&there);
    here.ip("link set eth0 up");
    for (host, number) in [(&here, 1), (&there, 11)] {
        host.ip(&format!("address add 10.0.0.{number}/24 dev eth0"));
        host.ip(&format!("address add 2001:db8::{number}/64 dev eth0 nodad"));
    }
    (here, there)
}

/// Waits until `found` finds something in the picture.
pub async fn until<T>(
    states: &mut Receiver<Arc<NetState>>,
    mut found: impl FnMut(&NetState) -> Option<T>,
) -> T {
    let search = async {
        loop {
            let now = states.borrow_and_update().clone();
            if let Some(it) = found(&now) {
                return it;
            }
            states.changed().await.expect("the watcher lives");
        }
    };
    match timeout(DEADLINE, search).await {
        Ok(it) => it,
        Err(_) => panic!("not within {DEADLINE:?}; last seen: {:#?}", states.borrow()),
    }
}
