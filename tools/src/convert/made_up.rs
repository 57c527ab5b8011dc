//! Inputs that are made up where nobody gives any.

use crate::picture::PictureInput;
use bnn::{Model, program::Preprocessing};

/// One input for each port of a model; the same `row` gives the same values every time.
pub(super) fn of_model(model: &Model, row: u64) -> Vec<Vec<f32>> {
    let shapes: Vec<&[usize]> = model.inputs().iter().map(|port| port.shape.as_slice()).collect();
    let preprocessing = model.preprocessing().filter(|_| model.outputs().len() == 1);
    of_shapes(&shapes, preprocessing, row)
}

/// Inputs of the given shapes, batch left out, that look somewhat like pictures: as the preprocessing
/// makes them where there is one, else between -1 and 1.
pub(super) fn of_shapes(
    shapes: &[&[usize]],
    preprocessing: Option<&Preprocessing>,
    row: u64,
) -> Vec<Vec<f32>> {
    if let (Some(preprocessing), [shape]) = (preprocessing, shapes)
        && let Some(picture) = PictureInput::of_shape(preprocessing, shape)
    {
        let pixels: Vec<u8> = smooth(picture.size(), row)
            .into_iter()
            .map(|value| ((value + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8)
            .collect();
        let mut values = vec![0.0; picture.len()];
        picture.normalise(&pixels, &mut values);
        return vec![values];
    }
    let of_shape = |(index, shape): (usize, &&[usize])| {
        let seed = row.wrapping_mul(1000).wrapping_add(index as u64);
        match **shape {
            // Few channels come first or last.
            [a, b, c] if a <= c => {
                let pixels = smooth([b, c, a], seed);
                (0..a).flat_map(|at| pixels.iter().skip(at).step_by(a.max(1))).copied().collect()
            }
            [a, b, c] => smooth([a, b, c], seed),
            _ => smooth([1, 1, shape.iter().product()], seed),
        }
    };
    shapes.iter().enumerate().map(of_shape).collect()
}

/// A map of `[height, width, channels]` with values from -1 to 1: a few waves, and some noise.
fn smooth([height, width, channels]: [usize; 3], seed: u64) -> Vec<f32> {
    const WAVES: usize = 4;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    // Splitmix64: uniform from -1 to 1.
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    // For each channel: waves along height and width, phase, amplitude.
    let waves: Vec<[[f32; 4]; WAVES]> = (0..channels)
        .map(|_| {
            [(); WAVES].map(|()| [8.0 * random(), 8.0 * random(), 3.2 * random(), 0.3 * random()])
        })
        .collect();
    let mut map = Vec::with_capacity(height * width * channels);
    for y in 0..height {
        for x in 0..width {
            let (v, u) = (y as f32 / height as f32, x as f32 / width as f32);
            for waves in &waves {
                let wave =
                    |[a, b, phase, amplitude]: &[f32; 4]| amplitude * (a * v + b * u + phase).sin();
                let value = waves.iter().map(wave).sum::<f32>() + 0.3 * random();
                map.push(value.clamp(-1.0, 1.0));
            }
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_pictures_are_smooth_and_always_the_same() {
        let map = smooth([16, 16, 3], 7);
        assert_eq!(map, smooth([16, 16, 3], 7));
        assert_ne!(map, smooth([16, 16, 3], 8));
        assert!(map.iter().all(|value| (-1.0..=1.0).contains(value)));
        // Neighbours are nearer to each other than pixels are on the whole.
        let neighbours: f32 = (0..255).map(|i| (map[3 * i] - map[3 * i + 3]).abs()).sum();
        let others: f32 = (0..255).map(|i| (map[3 * i] - map[3 * ((i + 101) % 256)]).abs()).sum();
        assert!(neighbours < others, "{neighbours} {others}");
    }
}
