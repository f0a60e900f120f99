//! The programs that run in the guest: the host's own, from the same files.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::table::{BENCHMARK, PATH, Program, ROWS};
use crate::run::{cargo, run};

/// The package whose programs the table names.
const PACKAGE: &str = "flowgate-tests";

/// The built programs of that package.
#[derive(Debug)]
pub struct Binaries(Vec<Binary>);

#[derive(Debug, PartialEq, Eq)]
struct Binary {
    name: String,
    is_test: bool,
    path: String,
}

impl Binaries {
    /// Builds flowgate, and everything that the table names.
    pub fn build() -> Result<Self> {
        // The tests run this binary; `cargo test` alone doesn't build it for a package
        // other than its own.
        run(cargo().args(["build", "--package", "lb-userspace", "--bins"]))?;
        let mut command = cargo();
        command.args(["test", "--no-run", "--package", PACKAGE]);
        command.arg("--message-format=json-render-diagnostics");
        for row in ROWS {
            match row.program {
                Program::Binary(name) => command.args(["--bin", name]),
                Program::Tests(name, _) => command.args(["--test", name]),
            };
        }
        Self::of(&mut command)
    }

    /// Builds the benchmarks, and the flowgate that one of them runs, as fast as they get.
    pub fn benchmarks() -> Result<Self> {
        run(cargo().args(["build", "--release", "--package", "lb-userspace", "--bins"]))?;
        let mut command = cargo();
        command.args(["build", "--release", "--package", PACKAGE]);
        command.arg("--message-format=json-render-diagnostics");
        command.args(["--bin", BENCHMARK, "--bin", PATH]);
        Self::of(&mut command)
    }

    fn of(command: &mut Command) -> Result<Self> {
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .context("couldn't start cargo")?;
        if !output.status.success() {
            bail!("{PACKAGE} doesn't build ({})", output.status);
        }
        let messages = String::from_utf8(output.stdout).context("cargo printed no text")?;
        Ok(Self(messages.lines().filter_map(built).collect()))
    }

    /// Where a program is.
    pub fn path(&self, program: Program) -> Result<&str> {
        let (name, is_test) = match program {
            Program::Binary(name) => (name, false),
            Program::Tests(name, _) => (name, true),
        };
        self.0
            .iter()
            .find(|binary| binary.name == name && binary.is_test == is_test)
            .map(|binary| binary.path.as_str())
            .with_context(|| format!("cargo built no {name} in {PACKAGE}"))
    }
}

/// The program that one of cargo's messages tells of. The test harness of a binary is
/// none.
fn built(message: &str) -> Option<Binary> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["profile"]["test"].as_bool()?;
    let kind = if is_test { "test" } else { "bin" };
    if message["target"]["kind"][0].as_str()? != kind {
        return None;
    }
    Some(Binary {
        name: message["target"]["name"].as_str()?.to_owned(),
        is_test,
        path: message["executable"].as_str()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_what_else_is_built() {
        let message = |kind: &str, test: bool, executable: &str| {
            format!(
                r#"{{"target": {{"kind": ["{kind}"], "name": "packet"}},
                    "profile": {{"test": {test}}}, "executable": {executable}}}"#
            )
        };
        let binary = |is_test| Binary {
            name: "packet".to_owned(),
            is_test,
            path: "/t/packet-1".to_owned(),
        };
        let path = r#""/t/packet-1""#;
        assert_eq!(built(&message("test", true, path)), Some(binary(true)));
        assert_eq!(built(&message("bin", false, path)), Some(binary(false)));
        assert_eq!(built(&message("bin", true, path)), None);
        assert_eq!(built(&message("lib", false, "null")), None);
        assert_eq!(built(r#"{"reason": "build-finished"}"#), None);
        assert_eq!(built("text"), None);
    }
}
