//! Metrics in the text format that the original answers with.
use std::collections::HashSet;

/// OpenMetrics in the older text format, where a counter's description carries its whole name and nothing tells the end.
/// `unsuffixed` names counters without the suffix `_total`; they come as gauges, which grow only.
pub fn classic(text: &str, unsuffixed: &[&str]) -> String {
    let mut out = String::with_capacity(text.len());
    let counters: HashSet<&str> =
        text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let described =
            ["# HELP ", "# TYPE "].into_iter().find_map(|head| Some((head, line.strip_prefix(head)?)));
        match described.and_then(|(head, rest)| Some((head, rest.split_once(' ')?))) {
            Some((head, (name, rest))) if counters.contains(name) => {
                out.extend([head, name, "_total ", rest]);
            }
            Some(("# TYPE ", (name, "gauge"))) if unsuffixed.contains(&name) => {
                out.extend(["# TYPE ", name, " counter"]);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::classic;

    #[test]
    fn counters_carry_their_whole_name() {
        let text =
            "# HELP a Things.\n# TYPE a counter\n# UNIT a seconds\na_total 1\n# TYPE b gauge\nb 2\n# EOF\n";
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total 1\n# TYPE b counter\nb 2\n";
        assert_eq!(classic(text, &["b"]), expected);
    }
}
