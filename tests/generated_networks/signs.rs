//! Binarisations as they are spelled in files.

use crate::model::{int, string};
use crate::network::{Map, Network};

impl Network {
    /// Twice as fine as the values, so that nothing is zero: there ONNX `Sign` is no sign.
    fn away_from_zero(&mut self, map: &Map) -> String {
        let half = self.scalar(2_f32.powi(-map.grain - 1));
        self.node("Add", &[&map.name, &half], vec![])
    }

    fn cast(&mut self, x: &str) -> String {
        self.node("Cast", &[x], vec![int("to", 1)])
    }

    fn compare(&mut self, op: &str, x: &str, value: f32) -> String {
        let value = self.scalar(value);
        match (op, self.operator_set()) {
            ("GreaterOrEqual", ..12) => {
                let less = self.node("Less", &[x, &value], vec![]);
                self.node("Not", &[&less], vec![])
            }
            _ => self.node(op, &[x, &value], vec![]),
        }
    }

    fn arithmetic_with(&mut self, op: &str, x: &str, value: f32) -> String {
        let value = self.scalar(value);
        self.node(op, &[x, &value], vec![])
    }

    /// The signs of a map, two values: -1 and 1, 0 and 1, or scaled ones.
    pub(crate) fn binarise(&mut self, map: &Map) -> Map {
        let x = map.name.clone();
        let tie = self.random.of(&[0.0, 0.25, -0.5, 1.0]);
        // The values 0 and 1, or -1 and 1, and the bits that they need.
        let (name, bound, grain) = match self.random.below(15) {
            0 | 1 => {
                let x = self.away_from_zero(map);
                (self.node("Sign", &[&x], vec![]), 1.0, 0)
            }
            2 | 3 => {
                let op = self.random.of(&["GreaterOrEqual", "Greater", "Less"]);
                let holds = self.compare(op, &x, tie);
                let (high, low) = (self.scalar(1.0), self.scalar(-1.0));
                (self.node("Where", &[&holds, &high, &low], vec![]), 1.0, 0)
            }
            4 => {
                let holds = self.compare("Greater", &x, tie);
                (self.cast(&holds), 1.0, 0)
            }
            5 => {
                let holds = self.compare("GreaterOrEqual", &x, tie);
                let bits = self.cast(&holds);
                let twice = self.arithmetic_with("Mul", &bits, 2.0);
                (self.arithmetic_with("Sub", &twice, 1.0), 1.0, 0)
            }
            6 => {
                let sign = self.node("Sign", &[&x], vec![]);
                let shifted = self.arithmetic_with("Add", &sign, 0.1);
                (self.node("Sign", &[&shifted], vec![]), 1.0, 0)
            }
            7 if self.operator_set() >= 11 => {
                let clipped = self.clip(&x, 0.0, 1.0);
                (self.node("Round", &[&clipped], vec![]), 1.0, 0)
            }
            8 if self.operator_set() >= 11 => {
                let sum = self.arithmetic_with("Add", &x, 1.0);
                let half = self.arithmetic_with("Div", &sum, 2.0);
                let clipped = self.clip(&half, 0.0, 1.0);
                let bits = self.node("Round", &[&clipped], vec![]);
                let twice = self.arithmetic_with("Mul", &bits, 2.0);
                (self.arithmetic_with("Sub", &twice, 1.0), 1.0, 0)
            }
            9 => {
                let scale = self.tensor(&[], &[0.5]);
                (self.node("BipolarQuant", &[&x, &scale], vec![]), 0.5, 1)
            }
            10 => {
                let sign = self.node("Sign", &[&x], vec![]);
                (self.node("Relu", &[&sign], vec![]), 1.0, 0)
            }
            11 => {
                let shifted = self.away_from_zero(map);
                let sign = self.node("Sign", &[&shifted], vec![]);
                let clipped = self.clip(&shifted, -1.0, 1.0);
                let difference = self.node("Sub", &[&sign, &clipped], vec![]);
                (self.node("Add", &[&difference, &clipped], vec![]), 1.0, 0)
            }
            12 => {
                let shifted = self.arithmetic_with("Add", &x, 0.5);
                let whole = self.node("Floor", &[&shifted], vec![]);
                (self.clip(&whole, 0.0, 1.0), 1.0, 0)
            }
            13 => {
                let high = self.compare("GreaterOrEqual", &x, tie);
                let low = self.compare("Less", &x, tie);
                let (high, low) = (self.cast(&high), self.cast(&low));
                (self.node("Sub", &[&high, &low], vec![]), 1.0, 0)
            }
            _ => {
                let parameters = [0.5, 0.0, 1.0].map(|value| self.tensor(&[], &[value]));
                let signed = self.random.chance(50);
                let inputs = [&x, &parameters[0], &parameters[1], &parameters[2]];
                let attributes = vec![
                    int("signed", i64::from(signed)),
                    int("narrow", 0),
                    string("rounding_mode", "ROUND"),
                ];
                (self.node("Quant", &inputs.map(String::as_str), attributes), 0.5, 1)
            }
        };
        // Of a map of few values a threshold may leave only one.
        let is_binary = map.bound * 2_f64.powi(map.grain) >= 16.0 && !map.is_quantised;
        Map { is_binary, is_quantised: true, ..self.with(map, name, bound, grain) }
    }

