//! Man pages and completions of the tools, from the command lines that the tools parse with.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::time;

/// What a page says besides what the command line knows.
struct Page {
    /// Name of the page: words of the command joined by dashes.
    name: &'static str,
    /// Paragraphs after the one sentence that `--help` has.
    description: &'static [&'static str],
    /// What an example does, and the example.
    examples: &'static [(&'static str, &'static str)],
    /// Other pages.
    see_also: &'static [&'static str],
}

const PAGES: [Page; 8] = [
    Page {
        name: "bnn-convert",
        description: &[
            "INPUT is an ONNX or QONNX file, or a safetensors file whose network is named with --arch, written \
             down with --graph, or stored in its metadata. The result runs with bnn-run(1) and gives the numbers \
             of the network that was trained: what leads to a sign becomes an integer threshold that is searched, \
             not computed by a formula.",
            "The table on standard output says of every layer whether it became binary, and if not, why. \
             The file is written under a temporary name and renamed: a conversion that fails leaves none.",
        ],
        examples: &[
            (
                "A network of 224x224 pixels with its preprocessing and labels, compared with known outputs:",
                "bnn-convert network.onnx -o network.bnn --labels classes.txt --resize 256 --crop 224 \
                 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --verify golden.safetensors",
            ),
            (
                "Weights of a network that the catalogue has:",
                "bnn-convert weights.safetensors --arch bdn28 -o bdn28.bnn",
            ),
            (
                "Random weights, to measure speed:",
                "bnn-convert --arch bireal18 --random-weights 1 -o bench.bnn",
            ),
            ("A page to look at:", "bnn-convert network.onnx -o network.bnn --report network.html"),
        ],
        see_also: &["bnn-convert-archs", "bnn-run", "bnn-run-verify", "bnn-run-inspect"],
    },
    Page {
        name: "bnn-convert-archs",
        description: &[],
        examples: &[
            ("All of them:", "bnn-convert archs"),
            ("One of them as the JSON that --graph reads:", "bnn-convert archs bdn28 --graph"),
        ],
        see_also: &["bnn-convert"],
    },
    Page {
        name: "bnn-run",
        description: &[
            "Without a subcommand, the classes that the network sees on each IMAGE are printed, the likeliest \
             first. Folders are searched for pictures (PNG, JPEG, WebP, BMP, GIF), - is standard input. \
             A file that is named like a subcommand is given as ./bench.",
            "A picture that cannot be read is reported, the others are answered all the same, and the exit \
             status is 3.",
        ],
        examples: &[
            ("What is on a picture, by the model that is built in:", "bnn-run airplane.png"),
            (
                "The three likeliest classes of every picture in a folder, one JSON object a line:",
                "bnn-run photos/ -m network.bnn --top 3 --json",
            ),
            ("A picture from another program:", "camera | bnn-run - -m network.bnn"),
            ("Where the time goes:", "bnn-run photo.jpg -m network.bnn --profile"),
        ],
        see_also: &[
            "bnn-run-bench",
            "bnn-run-eval",
            "bnn-run-inspect",
            "bnn-run-kernels",
            "bnn-run-verify",
            "bnn-convert",
        ],
    },
    Page {
        name: "bnn-run-eval",
        description: &[
            "DATA is a folder of folders named after the labels, a folder with a table of path,label-index, \
             a safetensors file with images u8 [N, H, W, C] and labels i64 [N], or a pair of idx files.",
        ],
        examples: &[
            (
                "Accuracy by class, and a picture of what was taken for what:",
                "bnn-run eval -m network.bnn validation/ --confusion confusion.png",
            ),
            ("For a program:", "bnn-run eval -m network.bnn test.safetensors --json"),
        ],
        see_also: &["bnn-run", "bnn-run-verify"],
    },
    Page {
        name: "bnn-run-bench",
        description: &[],
        examples: &[
            ("One image at a time on one thread:", "bnn-run bench -m network.bnn"),
            (
                "Four images at a time on two threads, without AVX-512:",
                "bnn-run bench -m network.bnn --batch 4 --threads 2 --isa avx2",
            ),
        ],
        see_also: &["bnn-run", "bnn-run-kernels"],
    },
    Page {
        name: "bnn-run-verify",
        description: &[
            "GOLDEN is a safetensors file with input_f32 as the original network was fed and logits as it \
             answered; optionally input_u8, labels, and for a block X tapin.X and tap.X, its input and \
             output for the first row.",
        ],
        examples: &[
            ("Equal within one in 10,000:", "bnn-run verify network.bnn golden.safetensors"),
            ("Equal to the bit:", "bnn-run verify network.bnn golden.safetensors --tolerance 0"),
        ],
        see_also: &["bnn-convert", "bnn-run-eval"],
    },
    Page {
        name: "bnn-run-inspect",
        description: &[],
        examples: &[
            (
                "Layers, shapes, kinds, bytes, preprocessing and labels:",
                "bnn-run inspect network.bnn",
            ),
            (
                "Names of the binary layers:",
                "bnn-run inspect network.bnn --json | jq -r '.layers[] | select(.binary) | .name'",
            ),
        ],
        see_also: &["bnn-run", "bnn-convert"],
    },
    Page {
        name: "bnn-run-kernels",
        description: &[],
        examples: &[
            ("What this machine has:", "bnn-run kernels"),
            ("Whether a path can be forced:", "BNN_ISA=avx512 bnn-run kernels"),
        ],
        see_also: &["bnn-run", "bnn-run-bench"],
    },
];

