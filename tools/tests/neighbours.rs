//! The tools among other programs: closed pipes, full disks, and environments that lack what most have.
#![cfg(unix)]

mod support;

use serde_json::Value;
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use support::{Scratch, Variant, assert_fails, convert, json, path_of, run, stderr, stdout};

/// A network, a picture and what else the calls below read.
struct Files {
    scratch: Scratch,
    onnx: PathBuf,
    model: PathBuf,
    picture: PathBuf,
    golden: PathBuf,
}

impl Files {
    fn new() -> Self {
        let scratch = Scratch::new();
        let model = scratch.model();
        let picture = scratch.png("pictures/green/x.png", [0, 255, 0]);
        let golden = scratch.golden(|_| ());
        let onnx = scratch.onnx(Variant::default());
        Self { scratch, onnx, model, picture, golden }
    }

    /// A call of every kind that writes to standard output.
    fn calls(&self) -> Vec<(&'static str, Vec<OsString>)> {
        let words = |words: &[&OsStr]| words.iter().map(|&word| word.to_owned()).collect();
        let text = OsStr::new;
        let (model, picture) = (self.model.as_os_str(), self.picture.as_os_str());
        let labelled = self.scratch.path("pictures");
        let output = self.scratch.path("again.bnn");
        let convert = words(&[self.onnx.as_os_str(), text("-o"), output.as_os_str()]);
        vec![
            ("bnn-run", words(&[picture, text("-m"), model])),
            ("bnn-run", words(&[picture, text("-m"), model, text("--json")])),
            ("bnn-run", words(&[text("eval"), text("-m"), model, labelled.as_os_str()])),
            ("bnn-run", words(&[text("verify"), model, self.golden.as_os_str()])),
            ("bnn-run", words(&[text("inspect"), model])),
            ("bnn-run", words(&[text("inspect"), model, text("--json")])),
            ("bnn-run", words(&[text("kernels")])),
            ("bnn-run", words(&[text("--help")])),
            ("bnn-run", words(&[text("bench"), text("--help")])),
            ("bnn-run", words(&[text("--version")])),
            ("bnn-convert", convert),
            ("bnn-convert", words(&[text("archs")])),
            ("bnn-convert", words(&[text("archs"), text("bdn28"), text("--graph")])),
            ("bnn-convert", words(&[text("--help")])),
        ]
    }
}

/// Runs a tool with the given standard output.
fn call(program: &str, arguments: &[OsString], standard_output: Stdio) -> Output {
    Command::new(path_of(program))
        .args(arguments)
        .env_remove("BNN_ISA")
        .env_remove("BNN_THREADS")
        .stdout(standard_output)
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

/// Runs a tool behind a line of shell that changes what it inherits; `"$@"` stands for the call.
fn shell(line: &str, program: &str, arguments: &[&OsStr]) -> Output {
    Command::new("sh")
        .args(["-c", line, "sh"])
        .arg(path_of(program))
        .args(arguments)
        .env_remove("BNN_ISA")
        .env_remove("BNN_THREADS")
        .output()
        .unwrap()
}

fn label(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["predictions"][0]["label"].as_str().unwrap().to_owned()
}

fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn nobody_reads_what_is_written() {
    let files = Files::new();
    for (program, arguments) in files.calls() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = call(program, &arguments, writer.into());
        assert_eq!(output.status.code(), Some(0), "{program} {arguments:?}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{program} {arguments:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn standard_output_is_on_a_full_disk() {
    let files = Files::new();
    for (program, arguments) in files.calls() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = call(program, &arguments, full.into());
        assert_eq!(output.status.code(), Some(1), "{program} {arguments:?}");
        let message = stderr(&output);
        assert_eq!(message.lines().count(), 1, "{program} {arguments:?}: {message}");
        assert!(message.contains("standard output"), "{program} {arguments:?}: {message}");
    }
}

#[test]
fn output_files_in_places_that_take_none() {
    let files = Files::new();
    let below_a_file = files.onnx.join("out");
    let mut places = vec![below_a_file, files.scratch.path("no/such/folder/out")];
    if cfg!(target_os = "linux") {
        // Nobody can create a file there, not even root.
        places.push("/proc/out".into());
    }
    for place in places {
        let with = |ending: &str| place.with_extension(ending);
        let name = place.file_name().unwrap().to_str().unwrap();
        assert_fails(convert().arg(&files.onnx).arg("-o").arg(with("bnn")), 1, &[name]);
        let mut eval = run();
        eval.arg("eval").arg("-m").arg(&files.model).arg(files.scratch.path("pictures"));
        let output = eval.arg("--confusion").arg(with("png")).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("out.png"), "{}", stderr(&output));
        let mut profiled = run();
        profiled.arg(&files.picture).arg("-m").arg(&files.model);
        let output = profiled.arg("--profile-chart").arg(with("svg")).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("out.svg"), "{}", stderr(&output));
        let mut drawn = run();
        drawn.arg(&files.picture).arg("-m").arg(&files.model);
        let output = drawn.arg("--annotate").arg(with("png")).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("out.png"), "{}", stderr(&output));
        assert_eq!(stdout(&output), "", "nothing is run before");
    }
}

