//! The catalogue's networks cost what the reference counts say.

use bnn_models::catalogue;
use bnn_models::catalogue::Paper;
use serde_json::Value;

/// The reference counts, which lie beside the checkout; nothing, with a message, where they do not.
fn reference() -> Option<Vec<Value>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/architectures.json");
    let text = std::fs::read_to_string(path).ok();
    if text.is_none() {
        eprintln!("skipped: architectures.json is not there");
    }
    text.map(|text| serde_json::from_str(&text).unwrap())
}

#[test]
fn every_network_can_be_built_and_written_down() {
    for entry in catalogue() {
        let architecture = entry.architecture().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(architecture.name, entry.name);
        let text = architecture.to_json();
        let again = bnn::architecture::Architecture::from_json(&text);
        assert_eq!(again.unwrap_or_else(|error| panic!("{}: {error}", entry.name)), architecture);
    }
}

#[test]
fn detectors_have_an_anchor_for_each_row_of_their_output() {
    let mut count = 0;
    for entry in catalogue() {
        let Some(detector) = entry.detector() else { continue };
        let architecture = entry.architecture().unwrap();
        let resolved = architecture.resolve().unwrap();
        let last = architecture.inputs.len() + architecture.layers.len() - 1;
        let expected = [detector.anchors() as usize, entry.labels().len() + 1 + 4];
        assert_eq!(resolved.shape(last), expected);
        assert_eq!(detector.anchors(), 6132);
        // Liu et al. 2016, section 2.2, and GluonCV's sizes: centres and sides of the first map.
        let first = &detector.maps[0];
        assert_eq!((first.size, first.step), ([32, 32], [16.0, 16.0]));
        let expected = [[51.2, 51.2], [72.407, 72.407], [36.204, 72.408], [72.408, 36.204]];
        for (shape, expected) in first.shapes.iter().zip(expected) {
            for (side, expected) in shape.iter().zip(expected) {
                assert!((side - expected).abs() < 1e-2, "{:?}", first.shapes);
            }
        }
        count += 1;
    }
    assert_eq!(count, 2);
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = catalogue().iter().map(|entry| entry.name).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn costs_are_those_of_the_reference_models() {
    let Some(rows) = reference() else { return };
    assert_eq!(rows.len(), 87);
    let mut faults = Vec::new();
    for row in &rows {
        let name = row["name"].as_str().unwrap();
        let Some(entry) = bnn_models::find(name) else {
            faults.push(format!("{name} is missing"));
            continue;
        };
        let cost = entry.architecture().unwrap().resolve().unwrap().cost();
        let computed = &row["computed"];
        for (key, found) in [
            ("params", cost.params),
            ("fp_weights", cost.fp_weights),
            ("binary_weights", cost.binary_weights),
            ("fp_macs", cost.fp_macs),
            ("binary_macs", cost.binary_macs),
            ("fp_bias", cost.fp_biases),
            ("binary_layers", cost.binary_layers),
        ] {
            if computed[key].as_u64() != Some(found) {
                faults.push(format!("{name}: {key} {found}, expected {}", computed[key]));
            }
        }
        for (key, found, tolerance) in [
            ("storage_mbit", cost.storage_mbit(), 1e-4),
            ("size_mib", cost.size_mib(), 1e-4),
            ("flops_div64", cost.flops(), 0.51),
            ("runtime_memory_mb", cost.runtime_memory_mb(), 0.01),
        ] {
            let Some(expected) = computed[key].as_f64() else { continue };
            if (found - expected).abs() > tolerance {
                faults.push(format!("{name}: {key} {found}, expected {expected}"));
            }
        }
        let printed = &row["paper_numbers"];
        for (key, figure) in [
            ("mbit", entry.figures.storage_mbit),
            ("flops", entry.figures.flops),
            ("mem", entry.figures.memory_mb),
            ("size_mib", entry.figures.size_mib),
        ] {
            if printed[key].as_f64() != figure {
                faults
                    .push(format!("{name}: the paper's {key} is {}, not {figure:?}", printed[key]));
            }
        }
        let (paper, data) = (row["paper"].as_str(), row["dataset"].as_str());
        if (paper, data) != (Some(entry.paper.name()), Some(entry.data.name())) {
            faults.push(format!("{name}: it is from {paper:?} for {data:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn networks_of_larq_zoo_have_as_many_parameters_as_it_publishes() {
    let published = [
        ("larq_bireal18", 11_699_112),
        ("larq_resnet_e18", 11_699_368),
        ("larq_bdn28", 5_150_504),
        ("larq_bdn37", 8_734_120),
        ("larq_bdn37_dilated", 8_734_120),
        ("larq_bdn45", 13_939_240),
        ("larq_r2b_resnet18", 11_995_624),
        ("larq_binary_alexnet", 61_859_192),
        ("larq_xnor_net", 62_396_768),
        ("larq_dorefa_net", 62_403_912),
    ];
    for (name, expected) in published {
        let architecture = bnn_models::find(name).unwrap().architecture().unwrap();
        let resolved = architecture.resolve().unwrap();
        // Running statistics count there.
        let parameters = resolved.parameters();
        let found: usize =
            parameters.iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum();
        assert_eq!(found, expected, "{name}");
    }
    let all = catalogue().iter().filter(|entry| entry.paper == Paper::Larq);
    assert_eq!(all.count(), published.len());
}
