//! Standard output and error: text for people, JSON for programs, and a reader that goes away is no error.

use crate::failure::Status;
use comfy_table::{ContentArrangement, Table, presets};
use std::io::Write as _;

/// Writes a line to standard output, as `raw` does.
pub fn line(text: impl AsRef<str>) {
    raw(format!("{}\n", text.as_ref()).as_bytes());
}

/// Writes bytes to standard output, and flushes. Ends the program quietly when nobody reads any more (`| head`), and with status 2
/// when they could not be written, as to a full disk: who reads the file later must not take it for all there was.
pub fn raw(bytes: &[u8]) {
    let mut output = std::io::stdout().lock();
    if let Err(error) = output.write_all(bytes).and_then(|()| output.flush()) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        remark(format!("error: failed to write the output: {error}"));
        std::process::exit(Status::Usage.code().into());
    }
}

/// Writes a line to standard error; progress and remarks go there, so that output can be piped.
pub fn remark(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}

/// How this program can be called again: `lamplight` when it is on the PATH, else the way it was called now.
pub fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    if called.contains('/') && crate::package::find_program("lamplight").is_none() {
        called
    } else {
        "lamplight".to_owned()
    }
}

/// Writes a JSON document to standard output.
pub fn json(value: &serde_json::Value) {
    line(serde_json::to_string_pretty(value).unwrap_or_default());
}

/// A table without lines, as wide as its content or the terminal.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    table
}

/// Prints a table, without the padding at line ends.
pub fn print_table(table: &Table) {
    for row in table.to_string().lines() {
        line(row.trim_end());
    }
}

/// `1.2 MB`, in the units people compare file sizes in.
pub fn bytes(count: u64) -> String {
    const STEP: f64 = 1_000.0;
    let mut size = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < STEP {
            return if unit == "B" { format!("{count} B") } else { format!("{size:.1} {unit}") };
        }
        size /= STEP;
    }
    format!("{size:.1} TB")
}

/// `120ms`, `90s`, `10m`, `2h`, `7d` as a duration; a plain number is refused, since its unit would be a guess.
pub fn parse_age(text: &str) -> Option<std::time::Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(std::time::Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(seconds).map(std::time::Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_need_a_unit() {
        let seconds = |text| parse_age(text).map(|age| age.as_secs());
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("10m"), Some(600));
        assert_eq!(seconds("7d"), Some(604_800));
        for text in ["", "10", "m", "-1h", "1w", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_234_567), "1.2 MB");
    }
}
