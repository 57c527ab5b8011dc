//! When what is packed was last changed, which is the time that packages and man pages name.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::root::root;

/// Seconds since 1970: as `SOURCE_DATE_EPOCH` says, or else the time of the commit; without either, the
/// beginning of 1970. Never the present time, so that the same source gives the same packages.
pub(crate) fn of_last_change() -> Result<u64> {
    if let Ok(time) = std::env::var("SOURCE_DATE_EPOCH") {
        return time.parse().with_context(|| format!("SOURCE_DATE_EPOCH: {time:?}"));
    }
    let log = Command::new("git").current_dir(root()).args(["log", "-1", "--format=%ct"]).output();
    let Ok(log) = log else { return Ok(0) };
    Ok(String::from_utf8_lossy(&log.stdout).trim().parse().unwrap_or(0))
}

/// A time as text, in the form that an option of `date` asks for.
pub(crate) fn written(seconds: u64, form: &str) -> Result<String> {
    let output = Command::new("date")
        .env("LC_ALL", "C")
        .args(["--utc", "--date", &format!("@{seconds}"), form])
        .output()
        .context("cannot start date")?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || text.is_empty() {
        bail!("date failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(written(0, "+%F").unwrap(), "1970-01-01");
        let text = written(1_700_000_000, "--rfc-email").unwrap();
        assert_eq!(text, "Tue, 14 Nov 2023 22:13:20 +0000");
    }
}
