//! Shapes: what each layer of an architecture reads and writes, and the weights it needs.

use super::{Architecture, ArchitectureError, Layer, Operation, Window};
use crate::graph::{MAX_ELEMENTS, MAX_NODES, MAX_PORTS};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a weight is for; decides how it is counted and how it may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Weights of a convolution or dense layer in full precision.
    Weight,
    /// Weights of which only the signs (and magnitudes of whole filters) are used; the number of bases
    /// that are made of them.
    BinaryWeight {
        /// 1, or ABC-Net's M.
        bases: usize,
    },
    /// Bias of a convolution or dense layer.
    Bias,
    /// Gamma of a normalisation.
    Gamma,
    /// Beta of a normalisation.
    Beta,
    /// Running mean of a normalisation.
    Mean,
    /// Running variance of a normalisation.
    Variance,
    /// Learned shift of an activation.
    Shift,
    /// Learned slope of an activation.
    Slope,
    /// Learned factor of a base.
    Coefficient,
    /// A constant of the method that checkpoints hold although it is not learned.
    Constant,
}

impl Role {
    /// Whether training changes it by gradients (running statistics are not).
    pub fn is_learned(self) -> bool {
        !matches!(self, Self::Mean | Self::Variance | Self::Constant)
    }
}

/// A weight that a network needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name of its tensor.
    pub name: String,
    /// Shape of its tensor.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
}

/// A layer, its inputs found and its shapes worked out.
#[derive(Debug, Clone)]
pub struct ResolvedLayer<'a> {
    /// The layer as written.
    pub layer: &'a Layer,
    /// What it reads: numbers of values, inputs of the network first, then layers.
    pub inputs: Vec<usize>,
    /// Shape of its result, without the batch.
    pub shape: Vec<usize>,
    /// Its weights, by their role's name in the layer (`weight`, `bias`, ...), in a fixed order.
    pub parameters: Vec<(&'static str, Parameter)>,
}

/// An architecture whose names all lead somewhere and whose shapes all fit.
///
/// Values are numbered: the inputs of the network first, then its layers.
#[derive(Debug, Clone)]
pub struct Resolved<'a> {
    /// The architecture as written.
    pub architecture: &'a Architecture,
    /// Its layers.
    pub layers: Vec<ResolvedLayer<'a>>,
    /// Numbers of the values that the caller gets.
    pub outputs: Vec<usize>,
    /// Numbers of the values that enter and leave each block.
    pub blocks: Vec<[usize; 2]>,
}

impl Architecture {
    /// Finds the inputs of every layer and works out all shapes.
    ///
    /// # Errors
    /// [`ArchitectureError`] for the first name that is used twice or unknown, and the first shape or
    /// number that does not fit.
    pub fn resolve(&self) -> Result<Resolved<'_>, ArchitectureError> {
        Resolver::new(self)?.finish()
    }

    pub(super) fn fault(&self, problem: impl Into<String>) -> ArchitectureError {
        ArchitectureError::Network { network: self.name.clone(), problem: problem.into() }
    }
}

impl<'a> Resolved<'a> {
    /// The shape of a value, without the batch.
    pub fn shape(&self, value: usize) -> &[usize] {
        let inputs = &self.architecture.inputs;
        match inputs.get(value) {
            Some(input) => &input.shape,
            None => &self.layers[value - inputs.len()].shape,
        }
    }

    /// The weights of the network in the order of its layers, each once.
    pub fn parameters(&self) -> Vec<&Parameter> {
        let mut seen = BTreeSet::new();
        let all = self.layers.iter().flat_map(|layer| layer.parameters.iter().map(|(_, p)| p));
        all.filter(|parameter| seen.insert(parameter.name.as_str())).collect()
    }
}

struct Resolver<'a> {
    architecture: &'a Architecture,
    numbers: HashMap<&'a str, usize>,
    layers: Vec<ResolvedLayer<'a>>,
    tensors: BTreeMap<String, Parameter>,
}

impl<'a> Resolver<'a> {
    fn new(architecture: &'a Architecture) -> Result<Self, ArchitectureError> {
        for (what, found, most) in [
            ("layers", architecture.layers.len(), MAX_NODES),
            ("inputs", architecture.inputs.len(), MAX_PORTS),
            ("outputs", architecture.outputs.len(), MAX_PORTS),
        ] {
            if found > most {
                return Err(architecture.fault(format!("{found} {what}, expected at most {most}")));
            }
        }
        let mut numbers = HashMap::new();
        for (number, input) in architecture.inputs.iter().enumerate() {
            if numbers.insert(input.name.as_str(), number).is_some() {
                return Err(architecture.fault(format!("two inputs are called {}", input.name)));
            }
            if input.shape.is_empty() || elements(&input.shape).is_none_or(|n| n == 0) {
                let problem =
                    format!("input {} has the impossible shape {:?}", input.name, input.shape);
                return Err(architecture.fault(problem));
            }
        }
        let mut resolver =
            Self { architecture, numbers, layers: Vec::new(), tensors: BTreeMap::new() };
        for layer in &architecture.layers {
            resolver.layer(layer).map_err(|problem| ArchitectureError::Layer {
                line: None,
                layer: layer.name.clone(),
                problem,
            })?;
        }
        Ok(resolver)
    }

