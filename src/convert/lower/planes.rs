//! Binary weights times activations of several bits.
//!
//! An activation with a few evenly spaced values is a sum of two-valued planes, `x = sum of x_t`, so a
//! layer with binary weights is a sum of binary layers, `W x = sum of W x_t` (DoReFa-Net, section
//! 2.1, for unsigned codes). The planes are
//!
//! - the terms themselves where the graph adds two-valued tensors (ternary activations as differences
//!   of steps: TBN; BinaryDuo before decoupling),
//! - the binary digits of the code otherwise: `code = sum of 2^t bit_t`; with three levels the two
//!   comparisons `code >= 1` and `code >= 2`.
//!
//! Where the planes share a unit, their integer accumulators are added with integer weights before
//! anything else happens: floats hold those sums exactly.

use super::{
    BitsPlace, FloatPlace, Lowering, Use,
    builder::{PendingOp, pack},
    grow::Running,
    layer::{alphabet, make_first_scales_positive, output_kind, turn_comparisons_up, weight_shape},
};
use crate::{
    convert::{
        ConvertError,
        chain::uniform_constant,
        facts::Levels,
        lattice::Code,
        view::{MapSize, View},
        weights::BinaryWeights,
    },
    graph::{BinaryOp, Graph, Node, Op, UnaryOp, ValueId},
    program::{
        Alphabet, BinaryConv, BinaryOutput, BufferId, BufferKind, ChannelOp, CombineOp,
        ConvGeometry, PadValue, StepKind, TensorData, TensorId, UnaryFunction,
    },
};

/// Most two-valued tensors in a sum that are taken as planes of their own.
const MOST_TERMS: usize = 4;

/// Largest sum of integer weights times products that stays exact in f32, with room to spare.
const EXACT: f64 = 8_388_608.0;

/// A tensor as a sum of planes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Planes {
    /// Two-valued tensors and the values that they contribute.
    Sum(Vec<(ValueId, Levels)>),
    /// The digits of a code.
    Code(Code),
}

/// The planes of every tensor that has more than two values and is a sum of planes.
pub(super) fn planes(
    graph: &Graph,
    levels: &[Option<Levels>],
    codes: &[Option<Code>],
    shapes: &[Vec<usize>],
) -> Vec<Option<Planes>> {
    let mut sums: Vec<Option<Vec<(ValueId, Levels)>>> = vec![None; graph.values.len()];
    for node in &graph.nodes {
        let [output] = node.outputs.as_slice() else { continue };
        if levels[output.index()].is_none() {
            sums[output.index()] = sum(graph, node, levels, &sums, shapes);
        }
    }
    sums.into_iter()
        .zip(levels)
        .zip(codes)
        .map(|((sum, levels), code)| match (sum, levels, code) {
            (Some(sum), ..) => Some(Planes::Sum(sum)),
            (None, None, Some(code)) => Some(Planes::Code(*code)),
            _ => None,
        })
        .collect()
}

/// The terms of a node's result, if it adds or scales sums of two-valued tensors.
fn sum(
    graph: &Graph,
    node: &Node,
    levels: &[Option<Levels>],
    sums: &[Option<Vec<(ValueId, Levels)>>],
    shapes: &[Vec<usize>],
) -> Option<Vec<(ValueId, Levels)>> {
    let terms = |index: usize| -> Option<Vec<(ValueId, Levels)>> {
        let value = node.input(index)?;
        match levels[value.index()] {
            Some(levels) => Some(vec![(value, levels)]),
            None => sums[value.index()].clone(),
        }
    };
    let scaled = |terms: Vec<(ValueId, Levels)>, factor: f32| -> Vec<(ValueId, Levels)> {
        let scale = |Levels { low, high }| Levels { low: low * factor, high: high * factor };
        terms.into_iter().map(|(value, levels)| (value, scale(levels))).collect()
    };
    let constant = |index| node.input(index).and_then(|id| uniform_constant(graph, id));
    let terms = match &node.op {
        Op::Unary(UnaryOp::Identity) => terms(0)?,
        Op::Unary(UnaryOp::Neg) => scaled(terms(0)?, -1.0),
        Op::Binary(op) => match (op, constant(0), constant(1)) {
            (BinaryOp::Mul, Some(c), _) if c != 0.0 => scaled(terms(1)?, c),
            (BinaryOp::Mul, _, Some(c)) if c != 0.0 => scaled(terms(0)?, c),
            (BinaryOp::Div, _, Some(c)) if c != 0.0 => scaled(terms(0)?, 1.0 / c),
            (BinaryOp::Add | BinaryOp::Sub, None, None) => {
                let (a, b) = (node.input(0)?, node.input(1)?);
                if shapes[a.index()] != shapes[b.index()] {
                    return None;
                }
                let factor = if *op == BinaryOp::Add { 1.0 } else { -1.0 };
                terms(0)?.into_iter().chain(scaled(terms(1)?, factor)).collect()
            }
            _ => return None,
        },
        _ => return None,
    };
    (terms.len() <= MOST_TERMS).then_some(terms)
}