    /// A few evenly spaced values.
    pub(crate) fn quantise(&mut self, map: &Map) -> Map {
        let quantised = self.quantised(map);
        Map { is_quantised: true, ..quantised }
    }

    fn quantised(&mut self, map: &Map) -> Map {
        let x = map.name.clone();
        match self.random.below(4) {
            0 if self.operator_set() >= 11 => {
                // DoReFa: two bits between 0 and 1... of 4 rather than of 3, to stay dyadic.
                let clipped = self.clip(&x, 0.0, 1.0);
                let scaled = self.arithmetic_with("Mul", &clipped, 4.0);
                let rounded = self.node("Round", &[&scaled], vec![]);
                let name = self.arithmetic_with("Div", &rounded, 4.0);
                self.with(map, name, 1.0, 2)
            }
            1 => {
                let bits = self.random.between(2, 4);
                let parameters = [0.5, 0.0, bits as f32].map(|value| self.tensor(&[], &[value]));
                let inputs = [&x, &parameters[0], &parameters[1], &parameters[2]];
                let rounding = self.random.of(&["ROUND", "FLOOR", "CEIL", "HALF_UP", "DOWN"]);
                let attributes = vec![
                    int("signed", i64::from(self.random.chance(50))),
                    int("narrow", i64::from(self.random.chance(50))),
                    string("rounding_mode", rounding),
                ];
                let name = self.node("Quant", &inputs.map(String::as_str), attributes);
                self.with(map, name, 8.0, 1)
            }
            2 => {
                // Thresholds of a channel rise.
                let steps = self.random.between(1, 3);
                let rows = if self.random.chance(50) { 1 } else { map.channels };
                let values: Vec<f32> = (0..rows)
                    .flat_map(|_| {
                        let first = self.random.of(&[-1.0, 0.0, 0.5]);
                        let gap = self.random.of(&[0.5, 1.0]);
                        (0..steps).map(move |step| first + step as f32 * gap)
                    })
                    .collect();
                let thresholds = self.tensor(&[rows, steps], &values);
                let layout = if self.channels_last { "NHWC" } else { "NCHW" };
                let attributes = vec![
                    crate::model::float("out_scale", 0.5),
                    crate::model::float("out_bias", -0.5),
                    string("data_layout", layout),
                ];
                let name = self.node("MultiThreshold", &[&x, &thresholds], attributes);
                self.with(map, name, 1.0, 1)
            }
            // Ternary.
            _ => {
                let high = self.compare("Greater", &x, 0.5);
                let low = self.compare("Less", &x, -0.5);
                let (high, low) = (self.cast(&high), self.cast(&low));
                let name = self.node("Sub", &[&high, &low], vec![]);
                self.with(map, name, 1.0, 0)
            }
        }
    }
}
