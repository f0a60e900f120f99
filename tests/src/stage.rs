//! A lab with the product at work in it.

use std::{net::SocketAddr, path::Path};

use anyhow::{Result, anyhow};

use crate::{
    flowgate::{self, Flowgate},
    lab::{Lab, Mode, PORTS},
};

/// The product and what it balances. When a test panics, what helps to find out
/// why is written to standard error before all is removed.
#[derive(Debug)]
pub struct Stage {
    /// The product; its daemon runs.
    pub flowgate: Flowgate,
    /// Where it runs.
    pub lab: Lab,
}

impl Stage {
    /// Builds a lab and starts the product in it.
    pub fn build(mode: Mode, binary: &Path, progress: &dyn Fn(&str)) -> Result<Self> {
        let lab = Lab::build(mode, progress)?;
        let flowgate = Flowgate::new(binary, &lab)?;
        progress("flowgate on the load balancer, until it holds both web servers for active");
        let mut stage = Self { flowgate, lab };
        stage.flowgate.start(&stage.lab.lb)?;
        Ok(stage)
    }

    /// Runs a test on a stage of its own. An error comes back with what helps to
    /// find out why.
    pub fn test(mode: Mode, test: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut stage = Self::build(mode, &flowgate::binary()?, &|_| ())?;
        test(&mut stage)
            .map_err(|error| anyhow!("mode {}: {error:#}\n{}", mode.name(), stage.describe()))
    }

    /// Runs a test in one mode after the other.
    pub fn test_each_mode(test: impl Fn(&mut Self) -> Result<()>) -> Result<()> {
        [Mode::Dsr, Mode::Nat]
            .into_iter()
            .try_for_each(|mode| Self::test(mode, &test))
    }

    /// The service with weights, on the VIP's second port.
    pub fn weighted_vip(&self) -> SocketAddr {
        SocketAddr::new(self.lab.vip().ip(), PORTS[1])
    }

    /// The names of the web servers.
    pub fn webs(&self) -> Vec<String> {
        let webs = self.lab.webs.iter();
        webs.map(|web| web.name().to_owned()).collect()
    }

    /// The web server that isn't `name`.
    pub fn other_than(&self, name: &str) -> String {
        let mut webs = self.webs();
        webs.retain(|web| web != name);
        webs.swap_remove(0)
    }

    /// Everything that helps to find out what went wrong.
    pub fn describe(&self) -> String {
        let mut text = self.flowgate.describe();
        for web in &self.lab.webs {
            text.push_str(&format!(
                "── what nginx on {} complained about\n{}",
                web.name(),
                web.nginx.errors()
            ));
        }
        text
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.describe());
        }
    }
}
