//! Writing an architecture as code that reads like the table of its paper.

use super::{
    Architecture, ArchitectureError, BinaryConvolution, BinaryLinear, Block, Convolution, Input,
    Layer, Operation, PadValue, Scale, Unused, Window, operation::DEFAULT_EPSILON,
};
use std::collections::BTreeMap;

/// A value of a network under construction: an input or the result of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value(usize);

/// A network under construction.
///
/// Names of layers are those of the modules of the training program, as a rule; inside
/// [`Network::block`] they are continued with a dot. What does not fit is told by [`Network::finish`].
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    scope: Vec<String>,
    /// The shape of each value, where it exists.
    shapes: Vec<Option<Vec<usize>>>,
}

impl Network {
    /// An empty network with the input `input`, a map of `[channels, height, width]`.
    pub fn new(name: impl Into<String>, input: [usize; 3]) -> Self {
        let inputs = vec![Input { name: "input".into(), shape: input.to_vec() }];
        let architecture = Architecture { name: name.into(), inputs, ..Architecture::default() };
        Self { architecture, scope: Vec::new(), shapes: vec![Some(input.to_vec())] }
    }

    /// The network's input.
    pub fn input(&self) -> Value {
        Value(0)
    }

    /// The network, if everything in it fits.
    ///
    /// # Errors
    /// As [`Architecture::resolve`].
    pub fn finish(
        mut self,
        outputs: impl IntoIterator<Item = Value>,
    ) -> Result<Architecture, ArchitectureError> {
        self.architecture.outputs =
            outputs.into_iter().map(|value| self.name_of(value).to_owned()).collect();
        self.architecture.resolve()?;
        Ok(self.architecture)
    }

    /// Height and width of a map; nothing for other values, and where something before it does not fit.
    pub fn map_size(&self, value: Value) -> Option<[usize; 2]> {
        match **self.shapes.get(value.0)?.as_ref()? {
            [_, height, width] => Some([height, width]),
            _ => None,
        }
    }

    /// Number of elements of a value, 0 where something before it does not fit.
    pub fn elements(&self, value: Value) -> usize {
        let shape = self.shapes.get(value.0).and_then(|shape| shape.as_deref());
        shape.map_or(0, |shape| shape.iter().product())
    }

    /// Number of places of a map: height times width, 0 where something before it does not fit.
    pub fn places(&self, value: Value) -> usize {
        let shape = self.shapes.get(value.0).and_then(|shape| shape.as_deref());
        shape.map_or(0, |shape| shape.iter().skip(1).product())
    }

    /// The name of a value.
    fn name_of(&self, Value(number): Value) -> &str {
        let inputs = &self.architecture.inputs;
        match inputs.get(number) {
            Some(input) => &input.name,
            None => &self.architecture.layers[number - inputs.len()].name,
        }
    }

    /// The full name that a layer or tensor called `name` would have here.
    pub fn full_name(&self, name: &str) -> String {
        let parts = self.scope.iter().map(String::as_str).chain([name]);
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }

    /// Layers whose names begin with `name` and a dot.
    pub fn scope<R>(&mut self, name: impl Into<String>, layers: impl FnOnce(&mut Self) -> R) -> R {
        self.scope.push(name.into());
        let result = layers(self);
        self.scope.pop();
        result
    }

    /// A part of the network with a name of its own, from `x` to what `layers` returns.
    pub fn block(
        &mut self,
        name: impl Into<String>,
        x: Value,
        layers: impl FnOnce(&mut Self, Value) -> Value,
    ) -> Value {
        let name = name.into();
        let full_name = self.full_name(&name);
        let y = self.scope(name, |net| layers(net, x));
        let (input, output) = (self.name_of(x).to_owned(), self.name_of(y).to_owned());
        self.architecture.blocks.push(Block { name: full_name, input, output });
        y
    }

