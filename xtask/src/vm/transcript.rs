//! What the guest says on its second serial port, line by line.

/// What one line of it says.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// It runs on the host's files: seconds since its kernel started, and the
    /// kernel's release.
    Up { seconds: f64, release: String },
    /// A step begins.
    Begin(usize),
    /// A step's exit status.
    End(usize, i32),
    /// The job is done.
    Done,
    /// A line that a step printed.
    Output(String),
}

/// Reads the lines of one guest.
#[derive(Debug)]
pub struct Transcript {
    token: String,
    step: Option<usize>,
}

impl Transcript {
    /// For a guest that marks its own lines with `token`.
    pub fn new(token: &str) -> Self {
        Self {
            token: format!("{token} "),
            step: None,
        }
    }

    /// The step that runs now.
    pub fn step(&self) -> Option<usize> {
        self.step
    }

    /// Understands one line. The guest's own words may follow output that didn't end
    /// its line; those that make no sense are output.
    pub fn read(&mut self, line: &str) -> Vec<Line> {
        let line = line.trim_end_matches(['\r', '\n']);
        let output = |text: &str| Line::Output(text.to_owned());
        let Some((before, marked)) = line.split_once(&self.token) else {
            return vec![output(line)];
        };
        match self.marked(marked) {
            None => vec![output(line)],
            Some(own) if before.is_empty() => vec![own],
            Some(own) => vec![output(before), own],
        }
    }

    fn marked(&mut self, text: &str) -> Option<Line> {
        let mut words = text.split(' ');
        let line = match words.next()? {
            "up" => Line::Up {
                seconds: words.next()?.parse().ok()?,
                release: words.next()?.to_owned(),
            },
            "begin" => {
                let step = words.next()?.parse().ok()?;
                self.step = Some(step);
                Line::Begin(step)
            }
            "end" => {
                self.step = None;
                Line::End(words.next()?.parse().ok()?, words.next()?.parse().ok()?)
            }
            "done" => Line::Done,
            _ => return None,
        };
        Some(line)
    }
}

/// How many tests passed, by the summary of a Rust test binary; `None` without one.
pub fn passed(output: &[String]) -> Option<u32> {
    let summary = output
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("test result: "))?;
    let (_, counts) = summary.split_once(". ")?;
    let (passed, _) = counts.split_once(" passed")?;
    passed.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_lines_say_how_far_it_is() {
        let mut transcript = Transcript::new("t0");
        let up = Line::Up {
            seconds: 4.25,
            release: "6.1.0-56-amd64".to_owned(),
        };
        let line = "t0 up 4.25 6.1.0-56-amd64\r\n";
        assert_eq!(transcript.read(line), [up]);
        assert_eq!(transcript.step(), None);
        assert_eq!(transcript.read("t0 begin 3\n"), [Line::Begin(3)]);
        assert_eq!(transcript.step(), Some(3));
        assert_eq!(transcript.read("t0 end 3 101\n"), [Line::End(3, 101)]);
        assert_eq!(transcript.step(), None);
        assert_eq!(transcript.read("t0 done\n"), [Line::Done]);
    }

    #[test]
    fn everything_else_is_output() {
        let mut transcript = Transcript::new("t0");
        for line in ["", "done", "t0", "t0 end 0", "t0 end x 0", "t1 done"] {
            assert_eq!(transcript.read(line), [Line::Output(line.to_owned())]);
        }
    }

    #[test]
    fn output_may_stop_in_the_middle_of_a_line() {
        let mut transcript = Transcript::new("t0");
        let both = [Line::Output("50 %".to_owned()), Line::End(0, 0)];
        assert_eq!(transcript.read("50 %t0 end 0 0\n"), both);
    }

    #[test]
    fn passed_tests_are_counted_by_the_summary() {
        let output = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let good = "test a ... ok\n\ntest result: ok. 43 passed; 0 failed; 0 ignored\n";
        assert_eq!(passed(&output(good)), Some(43));
        let bad = "test result: FAILED. 1 passed; 2 failed; 0 ignored";
        assert_eq!(passed(&output(bad)), Some(1));
        assert_eq!(passed(&output("running 3 tests")), None);
    }
}
