//! Figures on a page of the documentation: between two markers for each kind of figures
//! and series of kernels, such as `instructions on 6.12`.

use std::fmt::Write as _;
use std::ops::Range;

use anyhow::{Context, Result};

/// What a packet of one kind takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub name: String,
    /// Instructions.
    pub count: f64,
}

/// The series of a kernel's release: `6.12` of `6.12.9-amd64`.
pub fn series(release: &str) -> String {
    let mut parts = release.split(['.', '-']);
    let (major, minor) = (parts.next(), parts.next());
    format!(
        "{}.{}",
        major.unwrap_or_default(),
        minor.unwrap_or_default()
    )
}

/// The table of these figures.
pub fn table(figures: &[Figure]) -> String {
    let mut text = String::from("| packet | instructions |\n|---|---:|\n");
    for Figure { name, count } in figures {
        let _ = writeln!(text, "| {name} | {count:.1} |");
    }
    text
}

/// The page with this text in the place of what is marked so.
pub fn replaced(page: &str, mark: &str, text: &str) -> Result<String> {
    let place = place(page, mark)?;
    let (before, after) = (&page[..place.start], &page[place.end..]);
    Ok(format!("{before}\n{text}{after}"))
}

/// The figures that are marked so on a page: the second cells of lines in which they are
/// numbers.
pub fn read(page: &str, mark: &str) -> Result<Vec<Figure>> {
    let lines = page[place(page, mark)?].lines();
    Ok(lines
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            Some(Figure {
                name: cells.next()?.to_owned(),
                count: cells.next()?.parse().ok()?,
            })
        })
        .collect())
}

/// The figure of that name.
pub fn find(figures: &[Figure], name: &str) -> Option<f64> {
    let figure = figures.iter().find(|figure| figure.name == name);
    figure.map(|figure| figure.count)
}

/// What lies between the markers, from the first one's end of line on.
fn place(page: &str, mark: &str) -> Result<Range<usize>> {
    let (first, last) = (
        format!("<!-- {mark} -->"),
        format!("<!-- end of {mark} -->"),
    );
    let find = |marker: &str| {
        page.find(marker)
            .with_context(|| format!("there is no line `{marker}`"))
    };
    let start = find(&first)? + first.len();
    let end = find(&last)?;
    page.get(start..end)
        .context("the markers are the wrong way round")?;
    Ok(start..end)
}

/// The rows of both, with the difference in per cent.
pub fn compared(kept: &[Figure], measured: &[Figure]) -> String {
    let mut text = format!("{:<46} {:>8} {:>8}\n", "", "kept", "now");
    for Figure { name, count } in measured {
        let _ = match find(kept, name) {
            Some(kept) => {
                let more = (count / kept - 1.0) * 100.0;
                writeln!(text, "{name:<46} {kept:>8.1} {count:>8.1} {more:>+7.1} %")
            }
            None => writeln!(text, "{name:<46} {:>8} {count:>8.1}     new", ""),
        };
    }
    for Figure { name, count } in kept {
        if find(measured, name).is_none() {
            let _ = writeln!(text, "{name:<46} {count:>8.1} {:>8}    gone", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A\n<!-- instructions on 6.1 -->\n<!-- end of instructions on 6.1 -->\n\
        <!-- instructions on 6.12 -->\nold\n<!-- end of instructions on 6.12 -->\nB\n";

    const NEW: &str = "instructions on 6.12";

    fn figure(name: &str, count: f64) -> Figure {
        Figure {
            name: name.to_owned(),
            count,
        }
    }

    #[test]
    fn figures_are_found_again() {
        let figures = [figure("dsr, IPv4", 91.0), figure("nat, IPv6", 120.5)];
        let page = replaced(PAGE, NEW, &table(&figures)).expect("it has the markers");
        assert_eq!(read(&page, NEW).expect("likewise"), figures);
        assert_eq!(read(&page, "instructions on 6.1").expect("likewise"), []);
        assert!(page.starts_with("# A\n") && page.ends_with("-->\nB\n") && !page.contains("old"));
        let again = replaced(&page, NEW, &table(&figures)).expect("likewise");
        assert_eq!(again, page);
    }

    #[test]
    fn a_page_without_markers_is_refused() {
        let error = read(PAGE, "instructions on 6.18").expect_err("no such series");
        assert!(error.to_string().contains("on 6.18 -->"), "{error}");
        let turned = "<!-- end of instructions on 1.2 --><!-- instructions on 1.2 -->";
        assert!(read(turned, "instructions on 1.2").is_err());
    }

    #[test]
    fn differences_are_in_per_cent() {
        let (kept, now) = (
            [figure("a", 100.0), figure("b", 1.0)],
            [figure("a", 101.5), figure("c", 2.0)],
        );
        let text = compared(&kept, &now);
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let wanted = [
            "kept now",
            "a 100.0 101.5 +1.5 %",
            "c 2.0 new",
            "b 1.0 gone",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn a_release_is_of_a_series() {
        assert_eq!(series("6.12.9+deb12-amd64"), "6.12");
        assert_eq!(series("6.1.0-56-amd64"), "6.1");
    }
}