    fn layer(&mut self, layer: &'a Layer) -> Result<(), String> {
        let number = self.architecture.inputs.len() + self.layers.len();
        let find = |name: &String| match self.numbers.get(name.as_str()) {
            Some(number) => Ok(*number),
            None => Err(format!("its input {name} is neither an input nor a layer before it")),
        };
        let inputs: Vec<usize> = layer.inputs.iter().map(find).collect::<Result<_, _>>()?;
        let shapes: Vec<&[usize]> = inputs
            .iter()
            .map(|&value| match self.architecture.inputs.get(value) {
                Some(input) => input.shape.as_slice(),
                None => &self.layers[value - self.architecture.inputs.len()].shape,
            })
            .collect();
        let shape = layer.operation.output_shape(&shapes)?;
        if elements(&shape).is_none_or(|n| n == 0) {
            return Err(format!("its result would have the impossible shape {shape:?}"));
        }
        let mut parameters = Vec::new();
        for (role, shape, kind) in layer.operation.parameters(&shapes) {
            if elements(&shape).is_none() {
                return Err(format!("its {role} would have the impossible shape {shape:?}"));
            }
            let name = match layer.parameters.get(role) {
                Some(name) => name.clone(),
                None => format!("{}.{role}", layer.name),
            };
            let parameter = Parameter { name, shape, role: kind };
            let known = self.tensors.get(&parameter.name);
            if let Some(known) = known.filter(|known| **known != parameter) {
                return Err(format!(
                    "tensor {} is shared with another layer, there as {:?} and here as {:?}",
                    parameter.name, known.shape, parameter.shape
                ));
            }
            self.tensors.insert(parameter.name.clone(), parameter.clone());
            parameters.push((role, parameter));
        }
        for role in layer.parameters.keys() {
            if !parameters.iter().any(|(known, _)| known == role) {
                let known: Vec<_> = parameters.iter().map(|(known, _)| *known).collect();
                let expected = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(format!("it has no parameter {role}, expected {expected}"));
            }
        }
        if self.numbers.insert(&layer.name, number).is_some() {
            return Err("another layer or input has the same name".to_owned());
        }
        self.layers.push(ResolvedLayer { layer, inputs, shape, parameters });
        Ok(())
    }

    fn finish(self) -> Result<Resolved<'a>, ArchitectureError> {
        let architecture = self.architecture;
        if architecture.inputs.is_empty() || architecture.outputs.is_empty() {
            return Err(architecture.fault("it needs at least one input and one output"));
        }
        let find = |what: &str, name: &str| {
            let known = self.numbers.get(name).copied();
            known.ok_or_else(|| architecture.fault(format!("{what} {name} is no layer of it")))
        };
        let outputs = architecture.outputs.iter();
        let outputs: Vec<usize> =
            outputs.map(|name| find("output", name)).collect::<Result<_, _>>()?;
        let mut blocks = Vec::with_capacity(architecture.blocks.len());
        for block in &architecture.blocks {
            let input = find(&format!("input of block {},", block.name), &block.input)?;
            let output = find(&format!("output of block {},", block.name), &block.output)?;
            blocks.push([input, output]);
        }
        Ok(Resolved { architecture, layers: self.layers, outputs, blocks })
    }
}

/// Number of elements, if it is within what a tensor may have.
fn elements(shape: &[usize]) -> Option<usize> {
    let product = shape.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent));
    product.filter(|&n| n <= MAX_ELEMENTS)
}

