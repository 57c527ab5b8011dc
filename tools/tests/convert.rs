//! `bnn-convert` from the outside: exit codes, messages, documents, files.

mod support;

use support::{
    SIDE, Scratch, Variant, assert_fails, assert_keys, convert, file, json, network, node, path_of,
    port, run, stderr, stdout, tensor,
};

#[test]
fn converts_and_reports() {
    let scratch = Scratch::new();
    let output = scratch.path("out.bnn");
    let report = scratch.path("report.json");
    let mut command = convert();
    command.arg(scratch.onnx(Variant::default())).arg("-o").arg(&output).arg("--json");
    let document = json(command.arg("--report").arg(&report).arg("--strict"));
    assert_keys(
        &document,
        &[
            "output",
            "bytes",
            "input_bytes",
            "layers",
            "binary_layers",
            "float_layers",
            "storage_mbit",
            "macs",
            "warnings",
            "notes",
            "weight_bytes",
            "weight_only_layers",
        ],
    );
    let weight_bytes = serde_json::json!({ "before": 2 * 9 * 4, "after": 9 * 4 + 8 });
    assert_eq!(document["weight_bytes"], weight_bytes);
    assert_eq!(document["weight_only_layers"], 0);
    assert_eq!(document["output"], output.to_str().unwrap());
    assert_eq!(document["bytes"], std::fs::metadata(&output).unwrap().len());
    assert_eq!(document["input_bytes"], network(Variant::default()).len());
    assert_eq!((&document["binary_layers"], &document["float_layers"]), (&1.into(), &1.into()));
    assert_eq!(document["macs"]["binary"], 3 * 3 * 16);
    assert_eq!(document["macs"]["float"], 3 * 3 * 16);
    for layer in document["layers"].as_array().unwrap() {
        assert_keys(
            layer,
            &[
                "name",
                "kind",
                "binary",
                "input_shape",
                "output_shape",
                "bytes_before",
                "bytes_after",
                "macs",
            ],
        );
        assert!(layer["binary"] == true || layer["reason"].is_string(), "{layer}");
    }
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(written, document);
}

