//! Packets per second on a guest's own network cards, where the guest runs on this
//! machine's CPUs.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Result, bail};

use super::Machines;
use super::binaries::Binaries;
use super::guest::Event;
use super::job::Step;
use super::nic;
use super::qemu::Clock;
use super::table::{PATH, Program};

/// CPUs of a guest: its two ends and the load balancer between them share them.
const CPUS: usize = 8;

/// What is measured: IPv4, through two cards.
const ROWS: &str = "IPv4 k flows";

/// Measures on each kernel. Where no KVM runs guests it does nothing but say so; unless
/// it is `asked` for: then it goes the whole way in emulation, which proves that it works
/// and measures nothing.
pub fn measure(machines: &Machines, binaries: &Binaries, asked: bool) -> Result<()> {
    let clock = match accelerated() {
        Ok(clock) => clock,
        Err(why) if asked => {
            println!("{why}: emulated.");
            Clock::Time
        }
        Err(why) => {
            println!(
                "{why}: packets per second on virtio cards aren't measured. (`--part cards` \
                 shows in emulation that they pass.)"
            );
            return Ok(());
        }
    };
    if !nic::available() {
        bail!("{}", nic::MISSING);
    }
    let program = binaries.path(Program::Binary(PATH))?;
    for guest in machines.guests(clock) {
        let mut failed = Vec::new();
        guest.run(&steps(program, clock), |event| match event {
            Event::Up { release, .. } => println!("Linux {release}, virtio cards, native mode:"),
            Event::Output(line) => println!("  {line}"),
            Event::End { step, status, .. } if status != 0 => failed.push(step.title.clone()),
            Event::Begin | Event::End { .. } => {}
        })?;
        if !failed.is_empty() {
            bail!("the guest failed at {}", failed.join(", "));
        }
        if clock == Clock::Time {
            println!(
                "Emulated, not measured: that packets pass means something, how many doesn't."
            );
        }
    }
    Ok(())
}

/// The clock of a guest on this machine's CPUs, or why it can't have one.
fn accelerated() -> Result<Clock, String> {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !virtualizes(&info) {
        return Err("No KVM runs guests here (neither vmx nor svm in /proc/cpuinfo)".to_owned());
    }
    if let Err(error) = File::options().read(true).write(true).open("/dev/kvm") {
        return Err(format!("No KVM runs guests here (/dev/kvm: {error})"));
    }
    let cpus = std::thread::available_parallelism().map_or(2, |cpus| cpus.get());
    Ok(Clock::Host(cpus.clamp(2, CPUS) as u8))
}

fn virtualizes(cpuinfo: &str) -> bool {
    let mut flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    flags.any(|line| {
        line.split_whitespace()
            .any(|flag| matches!(flag, "vmx" | "svm"))
    })
}

fn steps(program: &str, clock: Clock) -> [Step; 2] {
    let mut command = vec![program, "--cards", "--scenario", ROWS];
    if clock == Clock::Time {
        command.extend(["--rounds", "1", "--time", "200", "--cpus", "1"]);
    }
    let modules = Step {
        title: "loading modules".to_owned(),
        command: vec!["load_modules".to_owned()],
        limit: Duration::from_secs(120),
        is_test: false,
    };
    let rate = Step {
        title: "measuring packets per second".to_owned(),
        command: command.into_iter().map(str::to_owned).collect(),
        limit: Duration::from_secs(1_800),
        is_test: false,
    };
    [modules, rate]
}

#[cfg(test)]
mod tests {
    use super::virtualizes;

    #[test]
    fn cpus_that_can_run_guests_say_so() {
        assert!(virtualizes("model name : A\nflags\t\t: fpu svm sse\n"));
        assert!(virtualizes("flags\t\t: vmx\n"));
        assert!(!virtualizes("flags\t\t: fpu svm_lock\nvmx flags : ept\n"));
        assert!(!virtualizes(""));
    }
}