/// One digit of a code: bit 1 where `code >= at` (after higher digits were taken off), turned over
/// where `flip`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Digit {
    at: u32,
    /// Whether the digit is taken off the code before the next one is looked at.
    wraps: bool,
    flip: bool,
    levels: Levels,
}

/// The digits of a code, highest first, whose levels add up to the values.
fn digits(code: Code) -> Vec<Digit> {
    let Code { scale, offset, highest } = code;
    let mut digits: Vec<(u32, bool, f64)> = match highest {
        // Two comparisons cost as much as two digits and need no remainder.
        2 => vec![(1, false, 1.0), (2, false, 1.0)],
        _ => (0..u32::BITS - highest.leading_zeros())
            .rev()
            .map(|t| (1 << t, true, f64::from(1_u32 << t)))
            .collect(),
    };
    if let Some(last) = digits.last_mut() {
        last.1 = false;
    }
    let total: f64 = digits.iter().map(|digit| digit.2).sum();
    let top = digits.first().map_or(0.0, |digit| digit.2);
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-5 * scale;
    let centred = close(offset, -scale * total / 2.0);
    let twos_complement = close(offset, -scale * top);
    digits
        .into_iter()
        .enumerate()
        .map(|(index, (at, wraps, weight))| {
            let value = scale * weight;
            let (flip, low, high) = if centred {
                (false, -value / 2.0, value / 2.0)
            } else if index == 0 && twos_complement {
                // The sign of a two's complement: bit 1 is the negative half.
                (true, 0.0, -value)
            } else if index == 0 && !close(offset, 0.0) {
                (false, offset, offset + value)
            } else {
                (false, 0.0, value)
            };
            let levels = Levels { low: low as f32, high: high as f32 };
            Digit { at, wraps, flip, levels }
        })
        .collect()
}

/// How a running value becomes the digits of its code: the operations, and the buffer of each digit.
fn digit_operations(
    code: Code,
    mut buffer: impl FnMut() -> BufferId,
    channels: usize,
) -> (Vec<PendingOp>, Vec<(BufferId, Levels)>) {
    let mut ops = Vec::new();
    let channel = |ops: &mut Vec<PendingOp>, op| ops.push(PendingOp::Channel(op));
    let (scale, offset) = (code.scale as f32, code.offset as f32);
    if offset != 0.0 {
        channel(&mut ops, ChannelOp::Subtract(vec![offset]));
    }
    if scale != 1.0 {
        channel(&mut ops, ChannelOp::Divide(vec![scale]));
    }
    if (scale, offset.fract()) != (1.0, 0.0) {
        channel(&mut ops, ChannelOp::Unary(UnaryFunction::Round));
    }
    let mut planes = Vec::new();
    for digit in digits(code) {
        let output = buffer();
        ops.push(PendingOp::StoreBits {
            thresholds: vec![digit.at as f32],
            flip: vec![digit.flip; channels],
            output,
        });
        if digit.wraps {
            channel(&mut ops, ChannelOp::Wrap(vec![digit.at as f32]));
        }
        planes.push((output, digit.levels));
    }
    (ops, planes)
}

/// One plane as a layer reads it.
struct Plane {
    place: BitsPlace,
    levels: Levels,
}

