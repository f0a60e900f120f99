//! What is shown of a run of the tests, and what came of it.

use anyhow::Result;

use super::guest::Event;
use super::job::Step;
use super::transcript::passed;

/// Watches a guest.
#[derive(Debug, Default)]
pub struct Progress {
    /// Some test binaries may have nothing to run.
    filtered: bool,
    /// What the present step has printed.
    output: Vec<String>,
    ended: usize,
    tests: u32,
    failures: Vec<String>,
}

impl Progress {
    /// For a run of all tests, or of those of a certain name.
    pub fn new(filtered: bool) -> Self {
        Self {
            filtered,
            ..Self::default()
        }
    }

    /// Takes note of what happens, and shows it.
    pub fn see(&mut self, event: Event<'_>) {
        match event {
            Event::Up {
                release,
                seconds,
                took,
            } => println!(
                "  {release} is up … {:.1} s ({seconds:.1} s of its own)",
                took.as_secs_f64()
            ),
            Event::Begin => self.output.clear(),
            Event::Output(line) => self.output.push(line.to_owned()),
            Event::End { step, status, took } => {
                let seconds = took.as_secs_f64();
                let found = self.judge(step, status);
                let good = found.is_ok();
                let (Ok(text) | Err(text)) = found;
                println!("  {} … {seconds:.1} s: {text}", step.title);
                if !good || !step.is_test {
                    self.show_output();
                }
            }
        }
    }

    /// What went wrong, given how the guest ended: nothing, when every step ran and
    /// passed.
    pub fn failures(mut self, steps: &[Step], ran: Result<()>) -> Vec<String> {
        if let Err(error) = ran {
            self.show_output();
            println!("  {error:#}");
            let first = error.to_string();
            let first = first.lines().next().unwrap_or_default();
            self.failures.push(first.to_owned());
        } else if self.ended != steps.len() {
            let (ended, all) = (self.ended, steps.len());
            self.failures.push(format!("{ended} of {all} steps ran"));
        } else if self.filtered && self.tests == 0 {
            self.failures.push("no test has such a name".to_owned());
        }
        self.failures
    }

    /// How a step ended, in words.
    fn judge(&mut self, step: &Step, status: i32) -> Result<String, String> {
        self.ended += 1;
        let found = if status != 0 {
            Err(format!("failed, with exit status {status}"))
        } else if !step.is_test {
            Ok("done".to_owned())
        } else {
            match passed(&self.output) {
                Some(0) if !self.filtered => Err("no test ran".to_owned()),
                Some(passed) => {
                    self.tests += passed;
                    Ok(format!("{passed} passed"))
                }
                None => Err("it ended without a test result".to_owned()),
            }
        };
        if let Err(what) = &found {
            self.failures.push(format!("{}: {what}", step.title));
        }
        found
    }

    fn show_output(&mut self) {
        for line in self.output.drain(..).filter(|line| !line.is_empty()) {
            println!("    {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::anyhow;

    use super::*;

    const RESULT: &str = "test result: ok. 3 passed; 0 failed";
    const EMPTY: &str = "test result: ok. 0 passed; 0 failed";

    fn test(title: &str) -> Step {
        Step {
            title: title.to_owned(),
            command: Vec::new(),
            limit: Duration::ZERO,
            is_test: true,
        }
    }

    /// Runs steps that print a line and end with a status.
    fn failures(filtered: bool, ends: &[(&str, i32)], ran: Result<()>) -> Vec<String> {
        let mut progress = Progress::new(filtered);
        let steps = [test("one"), test("two")];
        for (step, &(output, status)) in steps.iter().zip(ends) {
            progress.see(Event::Begin);
            progress.see(Event::Output(output));
            let took = Duration::ZERO;
            progress.see(Event::End { step, status, took });
        }
        progress.failures(&steps, ran)
    }

    #[test]
    fn only_if_everything_ran_and_passed_nothing_failed() {
        let both = [(RESULT, 0), (RESULT, 0)];
        assert_eq!(failures(false, &both, Ok(())), [""; 0]);
        let hangs = failures(false, &both[..1], Err(anyhow!("it hangs\nlast words")));
        assert_eq!(hangs, ["it hangs"]);
        assert_eq!(failures(false, &both[..1], Ok(())), ["1 of 2 steps ran"]);
        let failed = [
            ("test result: FAILED. 1 passed; 2 failed", 101),
            (RESULT, 0),
        ];
        assert_eq!(
            failures(false, &failed, Ok(())),
            ["one: failed, with exit status 101"]
        );
        assert_eq!(
            failures(false, &[(RESULT, 0), ("", 0)], Ok(())),
            ["two: it ended without a test result"]
        );
    }

    #[test]
    fn a_run_without_tests_is_a_failure() {
        assert_eq!(
            failures(false, &[(RESULT, 0), (EMPTY, 0)], Ok(())),
            ["two: no test ran"]
        );
        let one = [(RESULT, 0), (EMPTY, 0)];
        assert_eq!(failures(true, &one, Ok(())), [""; 0]);
        let none = [(EMPTY, 0), (EMPTY, 0)];
        assert_eq!(failures(true, &none, Ok(())), ["no test has such a name"]);
    }
}
