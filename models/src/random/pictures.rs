//! Inputs that vary as photographs do: more from one end to the other than from pixel to pixel.

use super::generator::Generator;
use bnn::graph::{Tensor, TensorError};

/// Places along each side of the noise that is blown up to the size of the picture.
const OCTAVES: [usize; 4] = [4, 8, 16, 32];
/// Mean and deviation of the three colours over ImageNet, which most networks were trained with.
const COLOURS: [[f64; 2]; 3] = [[0.485, 0.229], [0.456, 0.224], [0.406, 0.225]];
/// The same for maps that are no colour pictures.
const OTHER: [f64; 2] = [0.45, 0.225];

/// An input of the given shape (without the batch): a normalised picture where it is a map, noise
/// otherwise.
pub(super) fn picture(shape: &[usize], generator: &mut Generator) -> Result<Tensor, TensorError> {
    let values = match *shape {
        [channels, height, width] => {
            let mut values = Vec::with_capacity(channels * height * width);
            let colours = if channels == 3 { &COLOURS[..] } else { &[OTHER] };
            for [mean, deviation] in colours.iter().cycle().take(channels) {
                let plane = plane([height, width], generator);
                values.extend(plane.into_iter().map(|pixel| ((pixel - mean) / deviation) as f32));
            }
            values
        }
        _ => generator.many(shape.iter().product(), Generator::normal),
    };
    Tensor::from_f32([1].iter().chain(shape).copied().collect(), values)
}

/// One colour, in steps of 1/255 from 0 to 1.
fn plane([height, width]: [usize; 2], generator: &mut Generator) -> Vec<f64> {
    let mut sums = vec![0.0; height * width];
    for side in OCTAVES.into_iter().filter(|&side| side <= height.min(width)) {
        let noise: Vec<f64> = (0..side * side).map(|_| generator.normal()).collect();
        let strength = (4.0 / side as f64).sqrt();
        let columns: Vec<Between> = (0..width).map(|x| Between::new(x, width, side)).collect();
        for (y, row) in sums.chunks_mut(width).enumerate() {
            let rows = Between::new(y, height, side);
            for (sum, columns) in row.iter_mut().zip(&columns) {
                let along = |row: usize| columns.of(|column| noise[row * side + column]);
                *sum += strength * rows.of(along);
            }
        }
    }
    for sum in &mut sums {
        let value = 0.6 * (*sum + 0.15 * generator.normal());
        // From all numbers to (0, 1), without an exponential.
        let pixel = 0.5 + 0.5 * value / (1.0 + value.abs());
        *sum = (255.0 * pixel).round() / 255.0;
    }
    sums
}

/// A place between two places of a coarser row.
struct Between {
    places: [usize; 2],
    /// How far it is on the way from the first to the second.
    way: f64,
}

impl Between {
    fn new(place: usize, length: usize, coarse: usize) -> Self {
        let last = coarse.saturating_sub(1);
        let centre = (place as f64 + 0.5) * coarse as f64 / length as f64 - 0.5;
        let centre = centre.clamp(0.0, last as f64);
        let first = centre.floor();
        let place = first as usize;
        Self { places: [place, (place + 1).min(last)], way: centre - first }
    }

    fn of(&self, value: impl Fn(usize) -> f64) -> f64 {
        let [first, second] = self.places.map(value);
        first + self.way * (second - first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_normalised_and_smooth() {
        let picture = picture(&[3, 64, 48], &mut Generator::new(1, "picture")).unwrap();
        assert_eq!(picture.shape(), [1, 3, 64, 48]);
        let values = picture.f32().unwrap();
        let deviation = |values: &[f32]| {
            let squares: f32 = values.iter().map(|value| value * value).sum();
            (squares / values.len() as f32).sqrt()
        };
        assert!((0.4..1.6).contains(&deviation(values)), "{}", deviation(values));
        let steps: Vec<f32> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(deviation(&steps) < 0.6 * deviation(values), "{}", deviation(&steps));
        // A pixel of 0 and one of 255.
        assert!(values.iter().all(|value| (-2.2..=2.7).contains(value)));
    }

    #[test]
    fn other_inputs_are_noise() {
        let mut generator = Generator::new(1, "vector");
        assert_eq!(picture(&[5], &mut generator).unwrap().shape(), [1, 5]);
        assert_eq!(picture(&[2, 1, 3], &mut generator).unwrap().shape(), [1, 2, 1, 3]);
    }
}
