//! From measured lines to medians, ratios and verdicts.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::rows::{Bar, ROWS, Row, Unit};

/// What one row's sides took, by side, in microseconds or kB.
#[derive(Debug)]
pub(crate) struct Measured {
    row: &'static Row,
    sides: BTreeMap<String, Vec<u64>>,
}

/// Sorts measured lines into the rows of the table. A row that was not measured is left out; lines with # are notes.
///
/// # Errors
/// A line that is none, or of a command that failed.
pub(crate) fn summarise(lines: &str) -> Result<Vec<Measured>> {
    let mut found: BTreeMap<&str, BTreeMap<String, Vec<u64>>> = BTreeMap::new();
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let [row, side, value, status] = line.split(' ').collect::<Vec<_>>()[..] else {
            anyhow::bail!("not a measured line: {line}");
        };
        ensure!(status == "0", "{row} of {side} exits with {status}");
        let value = value.parse().with_context(|| format!("the number in: {line}"))?;
        found.entry(row).or_default().entry(side.to_owned()).or_default().push(value);
    }
    let measured = ROWS.iter().filter_map(|row| Some(Measured { row, sides: found.remove(row.name)? }));
    Ok(measured.collect())
}

impl Measured {
    pub(crate) fn row(&self) -> &'static Row {
        self.row
    }

    pub(crate) fn name(&self) -> &'static str {
        self.row.name
    }

    fn median(&self, side: &str) -> Option<u64> {
        self.sides.get(side).map(|values| median(values))
    }

    /// Returns how many times a rival's median Bryo's is.
    fn ratio(&self, rival: &str) -> Option<f64> {
        Some(self.median("bryo")? as f64 / self.median(rival)?.max(1) as f64)
    }

    /// Tells whether a bar holds; nothing where the rival was not measured.
    fn holds(&self, bar: &Bar) -> Option<bool> {
        match bar {
            Bar::Of(rival, most) => Some(self.ratio(rival)? <= *most),
            Bar::AtMost(most) => Some(self.median("bryo")? <= *most),
        }
    }

    fn shown(&self, value: u64) -> String {
        match self.row.unit {
            Unit::Time | Unit::Short => format!("{:.1}", value as f64 / 1000.0),
            Unit::Memory | Unit::Count => value.to_string(),
        }
    }

    fn unit(&self) -> &'static str {
        match self.row.unit {
            Unit::Time => "ms",
            Unit::Short => "us",
            Unit::Memory => "kB",
            Unit::Count => "",
        }
    }

    fn verdict(&self, bar: &Bar) -> String {
        let word = match self.holds(bar) {
            Some(true) => "holds",
            Some(false) => "MISSED",
            None => "not measured",
        };
        match bar {
            Bar::Of(rival, most) => {
                let ratio = self.ratio(rival).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
                format!("{ratio} of {rival}, at most {most}: {word}")
            }
            Bar::AtMost(most) => format!("at most {} {}: {word}", self.shown(*most), self.unit()),
        }
    }

    /// Returns one line for each side, and the verdicts beside the first ones.
    fn lines(&self) -> Vec<String> {
        let sides = ["bryo"].iter().chain(self.row.rivals).filter(|side| self.sides.contains_key(**side));
        let plain =
            |rival: &&&str| !self.row.bars.iter().any(|bar| matches!(bar, Bar::Of(of, _) if of == *rival));
        let ratios = self
            .row
            .rivals
            .iter()
            .filter(plain)
            .filter_map(|rival| Some(format!("{:.2} of {rival}", self.ratio(rival)?)));
        let mut remarks = self.row.bars.iter().map(|bar| self.verdict(bar)).chain(ratios);
        let line = |(number, side): (usize, &&str)| {
            let values = &self.sides[*side];
            let name = if number == 0 { self.row.name } else { "" };
            let [median, least] = [median(values), least(values)].map(|value| self.shown(value));
            let remark = remarks.next().unwrap_or_default();
            format!("{name:<19} {side:<9} {median:>8} {least:>8} {}  {remark}", self.unit())
                .trim_end()
                .to_owned()
        };
        sides.enumerate().map(line).collect()
    }

    fn json(&self) -> Value {
        let side =
            |values: &[u64]| json!({"median": median(values), "min": least(values), "count": values.len()});
        let sides: BTreeMap<_, _> = self.sides.iter().map(|(name, values)| (name, side(values))).collect();
        let ratios: BTreeMap<_, _> =
            self.row.rivals.iter().filter_map(|r| Some((r, self.ratio(r)?))).collect();
        let bar = |bar: &Bar| match bar {
            Bar::Of(rival, most) => json!({"of": rival, "at_most": most, "holds": self.holds(bar)}),
            Bar::AtMost(most) => json!({"at_most": most, "holds": self.holds(bar)}),
        };
        let bars: Vec<_> = self.row.bars.iter().map(bar).collect();
        let unit = match self.row.unit {
            Unit::Time => "us",
            Unit::Short => "ns",
            Unit::Memory => "kB",
            Unit::Count => "calls",
        };
        json!({"unit": unit, "sides": sides, "ratios": ratios, "bars": bars})
    }
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn least(values: &[u64]) -> u64 {
    values.iter().copied().min().unwrap_or(0)
}

/// Lays out the table, with the count of bars that hold as its last line.
pub(crate) fn table(measured: &[Measured]) -> String {
    let mut text = format!("{:<19} {:<9} {:>8} {:>8}\n", "", "", "median", "min");
    measured.iter().flat_map(Measured::lines).for_each(|line| text += &(line + "\n"));
    let bars: Vec<_> = measured.iter().flat_map(|m| m.row.bars.iter().map(|bar| m.holds(bar))).collect();
    let held = bars.iter().filter(|held| **held == Some(true)).count();
    text + &format!("{held} of {} bars hold\n", bars.len())
}

/// Returns the same as JSON.
pub(crate) fn json(runs: usize, measured: &[Measured]) -> Value {
    let rows: BTreeMap<_, _> = measured.iter().map(|m| (m.name(), m.json())).collect();
    json!({"runs": runs, "rows": rows})
}

#[cfg(test)]
mod tests_of_the_summary {
    use super::*;

    const LINES: &str = "\
start bryo 10000 0
start lxc 40000 0
start bryo 20000 0
start lxc 20000 0
start bryo 90000 0
anonymous-of-one bryo 250 0
";

    fn measured() -> Vec<Measured> {
        summarise(LINES).unwrap_or_default()
    }

    #[test]
    fn the_ratio_is_that_of_the_medians() {
        assert_eq!((measured()[0].name(), measured()[0].ratio("lxc")), ("start", Some(0.5)));
    }

    #[test]
    fn a_bar_is_missed_by_what_lies_above_it_and_unknown_without_the_rival() {
        let verdicts =
            |measured: &Measured| measured.row.bars.iter().map(|bar| measured.holds(bar)).collect::<Vec<_>>();
        assert_eq!(verdicts(&measured()[0]), [Some(false), None]);
        assert_eq!(verdicts(&measured()[1]), [Some(false)]);
        assert!(table(&measured()).ends_with("0 of 3 bars hold\n"));
    }

    #[test]
    fn a_failed_command_is_not_a_measurement() {
        assert!(summarise("start bryo 10 1\n").is_err());
    }
}
