//! The `.bnn` file: round trips, damage of every kind, versions, limits, compactness.

mod answer;
mod sample;

use std::io::{self, Read, Write as _};

use bnn::format::{
    BLOB_ALIGNMENT, FLAG_INTEGERS, FormatError, MAGIC, MAJOR_VERSION, MAX_HEADER_BYTES,
    MINOR_VERSION, SMALL_BLOB_ALIGNMENT, inspect, read, read_from, write, write_file,
};
use bnn::program::{
    Alphabet, BinaryConv, BinaryOutput, BufferKind, EpilogueOp, PadValue, Program, StepKind,
    TensorKind,
};
use flate2::{Compression, write::ZlibEncoder};
use proptest::prelude::*;
use sample::{Builder, complete, detector, named, plain, segmented, tiny};
use serde_json::{Value, json};

const PREAMBLE: usize = 36;

fn json_of(file: &[u8]) -> Vec<u8> {
    let mut json = Vec::new();
    flate2::read::ZlibDecoder::new(&file[PREAMBLE..]).read_to_end(&mut json).unwrap();
    json
}

fn blobs_of(file: &[u8]) -> &[u8] {
    &file[inspect(file).unwrap().blob_section as usize..]
}

/// The checksums of the blobs, which lie behind the header.
fn checksums_of(file: &[u8]) -> &[u8] {
    let summary = inspect(file).unwrap();
    let start = PREAMBLE + summary.compressed_header_bytes as usize;
    &file[start..start + 4 * summary.tensors.len()]
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A second writer of the container, after the specification: right lengths and checksum around
/// whatever it is given.
fn pack(json_bytes: u32, compressed: &[u8], checksums: &[u8], blobs: &[u8]) -> Vec<u8> {
    pack_version([MAJOR_VERSION, MINOR_VERSION], json_bytes, compressed, checksums, blobs)
}

fn pack_version(
    [major, minor]: [u16; 2],
    json_bytes: u32,
    compressed: &[u8],
    checksums: &[u8],
    blobs: &[u8],
) -> Vec<u8> {
    let header_end = PREAMBLE + compressed.len() + checksums.len();
    let blob_section = header_end.next_multiple_of(BLOB_ALIGNMENT as usize);
    let mut file = MAGIC.to_vec();
    file.extend(major.to_le_bytes());
    file.extend(minor.to_le_bytes());
    file.extend(0_u32.to_le_bytes());
    file.extend(((blob_section + blobs.len()) as u64).to_le_bytes());
    file.extend((compressed.len() as u32).to_le_bytes());
    file.extend(json_bytes.to_le_bytes());
    file.extend([0; 4]);
    file.extend(compressed);
    file.extend(checksums);
    file.resize(blob_section, 0);
    file.extend(blobs);
    seal(&mut file);
    file
}

/// Makes the checksum of the header right again.
fn seal(file: &mut [u8]) {
    let compressed = u32::from_le_bytes(file[24..28].try_into().unwrap()) as usize;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&file[..32]);
    crc.update(&file[PREAMBLE..PREAMBLE + compressed]);
    file[32..36].copy_from_slice(&crc.finalize().to_le_bytes());
}

/// A file with the JSON of another.
fn with_json(file: &[u8], json: &[u8]) -> Vec<u8> {
    pack(json.len() as u32, &zlib(json), checksums_of(file), blobs_of(file))
}

/// The file of a program with another header.
fn with_header_of(program: &Program, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let file = write(program).unwrap();
    let mut header: Value = serde_json::from_slice(&json_of(&file)).unwrap();
    change(&mut header);
    with_json(&file, header.to_string().as_bytes())
}

/// The tiny file with another header.
fn with_header(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    with_header_of(&tiny(), change)
}

/// The header of version 1, which no longer is written: numbers are positions, and each tensor has its
/// place, length and checksum.
fn header_of_version_1(program: &Program) -> Value {
    let tensors = inspect(&write(program).unwrap()).unwrap().tensors;
    json!({ "program": program, "tensors": tensors })
}

fn pack_version_1(json: &[u8], blobs: &[u8]) -> Vec<u8> {
    pack_version([1, 0], json.len() as u32, &zlib(json), &[], blobs)
}

/// The file of a program in version 1, with another header.
fn with_header_1_of(program: &Program, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut header = header_of_version_1(program);
    change(&mut header);
    pack_version_1(header.to_string().as_bytes(), blobs_of(&write(program).unwrap()))
}

fn with_header_1(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    with_header_1_of(&tiny(), change)
}

/// Sets the flags.
fn set_flags(file: &mut [u8], flags: u32) {
    file[12..16].copy_from_slice(&flags.to_le_bytes());
    seal(file);
}

fn refusal(file: &[u8]) -> String {
    read(file).expect_err("the file is broken").to_string()
}

