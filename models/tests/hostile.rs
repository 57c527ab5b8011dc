//! Damaged graphs and weights are refused, never taken apart by a panic.

use bnn::architecture::Architecture;
use bnn::convert::{ConvertOptions, convert};
use bnn::import::safetensors::WeightsFile;
use bnn_models::families::{BiReal, HyperShuffleNet, Task};
use bnn_models::names;

/// A small generator: the same damage in every run.
struct Damage(u64);

impl Damage {
    fn next(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn damaged_graphs() {
    let networks = [
        BiReal { width: 4, task: Task::CIFAR10, ..BiReal::REACTNET_18 }.architecture("a"),
        HyperShuffleNet { widths: [40, 56, 80], units: [1; 3], ..HyperShuffleNet::CIFAR10 }
            .architecture("b"),
    ];
    // What tends to reach another branch: numbers of other sizes, other structure, other words.
    let pieces: [&str; 12] = [
        "0",
        "-1",
        "18446744073709551615",
        "1e9",
        "null",
        "[]",
        "\"",
        "}",
        "relu",
        "concat",
        "groups",
        "4294967296",
    ];
    let mut damage = Damage(7);
    let mut whole = 0;
    for text in networks.map(|network| network.unwrap().to_json()) {
        for _ in 0..1500 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..=damage.next(2) {
                let at = damage.next(bytes.len());
                match damage.next(3) {
                    0 => bytes[at] = b' ' + damage.next(90) as u8,
                    1 => {
                        let end = (at + damage.next(12)).min(bytes.len());
                        bytes.drain(at..end);
                    }
                    _ => {
                        // A number is replaced as a whole, so that the text often stays JSON.
                        let start = (at..bytes.len()).find(|&i| bytes[i].is_ascii_digit());
                        let start = start.unwrap_or(0);
                        let end = (start..bytes.len())
                            .find(|&i| !bytes[i].is_ascii_digit())
                            .unwrap_or(start);
                        let piece = pieces[damage.next(pieces.len())];
                        bytes.splice(start..end, piece.bytes());
                    }
                }
            }
            let text = String::from_utf8(bytes).unwrap();
            if let Ok(architecture) = Architecture::from_json(&text) {
                let cost = architecture.resolve().unwrap().cost();
                assert!(cost.params > 0);
                whole += 1;
            }
        }
    }
    assert!(whole > 50, "only {whole} damaged graphs were still graphs");
}

#[test]
fn damaged_weights() {
    let bytes = include_bytes!("small/bi_real.weights.safetensors");
    let network = BiReal { blocks: [1; 4], width: 6, task: Task::CIFAR10, ..BiReal::BI_REAL_18 };
    let network = network.architecture("bi_real").unwrap();
    let resolved = network.resolve().unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut damage = Damage(11);
    let mut converted = 0;
    for round in 0..1000 {
        let mut bytes = bytes.to_vec();
        // Every other time in the directory, where damage tells most.
        let range = if round % 2 == 0 { 8 + header } else { bytes.len() };
        let at = damage.next(range);
        bytes[at] = damage.next(256) as u8;
        if round % 10 == 0 {
            bytes.truncate(damage.next(bytes.len()));
        }
        let Ok(file) = WeightsFile::parse(&bytes) else { continue };
        let Ok(renaming) = names::recognise(&resolved, &file.names()) else { continue };
        let read = file.weights(&resolved, |name| renaming.rename(name));
        let Ok(read) = read else { continue };
        if round % 50 == 1 {
            let _ = convert(resolved.assemble(&read.weights), &ConvertOptions::default());
        }
        converted += 1;
    }
    assert!(converted > 100, "only {converted} damaged files could be read");
}