#[test]
fn the_table_names_layers_and_reasons() {
    let scratch = Scratch::new();
    let output = convert()
        .arg(scratch.onnx(Variant::default()))
        .arg("-o")
        .arg(scratch.path("out.bnn"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
    let text = stdout(&output);
    assert!(!text.contains('\x1b'), "no colours into a pipe");
    for part in ["stem", "match", "total", "no: ", "1 binary and 1 float layers", "out.bnn"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

/// Converts a variant and returns the page about it.
fn page(scratch: &Scratch, variant: Variant) -> String {
    let report = scratch.path("report.HTML");
    let mut command = convert();
    command.arg(scratch.onnx(variant)).arg("-o").arg(scratch.path("out.bnn"));
    command.arg("--labels").arg(scratch.labels()).arg("--report").arg(&report);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    std::fs::read_to_string(report).unwrap()
}

/// The tags of a page in order, each checked to be closed by its own end; text must hold no `<`.
fn tags(page: &str) -> Vec<String> {
    let body = page.strip_prefix("<!DOCTYPE html>").unwrap();
    let (mut open, mut tags) = (Vec::new(), Vec::new());
    for part in body.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag that ends");
        let name = tag.trim_end_matches('/').split_whitespace().next().unwrap();
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "</{closed}> closes something else");
        } else {
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
            if !tag.ends_with('/') && name != "meta" {
                open.push(name);
            }
            tags.push(tag.to_owned());
        }
        assert!(!text.contains('>') || name == "style", "a stray > in {text:?}");
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    tags
}

#[test]
fn the_page_is_whole_and_names_every_layer() {
    let page = page(&Scratch::new(), Variant::default());
    let tags = tags(&page);
    let count = |wanted: &str| tags.iter().filter(|tag| tag.starts_with(wanted)).count();
    assert_eq!(count("svg"), 1);
    assert_eq!((count("tr class=\"binary\""), count("tr class=\"float\"")), (1, 1));
    for text in [
        "<h1>out</h1>",
        "<code>stem</code>",
        "<code>match</code>",
        "4x4x3 → 4x4x3",
        "<strong>1 of 2 layers</strong> computes with bits",
        "1 binary, 1 float",
        "What did not, and why",
        "<span class=\"verdict\">yes</span>",
        "<span class=\"verdict\">no</span>: ",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(text), "no {text:?}");
    }
    for outside in ["<script", "<link", "<img", "@import", "url(", " src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    let addresses = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!addresses.contains("http://") && !addresses.contains("https://"));
}

#[test]
fn names_stay_text_on_the_page() {
    let suffix = "<script>alert('1')</script>\"&amp;\u{202e}";
    let page = page(&Scratch::new(), Variant { suffix, ..Variant::default() });
    let tags = tags(&page);
    assert!(tags.iter().all(|tag| !tag.starts_with("script")));
    let escaped = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;amp;\\u{202e}";
    for layer in ["stem", "match"] {
        assert!(page.contains(&format!("<code>{layer}{escaped}</code>")), "{layer}");
    }
}

#[test]
fn inputs_that_cannot_be_read() {
    let scratch = Scratch::new();
    let output = scratch.path("out.bnn");
    let missing = scratch.path("missing.onnx");
    let garbage = scratch.write("garbage.onnx", b"this is no protocol buffer at all, is it?");
    let whole = network(Variant::default());
    let cut = scratch.write("cut.onnx", &whole[..whole.len() / 2]);
    for (input, name) in [(missing, "missing.onnx"), (garbage, "garbage.onnx"), (cut, "cut.onnx")] {
        assert_fails(convert().arg(input).arg("-o").arg(&output), 3, &["bnn-convert: ", name]);
        assert!(!output.exists());
    }
    assert_fails(convert().arg(scratch.path("")).arg("-o").arg(&output), 3, &["folder"]);
}

#[test]
fn models_that_are_not_supported() {
    let scratch = Scratch::new();
    let output = scratch.path("out.bnn");
    let strange = scratch.onnx(Variant { unsupported: true, ..Variant::default() });
    assert_fails(
        convert().arg(&strange).arg("-o").arg(&output),
        4,
        &["model.onnx", "1 node is", "`strange` (GridSample of [1, 3], [])", "nearest: cut it off"],
    );
    assert!(!output.exists());
}

#[test]
fn strict_refuses_weights_of_sixteen_bits() {
    let scratch = Scratch::new();
    let output = scratch.path("out.bnn");
    let mut command = convert();
    command.arg(scratch.onnx(Variant::default())).arg("-o").arg(&output).arg("--f16");
    assert_fails(command.arg("--strict"), 4, &["model.onnx", "strict", "f16"]);
    assert!(!output.exists());
    let mut command = convert();
    command.arg(scratch.onnx(Variant::default())).arg("-o").arg(&output).arg("--f16");
    let document = json(command.arg("--json"));
    assert_eq!(document["warnings"].as_array().unwrap().len(), 1, "{document}");
    assert_eq!(document["layers"][0]["bytes_after"], 9 * 2);
}

#[test]
fn shapes_left_open_are_asked_for() {
    let scratch = Scratch::new();
    let input = scratch.onnx(Variant { open_shape: true, ..Variant::default() });
    let output = scratch.path("out.bnn");
    let command = || {
        let mut command = convert();
        command.arg(&input).arg("-o").arg(&output);
        command
    };
    assert_fails(&mut command(), 2, &["--input-shape image="]);
    assert_fails(command().args(["--input-shape", "image=1,3"]), 2, &["stem"]);
    assert_fails(command().args(["--input-shape", "image=1,4,4,4"]), 2, &["stem"]);
    let both = ["--input-shape", "image=1,3,4,4", "--input-shape", "picture=1,3,4,4"];
    assert_fails(command().args(both), 2, &["picture"]);
    assert_fails(command().args(["--input-shape", "image"]), 2, &["--input-shape"]);
    assert!(!output.exists());
    command().args(["--input-shape", "image=1,3,4,4"]).assert().code(0);
    assert!(output.exists());
}

#[test]
fn labels_must_fit() {
    let scratch = Scratch::new();
    let input = scratch.onnx(Variant::default());
    let output = scratch.path("out.bnn");
    let with = |labels| {
        let mut command = convert();
        command.arg(&input).arg("-o").arg(&output).arg("--labels").arg(labels);
        command
    };
    assert_fails(&mut with(scratch.path("none.txt")), 3, &["none.txt"]);
    assert_fails(&mut with(scratch.write("two.txt", "a\nb\n")), 3, &["two.txt", "2 labels", "3"]);
    assert_fails(&mut with(scratch.write("empty.txt", "")), 3, &["empty.txt"]);
    assert_fails(&mut with(scratch.write("gap.txt", "a\n\nc\n")), 3, &["gap.txt", "line 2"]);
    assert_fails(&mut with(scratch.write("latin.txt", b"caf\xe9\nb\nc\n")), 3, &["latin.txt"]);
    assert!(!output.exists());
    with(scratch.write("windows.txt", "a\r\nb\r\nc\r\n\r\n")).assert().code(0);
    let document = json(run().arg("inspect").arg(&output).arg("--json"));
    assert_eq!(document["labels"], serde_json::json!(["a", "b", "c"]));
}

#[test]
fn wrong_usage() {
    let scratch = Scratch::new();
    let input = scratch.onnx(Variant::default());
    let output = scratch.path("out.bnn");
    let with = |flags: &[&str]| {
        let mut command = convert();
        command.arg(&input).arg("-o").arg(&output).args(flags);
        command
    };
    assert_fails(&mut convert(), 2, &["INPUT"]);
    assert_fails(convert().arg(&input), 2, &["--output"]);
    for flags in [
        &["--no-such-flag"][..],
        &["--crop", "x"],
        &["--crop", "5"],
        &["--resize", "0"],
        &["--interpolation", "lanczos"],
        &["--range", "2"],
        &["--mean", "1,2"],
        &["--std", "0"],
        &["--channels", "gray"],
        &["--tolerance", "-1"],
        &["--report", "report.txt"],
        &["--verify-layers", "--verify-rows", "0"],
        &["--verify-rows", "2"],
        &["--verify-input", "rows.safetensors"],
    ] {
        assert_fails(&mut with(flags), 2, &["bnn-convert: "]);
    }
    assert_fails(&mut with(&["--arch", "bireal18"]), 2, &["--arch", "ONNX"]);
    assert_fails(convert().arg(&input).arg("-o").arg(&input), 2, &["overwrite"]);
    assert!(!output.exists());
}

#[test]
fn preprocessing_is_stored() {
    let scratch = Scratch::new();
    let output = scratch.path("out.bnn");
    convert()
        .arg(scratch.onnx(Variant::default()))
        .arg("-o")
        .arg(&output)
        .args(["--resize", "6", "--crop", "4", "--interpolation", "bicubic"])
        .args(["--resize-rounding", "floor", "--range", "255", "--channels", "bgr"])
        .args(["--mean", "-1.5,2,3", "--std", "2"])
        .assert()
        .code(0);
    let document = json(run().arg("inspect").arg(&output).arg("--json"));
    let expected = serde_json::json!({
        "resize": { "shorter": 6 },
        "crop": [4, 4],
        "interpolation": "bicubic",
        "rounding": "floor",
        "channels": "bgr",
        "range": 255.0,
        "mean": [-1.5, 2.0, 3.0],
        "std": [2.0],
    });
    assert_eq!(document["preprocessing"], expected);
}

#[test]
fn verification_decides_about_the_file() {
    let scratch = Scratch::new();
    let input = scratch.onnx(Variant::default());
    let output = scratch.path("out.bnn");
    let command = |golden: &std::path::Path| {
        let mut command = convert();
        command.arg(&input).arg("-o").arg(&output).arg("--json").arg("--range").arg("1");
        command.arg("--verify").arg(golden);
        command
    };
    let golden = scratch.golden(|_| {});
    let document = json(command(&golden).args(["--tolerance", "0"]));
    assert_eq!(document["verification"]["rows_exact"], 3);
    assert_eq!(document["verification"]["input_u8"]["rows_exact"], 3);
    assert!(output.exists());

    // The model of the last run must not pass for the result of this one.
    let wrong = scratch.golden(|logits| logits[4] = 2.5);
    assert_fails(&mut command(&wrong), 5, &["out.bnn", "row 1", "1 of 3 rows"]);
    assert!(!output.exists());

    json(command(&wrong).args(["--allow-flips", "1"]));
    assert!(output.exists());
    assert_fails(&mut command(&scratch.path("none.safetensors")), 3, &["none.safetensors"]);
}

#[test]
fn layers_are_verified_on_made_up_inputs() {
    let scratch = Scratch::new();
    let output = scratch.path("out.bnn");
    let report = scratch.path("report.json");
    let with = |flags: &[&str]| {
        let mut command = convert();
        command.arg(scratch.onnx(Variant::default())).arg("-o").arg(&output);
        command.arg("--verify-layers").args(flags);
        command
    };
    let document = json(with(&["--json", "--verify-rows", "3"]).arg("--report").arg(&report));
    let comparison = &document["layer_comparison"];
    assert_eq!((&comparison["input"], &comparison["rows"]), (&"made up".into(), &3.into()));
    assert_eq!((&comparison["passed"], &comparison["zeros_at_signs"]), (&true.into(), &0.into()));
    let tensors = comparison["tensors"].as_array().unwrap();
    let found: Vec<_> = tensors.iter().map(|t| (&t["node"], &t["layer"], &t["kind"])).collect();
    let bits = ["sign", "stem", "bits"].map(serde_json::Value::from);
    assert!(found.contains(&(&bits[0], &bits[1], &bits[2])), "{found:?}");
    for tensor in tensors {
        assert_keys(tensor, &["tensor", "op", "differing", "max_difference", "distances"]);
        assert_eq!((&tensor["unexplained"], &tensor["verdict"]), (&0.into(), &"equal".into()));
    }
    let bits = tensors.iter().find(|tensor| tensor["kind"] == "bits").unwrap();
    assert_eq!(bits["elements"], 3 * 3 * 16);
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(written, document);

    for flags in [&[][..], &["--mean", "0.5", "--std", "0.2"]] {
        let result = with(flags).output().unwrap();
        assert_eq!(result.status.code(), Some(0), "{}", stderr(&result));
        let text = stdout(&result);
        assert!(text.contains("layer by layer: 2 rows (made up)"), "{text}");
        assert!(text.contains("0 wrong") && text.contains("passed"), "{text}");
    }
    assert!(output.exists());
}

#[test]
fn layers_are_verified_on_given_inputs() {
    let scratch = Scratch::new();
    let input = scratch.onnx(Variant::default());
    let golden = scratch.golden(|_| {});
    let output = scratch.path("out.bnn");
    let command = || {
        let mut command = convert();
        command.arg(&input).arg("-o").arg(&output).args(["--verify-layers", "--json"]);
        command
    };
    let document = json(command().arg("--verify").arg(&golden).args(["--verify-rows", "9"]));
    assert_eq!(document["layer_comparison"]["input"], golden.to_str().unwrap());
    assert_eq!(document["layer_comparison"]["rows"], 3);

    let pictures = support::bytes(&[0.25; 2 * 48]);
    let own = scratch.safetensors(
        "own.safetensors",
        &[("input_f32", safetensors::Dtype::F32, &[2, 3, 4, 4], &pictures)],
    );
    let document = json(command().arg("--verify").arg(&golden).arg("--verify-input").arg(&own));
    assert_eq!(document["layer_comparison"]["input"], own.to_str().unwrap());
    assert_eq!(document["layer_comparison"]["passed"], true);

    std::fs::remove_file(&output).unwrap();
    let given = |path: &std::path::Path| {
        let mut command = command();
        command.arg("--verify-input").arg(path);
        command
    };
    assert_fails(&mut given(&scratch.path("none.safetensors")), 3, &["none.safetensors"]);
    let other = scratch.safetensors("other.safetensors", &[]);
    assert_fails(&mut given(&other), 3, &["other.safetensors", "input_f32"]);
    let wide = scratch.safetensors(
        "wide.safetensors",
        &[("input_f32", safetensors::Dtype::F32, &[4, 24], &pictures)],
    );
    assert_fails(&mut given(&wide), 3, &["wide.safetensors", "4x24", "3x4x4"]);
    let mut broken = vec![0.0; 48];
    broken[5] = f32::NAN;
    let broken = scratch.safetensors(
        "broken.safetensors",
        &[("input_f32", safetensors::Dtype::F32, &[1, 3, 4, 4], &support::bytes(&broken))],
    );
    assert_fails(&mut given(&broken), 3, &["broken.safetensors", "NaN"]);
    assert!(!output.exists());
    // A wrong answer is told as before, and the layers say that it is not the conversion's fault.
    let wrong = scratch.golden(|logits| logits[4] = 2.5);
    let result = command().arg("--verify").arg(&wrong).output().unwrap();
    assert_eq!(result.status.code(), Some(5));
    let document: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(document["verification"]["passed"], false);
    assert_eq!(document["layer_comparison"]["passed"], true);
    assert!(!output.exists());
}

/// A network whose second layer has binary weights and reads `max(image + shift, 0)`, or, where
/// `signed`, the sign of that.
fn rectified(shift: f32, signed: bool) -> Vec<u8> {
    let identity: Vec<f32> = (0..9).map(|i| if i % 4 == 0 { 1.5 } else { 0.0 }).collect();
    let patterns: Vec<f32> = (0..9).map(|i| if i % 4 == 0 { 1.0 } else { -1.0 }).collect();
    let mut nodes = vec![
        node("stem", "Conv", &["image", "stem.weight", "stem.bias"], "compared"),
        node("relu", "Relu", &["compared"], "rectified"),
        node("match", "Conv", &[if signed { "bits" } else { "rectified" }, "patterns"], "matched"),
        node("float", "Conv", &["matched", "float.weight"], "maps"),
    ];
    if signed {
        nodes.insert(2, node("sign", "Sign", &["rectified"], "bits"));
    }
    let initializers = vec![
        tensor("stem.weight", &[3, 3, 1, 1], identity),
        tensor("stem.bias", &[3], vec![shift; 3]),
        tensor("patterns", &[3, 3, 1, 1], patterns),
        tensor("float.weight", &[3, 3, 1, 1], (0..9).map(|i| i as f32).collect()),
    ];
    let size = [None, Some(3), Some(SIDE as i64), Some(SIDE as i64)];
    file(nodes, initializers, port("image", &size), port("maps", &size))
}

#[test]
fn reasons_say_how_much_of_an_input_is_zero() {
    let scratch = Scratch::new();
    let input = scratch.write("model.onnx", rectified(-0.75, false));
    let report = scratch.path("report.html");
    let command = || {
        let mut command = convert();
        command.arg(&input).arg("-o").arg(scratch.path("out.bnn"));
        command
    };
    // Two of three channels of a picture in one pure colour are cut off.
    let mut pixels = vec![1.0; 48];
    pixels[16..].fill(0.0);
    let given = scratch.safetensors(
        "given.safetensors",
        &[("input_f32", safetensors::Dtype::F32, &[1, 3, 4, 4], &support::bytes(&pixels))],
    );
    let given_to = |command: &mut assert_cmd::Command| {
        command.arg("--verify-layers").arg("--verify-input").arg(&given);
    };
    let mut with_input = command();
    given_to(&mut with_input);
    let document = json(with_input.arg("--json").arg("--report").arg(&report));
    assert_eq!(document["zeros_counted_in"], given.to_str().unwrap());
    let layers = document["layers"].as_array().unwrap();
    // The first layer reads the network's input, the last one has float weights.
    assert_eq!(layers.len(), 3);
    assert!(layers[0].get("input_zeros").is_none() && layers[2].get("input_zeros").is_none());
    let zeros = layers[1]["input_zeros"].as_f64().unwrap();
    assert!((zeros - 2.0 / 3.0).abs() < 1e-6, "{zeros}");
    let said = "67 % of its input is exactly 0 on the given input";
    let page = std::fs::read_to_string(report).unwrap();
    assert!(page.contains(said), "{page}");
    let mut with_input = command();
    given_to(&mut with_input);
    let table = with_input.output().unwrap();
    assert!(stdout(&table).contains(said), "{}", stdout(&table));

    let table = command().output().unwrap();
    assert!(stdout(&table).contains("% of its input is exactly 0 on made-up input"));
    assert_eq!(json(command().arg("--json"))["zeros_counted_in"], "made up");
    // Nothing is cut off: nothing to say.
    scratch.write("model.onnx", rectified(2.0, false));
    let document = json(command().arg("--json"));
    assert_eq!(document["layers"][1]["input_zeros"], 0.0);
    assert!(!stdout(&command().output().unwrap()).contains("exactly 0"));
    // Networks without such a layer are not run for this.
    scratch.onnx(Variant::default());
    assert!(json(command().arg("--json")).get("zeros_counted_in").is_none());
}

#[test]
fn refusals_of_signs_say_how_much_is_zero() {
    let scratch = Scratch::new();
    let refused = |shift: f32| {
        let mut command = convert();
        command.arg(scratch.write("model.onnx", rectified(shift, true)));
        command.arg("-o").arg(scratch.path("out.bnn"));
        command
    };
    let reason = "the sign of 'rectified' (the output of Relu 'relu', which is never negative)";
    let said = "; all of it is exactly 0 on made-up input";
    assert_fails(&mut refused(-2.0), 4, &["model.onnx: ", "node 'sign'", reason, said]);
    assert_fails(&mut refused(0.0), 4, &[reason, " % of it is exactly 0 on made-up input"]);
    let output = refused(2.0).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains(reason) && !stderr(&output).contains("exactly 0"));
}

#[test]
fn version_and_help() {
    for (program, mut command) in [("bnn-convert", convert()), ("bnn-run", run())] {
        let output = command.arg("--version").output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let text = stdout(&output);
        assert!(text.starts_with(&format!("{program} {}", env!("CARGO_PKG_VERSION"))), "{text}");
        for isa in bnn::Isa::available() {
            assert!(text.contains(isa.name()), "{text} does not name {isa}");
        }
    }
    let output = convert().arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("--input-shape"));
    assert!(path_of("bnn-convert").exists());
}
