//! What programs are compiled against stays as it is: functions, values of enumerations, and layouts of
//! structs, against `tests/capi/abi.txt`.
//!
//! Lines may be added to that file. To change or remove one is to break every program that is compiled,
//! and needs a new ABI number (`ABI` in `tools/xtask/src/header.rs`).

use std::fmt::Write as _;
use std::mem::{offset_of, size_of};

use bnn::capi::*;

const RECORDED: &str = include_str!("abi.txt");
const HEADER: &str = include_str!("../../include/bnn.h");

/// The header without comments and with single spaces.
fn declarations() -> String {
    let mut rest = HEADER;
    let mut code = String::new();
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").expect("comments end").1;
    }
    code.push_str(rest);
    let lines = code.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// The prototypes of the header, sorted.
fn functions() -> Vec<String> {
    let mut functions: Vec<String> = declarations()
        .split(';')
        .map(|declaration| declaration.trim().trim_start_matches("extern \"C\" {").trim())
        .filter(|declaration| declaration.ends_with(')'))
        .map(|prototype| format!("function {prototype}\n"))
        .collect();
    functions.sort();
    functions
}

/// The interface of this library on a machine whose addresses have 64 bits.
fn current() -> String {
    let mut text: String = functions().concat();
    for (status, name) in bnn_status::ALL {
        writeln!(text, "value {} {}", name.to_str().unwrap(), status as i32).unwrap();
    }
    for (name, order) in [
        ("RGB", bnn_channel_order::Rgb),
        ("BGR", bnn_channel_order::Bgr),
        ("GRAY", bnn_channel_order::Gray),
    ] {
        writeln!(text, "value BNN_CHANNEL_ORDER_{name} {}", order as i32).unwrap();
    }
    macro_rules! layout {
        ($type:ident, $($field:ident),*) => {
            write!(text, "struct {} {}", stringify!($type), size_of::<$type>()).unwrap();
            $(write!(text, " {}@{}", stringify!($field), offset_of!($type, $field)).unwrap();)*
            text.push('\n');
        };
    }
    layout!(bnn_detection, index, label, score, xmin, ymin, xmax, ymax);
    layout!(bnn_input, data, length);
    layout!(bnn_output, data, length);
    layout!(bnn_picture, width, height, channels, order);
    layout!(bnn_prediction, index, label, probability);
    layout!(bnn_session_options, size, threads, isa, memory_limit);
    layout!(bnn_tensor, name, shape, rank, elements);
    text
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_binary_interface_is_the_recorded_one() {
    if std::env::var_os("BNN_RECORD_ABI").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/capi/abi.txt");
        std::fs::write(path, current()).unwrap();
        return;
    }
    assert_eq!(current(), RECORDED, "add lines with BNN_RECORD_ABI=1; change none");
}

#[test]
fn every_status_has_its_name_and_number_in_the_header() {
    let code = declarations();
    for (status, name) in bnn_status::ALL {
        let line = format!("{} = {},", name.to_str().unwrap(), status as i32);
        assert!(code.contains(&line), "the header lacks '{line}'");
    }
    assert_eq!(code.matches("BNN_STATUS_").count(), bnn_status::ALL.len());
}
