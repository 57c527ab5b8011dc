//! What a traced run shows of a network.

use bnn::{
    Isa, Model, SessionOptions,
    program::Buffer,
    runtime::{BufferContents, TracedWrite},
};
use proptest::prelude::*;

use crate::{generate, naive};

/// Values as `naive` writes them: floats, or 0 and 1 for bits; all NaN alike.
fn plain(contents: BufferContents<'_>, buffer: &Buffer) -> Vec<u32> {
    match contents {
        BufferContents::F32(values) => values.iter().map(|&x| canonical(x)).collect(),
        BufferContents::I16(values) => values.iter().map(|&v| f32::from(v).to_bits()).collect(),
        BufferContents::Bits(words) => {
            let of_pixel = buffer.channels.div_ceil(64);
            let bit = |pixel: usize, channel: usize| {
                words[pixel * of_pixel + channel / 64] >> (channel % 64) & 1
            };
            (0..buffer.height * buffer.width)
                .flat_map(|pixel| (0..buffer.channels).map(move |channel| (pixel, channel)))
                .map(|(pixel, channel)| (bit(pixel, channel) as f32).to_bits())
                .collect()
        }
    }
}

fn canonical(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever a step writes is shown, before another step may take its place in memory.
    #[test]
    fn every_write_is_shown(seed in any::<u64>(), steps in 1_usize..14) {
        let program = generate::program(seed, steps);
        let images = 2;
        let inputs = generate::inputs(&program, seed, images);
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let expected: Vec<Vec<Vec<f32>>> = (0..images)
            .map(|image| {
                let of_image = |all: &&[f32]| -> Vec<f32> {
                    all[all.len() / images * image..][..all.len() / images].to_vec()
                };
                let own: Vec<Vec<f32>> = inputs.iter().map(of_image).collect();
                let own: Vec<&[f32]> = own.iter().map(Vec::as_slice).collect();
                naive::run_all(&program, Isa::best(), &own)
            })
            .collect();
        let model = Model::from_program(program.clone()).unwrap();
        let mut session = model.session(&SessionOptions::default()).unwrap();
        let mut outputs: Vec<Vec<f32>> =
            model.outputs().iter().map(|port| vec![0.0; port.elements() * images]).collect();
        let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let mut seen = vec![0; program.buffers.len()];
        let mut wrong = Vec::new();
        session
            .run_traced(&inputs, &mut slices, &mut |write| {
                let TracedWrite { image, step, buffer, contents } = write;
                let index = buffer.index();
                seen[index] += 1;
                let map = &expected[image][index];
                let expected: Vec<u32> = map.iter().map(|&x| canonical(x)).collect();
                if plain(contents, &program.buffers[index]) != expected {
                    wrong.push((image, step, buffer));
                }
            })
            .unwrap();
        prop_assert!(wrong.is_empty(), "{:?}", wrong);
        for (index, buffer) in program.buffers.iter().enumerate() {
            let is_input = program.inputs.iter().any(|port| port.buffer.index() == index);
            let written = !expected[0][index].is_empty() && !is_input;
            prop_assert_eq!(seen[index], if written { images } else { 0 }, "{:?}", buffer);
        }
    }
}