#[test]
fn every_kind_of_step_survives() {
    for program in [tiny(), complete(), named(), segmented()] {
        let file = write(&program).unwrap();
        assert_eq!(read(&file).unwrap(), program);
        assert_eq!(write(&read(&file).unwrap()).unwrap(), file, "writing is deterministic");
    }
}

#[test]
fn files_of_released_versions_stay_readable() {
    let files = [
        ("1.0", &include_bytes!("data/format-1.0.bnn")[..]),
        ("2.0", include_bytes!("data/format-2.0.bnn")),
    ];
    for (version, file) in files {
        assert_eq!(read(file).unwrap(), complete(), "version {version}");
    }
    let files = [
        ("1.0", &include_bytes!("data/format-1.0-integers.bnn")[..]),
        ("2.0", include_bytes!("data/format-2.0-integers.bnn")),
    ];
    for (version, file) in files {
        assert_eq!(read(file).unwrap(), segmented(), "version {version} with integers");
    }
    // What version 2.1 has added.
    assert_eq!(read(include_bytes!("data/format-2.1-detector.bnn")).unwrap(), detector(true));
}

#[test]
fn version_1_has_all_that_version_2_leaves_out() {
    for program in [tiny(), complete(), named()] {
        let file = with_header_1_of(&program, |_| {});
        assert_eq!(read(&file).unwrap(), program);
        assert_eq!(inspect(&file).unwrap().version, [1, 0]);
        let same = inspect(&write(&program).unwrap()).unwrap().tensors;
        assert_eq!(inspect(&file).unwrap().tensors, same);
    }
    // The other version's header is no header of this one.
    let file = write(&tiny()).unwrap();
    let error = refusal(&pack_version_1(&json_of(&file), blobs_of(&file)));
    assert!(error.contains("header: "), "{error}");
    let json = header_of_version_1(&tiny()).to_string();
    let error = refusal(&with_json(&file, json.as_bytes()));
    assert!(error.contains("header: "), "{error}");
}

/// Run by hand when a version is released: its file is kept forever.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_file_of_this_version() {
    let version = format!("format-{MAJOR_VERSION}.{MINOR_VERSION}");
    let start = format!("{}/tests/data/{version}", env!("CARGO_MANIFEST_DIR"));
    for (what, program) in
        [("", complete()), ("-integers", segmented()), ("-detector", detector(true))]
    {
        write_file(format!("{start}{what}.bnn"), &program).unwrap();
    }
}

#[test]
fn embedded_bytes_need_no_alignment() {
    let program = complete();
    let file = write(&program).unwrap();
    for shift in 1..9 {
        let mut shifted = vec![0; shift];
        shifted.extend(&file);
        assert_eq!(read(&shifted[shift..]).unwrap(), program);
    }
}

/// Hands out one byte at a time.
struct Drops<'a>(&'a [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(1);
        self.0.read(&mut buffer[..count])
    }
}

