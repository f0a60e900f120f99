//! QEMU, and the machine that it makes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::debian;
use super::nic::{self, Nic};
use crate::run::find_program;
use crate::setup::log::Log;

const PROGRAM: &str = "qemu-system-x86_64";

/// An emulator: the one installed, or else Debian's, unpacked.
#[derive(Debug)]
pub struct Qemu {
    program: PathBuf,
    /// The folder that Debian's was unpacked into; it finds its own data from its
    /// program's path, and its libraries if told where.
    unpacked: Option<PathBuf>,
}

/// What the guest's clock counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Time, and it has two CPUs.
    Time,
    /// Time, and it has so many CPUs: this machine's, by KVM.
    Host(u8),
    /// Instructions, each a nanosecond, of its one CPU: a measurement repeats exactly,
    /// whatever else the host does.
    Instructions,
}

impl Clock {
    /// The guest's number of CPUs.
    pub fn cpus(self) -> u8 {
        match self {
            Clock::Time => 2,
            Clock::Host(cpus) => cpus,
            Clock::Instructions => 1,
        }
    }
}

impl Qemu {
    /// Finds it, or fetches it into `cache`. It isn't installed because that can mean
    /// to replace other packages of a machine that already has some of QEMU.
    pub fn find(cache: &Path, log: &mut Log) -> Result<Self> {
        if let Some(program) = find_program(PROGRAM) {
            return Ok(Self {
                program,
                unpacked: None,
            });
        }
        let name = "qemu-system-x86";
        let packages = if cache.join(name).is_dir() {
            Vec::new()
        } else {
            debian::with_dependencies(name)?
        };
        let folder = debian::unpacked(cache, name, &packages, log)?;
        Ok(Self {
            program: folder.join("usr/bin").join(PROGRAM),
            unpacked: Some(folder),
        })
    }

    /// The command that boots a kernel: the host's files read-only over 9p, kernel
    /// messages in the file `console`, the guest's own words on standard output.
    pub fn boot(&self, image: &Path, initramfs: &Path, console: &Path, clock: Clock) -> Command {
        // Whatever becomes of us, even SIGKILL, the machine goes too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        let nics = nic::cards(clock);
        nic::run_among(&mut command, &nics, &self.program);
        command.args(match clock {
            Clock::Host(_) => ["-accel", "kvm", "-cpu", "host"],
            // Not a thread for each CPU: while one patches the kernel's code, as for a
            // static key, the other may run half of the patch. That was 1 boot of 20.
            // What is off keeps the kernel off user memory, at a price in each system call.
            Clock::Time | Clock::Instructions => [
                "-accel",
                "tcg,thread=single",
                "-cpu",
                "max,smap=off,smep=off,la57=off",
            ],
        });
        command.args(["-m", "3072"]);
        command.arg("-smp").arg(clock.cpus().to_string());
        if clock == Clock::Instructions {
            command.args(["-icount", "shift=0,sleep=off"]);
        }
        command.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
        command.args(["-display", "none", "-monitor", "none"]);
        command.arg("-serial").arg(option("file:", console));
        command.args(["-serial", "stdio"]);
        command.arg("-kernel").arg(image);
        command.arg("-initrd").arg(initramfs);
        command.args(["-append", KERNEL_PARAMETERS]);
        command.args([
            "-fsdev",
            "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device",
            "virtio-9p-pci,fsdev=host,mount_tag=host",
        ]);
        command.args(nics.iter().flat_map(Nic::options));
        if let Some(folder) = &self.unpacked {
            let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
                .map(|library| folder.join(library).display().to_string());
            command.env("LD_LIBRARY_PATH", libraries.join(":"));
        }
        command.stdin(Stdio::null());
        command
    }
}

/// A panic or an oops ends the machine at once, and with it the run; early ones are seen
/// too. A timer interrupt that comes late, because the host is busy, must not be one. The
/// rest is for speed: nobody attacks the guest, its clock is as good as the host's, and
/// it makes and removes many network namespaces.
const KERNEL_PARAMETERS: &str = "console=ttyS0 earlyprintk=serial,ttyS0 quiet panic=-1 oops=panic \
    no_timer_check tsc=reliable mitigations=off nokaslr apparmor=0 selinux=0 rcupdate.rcu_expedited=1";

fn option(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(prefix);
    option.push(path);
    option
}