/// The interface's promise, the same for every command.
const EXIT_STATUS: [(&str, &str); 6] = [
    ("0", "Done. Also where a reader of standard output has closed it."),
    ("1", "Anything that has no number of its own, such as a full disk."),
    ("2", "Wrong usage, or an instruction set that this machine lacks."),
    ("3", "An input cannot be read or is broken."),
    ("4", "The model is not supported, or --strict refused it."),
    ("5", "Verification failed."),
];

const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "BNN_ISA",
        "Instruction set, where --isa is not given: scalar, v2, avx2, avx512, avx512vpopcnt or neon. \
         Otherwise the fastest that the processor has.",
    ),
    ("BNN_THREADS", "Number of threads, where --threads is not given."),
    ("NO_COLOR", "If it is set and not empty, a terminal gets no colours."),
    ("TERM", "With dumb, a terminal gets no colours."),
];

/// Writes man pages to `folder/man/man1`, and completions to where bash, zsh and fish look below
/// `folder`, such as `/usr/share`.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let day = time::written(time::of_last_change()?, "+%F")?;
    let pages = folder.join("man/man1");
    create(&pages)?;
    for tool in [bnn_tools::convert::command(), bnn_tools::run::command()] {
        let mut tool = tool.disable_help_subcommand(true);
        tool.build();
        for command in std::iter::once(&tool).chain(tool.get_subcommands()) {
            let name = command.get_display_name().unwrap_or(command.get_name());
            let path = pages.join(format!("{name}.1"));
            fs::write(&path, page(command, name, &day)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        for (shell, place) in [
            (Shell::Bash, "bash-completion/completions"),
            (Shell::Zsh, "zsh/site-functions"),
            (Shell::Fish, "fish/vendor_completions.d"),
        ] {
            let place = folder.join(place);
            create(&place)?;
            let name = tool.get_name().to_owned();
            let path = generate_to(shell, &mut tool.clone(), &name, &place)?;
            if shell == Shell::Bash {
                let script = with_subcommands(&fs::read_to_string(&path)?, &name);
                fs::remove_file(&path)?;
                // bash-completion loads a file that is named as the command.
                fs::write(place.join(&name), script)?;
            }
        }
    }
    Ok(())
}

/// A bash script in which subcommands of a tool with a dash in its name are found.
///
/// clap_complete 4.6 writes that dash in two ways, and so never comes to what it has to offer behind a
/// subcommand (<https://github.com/clap-rs/clap/issues/6421>).
fn with_subcommands(script: &str, tool: &str) -> String {
    script.replace(&tool.replace('-', "__subcmd__"), &tool.replace('-', "__"))
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// A page in the language of man.
fn page(command: &Command, name: &str, day: &str) -> Result<Vec<u8>> {
    let more = PAGES
        .iter()
        .find(|page| page.name == name)
        .with_context(|| format!("nobody has written examples for the man page of {name}"))?;
    // clap's sentences have no full stop on subcommands: right for a list, not for a paragraph.
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let about = about.trim_end_matches('.').to_owned();
    let sentence = format!("{about}.");
    let command = command.clone().about(about).long_about(sentence);
    let version = env!("CARGO_PKG_VERSION");
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .date(day)
        .source(format!("bnn {version}"))
        .manual("User Commands");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    synopsis(&command).to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    let mut roff = Roff::new();
    for paragraph in more.description {
        roff.control("PP", []);
        roff.text([roman(*paragraph)]);
    }
    roff.to_writer(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    last_sections(more).to_writer(&mut text)?;
    Ok(text)
}

/// The ways to call a command, each in a line of its own.
fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for (index, line) in usage.lines().enumerate() {
        if index > 0 {
            roff.control("br", []);
        }
        roff.text([roman(line.trim_start_matches("Usage:").trim())]);
    }
    roff
}

/// What stands below the options.
fn last_sections(page: &Page) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (index, (what, example)) in page.examples.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*what)]);
        roff.control("PP", []);
        roff.control("RS", ["4"]);
        roff.control("nh", []);
        roff.text([bold(*example)]);
        roff.control("hy", []);
        roff.control("RE", []);
    }
    roff.control("SH", ["EXIT STATUS"]);
    list(&mut roff, &EXIT_STATUS);
    roff.control("SH", ["ENVIRONMENT"]);
    list(&mut roff, &ENVIRONMENT);
    roff.control("SH", ["SEE ALSO"]);
    let mut line: Vec<Inline> = Vec::new();
    for (index, name) in page.see_also.iter().enumerate() {
        if index > 0 {
            line.push(roman(", "));
        }
        line.extend([bold(*name), roman("(1)")]);
    }
    roff.text(line);
    roff
}