impl Lowering<'_> {
    /// A layer with binary weights whose input is a sum of planes.
    pub(super) fn lower_plane_layer(
        &mut self,
        index: usize,
        mut weights: BinaryWeights,
    ) -> Result<(), ConvertError> {
        let node = self.node(index);
        let input = self.data_operand(index)?;
        let planes = self.planes_of(index, input)?;
        let Some(first) = planes.first() else {
            return Err(self.unsupported(index, "its input has no planes"));
        };
        let size = self.builder.size(first.place.buffer);
        let mut layer = self.layer(index, size, &first.place.view)?;
        layer.kind = format!("{} ({} bit planes)", layer.kind, planes.len());
        let same = |plane: &Plane| {
            plane.place.padding.is_none()
                && self.builder.size(plane.place.buffer) == size
                && plane.place.view.same_order(&first.place.view)
        };
        if !planes.iter().all(same) {
            return Err(self.unsupported(index, "the planes of its input lie in different orders"));
        }
        let (unit, factors) = common_unit(&planes, layer.geometry.products(), weights.centred());
        self.done[index] = true;

        // What follows the sum of all planes.
        let mut head = Vec::new();
        if let Some(unit) = unit {
            let scale = |&s: &f32| (f64::from(s) * unit) as f32;
            let scales: Vec<f32> = weights.scales.iter().map(scale).collect();
            if scales.iter().any(|&s| s != 1.0) {
                head.push(ChannelOp::Multiply(scales));
            }
        }
        head.extend(layer.tail.iter().cloned());
        let mut ops: Vec<PendingOp> = head.into_iter().map(PendingOp::Channel).collect();
        let running = Running {
            value: node.output(),
            view: layer.view.clone(),
            size: layer.output,
            stored: None,
        };
        self.grow(running, &mut ops)?;
        if weights.centred() {
            // With a filter negated, every plane gives its negative to the bit, in the affine form too,
            // and so does their sum.
            make_first_scales_positive(&mut weights, &mut ops);
            turn_comparisons_up(&mut weights, &mut ops);
        }

        let words = pack(layer.order.iter().map(|&at| weights.signs[at]));
        let bytes = words.len() * 8;
        let count = weights.signs.len() * 4;
        self.report(index, &layer, true, true, None, count, bytes, output_kind(&ops));
        let tensor = self.builder.tensor(
            &format!("{}.weight", node.name),
            weight_shape(&layer.geometry),
            TensorData::Bits(words),
        );
        let mut previous = None;
        let last = planes.len() - 1;
        for (position, (plane, &factor)) in planes.iter().zip(&factors).enumerate() {
            let name = if position == last {
                node.name.clone()
            } else {
                format!("{}.{position}", node.name)
            };
            let conv = self.plane_conv(&name, plane, &layer.geometry, tensor, &weights, unit);
            let mut epilogue = Vec::new();
            if unit.is_none() && conv.affine.is_none() {
                let (scale, ..) = alphabet(plane.levels);
                let scale = |&s: &f32| (f64::from(s) * f64::from(scale)) as f32;
                let scales = weights.scales.iter().map(scale).collect();
                epilogue.push(PendingOp::Channel(ChannelOp::Multiply(scales)));
            } else if factor != 1.0 {
                epilogue.push(PendingOp::Channel(ChannelOp::Multiply(vec![factor])));
            }
            if let Some(operand) = previous {
                epilogue.push(PendingOp::Combine { op: CombineOp::Add, operand });
            }
            if position == last {
                epilogue.append(&mut ops);
            } else {
                let buffer = self.builder.buffer(BufferKind::F32, layer.output);
                epilogue.push(PendingOp::Store(buffer));
                previous = Some(buffer);
            }
            let output = BinaryOutput::Float(self.builder.epilogue(&name, epilogue));
            self.builder.step(&name, StepKind::BinaryConv { conv, output });
        }
        Ok(())
    }

    /// The binary layer of one plane.
    fn plane_conv(
        &mut self,
        name: &str,
        plane: &Plane,
        geometry: &ConvGeometry,
        tensor: TensorId,
        weights: &BinaryWeights,
        unit: Option<f64>,
    ) -> BinaryConv {
        let (_, centre, letters) = alphabet(plane.levels);
        let plain = unit.is_some() || (weights.centred() && centre == 0.0);
        let affine = (!plain).then(|| self.affine_terms(name, weights, plane.levels));
        BinaryConv {
            input: plane.place.buffer,
            geometry: geometry.clone(),
            pad: PadValue::Zero,
            alphabet: if plain { letters } else { Alphabet::PlusMinus },
            weights: tensor,
            affine,
        }
    }

    /// The planes of a layer's input, written now if they are the digits of a code.
    fn planes_of(&mut self, index: usize, input: ValueId) -> Result<Vec<Plane>, ConvertError> {
        match self.demand.planes[input.index()].clone() {
            Some(Planes::Sum(terms)) => terms
                .into_iter()
                .map(|(value, levels)| {
                    let place = self.bits[value.index()].clone().ok_or_else(|| {
                        self.unsupported(index, "a plane of its input could not be kept as bits")
                    })?;
                    Ok(Plane { place, levels })
                })
                .collect(),
            Some(Planes::Code(code)) => self.code_planes(index, input, code),
            None => Err(self.unsupported(index, "its input is not a sum of planes")),
        }
    }

    fn code_planes(
        &mut self,
        index: usize,
        input: ValueId,
        code: Code,
    ) -> Result<Vec<Plane>, ConvertError> {
        if !self.code_places.contains_key(&input) {
            let node = self.node(index);
            let place = if matches!(node.op, Op::Conv(_)) {
                self.channels_first_copy(input, &node.name)?
            } else {
                self.float_place(index, input)?
            };
            let FloatPlace { buffer, view } = place;
            let size = self.builder.size(buffer);
            let builder = &mut self.builder;
            let (ops, planes) =
                digit_operations(code, || builder.buffer(BufferKind::Bits, size), size[2]);
            let name = format!("{}.planes", node.name);
            let epilogue = self.builder.epilogue(&name, ops);
            self.builder
                .step(&name, StepKind::Elementwise { input: buffer, flatten: false, epilogue });
            self.place_code(input, planes, &view);
        }
        let places = self.code_places.get(&input).cloned().unwrap_or_default();
        Ok(places.into_iter().map(|(place, levels)| Plane { place, levels }).collect())
    }

    fn place_code(&mut self, value: ValueId, planes: Vec<(BufferId, Levels)>, view: &View) {
        let places = planes
            .into_iter()
            .map(|(buffer, levels)| {
                (BitsPlace { buffer, view: view.clone(), padding: None }, levels)
            })
            .collect();
        self.code_places.insert(value, places);
    }

    /// If all readers of a running value are layers that want the digits of its code, writes those;
    /// the value itself need not be stored then.
    pub(super) fn write_digits(
        &mut self,
        readers: &[Use],
        size: MapSize,
        ops: &mut Vec<PendingOp>,
    ) -> bool {
        let Some(first) = readers.first() else { return false };
        let code = match self.demand.planes[first.value.index()] {
            Some(Planes::Code(code)) => code,
            _ => return false,
        };
        let fits = |reader: &Use| {
            reader.operand == 0
                && self.demand.multi.contains_key(&reader.node)
                && reader.value == first.value
                && (!matches!(self.node(reader.node).op, Op::Conv(_))
                    || reader.view.is_channels_first(size))
        };
        if !readers.iter().all(fits) {
            return false;
        }
        let builder = &mut self.builder;
        let (mut digits, planes) =
            digit_operations(code, || builder.buffer(BufferKind::Bits, size), size[2]);
        ops.append(&mut digits);
        self.place_code(first.value, planes, &first.view);
        true
    }
}

