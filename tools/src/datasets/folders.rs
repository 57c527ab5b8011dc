//! A folder of folders, each named after the label of the images in it.

use super::{Dataset, Images};
use crate::{
    exit::{Failure, Result},
    images,
};
use std::path::Path;

/// Reads the folders in `path`; `names` are the labels of the network.
pub(super) fn read(path: &Path, names: &[String]) -> Result<Dataset> {
    let fail = |error| Failure::input(path, error);
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let folder = entry.map_err(fail)?.path();
        let hidden =
            folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if folder.is_dir() && !hidden {
            folders.push(folder);
        }
    }
    folders.sort();
    if folders.is_empty() {
        return Err(Failure::input(
            path,
            "no labels.csv, no idx files and no folders named after labels",
        ));
    }
    let mut files = Vec::new();
    let mut labels = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let label = find(&name, names).map_err(|message| Failure::input(&folder, message))?;
        let found = images::in_folder(&folder)?;
        labels.extend(std::iter::repeat_n(label, found.len()));
        files.extend(found);
    }
    Ok(Dataset { images: Images::Files(files), labels })
}

/// The class that a folder is named after: the label itself, or the label written with other
/// capitals or with underscores for spaces, or the index of the class.
fn find(folder: &str, names: &[String]) -> Result<usize, String> {
    let plain = |name: &str| name.trim().replace('_', " ").to_lowercase();
    let wanted = plain(folder);
    let tests: [&dyn Fn(&String) -> bool; 2] =
        [&|name| name == folder, &|name| plain(name) == wanted];
    for test in tests {
        let matching: Vec<usize> =
            names.iter().enumerate().filter(|(_, name)| test(name)).map(|(index, _)| index).collect();
        match matching[..] {
            [] => {}
            [index] => return Ok(index),
            [first, second, ..] => {
                return Err(format!(
                    "classes {first} and {second} both have the label '{folder}', expected one; \
                     name the folder after the index, or list the images in a labels.csv"
                ));
            }
        }
    }
    folder.parse().map_err(|_| {
        format!("'{folder}' is none of the {} labels of the model, and not an index", names.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_after_labels_or_indices() {
        let names = ["tench", "great white shark", "7", "crane", "crane", "Crab", "crab"];
        let names = names.map(str::to_owned);
        assert_eq!(find("tench", &names), Ok(0));
        assert_eq!(find("Great_White_Shark", &names), Ok(1));
        assert_eq!(find("7", &names), Ok(2), "a label comes before an index");
        assert_eq!(find("3", &names), Ok(3));
        assert_eq!(find("crab", &names), Ok(6), "an exact label comes first");
        assert!(find("crane", &names).unwrap_err().contains("classes 3 and 4"));
        assert!(find("CRAB", &names).unwrap_err().contains("classes 5 and 6"));
        assert!(find("dog", &names).unwrap_err().contains("none of the 7 labels"));
    }
}