/// A limit on the size of files stands for a disk that is full when the first byte is written.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_leaves_older_files_as_they_were() {
    const FULL: &str = r#"trap "" XFSZ; ulimit -f 0; exec "$@""#;
    let files = Files::new();
    let folder = files.scratch.path("outputs");
    let pictures = files.scratch.path("pictures");
    for name in ["old.bnn", "old.png", "old.svg", "old.json"] {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), "older").unwrap();
    }
    let before = names(&folder);
    let (onnx, model) = (files.onnx.as_os_str(), files.model.as_os_str());
    let text = OsStr::new;
    let bnn = folder.join("old.bnn");
    let png = folder.join("old.png");
    let svg = folder.join("old.svg");
    let calls: [(&str, Vec<&OsStr>, &str); 4] = [
        ("bnn-convert", vec![onnx, text("-o"), bnn.as_os_str()], "old.bnn"),
        (
            "bnn-run",
            vec![
                text("eval"),
                text("-m"),
                model,
                pictures.as_os_str(),
                text("--confusion"),
                png.as_os_str(),
            ],
            "old.png",
        ),
        (
            "bnn-run",
            vec![
                files.picture.as_os_str(),
                text("-m"),
                model,
                text("--profile-chart"),
                svg.as_os_str(),
            ],
            "old.svg",
        ),
        (
            "bnn-run",
            vec![files.picture.as_os_str(), text("-m"), model, text("--annotate"), png.as_os_str()],
            "old.png",
        ),
    ];
    for (program, arguments, name) in calls {
        let output = shell(FULL, program, &arguments);
        assert_eq!(output.status.code(), Some(1), "{program}: {}", stderr(&output));
        assert!(stderr(&output).contains(name), "{}", stderr(&output));
        assert_eq!(fs::read(folder.join(name)).unwrap(), b"older", "{name}");
        assert_eq!(names(&folder), before, "{program} left something behind");
    }
}