/// The unit of which all planes are integer multiples, if there is one and the sums stay exact, and
/// the multiples.
fn common_unit(planes: &[Plane], products: usize, centred: bool) -> (Option<f64>, Vec<f32>) {
    let parts: Vec<(f32, f32, _)> = planes.iter().map(|plane| alphabet(plane.levels)).collect();
    let none = (None, vec![1.0; planes.len()]);
    if !centred || parts.iter().any(|&(_, centre, _)| centre != 0.0) {
        return none;
    }
    let unit = parts.iter().map(|p| f64::from(p.0).abs()).fold(f64::INFINITY, f64::min);
    let multiples: Vec<f64> = parts.iter().map(|p| f64::from(p.0) / unit).collect();
    let whole = multiples.iter().all(|m| (m - m.round()).abs() <= 1e-5 * m.abs());
    let largest = multiples.iter().map(|m| m.abs()).sum::<f64>() * products as f64;
    if !whole || largest > EXACT {
        return none;
    }
    (Some(unit), multiples.iter().map(|m| m.round() as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value that the digits of an integer add up to.
    fn value(code: Code, integer: u32) -> f64 {
        let mut rest = integer;
        let mut sum = 0.0;
        for Digit { at, wraps, flip, levels } in digits(code) {
            let bit = rest >= at;
            if wraps && bit {
                rest -= at;
            }
            sum += f64::from(if bit != flip { levels.high } else { levels.low });
        }
        sum
    }

    #[test]
    fn digits_add_up_to_the_values() {
        for (scale, offset) in
            [(1.0, 0.0), (0.25, 0.0), (1.0, -4.0), (2.0, -7.0), (1.0, -1.0), (0.5, 3.0)]
        {
            for highest in 1..=15 {
                let code = Code { scale, offset, highest };
                for integer in 0..=highest {
                    let expected = offset + scale * f64::from(integer);
                    assert!((value(code, integer) - expected).abs() < 1e-6, "{code:?} {integer}");
                }
            }
        }
    }

    #[test]
    fn signed_codes_need_no_centre() {
        let centre = |code| digits(code).iter().map(|d| alphabet(d.levels).1).fold(0.0, f32::max);
        let signed = Code { scale: 0.5, offset: -4.0, highest: 15 };
        assert_eq!(centre(signed), 0.0);
        let odd = Code { scale: 2.0, offset: -7.0, highest: 7 };
        assert_eq!(centre(odd), 0.0);
        let ternary = Code { scale: 1.0, offset: -1.0, highest: 2 };
        assert_eq!(centre(ternary), 0.0);
        assert_eq!(digits(ternary).len(), 2);
    }
}
