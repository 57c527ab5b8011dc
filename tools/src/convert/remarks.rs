//! Warnings and notes that say the same of many nodes, told once.

use std::collections::HashMap;

/// Nodes that a remark names; the others are counted.
const NAMED: usize = 4;

/// A remark about one node or several.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remark<'a> {
    /// What stands before the name: `sign '`.
    before: &'a str,
    /// The nodes; none where the remark names no node.
    names: Vec<&'a str>,
    /// What stands behind the name, or the whole remark.
    after: &'a str,
}

impl Remark<'_> {
    /// The remark in one line, with the first few names.
    pub(super) fn text(&self) -> String {
        let Some((first, others)) = self.names.split_first() else { return self.after.to_owned() };
        let mut text = format!("{}{first}'", self.before);
        for name in others.iter().take(NAMED - 1) {
            text.push_str(&format!(", '{name}'"));
        }
        if let more @ 1.. = self.names.len().saturating_sub(NAMED) {
            text.push_str(&format!(" and {more} more"));
        }
        text.push_str(self.after);
        text
    }

    /// Every name.
    pub(super) fn names(&self) -> &[&str] {
        &self.names
    }

    /// Whether [`Remark::text`] leaves out names.
    pub(super) fn is_shortened(&self) -> bool {
        self.names.len() > NAMED
    }
}

/// The remarks in their order, those that differ in nothing but the first name in quotes joined.
pub(super) fn grouped(lines: &[String]) -> Vec<Remark<'_>> {
    let mut remarks: Vec<Remark<'_>> = Vec::new();
    let mut known: HashMap<(&str, &str), usize> = HashMap::new();
    for line in lines {
        let (before, name, after) = parts(line);
        let Some(name) = name else {
            remarks.push(Remark { before, names: Vec::new(), after });
            continue;
        };
        let index = *known.entry((before, after)).or_insert(remarks.len());
        match remarks.get_mut(index) {
            Some(remark) => remark.names.push(name),
            None => remarks.push(Remark { before, names: vec![name], after }),
        }
    }
    remarks
}

/// A line cut around its first name in quotes: `sign '`, `relu_1`, `: the rest`.
fn parts(line: &str) -> (&str, Option<&str>, &str) {
    let cut = line.find('\'').and_then(|start| {
        let (before, rest) = line.split_at(start + 1);
        // Names may hold quotes; what follows a name of a remark is a colon.
        let end = rest.find("':")?;
        Some((before, Some(&rest[..end]), &rest[end + 1..]))
    });
    cut.unwrap_or(("", None, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[&str]) -> Vec<String> {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        grouped(&lines).iter().map(Remark::text).collect()
    }

    #[test]
    fn remarks_that_differ_in_a_name_are_joined() {
        let lines = ["sign 'a': zero gives +1", "no name here", "sign 'b': zero gives +1"];
        assert_eq!(texts(&lines), ["sign 'a', 'b': zero gives +1", "no name here"]);
        assert_eq!(texts(&["sign 'a': x", "layer 'a': x", "sign 'b': y"]).len(), 3);
    }

    #[test]
    fn many_names_are_counted() {
        let lines = ["a", "b", "c", "d", "e", "f"].map(|name| format!("sign '{name}': x"));
        let remarks = grouped(&lines);
        assert_eq!(remarks.len(), 1);
        assert_eq!(remarks[0].text(), "sign 'a', 'b', 'c', 'd' and 2 more: x");
        assert!(remarks[0].is_shortened());
        assert_eq!(remarks[0].names().len(), 6);
    }

    #[test]
    fn quotes_that_do_not_close_are_left_alone() {
        assert_eq!(texts(&["it's odd", "'", "", "don't: do"]), ["it's odd", "'", "", "don't: do"]);
    }
}