#[test]
fn without_any_environment() {
    let files = Files::new();
    let arguments =
        [files.picture.as_os_str(), OsStr::new("-m"), files.model.as_os_str(), "--json".as_ref()];
    let usual = label(&run().args(arguments).output().unwrap());
    assert_eq!(usual, "green");
    let environments: [&[(&str, &str)]; 4] = [
        &[],
        &[("HOME", "/no/such/home"), ("TERM", "no-such-terminal")],
        &[("HOME", ""), ("TERM", ""), ("LANG", "C"), ("LC_ALL", "C")],
        &[("TMPDIR", "/no/such/folder"), ("LANG", "no_SUCH.locale"), ("BNN_ISA", "")],
    ];
    for environment in environments {
        let mut command = Command::new(path_of("bnn-run"));
        let output = command.args(arguments).env_clear().envs(environment.iter().copied()).output();
        let output = output.unwrap();
        assert_eq!(label(&output), usual, "{environment:?}");
        assert_eq!(stderr(&output), "", "{environment:?}");
        let out = files.scratch.path("environment.bnn");
        let mut command = Command::new(path_of("bnn-convert"));
        command.arg(&files.onnx).arg("-o").arg(&out).env_clear();
        let output = command.envs(environment.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{environment:?}: {}", stderr(&output));
        fs::remove_file(&out).unwrap();
    }
}

/// File systems of Linux take any bytes in a name.
#[test]
#[cfg(target_os = "linux")]
fn names_that_are_no_text() {
    let files = Files::new();
    let strange = |ending: &str| {
        let name = [b"caf\xe9 \xff".as_slice(), ending.as_bytes()].concat();
        files.scratch.path("").join(OsString::from_vec(name))
    };
    let (picture, model) = (strange(".png"), strange(".bnn"));
    fs::copy(&files.picture, &picture).unwrap();
    let mut conversion = convert();
    conversion.arg(&files.onnx).arg("-o").arg(&model).arg("--labels").arg(files.scratch.labels());
    conversion.args(["--resize", "4x4", "--interpolation", "nearest", "--range", "1", "--json"]);
    let document = json(&mut conversion);
    assert!(document["output"].as_str().unwrap().contains('\u{fffd}'), "{document}");
    assert!(model.exists());
    let answer = json(run().arg(&picture).arg("-m").arg(&model).arg("--json"));
    assert_eq!(answer["predictions"][0]["label"], "green");
    assert!(answer["image"].as_str().unwrap().contains('\u{fffd}'), "{answer}");
    json(run().arg("inspect").arg(&model).arg("--json"));
    // Where a name or number is expected, such bytes are wrong usage.
    for option in ["--isa", "--threads", "--top"] {
        let value = OsStr::from_bytes(b"\xff");
        assert_fails(run().arg(&picture).arg("-m").arg(&model).arg(option).arg(value), 2, &[]);
    }
    assert_fails(run().arg(strange(".jpg")).arg("-m").arg(&model), 3, &["\u{fffd}"]);
}

#[test]
fn the_current_folder_is_gone() {
    const GONE: &str = r#"cd "$GONE" && rmdir "$GONE" && exec "$@""#;
    let files = Files::new();
    let gone = files.scratch.path("gone");
    let call = |arguments: &[&OsStr]| {
        fs::create_dir(&gone).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", GONE, "sh"]).arg(path_of("bnn-run")).args(arguments);
        command.env("GONE", &gone).output().unwrap()
    };
    let (model, picture) = (files.model.as_os_str(), files.picture.as_os_str());
    let (flag, json) = (OsStr::new("-m"), OsStr::new("--json"));
    assert_eq!(label(&call(&[picture, flag, model, json])), "green");
    let output = call(&[OsStr::new("x.png"), flag, model, json]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("x.png"), "{}", stderr(&output));
}

#[test]
fn standard_streams_are_closed() {
    let files = Files::new();
    let (model, picture) = (files.model.as_os_str(), files.picture.as_os_str());
    let (flag, json) = (OsStr::new("-m"), OsStr::new("--json"));
    let arguments = [picture, flag, model, json];
    assert_eq!(label(&shell(r#"exec "$@" <&-"#, "bnn-run", &arguments)), "green");
    // There is no picture on a closed standard input.
    let output = shell(r#"exec "$@" <&-"#, "bnn-run", &[OsStr::new("-"), flag, model]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    // Whoever closes an output does not want it. No file may take its place.
    for line in [r#"exec "$@" >&-"#, r#"exec "$@" 2>&-"#, r#"exec "$@" <&- >&- 2>&-"#] {
        let output = shell(line, "bnn-run", &arguments);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
        let out = files.scratch.path("closed.bnn");
        let output =
            shell(line, "bnn-convert", &[files.onnx.as_os_str(), "-o".as_ref(), out.as_os_str()]);
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
        let inspected = run().arg("inspect").arg(&out).output().unwrap();
        assert!(inspected.status.success(), "{line}: {}", stdout(&inspected));
        fs::remove_file(&out).unwrap();
    }
}