#[test]
fn files_are_read_from_start_to_end() {
    for program in [complete(), segmented()] {
        let file = write(&program).unwrap();
        assert_eq!(read_from(Drops(&file), file.len() as u64).unwrap(), read(&file).unwrap());
        // Files that become shorter while they are read: in the first record, at its end, and here and there.
        for end in (0..64).chain((64..file.len()).step_by(17)).chain(file.len() - 20..file.len()) {
            match read_from(&file[..end], file.len() as u64) {
                Err(FormatError::Read(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{end}");
                }
                other => panic!("{end}: {other:?}"),
            }
        }
    }
}

#[test]
fn the_summary_tells_where_things_lie() {
    let program = complete();
    let file = write(&program).unwrap();
    let summary = inspect(&file).unwrap();
    assert_eq!(summary.version, [MAJOR_VERSION, MINOR_VERSION]);
    assert_eq!(summary.file_bytes, file.len() as u64);
    assert_eq!(summary.header_bytes, json_of(&file).len() as u64);
    assert_eq!(summary.tensors.len(), program.tensors.len());
    for (record, tensor) in summary.tensors.iter().zip(&program.tensors) {
        assert_eq!((&record.name, record.kind), (&tensor.name, tensor.kind()));
        assert_eq!(record.bytes, tensor.byte_len() as u64);
        let start = summary.blob_section + record.offset;
        let alignment = if record.bytes < 4096 { SMALL_BLOB_ALIGNMENT } else { BLOB_ALIGNMENT };
        assert_eq!(start % alignment, 0, "{}", record.name);
        let blob = &file[start as usize..(start + record.bytes) as usize];
        assert_eq!(record.crc32, crc32fast::hash(blob), "{}", record.name);
    }
}

#[test]
fn blobs_are_little_endian_and_bits_start_low() {
    let mut program = tiny();
    let bnn::program::TensorData::Bits(words) = &mut program.tensors[2].data else { panic!() };
    words[0] = 0b10_0000_0001;
    let file = write(&program).unwrap();
    let record = &inspect(&file).unwrap().tensors[2];
    assert_eq!((record.name.as_str(), record.kind, record.bytes), ("b.w", TensorKind::Bits, 8));
    let blob = &blobs_of(&file)[record.offset as usize..][..8];
    assert_eq!(blob, [1, 2, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn every_flipped_bit_is_seen_or_harmless() {
    let program = tiny();
    for mut file in [write(&program).unwrap(), with_header_1(|_| {})] {
        let mut harmless = 0;
        for bit in 0..file.len() * 8 {
            file[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = read(&file) {
                assert_eq!(other, program, "bit {bit}");
                harmless += 1;
            }
            file[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(harmless, 0, "checksums, lengths and zero padding cover every bit");
    }
}

/// The same for files as releases wrote them, also cut off or with a byte more or less anywhere: no change
/// is taken for a file. Those that are small enough are run, should one ever be.
#[test]
fn every_damage_to_a_released_file_is_seen() {
    let answer = |file: &[u8]| -> Option<Vec<Vec<f32>>> {
        let model = bnn::Model::from_bytes(file).ok()?;
        let mut session = model.session(&bnn::SessionOptions::default()).ok()?;
        Some(answer::answer(&model, &mut session))
    };
    for name in ["format-1.0-integers", "format-2.0-integers", "format-2.1-detector"] {
        let path = format!("{}/tests/data/{name}.bnn", env!("CARGO_MANIFEST_DIR"));
        let original = std::fs::read(path).unwrap();
        assert!(answer(&original).is_some());
        let (mut detected, mut harmless) = (0, 0);
        let mut check = |file: &[u8], what: &str, at: usize| match answer(file) {
            None => detected += 1,
            Some(found) => {
                assert_eq!(Some(found), answer(&original), "{name}: {what} {at}");
                harmless += 1;
            }
        };
        for bit in 0..original.len() * 8 {
            let mut file = original.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            check(&file, "bit", bit);
        }
        for at in 0..original.len() {
            check(&original[..at], "cut off at", at);
            let (mut doubled, mut without) = (original.clone(), original.clone());
            doubled.insert(at, original[at]);
            check(&doubled, "byte doubled at", at);
            without.remove(at);
            check(&without, "byte removed at", at);
        }
        println!("{name}: {detected} changes detected, {harmless} harmless");
        // Padding must be zero, and lengths are exact: nothing in a file may be anything else.
        assert_eq!((detected, harmless), (11 * original.len(), 0));
    }
}

/// The checksums of the blobs are not compressed with the header: each tells its own tensor.
#[test]
fn damage_names_the_tensor() {
    for program in [tiny(), complete()] {
        let original = write(&program).unwrap();
        let summary = inspect(&original).unwrap();
        let checksums = PREAMBLE + summary.compressed_header_bytes as usize;
        for (index, record) in summary.tensors.iter().enumerate() {
            let stored = &original[checksums + 4 * index..][..4];
            assert_eq!(stored, record.crc32.to_le_bytes(), "{}", record.name);
            let blob = (summary.blob_section + record.offset) as usize;
            for position in [checksums + 4 * index, blob, blob + record.bytes as usize - 1] {
                let mut file = original.clone();
                file[position] ^= 0x10;
                let error = refusal(&file);
                let expected = format!("tensor '{}': CRC-32", record.name);
                assert!(error.contains(&expected), "{error}, expected {expected}");
            }
        }
    }
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    for mut file in [write(&tiny()).unwrap(), with_header_1(|_| {})] {
        for length in 0..file.len() {
            assert!(read(&file[..length]).is_err(), "{length} bytes");
            // The same with a preamble that says so.
            if length >= PREAMBLE {
                let mut short = file[..length].to_vec();
                short[16..24].copy_from_slice(&(length as u64).to_le_bytes());
                let compressed = u32::from_le_bytes(short[24..28].try_into().unwrap()) as usize;
                if PREAMBLE + compressed <= length {
                    seal(&mut short);
                }
                assert!(read(&short).is_err(), "{length} bytes, and it says so");
            }
        }
        file.push(0);
        assert!(matches!(read(&file), Err(FormatError::Length { .. })));
    }
}

#[test]
fn other_files_are_told_apart() {
    for other in
        [&b""[..], b"\x89", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n0123456789012345678901234567"]
    {
        let error = read(other).unwrap_err();
        let broken_start = other == b"\x89";
        assert_eq!(matches!(error, FormatError::Magic), !broken_start, "{error}");
    }
}

#[test]
fn newer_minor_versions_are_read_and_newer_major_versions_refused() {
    let program = tiny();
    let mut file = write(&program).unwrap();
    file[10..12].copy_from_slice(&(MINOR_VERSION + 1).to_le_bytes());
    seal(&mut file);
    assert_eq!(read(&file).unwrap(), program);
    for major in [0, MAJOR_VERSION + 1] {
        file[8..10].copy_from_slice(&major.to_le_bytes());
        // Unsealed: the version is told even if the checksum has moved in that version.
        let error = read(&file).unwrap_err();
        assert!(matches!(error, FormatError::Version { .. }), "{error}");
        let expected = format!("format version {major}.2, expected 1.x to 2.x");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn what_a_newer_minor_version_adds_is_skipped() {
    let file = with_header(|header| {
        header["added"] = json!({ "later": [1, 2] });
        header["program"]["added"] = json!("later");
        header["program"]["metadata"]["added"] = json!(null);
        header["program"]["steps"][0]["added"] = json!([0]);
        header["tensors"][0]["added"] = json!(1);
    });
    assert_eq!(read(&file).unwrap(), tiny());
}

/// The text of equal layers is equal: that is what makes the header small.
#[test]
fn numbers_are_relative_and_names_are_shortened() {
    let file = write(&many_small_tensors(64, 5)).unwrap();
    let header: Value = serde_json::from_slice(&json_of(&file)).unwrap();
    let steps = header["program"]["steps"].as_array().unwrap();
    // The step of the signs and the 25 layers; the first layer of a group has a longer name, and the last
    // stores no bits.
    assert_eq!(steps.len(), 26);
    for (index, step) in steps.iter().enumerate().take(25).skip(2) {
        let rest = format!("{}.conv", (index - 1) % 5);
        let expected = if rest == "0.conv" {
            json!([14, format!("{}.block0.conv", (index - 1) / 5 + 1)])
        } else {
            json!([21, rest])
        };
        assert_eq!(step["name"], expected, "step {index}");
        assert_eq!(step["kind"], steps[2]["kind"], "step {index}");
    }
    let conv = &steps[2]["kind"]["binary_conv"]["conv"];
    assert_eq!((&conv["input"], &conv["weights"]), (&json!(1), &json!(0)));
    assert_eq!(conv["geometry"]["pads"], json!([2, 2, 2, 2]));
    for absent in ["stride", "dilation", "groups"] {
        assert_eq!(conv["geometry"][absent], json!(null), "{absent}");
    }
    let file = write(&named()).unwrap();
    let header: Value = serde_json::from_slice(&json_of(&file)).unwrap();
    let blocks = json!([
        {
            "name": [0, "unit"],
            "input": { "map": 0 },
            "output": { "tensor": { "shape": [6, 2, 2], "parts": [
                { "buffer": 1, "dims": [3, 2, 2], "strides": [1, 6, 3] },
                { "buffer": 4294967295_u32, "dims": [3, 2, 2], "strides": [1, 6, 3] }
            ] } }
        },
        { "name": [4, ".conv"], "output": { "map": 1 } }
    ]);
    assert_eq!(header["program"]["blocks"], blocks);
}

#[test]
fn names_roles_and_maps_must_be_there() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 8] = [
        (
            |h| h["program"]["steps"][0]["name"] = json!([1, "x"]),
            "a name shares 1 bytes with one of 0",
        ),
        (
            |h| h["program"]["steps"][1]["name"] = json!([1_u64 << 40, "x"]),
            "a name shares 1099511627776",
        ),
        (
            |h| h["program"]["blocks"][0]["name"] = json!([1, "x"]),
            "a name shares 1 bytes with one of 0",
        ),
        (|h| h["program"]["blocks"][1]["output"]["map"] = json!(1000), "block 'unit.conv': buffer"),
        (|h| h["program"]["blocks"][1]["name"] = json!([4, ""]), "block 'unit': the name is taken"),
        (
            |h| {
                let tensor = h["tensors"][0].as_object_mut().unwrap();
                tensor.remove("role");
                tensor.remove("name");
            },
            "tensor 0 has neither a name nor a role in a step",
        ),
        (
            // A role in no step: nothing uses the last tensor any longer.
            |h| {
                let steps = h["program"]["steps"].as_array_mut().unwrap();
                steps.clear();
                let tensor = h["tensors"][0].as_object_mut().unwrap();
                tensor.remove("name");
                tensor.insert("role".into(), json!("w"));
            },
            "tensor 0 has neither a name nor a role in a step",
        ),
        (|h| h["program"]["steps"][1]["name"] = json!([0, "x".repeat(1 << 25)]), "bytes"),
    ];
    for (change, expected) in cases {
        let error = refusal(&with_header_of(&named(), change));
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
}

/// A header of a few bytes must not stand for more text than a long header may have.
#[test]
fn names_that_swell_are_abandoned() {
    let long = "x".repeat(1 << 20);
    let swollen = [
        with_header(|header| {
            let steps = header["program"]["steps"].as_array_mut().unwrap();
            steps[0]["name"] = json!([0, long]);
            steps[1]["name"] = json!([1 << 20, ""]);
            steps.truncate(2);
            let again = steps[1].clone();
            steps.extend(vec![again; 33]);
        }),
        with_header(|header| {
            let block = |shared: usize, rest: &str| json!({ "name": [shared, rest] });
            let mut blocks = vec![block(1 << 20, ""); 34];
            blocks[0] = block(0, &long);
            header["program"]["blocks"] = json!(blocks);
        }),
        with_header(|header| {
            header["program"]["steps"][0]["name"] = json!([0, long.clone() + &long]);
            header["tensors"][0] = json!({ "role": "", "kind": "f32", "shape": [1] });
        }),
    ];
    for (index, file) in swollen.iter().enumerate().take(2) {
        assert!(file.len() < 1 << 17, "{} bytes", file.len());
        let error = refusal(file);
        assert!(error.contains("more than 33554432 bytes of names"), "{index}: {error}");
    }
    // Within the limit, it goes on to the next fault.
    let error = refusal(&swollen[2]);
    assert!(error.starts_with("tensor '"), "{}", &error[..100]);
    // What could not be read is not written.
    let mut program = tiny();
    program.metadata.blocks = (0..33)
        .map(|index| bnn::program::Block {
            name: format!("{long}{index}"),
            input: None,
            output: None,
        })
        .collect();
    assert!(matches!(write(&program), Err(FormatError::HeaderTooLarge(_))));
}

#[test]
fn unknown_flags_are_refused() {
    let mut file = write(&tiny()).unwrap();
    for bit in 0..32 {
        file[12..16].copy_from_slice(&(1_u32 << bit).to_le_bytes());
        seal(&mut file);
        assert!(matches!(read(&file), Err(FormatError::Flags(_))));
    }
}

/// A reader that knows no integers must not take the file for one that it can read, and nobody else
/// gets to see two files of one program.
#[test]
fn a_flag_tells_that_there_are_integers() {
    for (program, flags) in [(tiny(), 0), (complete(), 0), (segmented(), FLAG_INTEGERS)] {
        let mut file = write(&program).unwrap();
        assert_eq!(file[12..16], flags.to_le_bytes(), "{}", program.name);
        file[12] ^= FLAG_INTEGERS as u8;
        seal(&mut file);
        assert!(matches!(read(&file), Err(FormatError::Flags(_))), "{}", program.name);
        assert!(matches!(inspect(&file), Err(FormatError::Flags(_))), "{}", program.name);
    }
    // Integers alone, or thresholds alone, are reason enough.
    let mut program = segmented();
    program.steps.retain(|step| !matches!(step.kind, StepKind::Threshold { .. }));
    let mut no_integers = segmented();
    no_integers.buffers.retain(|buffer| buffer.kind != BufferKind::I16);
    for program in [program, no_integers] {
        let header = json!({ "tensors": [], "program": program });
        let file = pack_version_1(header.to_string().as_bytes(), &[]);
        assert!(matches!(inspect(&file), Err(FormatError::Flags(0))));
    }
}

#[test]
fn deep_nesting_is_an_error_where_it_is_read() {
    let file = write(&tiny()).unwrap();
    let levels = 100_000;
    for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
        let nested = format!("{}0{}", open.repeat(levels), close.repeat(levels));
        refusal(&with_json(&file, nested.as_bytes()));
        refusal(&with_json(&file, open.repeat(levels).as_bytes()));
        let json = String::from_utf8(json_of(&file)).unwrap();
        // What is skipped as unknown is not read.
        let unknown = json.replacen('{', &format!("{{\"more\":{nested},"), 1);
        assert_eq!(read(&with_json(&file, unknown.as_bytes())).unwrap(), tiny());
        let known = json.replacen("\"program\":", &format!("\"program\":{nested},\"again\":"), 1);
        refusal(&with_json(&file, known.as_bytes()));
    }
}

#[test]
fn a_header_that_swells_is_abandoned() {
    let huge = zlib(&vec![b' '; 64 << 20]);
    assert!(huge.len() < 1 << 20);
    let error = refusal(&pack(1000, &huge, &[], &[]));
    assert!(error.contains("at least 1001 bytes of JSON, expected 1000"), "{error}");
    let error = read(&pack(MAX_HEADER_BYTES + 1, &huge, &[], &[])).unwrap_err();
    assert!(matches!(error, FormatError::HeaderTooLarge(_)), "{error}");
}

#[test]
fn the_compressed_header_must_end_where_it_says() {
    let file = write(&tiny()).unwrap();
    let json = json_of(&file);
    let pack = |json_bytes: usize, compressed: &[u8]| {
        pack(json_bytes as u32, compressed, checksums_of(&file), blobs_of(&file))
    };
    let mut compressed = zlib(&json);
    compressed.push(0);
    let error = refusal(&pack(json.len(), &compressed));
    assert!(error.contains("after the end of the zlib stream"), "{error}");
    let error = refusal(&pack(json.len() + 1, &zlib(&json)));
    assert!(error.contains("only"), "{error}");
    compressed.truncate(compressed.len() / 2);
    let error = refusal(&pack(json.len(), &compressed));
    assert!(error.contains("zlib"), "{error}");
}

#[test]
fn the_tensor_table_of_version_1_must_fit_the_blobs() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 11] = [
        (|h| h["tensors"][1]["offset"] = json!(0), "starts at 0, expected 64"),
        (|h| h["tensors"][1]["offset"] = json!(68), "starts at 68, expected 64"),
        (|h| h["tensors"][1]["offset"] = json!(128), "starts at 128, expected 64"),
        (|h| h["tensors"][0]["bytes"] = json!(56), "'a.w': 56 bytes, expected 60"),
        (|h| h["tensors"][0]["shape"] = json!([5, 1, 1, 4]), "60 bytes, expected 80"),
        (|h| h["tensors"][0]["kind"] = json!("f16"), "60 bytes, expected 30"),
        (|h| h["tensors"][0]["shape"] = json!([1u64 << 32, 1u64 << 32]), "overflows"),
        (|h| h["tensors"][0]["shape"] = json!([1u64 << 62]), "more than 2^64 bytes"),
        (|h| h["tensors"][0]["crc32"] = json!(1), "tensor 'a.w': CRC-32"),
        (|h| h["tensors"][0]["name"] = json!("a.t"), "'a.t': the name is taken"),
        (|h| h["tensors"][0]["kind"] = json!("f64"), "unknown variant `f64`"),
    ];
    for (change, expected) in cases {
        let error = refusal(&with_header_1(change));
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
    let error = refusal(&with_header_1(|h| {
        h["tensors"].as_array_mut().unwrap().pop();
    }));
    assert!(error.contains("bytes appended"), "{error}");
    let error = refusal(&with_header_1(|h| {
        h["tensors"][4]["shape"] = json!([1u64 << 40]);
        h["tensors"][4]["bytes"] = json!(1u64 << 37);
        h["tensors"][4]["offset"] = json!(128);
    }));
    assert!(error.contains("137438953472 bytes from"), "{error}");
}

#[test]
fn the_tensors_must_fit_the_blobs() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 6] = [
        // Another length: another stretch of the file, of another checksum.
        (|h| h["tensors"][0]["shape"] = json!([5, 1, 1, 4]), "tensor 'a.w': CRC-32"),
        (|h| h["tensors"][0]["kind"] = json!("f16"), "tensor 'a.w': CRC-32"),
        (|h| h["tensors"][0]["shape"] = json!([1u64 << 32, 1u64 << 32]), "overflows"),
        (|h| h["tensors"][0]["shape"] = json!([1u64 << 62]), "more than 2^64 bytes"),
        (
            |h| h["tensors"][0] = json!({ "name": "a.t", "kind": "f32", "shape": [5, 1, 1, 3] }),
            "'a.t': the name is taken",
        ),
        (|h| h["tensors"][0]["kind"] = json!("f64"), "unknown variant `f64`"),
    ];
    for (change, expected) in cases {
        let error = refusal(&with_header(change));
        assert!(error.contains(expected), "{error}, expected {expected}");
    }
    let error = refusal(&with_header(|h| {
        h["tensors"][4]["shape"] = json!([1u64 << 40]);
        h["tensors"][4]["kind"] = json!("bits");
    }));
    assert!(error.contains("137438953472 bytes from"), "{error}");
    // One tensor less than there are checksums, with its blob and without.
    let file = write(&tiny()).unwrap();
    let mut header: Value = serde_json::from_slice(&json_of(&file)).unwrap();
    header["tensors"].as_array_mut().unwrap().pop();
    let json = header.to_string();
    assert!(matches!(read(&with_json(&file, json.as_bytes())), Err(FormatError::Padding(_))));
    let checksums = checksums_of(&file);
    let fewer = &checksums[..checksums.len() - 4];
    let packed = pack(json.len() as u32, &zlib(json.as_bytes()), fewer, blobs_of(&file));
    assert!(refusal(&packed).contains("bytes appended"));
    // More tensors than the file has room for the checksums of.
    let entry = header["tensors"][0].clone();
    header["tensors"].as_array_mut().unwrap().extend(vec![entry; 10_000]);
    let error = read(&with_json(&file, header.to_string().as_bytes())).unwrap_err();
    assert!(matches!(error, FormatError::Length { .. }), "{error}");
}

#[test]
fn padding_and_unused_bits_must_be_zero() {
    let original = write(&tiny()).unwrap();
    let mut file = original.clone();
    let summary = inspect(&file).unwrap();
    let header_end =
        PREAMBLE + summary.compressed_header_bytes as usize + checksums_of(&file).len();
    let after_first = (summary.blob_section + 60) as usize;
    let mut positions = vec![after_first, after_first + 3];
    positions.extend(header_end..summary.blob_section as usize);
    for position in positions {
        file[position] = 1;
        assert!(matches!(read(&file), Err(FormatError::Padding(_))), "byte {position}");
        file.copy_from_slice(&original);
    }
    let mut program = tiny();
    let bnn::program::TensorData::Bits(words) = &mut program.tensors[2].data else { panic!() };
    words[0] |= 1 << 10;
    let error = write(&program).unwrap_err().to_string();
    assert!(error.contains("'b.w': unused bits"), "{error}");
}

#[test]
fn strings_must_be_utf8() {
    let file = write(&tiny()).unwrap();
    let mut json = json_of(&file);
    let at = json.windows(6).position(|window| window == b"\"tiny\"").unwrap();
    json[at + 1] = 0xff;
    let error = refusal(&with_json(&file, &json));
    assert!(error.contains("header: "), "{error}");
}

#[test]
fn programs_without_meaning_are_neither_written_nor_read() {
    let mut program = tiny();
    program.steps.swap(0, 1);
    assert!(matches!(write(&program), Err(FormatError::Program(_))));
    let file = with_header(|header| {
        header["program"]["steps"].as_array_mut().unwrap().swap(0, 1);
    });
    assert!(matches!(read(&file), Err(FormatError::Program(_))));
}

/// 25 layers of eight tensors, 0.4 MB in all: the container may add 1 %.
#[test]
fn small_models_stay_small() {
    for (channels, kernel) in [(64, 5), (67, 5), (112, 3), (40, 9)] {
        let program = many_small_tensors(channels, kernel);
        assert_eq!(program.tensors.len(), 202);
        let payload: usize = program.tensors.iter().map(|tensor| tensor.byte_len()).sum();
        assert!((350_000..450_000).contains(&payload), "{payload}");
        let file = write(&program).unwrap();
        let added = file.len() - payload;
        println!("{channels} channels: {payload} bytes of tensors, {added} added");
        assert!(added * 100 < payload, "{added} bytes added to {payload}");
    }
}

fn many_small_tensors(channels: usize, kernel: usize) -> Program {
    let mut b = Builder::new("many small tensors");
    let input = b.f32_map([8, 8, channels]);
    let mut bits = b.bits_map([8, 8, channels]);
    let thresholds = b.tensor("sign/thresholds", TensorKind::F32, &[1]);
    let flip = Some(b.tensor("sign/flip", TensorKind::Bits, &[channels]));
    let store_bits = EpilogueOp::StoreBits { thresholds, flip, output: bits };
    let epilogue = bnn::program::Epilogue { ops: vec![store_bits] };
    b.step("sign", StepKind::Elementwise { input, flatten: false, epilogue });
    let mut shortcut = input;
    for layer in 0..25 {
        let name = format!("features.layer{}.block{}.conv", layer / 5 + 1, layer % 5);
        let side = [kernel, kernel];
        let shape = [channels, kernel, kernel, channels];
        let weights = b.tensor(&format!("{name}/weights"), TensorKind::Bits, &shape);
        let mut constant =
            |role: &str, length| b.tensor(&format!("{name}/{role}"), TensorKind::F32, &[length]);
        use bnn::program::ChannelOp::{Add, Multiply, TwoSlope};
        let ops = [
            Multiply(constant("scale", channels)),
            Add(constant("bias", channels)),
            TwoSlope { positive: None, negative: constant("prelu", channels) },
            Add(constant("shift", channels)),
            Multiply(constant("gain", 1)),
        ];
        let thresholds = constant("thresholds", channels);
        let flip = Some(b.tensor(&format!("{name}/flip"), TensorKind::Bits, &[channels]));
        let (floats, signs) = (b.f32_map([8, 8, channels]), b.bits_map([8, 8, channels]));
        let mut ops: Vec<_> = ops.into_iter().map(EpilogueOp::Channel).collect();
        ops.push(EpilogueOp::Combine { op: bnn::program::CombineOp::Add, operand: shortcut });
        ops.push(EpilogueOp::Store { output: floats });
        if layer < 24 {
            ops.push(EpilogueOp::StoreBits { thresholds, flip, output: signs });
        } else {
            b.program.buffers.pop();
        }
        let conv = BinaryConv {
            input: bits,
            geometry: plain(channels, channels, side, [kernel / 2; 4]),
            pad: PadValue::Zero,
            alphabet: Alphabet::PlusMinus,
            weights,
            affine: None,
        };
        let output = BinaryOutput::Float(bnn::program::Epilogue { ops });
        b.step(&name, StepKind::BinaryConv { conv, output });
        (shortcut, bits) = (floats, signs);
    }
    b.program.inputs = vec![b.port("x", &[8, 8, channels], input)];
    b.program.outputs = vec![b.port("y", &[8, 8, channels], shortcut)];
    b.program
}

#[test]
fn files_are_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bnn");
    let names = || -> Vec<_> {
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };

    let mut broken = tiny();
    broken.outputs.clear();
    assert!(write_file(&path, &broken).is_err());
    assert!(names().is_empty(), "{:?}", names());

    write_file(&path, &tiny()).unwrap();
    assert_eq!(names(), ["model.bnn"]);
    assert_eq!(read(&std::fs::read(&path).unwrap()).unwrap(), tiny());

    assert!(write_file(&path, &broken).is_err());
    assert_eq!(read(&std::fs::read(&path).unwrap()).unwrap(), tiny(), "the old file stays");
    write_file(&path, &complete()).unwrap();
    assert_eq!(names(), ["model.bnn"]);
    assert_eq!(read(&std::fs::read(&path).unwrap()).unwrap(), complete());

    let error = write_file(folder.path(), &tiny()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    let error = write_file(folder.path().join("missing/model.bnn"), &tiny()).unwrap_err();
    assert!(matches!(error, FormatError::Io { .. }), "{error}");
}

/// Every place in a JSON document that holds a number.
fn numbers(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Number(_) => vec![value],
        Value::Array(items) => items.iter_mut().flat_map(numbers).collect(),
        Value::Object(fields) => fields.values_mut().flat_map(numbers).collect(),
        _ => Vec::new(),
    }
}

fn hostile_number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0_u64..100).prop_map(|n| json!(n)),
        (0_u32..64).prop_map(|bit| json!(1_u64 << bit)),
        any::<u64>().prop_map(|n| json!(n)),
        any::<i64>().prop_map(|n| json!(n)),
        (-3_i64..3).prop_map(|n| json!(n)),
        Just(json!(1e300)),
        Just(json!(u64::MAX)),
        Just(json!(i64::MIN)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_float_of_the_header_survives(bits in prop::collection::vec(any::<u32>(), 3)) {
        let mean: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        prop_assume!(mean.iter().all(|value| value.is_finite()));
        let mut program = complete();
        program.metadata.preprocessing.as_mut().unwrap().mean = mean.clone();
        let read = read(&write(&program).unwrap()).unwrap();
        let read = read.metadata.preprocessing.unwrap().mean;
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&read), bits(&mean));
    }

    #[test]
    fn damaged_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        sealed: bool,
    ) {
        let mut file = write(&tiny()).unwrap();
        for (position, byte) in changes {
            let position = position.index(file.len());
            file[position] = byte;
        }
        let header_bytes = u32::from_le_bytes(file[24..28].try_into().unwrap()) as usize;
        if sealed && header_bytes <= file.len() - PREAMBLE {
            seal(&mut file);
        }
        let _ = read(&file);
        let _ = inspect(&file);
    }

    #[test]
    fn damaged_headers_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        integers: bool,
        old: bool,
    ) {
        let program = if integers { segmented() } else { tiny() };
        let file = write(&program).unwrap();
        let mut json = if old {
            header_of_version_1(&program).to_string().into_bytes()
        } else {
            json_of(&file)
        };
        for (position, byte) in changes {
            let position = position.index(json.len());
            json[position] = byte;
        }
        let mut damaged = if old {
            pack_version_1(&json, blobs_of(&file))
        } else {
            with_json(&file, &json)
        };
        set_flags(&mut damaged, integers.into());
        let _ = read(&damaged);
    }

    #[test]
    fn lying_numbers_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), hostile_number()), 1..4),
        integers: bool,
        old: bool,
    ) {
        let program = if integers { segmented() } else { complete() };
        let change = |header: &mut Value| {
            let mut places = numbers(header);
            for (place, number) in changes {
                let place = place.index(places.len());
                *places[place] = number;
            }
        };
        let mut changed = if old {
            with_header_1_of(&program, change)
        } else {
            with_header_of(&program, change)
        };
        set_flags(&mut changed, integers.into());
        if let Ok(program) = read(&changed) {
            // What is accepted can be written and read again.
            prop_assert_eq!(read(&write(&program).unwrap()).unwrap(), program);
        }
    }

    #[test]
    fn lying_numbers_of_blocks_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), hostile_number()), 1..4),
        old: bool,
    ) {
        let change = |header: &mut Value, part: &str| {
            let mut places = numbers(&mut header["program"][part]);
            for (place, number) in changes {
                let place = place.index(places.len());
                *places[place] = number;
            }
        };
        let changed = if old {
            with_header_1_of(&named(), |header| change(header, "metadata"))
        } else {
            with_header_of(&named(), |header| change(header, "blocks"))
        };
        if let Ok(model) = bnn::Model::from_bytes(&changed) {
            for block in model.blocks() {
                let _ = model.block(&block.name);
            }
        }
    }
}