    /// Names what lies between two layers (by their full names) a block.
    pub fn mark_block(&mut self, name: &str, input: &str, output: &str) {
        let [name, input, output] = [name, input, output].map(str::to_owned);
        self.architecture.blocks.push(Block { name, input, output });
    }

    /// A tensor that checkpoints hold and nothing uses.
    pub fn unused(&mut self, name: &str, shape: &[usize]) {
        let name = self.full_name(name);
        self.architecture.unused.push(Unused { name, shape: shape.to_vec() });
    }

    /// Any layer.
    pub fn operation(&mut self, name: &str, inputs: &[Value], operation: Operation) -> Value {
        self.operation_with(name, inputs, operation, &[])
    }

    /// Any layer, some of whose weights have names of their own: role and full name.
    pub fn operation_with(
        &mut self,
        name: &str,
        inputs: &[Value],
        operation: Operation,
        parameters: &[(&str, &str)],
    ) -> Value {
        let name = self.full_name(name);
        let shapes: Option<Vec<&[usize]>> =
            inputs.iter().map(|value| self.shapes.get(value.0)?.as_deref()).collect();
        // What does not fit is told, with its name, when the network is finished.
        let shape = shapes.and_then(|shapes| operation.output_shape(&shapes).ok());
        self.shapes.push(shape);
        let inputs = inputs.iter().map(|&value| self.name_of(value).to_owned()).collect();
        let owned = |(role, tensor): &(&str, &str)| ((*role).to_owned(), (*tensor).to_owned());
        let parameters: BTreeMap<_, _> = parameters.iter().map(owned).collect();
        self.architecture.layers.push(Layer { name, inputs, operation, parameters });
        Value(self.architecture.inputs.len() + self.architecture.layers.len() - 1)
    }

    /// Convolution in full precision, without bias.
    pub fn convolution(
        &mut self,
        name: &str,
        x: Value,
        out_channels: usize,
        window: Window,
    ) -> Value {
        self.operation(name, &[x], Operation::Convolution(full_precision(out_channels, window)))
    }

    /// Convolution in full precision, with bias.
    pub fn convolution_with_bias(
        &mut self,
        name: &str,
        x: Value,
        out_channels: usize,
        window: Window,
    ) -> Value {
        let layer = Convolution { bias: true, ..full_precision(out_channels, window) };
        self.operation(name, &[x], Operation::Convolution(layer))
    }

    /// Convolution with weights of one bit and zero padding.
    pub fn binary_convolution(
        &mut self,
        name: &str,
        x: Value,
        out_channels: usize,
        window: Window,
        scale: Scale,
    ) -> Value {
        self.padded_binary_convolution(name, x, out_channels, window, scale, PadValue::Zero)
    }

    /// Convolution with weights of one bit and any padding.
    pub fn padded_binary_convolution(
        &mut self,
        name: &str,
        x: Value,
        out_channels: usize,
        window: Window,
        scale: Scale,
        pad_value: PadValue,
    ) -> Value {
        let layer = one_bit(out_channels, window, scale, pad_value);
        self.operation(name, &[x], Operation::BinaryConvolution(layer))
    }

    /// Convolution with weights of one bit and zero padding, whose weights go by the given full name.
    pub fn named_binary_convolution(
        &mut self,
        name: &str,
        x: Value,
        out_channels: usize,
        window: Window,
        scale: Scale,
        weight: &str,
    ) -> Value {
        let layer = one_bit(out_channels, window, scale, PadValue::Zero);
        let parameters = [("weight", weight)];
        self.operation_with(name, &[x], Operation::BinaryConvolution(layer), &parameters)
    }

    /// Dense layer with bias.
    pub fn linear(&mut self, name: &str, x: Value, out_features: usize) -> Value {
        self.operation(name, &[x], Operation::Linear { out_features, bias: true })
    }

    /// Dense layer without bias.
    pub fn linear_without_bias(&mut self, name: &str, x: Value, out_features: usize) -> Value {
        self.operation(name, &[x], Operation::Linear { out_features, bias: false })
    }

