//! What the guest is to do, as the script that it reads.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// A command in the guest.
#[derive(Debug)]
pub struct Step {
    pub title: String,
    /// A program and its arguments, or a function of the guest's script.
    pub command: Vec<String>,
    /// By then it hangs.
    pub limit: Duration,
    /// Whether it is a Rust test binary, which tells how many tests passed.
    pub is_test: bool,
}

/// The script: its steps are numbered as here.
pub fn script(
    token: &str,
    folder: &Path,
    kernel_modules: &Path,
    load: &[&str],
    steps: &[Step],
) -> String {
    let mut script = String::new();
    for (name, value) in [
        ("TOKEN", token.to_owned()),
        ("FOLDER", folder.display().to_string()),
        ("KERNEL_MODULES", kernel_modules.display().to_string()),
        ("LOAD", load.join(" ")),
    ] {
        let _ = writeln!(script, "{name}={}", quoted(&value));
    }
    // A function must not be empty.
    script.push_str("job() {\n:\n");
    for (number, step) in steps.iter().enumerate() {
        let words: Vec<String> = step.command.iter().map(|word| quoted(word)).collect();
        let _ = writeln!(script, "step {number} {}", words.join(" "));
    }
    script.push_str("}\n");
    script
}

/// A word as the shell has to read it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_unchanged() {
        let steps = [Step {
            title: String::new(),
            command: ["printf", "%s\n", "a b", "it's", "$HOME", ""]
                .map(str::to_owned)
                .to_vec(),
            limit: Duration::ZERO,
            is_test: false,
        }];
        let mut script = script("t", Path::new("/"), Path::new("/"), &["veth"], &steps);
        script.push_str("step() { shift; \"$@\"; }\njob\n");
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "a b\nit's\n$HOME\n\n");
    }
}
