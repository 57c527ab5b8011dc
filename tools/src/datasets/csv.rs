//! A CSV file of `path,label-index` lines without a heading, paths relative to the file.

use super::{Dataset, Images};
use crate::exit::{Failure, Result};
use std::path::{Path, PathBuf};

/// Reads a table. Paths that do not exist beside the table are looked for in `folder`.
pub(super) fn read(table: &Path, folder: Option<&Path>) -> Result<Dataset> {
    let text = std::fs::read_to_string(table).map_err(|error| Failure::input(table, error))?;
    let beside = table.parent().unwrap_or(Path::new(""));
    let mut files = Vec::new();
    let mut labels = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (path, label) = parse(line).map_err(|message| {
            Failure::input(table, format_args!("line {}: {message}", number + 1))
        })?;
        files.push(resolve(&path, beside, folder));
        labels.push(label);
    }
    Ok(Dataset { images: Images::Files(files), labels })
}

fn resolve(path: &str, beside: &Path, folder: Option<&Path>) -> PathBuf {
    let first = beside.join(path);
    match folder.map(|folder| folder.join(path)) {
        Some(second) if !first.exists() && second.exists() => second,
        _ => first,
    }
}

/// Path and label of one line. The path may stand in double quotes, doubled inside.
fn parse(line: &str) -> Result<(String, usize), String> {
    let expected = "expected 'path,label-index'";
    let (path, label) = line.rsplit_once(',').ok_or_else(|| format!("'{line}', {expected}"))?;
    let label = label.trim();
    let label =
        label.parse().map_err(|_| format!("'{label}' is not the index of a label, {expected}"))?;
    let path = path.trim();
    let path = match path.strip_prefix('"').and_then(|path| path.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => path.to_owned(),
    };
    if path.is_empty() {
        return Err(format!("no path, {expected}"));
    }
    Ok((path, label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(parse("a b.png,3"), Ok(("a b.png".into(), 3)));
        assert_eq!(parse("a,b.png , 12 "), Ok(("a,b.png".into(), 12)));
        assert_eq!(parse("\"say \"\"x\"\".png\",0"), Ok(("say \"x\".png".into(), 0)));
        for bad in ["a.png", "a.png,cat", "a.png,-1", ",1", "path,label"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_table_or_else_to_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let images = root.path().join("images");
        std::fs::create_dir(&images).unwrap();
        std::fs::write(images.join("b.png"), "").unwrap();
        std::fs::write(root.path().join("a.png"), "").unwrap();
        let table = root.path().join("t.csv");
        std::fs::write(&table, "a.png,1\n\nb.png,2\r\nc.png,0\n").unwrap();
        let dataset = read(&table, Some(&images)).unwrap();
        assert_eq!(dataset.labels, [1, 2, 0]);
        let Images::Files(files) = dataset.images else { panic!("files") };
        let expected =
            [root.path().join("a.png"), images.join("b.png"), root.path().join("c.png")];
        assert_eq!(files, expected);
    }
}