fn list(roff: &mut Roff, entries: &[(&str, &str)]) {
    for (term, explanation) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*explanation)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_every_page_a_command() {
        let mut names = Vec::new();
        for tool in [bnn_tools::convert::command(), bnn_tools::run::command()] {
            let mut tool = tool.disable_help_subcommand(true);
            tool.build();
            for command in std::iter::once(&tool).chain(tool.get_subcommands()) {
                let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
                let text = String::from_utf8(page(command, &name, "2026-01-31").unwrap()).unwrap();
                for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "SEE ALSO"] {
                    assert!(
                        text.contains(&format!(".SH {section}"))
                            || text.contains(&format!(".SH \"{section}\"")),
                        "{name}: {section}"
                    );
                }
                for argument in command.get_arguments().filter_map(|argument| argument.get_long()) {
                    let roff = argument.replace('-', "\\-");
                    assert!(text.contains(&format!("\\-\\-{roff}")), "{name}: {argument}");
                }
                names.push(name);
            }
        }
        for page in &PAGES {
            assert!(names.iter().any(|name| name == page.name), "{} is no command", page.name);
            for other in page.see_also {
                assert!(names.iter().any(|name| name == other), "{}: {other}", page.name);
            }
        }
    }

    /// Examples that cannot be parsed would mislead. Only those that call one tool are tried.
    #[test]
    fn the_tools_take_the_examples() {
        let mut tried = 0;
        for (_, example) in PAGES.iter().flat_map(|page| page.examples) {
            let words: Vec<&str> = example.split_whitespace().collect();
            let tool = match words[0] {
                _ if words.contains(&"|") => continue,
                "bnn-convert" => bnn_tools::convert::command(),
                "bnn-run" => bnn_tools::run::command(),
                _ => continue,
            };
            if let Err(error) = tool.try_get_matches_from(&words) {
                panic!("{example}: {error}");
            }
            tried += 1;
        }
        assert!(tried > 10, "{tried}");
    }
}
