//! Aligned columns and human numbers.

/// Rows of cells under headings; the last column is never padded.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns of numbers, which are aligned to the right.
    numbers: &'static [usize],
}

impl Table {
    /// An empty table; `numbers` are the columns aligned to the right.
    pub(super) fn new(headings: &[&str], numbers: &'static [usize]) -> Self {
        let headings = headings.iter().map(|heading| (*heading).to_owned());
        Self {
            rows: vec![headings.collect()],
            numbers,
        }
    }

    /// Adds a row with a cell for each heading.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.add(cells.into());
    }

    /// The same, of as many cells as there are headings.
    pub(super) fn add(&mut self, cells: Vec<String>) {
        // What came over a socket must not steer the terminal.
        let safe = |cell: String| cell.replace(char::is_control, " ");
        self.rows.push(cells.into_iter().map(safe).collect());
    }

    /// The table as text, each line ended.
    pub(super) fn text(&self) -> String {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(
                |(column, (cell, width))| match self.numbers.contains(&column) {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                },
            );
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        self.rows.iter().map(line).collect()
    }
}

/// A count as people read it: exact below ten thousand, else three digits and a
/// unit (powers of 1,000).
pub(super) fn count(number: u64) -> String {
    if number < 10_000 {
        return number.to_string();
    }
    let mut scaled = number as f64;
    let mut unit = "";
    for next in ["k", "M", "G", "T", "P", "E"] {
        // 999.5 would be shown as 1000.
        if scaled < 999.5 {
            break;
        }
        scaled /= 1_000.0;
        unit = next;
    }
    let decimals = match scaled {
        s if s < 9.995 => 2,
        s if s < 99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$}{unit}")
}

/// Seconds as people read them: the two greatest units.
pub(super) fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}min {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}min"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_three_digits() {
        let shown = [0, 9_999, 10_000, 99_949, 99_950, 999_499, 999_500, u64::MAX].map(count);
        let expected = [
            "0", "9999", "10.0k", "99.9k", "100k", "999k", "1.00M", "18.4E",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn ages_keep_two_units() {
        let shown = [0, 59, 61, 3_600, 90_061].map(age);
        assert_eq!(shown, ["0s", "59s", "1min 1s", "1h 0min", "1d 1h"]);
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_the_end() {
        let mut table = Table::new(&["NAME", "N", "NOTE"], &[1]);
        table.row(["a".into(), "10".into(), String::new()]);
        table.row(["longer".into(), "5".into(), "x\u{1b}[0m".into()]);
        let expected = "NAME     N  NOTE\na       10\nlonger   5  x [0m\n";
        assert_eq!(table.text(), expected);
    }
}