    /// Dense layer with weights ±1 and no bias.
    pub fn binary_linear(&mut self, name: &str, x: Value, out_features: usize) -> Value {
        let layer = BinaryLinear { out_features, scale: Scale::None, bias: false };
        self.operation(name, &[x], Operation::BinaryLinear(layer))
    }

    /// Normalisation with gamma and beta and an epsilon of 1e-5.
    pub fn batch_normalization(&mut self, name: &str, x: Value) -> Value {
        self.batch_normalization_with(name, x, DEFAULT_EPSILON)
    }

    /// Normalisation with gamma, beta and the given epsilon.
    pub fn batch_normalization_with(&mut self, name: &str, x: Value, epsilon: f32) -> Value {
        let operation = Operation::BatchNormalization { epsilon, scale: true, shift: true };
        self.operation(name, &[x], operation)
    }

    /// Sign.
    pub fn sign(&mut self, name: &str, x: Value) -> Value {
        self.operation(name, &[x], Operation::Sign {})
    }

    /// Rectifier.
    pub fn relu(&mut self, name: &str, x: Value) -> Value {
        self.operation(name, &[x], Operation::Relu {})
    }

    /// Rectifier with a learned slope per channel.
    pub fn prelu(&mut self, name: &str, x: Value) -> Value {
        self.operation(name, &[x], Operation::Prelu { per_channel: true })
    }

    /// Learned shift per channel.
    pub fn shift(&mut self, name: &str, x: Value) -> Value {
        self.operation(name, &[x], Operation::Shift {})
    }

    /// `clip(x, -1, 1)`.
    pub fn hardtanh(&mut self, name: &str, x: Value) -> Value {
        self.operation(name, &[x], Operation::Clip { minimum: -1.0, maximum: 1.0 })
    }

    /// Maximum over windows.
    pub fn max_pool(&mut self, name: &str, x: Value, window: Window) -> Value {
        let Window { kernel, stride, padding, .. } = window;
        self.operation(name, &[x], Operation::MaxPool { kernel, stride: Some(stride), padding })
    }

    /// Mean over windows of 2x2 that do not overlap.
    pub fn halve(&mut self, name: &str, x: Value) -> Value {
        self.average_pool(name, x, Window::square(2).stride(2))
    }

    /// Mean over windows; padding counts.
    pub fn average_pool(&mut self, name: &str, x: Value, window: Window) -> Value {
        let Window { kernel, stride, padding, .. } = window;
        let stride = Some(stride);
        let operation = Operation::AveragePool { kernel, stride, padding, count_include_pad: true };
        self.operation(name, &[x], operation)
    }

    /// Mean of each channel over the map.
    pub fn global_average(&mut self, name: &str, x: Value) -> Value {
        self.operation(name, &[x], Operation::GlobalAverage {})
    }

    /// Sum.
    pub fn add(&mut self, name: &str, terms: &[Value]) -> Value {
        self.operation(name, terms, Operation::Add {})
    }

    /// Product.
    pub fn multiply(&mut self, name: &str, a: Value, b: Value) -> Value {
        self.operation(name, &[a, b], Operation::Multiply {})
    }

    /// Channels one after the other.
    pub fn concat(&mut self, name: &str, parts: &[Value]) -> Value {
        self.operation(name, parts, Operation::Concat { axis: 0 })
    }
}

fn full_precision(out_channels: usize, window: Window) -> Convolution {
    let Window { kernel, stride, padding, dilation, groups } = window;
    Convolution { out_channels, kernel, stride, padding, dilation, groups, bias: false, clip: None }
}

fn one_bit(
    out_channels: usize,
    window: Window,
    scale: Scale,
    pad_value: PadValue,
) -> BinaryConvolution {
    let Window { kernel, stride, padding, dilation, groups } = window;
    BinaryConvolution {
        out_channels,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        scale,
        pad_value,
        bias: false,
        counts: false,
    }
}