/// A weight's name in its layer, its shape and its role.
type Named = (&'static str, Vec<usize>, Role);

impl Operation {
    /// Shape of the result; a message says what does not fit.
    pub(super) fn output_shape(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        let wanted = match self {
            Self::Add {} | Self::Concat { .. } => 1..=usize::MAX,
            Self::Multiply {} => 2..=2,
            _ => 1..=1,
        };
        if !wanted.contains(&inputs.len()) {
            let expected = if *wanted.end() == usize::MAX {
                "at least one".to_owned()
            } else {
                wanted.start().to_string()
            };
            return Err(format!("it has {} inputs, expected {expected}", inputs.len()));
        }
        let input = inputs[0];
        match self {
            Self::Convolution(layer) => convolved(input, layer.out_channels, layer.window()),
            Self::BinaryConvolution(layer) => convolved(input, layer.out_channels, layer.window()),
            Self::AbcConvolution(layer) => {
                let bases = [layer.weight_bases, layer.activation_bases];
                if bases.iter().any(|bases| !(1..=16).contains(bases)) {
                    return Err(format!("{bases:?} bases, expected 1 to 16 of each kind"));
                }
                convolved(input, layer.out_channels, layer.window())
            }
            Self::HorqConvolution(layer) => convolved(input, layer.out_channels, layer.window()),
            Self::Linear { out_features, .. } => dense(input, *out_features),
            Self::BinaryLinear(layer) => dense(input, layer.out_features),
            Self::MaxPool { kernel, stride, padding }
            | Self::AveragePool { kernel, stride, padding, .. } => {
                let stride = stride.unwrap_or(*kernel);
                let window =
                    Window { kernel: *kernel, stride, padding: *padding, ..Window::square(1) };
                let [channels, height, width] = map(input)?;
                match window.output([height, width]) {
                    Some([height, width]) => Ok(vec![channels, height, width]),
                    None => Err(misfit(&window, input)),
                }
            }
            Self::GlobalAverage {} | Self::GlobalMaximum {} => Ok(vec![map(input)?[0]]),
            Self::ChannelMean {} => {
                let [_, height, width] = map(input)?;
                Ok(vec![1, height, width])
            }
            Self::Add {} => match inputs.iter().find(|other| **other != input) {
                Some(other) => Err(format!("it adds shapes {input:?} and {other:?}")),
                None => Ok(input.to_vec()),
            },
            Self::Multiply {} => {
                let other = inputs[1];
                if input == other || other == &input[..1] && input.len() == 3 {
                    Ok(input.to_vec())
                } else if input == &other[..1] && other.len() == 3 {
                    Ok(other.to_vec())
                } else if input.len() == 3
                    && other.len() == 3
                    && input[1..] == other[1..]
                    && other[0] == 1
                {
                    Ok(input.to_vec())
                } else {
                    Err(format!("it multiplies shapes {input:?} and {other:?}"))
                }
            }
            Self::Concat { axis } => joined(inputs, *axis),
            Self::Duplicate {} => joined(&[input, input], 0),
            Self::HalfMean {} => {
                let mut shape = input.to_vec();
                if !shape[0].is_multiple_of(2) {
                    return Err(format!("{} channels have no halves", shape[0]));
                }
                shape[0] /= 2;
                Ok(shape)
            }
            Self::PadChannels { after } => {
                let [channels, height, width] = map(input)?;
                let channels = channels.checked_add(*after).ok_or("too many channels")?;
                Ok(vec![channels, height, width])
            }
            Self::SliceChannels { start, end } => {
                let mut shape = input.to_vec();
                if start >= end || *end > shape[0] {
                    return Err(format!("channels {start} to {end} of {}", shape[0]));
                }
                shape[0] = end - start;
                Ok(shape)
            }
            Self::ChannelShuffle { groups } => {
                let [channels, ..] = map(input)?;
                if *groups == 0 || channels % groups != 0 {
                    return Err(format!("{channels} channels do not make {groups} groups"));
                }
                Ok(input.to_vec())
            }
            Self::Flatten {} => Ok(vec![elements(input).unwrap_or(0)]),
            Self::Reshape { shape } => {
                if shape.is_empty() || elements(shape) != elements(input) {
                    return Err(format!("it gives {input:?} the shape {shape:?}"));
                }
                Ok(shape.clone())
            }
            Self::Transpose { order } => {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                if !sorted.iter().copied().eq(0..input.len()) {
                    return Err(format!("it puts {input:?} in the order {order:?}"));
                }
                Ok(order.iter().map(|&axis| input[axis]).collect())
            }
            Self::Quantize { bits } if !(1..=8).contains(bits) => {
                Err(format!("{bits} bits, expected 1 to 8"))
            }
            Self::BatchNormalization { epsilon, .. } if !epsilon.is_finite() || *epsilon < 0.0 => {
                Err(format!("epsilon {epsilon}, expected a number not below 0"))
            }
            Self::BatchNormalization { .. }
            | Self::Sign {}
            | Self::Step { .. }
            | Self::Ternary { .. }
            | Self::TernarySign { .. }
            | Self::Quantize { .. }
            | Self::Shift {}
            | Self::AddConstant { .. }
            | Self::Prelu { .. }
            | Self::Relu {}
            | Self::LeakyRelu { .. }
            | Self::Clip { .. }
            | Self::Sigmoid {}
            | Self::Tanh {}
            | Self::HardSwish {}
            | Self::Absolute {}
            | Self::Softmax {} => Ok(input.to_vec()),
        }
    }

    /// The weights of a layer whose [`Operation::output_shape`] is known to exist.
    fn parameters(&self, inputs: &[&[usize]]) -> Vec<Named> {
        let channels = inputs[0][0];
        let filters = |out_channels: usize, window: Window| {
            vec![out_channels, channels / window.groups, window.kernel.0[0], window.kernel.0[1]]
        };
        let bias =
            |present: bool, length: usize| present.then(|| ("bias", vec![length], Role::Bias));
        let binary = |shape| ("weight", shape, Role::BinaryWeight { bases: 1 });
        match self {
            Self::Convolution(layer) => {
                let shape = filters(layer.out_channels, layer.window());
                let weight = ("weight", shape, Role::Weight);
                [weight].into_iter().chain(bias(layer.bias, layer.out_channels)).collect()
            }
            Self::BinaryConvolution(layer) => {
                let weight = binary(filters(layer.out_channels, layer.window()));
                [weight].into_iter().chain(bias(layer.bias, layer.out_channels)).collect()
            }
            Self::HorqConvolution(layer) => {
                vec![binary(filters(layer.out_channels, layer.window()))]
            }
            Self::AbcConvolution(layer) => {
                let (m, n) = (layer.weight_bases, layer.activation_bases);
                let shape = filters(layer.out_channels, layer.window());
                vec![
                    ("weight", shape, Role::BinaryWeight { bases: m }),
                    ("u", vec![m], Role::Constant),
                    ("alpha", vec![m], Role::Coefficient),
                    ("beta", vec![n], Role::Coefficient),
                    ("v", vec![n], Role::Coefficient),
                ]
            }
            Self::Linear { out_features, bias: has_bias } => {
                let weight = ("weight", vec![*out_features, channels], Role::Weight);
                [weight].into_iter().chain(bias(*has_bias, *out_features)).collect()
            }
            Self::BinaryLinear(layer) => {
                let weight = binary(vec![layer.out_features, channels]);
                [weight].into_iter().chain(bias(layer.bias, layer.out_features)).collect()
            }
            Self::BatchNormalization { scale, shift, .. } => {
                let present = [
                    (*scale, "weight", Role::Gamma),
                    (*shift, "bias", Role::Beta),
                    (true, "running_mean", Role::Mean),
                    (true, "running_var", Role::Variance),
                ];
                let present = present.into_iter().filter(|(present, ..)| *present);
                present.map(|(_, name, role)| (name, vec![channels], role)).collect()
            }
            Self::Shift {} => vec![("bias", vec![channels], Role::Shift)],
            Self::Prelu { per_channel } => {
                vec![("weight", vec![if *per_channel { channels } else { 1 }], Role::Slope)]
            }
            _ => Vec::new(),
        }
    }
}

fn map(shape: &[usize]) -> Result<[usize; 3], String> {
    shape
        .try_into()
        .map_err(|_| format!("it reads shape {shape:?}, expected [channels, height, width]"))
}

fn misfit(window: &Window, input: &[usize]) -> String {
    let Window { kernel, stride, padding, dilation, .. } = window;
    format!(
        "kernel {:?}, stride {:?}, padding {:?}, dilation {:?} do not fit the map {input:?}",
        kernel.0, stride.0, padding.0, dilation.0
    )
}

fn convolved(input: &[usize], out_channels: usize, window: Window) -> Result<Vec<usize>, String> {
    let [channels, height, width] = map(input)?;
    let groups = window.groups;
    let divides = |channels: usize| groups != 0 && channels.is_multiple_of(groups);
    if !divides(channels) || !divides(out_channels) || out_channels == 0 {
        return Err(format!("{channels} channels to {out_channels} in {groups} groups"));
    }
    match window.output([height, width]) {
        Some([height, width]) => Ok(vec![out_channels, height, width]),
        None => Err(misfit(&window, input)),
    }
}

fn dense(input: &[usize], out_features: usize) -> Result<Vec<usize>, String> {
    match input {
        [_] => Ok(vec![out_features]),
        _ => Err(format!("it reads shape {input:?}, expected [features]: flatten the map first")),
    }
}

fn joined(inputs: &[&[usize]], axis: usize) -> Result<Vec<usize>, String> {
    let mut shape = inputs[0].to_vec();
    if axis >= shape.len() {
        return Err(format!("it joins along dimension {axis} of {shape:?}"));
    }
    shape[axis] = 0;
    for input in inputs {
        let fits = input.len() == shape.len()
            && (0..shape.len()).all(|other| other == axis || input[other] == shape[other]);
        if !fits {
            return Err(format!("it joins shapes {:?} and {input:?}", inputs[0]));
        }
        shape[axis] = shape[axis].checked_add(input[axis]).ok_or("too many channels")?;
    }
    Ok(shape)
}
