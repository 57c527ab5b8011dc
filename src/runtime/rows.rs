//! Steps that compute their output row by row.
//!
//! A few rows of accumulators are computed, turned into floats and handed to the epilogue while they
//! are in cache; then come the next rows. Rows do not depend on each other, so any split of them
//! over chunks and threads gives the same bits.
//!
//! Of the private layout of the input that a convolution wants, only the rows exist that are being
//! read ([`RowWindow`]). The same holds for the whole output of a step that only the next one reads,
//! window by window: that step becomes the feeder of the other, and its map never leaves the cache.

use std::ops::Range;

use bnn_kernels::{
    AffineBinary, AveragePool, BinaryConv, ConvGeometry, Epilogue, FloatConv, Isa, MapRows,
    MapValues, MaxPool, MaxPoolBits, Operand, OutputSlice, PoolGeometry, Reduction, SegmentBits,
    concat_channels, gather, i32_to_f32, i32_to_i16, pack_i32, reduce_channels, words_per_pixel,
};

use super::{
    RunError,
    binding::Reads,
    few::{Few, MANY_INPUTS},
    memory::LINE,
    row_window::RowWindow,
};

/// Bytes of accumulators at a time: with as many bytes of floats, the operands and the outputs
/// beside them, they stay within the first-level cache or just above it.
const CHUNK_BYTES: usize = 16 << 10;

/// Pixels at a time, even if that takes more: weights are read once for all of them, and few pixels are no
/// whole number of tiles.
const LEAST_PIXELS: usize = 18;

/// Packed weights of more bytes do not stay in the second-level cache from one chunk to the next, and are read once
/// for as many pixels as these bytes of accumulators are.
const MANY_WEIGHTS: usize = 512 << 10;
const CHUNK_BYTES_FOR_MANY_WEIGHTS: usize = 128 << 10;

/// Bytes of input rows that are kept, if no more are needed. The larger, the more rarely the rows that
/// two chunks share are moved.
const WINDOW_BYTES: usize = 24 << 10;

/// Where the values of a row come from.
#[derive(Debug)]
pub(crate) enum Producer {
    /// Integer accumulators, or their affine form.
    BinaryConv { conv: BinaryConv, affine: Option<AffineBinary> },
    /// Float accumulators.
    FloatConv(FloatConv),
    /// Maxima of windows.
    MaxPool(MaxPool),
    /// Means of windows.
    AveragePool(AveragePool),
    /// A statistic of each pixel with this many channels.
    Reduce { reduction: Reduction, channels: usize },
    /// The input itself.
    Copy,
    /// Inputs with these numbers of channels, side by side as floats.
    Concat(Vec<usize>),
    /// Bits that are final.
    MaxPoolBits(MaxPoolBits),
    /// The bits of each input, side by side.
    Threshold(Vec<SegmentBits>),
}

impl Producer {
    /// The rows of the input, with its padding where that is copied, that some rows of the output
    /// need; none where a row of the output is no row of the map.
    fn rows_read(&self, rows: Range<usize>) -> Range<usize> {
        match self {
            Self::BinaryConv { conv, .. } => conv.rows_read(rows),
            Self::FloatConv(conv) => conv.rows_read(rows),
            Self::MaxPool(pool) => pool.rows_read(rows),
            Self::AveragePool(pool) => pool.rows_read(rows),
            Self::Reduce { .. }
            | Self::Copy
            | Self::Concat(_)
            | Self::MaxPoolBits(_)
            | Self::Threshold(_) => 0..0,
        }
    }

    /// The most rows of the input that this many neighbouring rows of the output can need.
    fn most_rows_read(&self, rows: usize) -> usize {
        let reach = |stride: [usize; 2], kernel: [usize; 2], dilation: [usize; 2]| {
            rows.saturating_sub(1) * stride[0] + (kernel[0] - 1) * dilation[0] + 1
        };
        let of_conv = |geometry: &ConvGeometry| {
            reach(geometry.stride, geometry.kernel, geometry.dilation)
                .min(geometry.padded_input()[0])
        };
        let of_pool = |geometry: &PoolGeometry| {
            reach(geometry.stride, geometry.kernel, geometry.dilation).min(geometry.input[0])
        };
        match self {
            Self::BinaryConv { conv, .. } => of_conv(conv.geometry()),
            Self::FloatConv(conv) => of_conv(conv.geometry()),
            Self::MaxPool(pool) => of_pool(pool.geometry()),
            Self::AveragePool(pool) => of_pool(pool.geometry()),
            Self::Reduce { .. }
            | Self::Copy
            | Self::Concat(_)
            | Self::MaxPoolBits(_)
            | Self::Threshold(_) => 0,
        }
    }
}

/// What becomes of the values of a row.
#[derive(Debug)]
pub(crate) enum Consumer {
    /// Integer accumulators become bits.
    Threshold { thresholds: Vec<i32>, flip: Option<Vec<u64>> },
    /// They are the output. Integer accumulators that go to a map of integers fit it.
    Store,
    /// Operations and stores.
    Epilogue {
        epilogue: Epilogue,
        /// Where each operand comes from.
        operands: Vec<OperandSource>,
    },
}

/// Where an operand of an epilogue comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperandSource {
    /// A map that is read.
    Map,
    /// One pixel that is read, for the whole map.
    Pixel,
    /// What this output held before.
    Output(usize),
}

/// A step that computes its output row by row.
#[derive(Debug)]
pub(crate) struct RowStep {
    pub(crate) producer: Producer,
    pub(crate) consumer: Consumer,
    /// Rows of the output. Where pixels do not depend on each other a pixel counts as a row.
    pub(crate) rows: usize,
    /// Pixels in a row.
    pub(crate) pixels: usize,
    /// Channels of the values before the epilogue.
    pub(crate) channels: usize,
    /// Rows at a time.
    chunk: usize,
    /// Words of temporary memory.
    temporary: Temporary,
    /// The step whose output is the input.
    feeder: Option<Box<RowStep>>,
    /// Where the values of the input lie, if it has another order than the kernels'.
    order: Option<MapOrder>,
    /// Position among the reads of the first operand of the epilogue.
    first_operand: usize,
}

/// A map in any order of its dimensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MapOrder {
    /// Values from one row, one column, one channel to the next.
    pub(crate) strides: [isize; 3],
    /// Position of the first value.
    pub(crate) offset: usize,
}

/// Words of the parts of temporary memory. That of the feeder comes behind.
#[derive(Debug, Clone, Copy)]
struct Temporary {
    /// Rows of the input.
    window: usize,
    accumulators: usize,
    values: usize,
    /// Sums of the inputs.
    sums: usize,
}

/// How far a step and its feeders have come.
type Windows = [RowWindow; MOST_FEEDERS + 1];

/// Most steps in front of one that become its feeders, one of the other: a dense network's transition is a
/// concatenation with its normalisation, a pool and a convolution.
const MOST_FEEDERS: usize = 2;

impl RowStep {
    /// # Errors
    /// [`RunError::TooLarge`] if a row is longer than memory.
    pub(crate) fn new(
        producer: Producer,
        consumer: Consumer,
        [rows, pixels, channels]: [usize; 3],
    ) -> Result<Self, RunError> {
        let row = pixels.checked_mul(channels).ok_or(RunError::UNADDRESSABLE)?;
        let chunk_bytes = match &producer {
            Producer::BinaryConv { conv, .. } if conv.packed_bytes() > MANY_WEIGHTS => {
                CHUNK_BYTES_FOR_MANY_WEIGHTS
            }
            _ => CHUNK_BYTES,
        };
        let chunk = match producer {
            Producer::MaxPoolBits(_) => rows,
            // Each input adds its bits to those of the pixels, which stay in the cache meanwhile.
            Producer::Threshold(_) => {
                let words = pixels.saturating_mul(words_per_pixel(channels));
                (CHUNK_BYTES / 8 / words.max(1)).clamp(1, rows.max(1))
            }
            _ => (chunk_bytes / 4 / row.max(1))
                .max(LEAST_PIXELS.div_ceil(pixels.max(1)))
                .clamp(1, rows.max(1)),
        };
        let words = |values: usize| {
            values
                .checked_mul(chunk)
                .and_then(|values| values.div_ceil(2).checked_next_multiple_of(LINE))
                .ok_or(RunError::UNADDRESSABLE)
        };
        let (accumulators, sums) = match &producer {
            Producer::BinaryConv { conv, affine } => {
                let sums = affine.as_ref().is_some_and(AffineBinary::needs_input_sums);
                (row, if sums { pixels.saturating_mul(conv.geometry().groups) } else { 0 })
            }
            _ => (0, 0),
        };
        let in_place = matches!(producer, Producer::BinaryConv { affine: None, .. });
        let has_epilogue = matches!(consumer, Consumer::Epilogue { .. });
        let values = if has_epilogue && !in_place { row } else { 0 };
        let temporary = Temporary {
            window: 0,
            accumulators: words(accumulators)?,
            values: words(values)?,
            sums: words(sums)?,
        };
        let first_operand = match &producer {
            Producer::Concat(channels) => channels.len(),
            _ => 1,
        };
        let mut step = Self {
            producer,
            consumer,
            rows,
            pixels,
            channels,
            chunk,
            temporary,
            feeder: None,
            order: None,
            first_operand,
        };
        let row_bytes = match &step.producer {
            Producer::BinaryConv { conv, .. } => Some(conv.row_len().saturating_mul(8)),
            Producer::FloatConv(conv) if !conv.reads_in_place() => {
                Some(conv.row_len().saturating_mul(4))
            }
            _ => None,
        };
        if let Some(row_bytes) = row_bytes {
            step.temporary.window = step.window_words(row_bytes)?;
        }
        Ok(step)
    }

    /// This step with another in front that computes its input, `reads` buffers being read there; or
    /// both back, if they cannot be joined.
    ///
    /// # Errors
    /// [`RunError::TooLarge`] if a row is longer than memory.
    pub(crate) fn fed_by(
        mut self,
        feeder: Self,
        reads: usize,
    ) -> Result<Result<Self, (Self, Self)>, RunError> {
        let reads_rows_in_place = match &self.producer {
            Producer::MaxPool(_) | Producer::AveragePool(_) => true,
            Producer::FloatConv(conv) => conv.reads_in_place(),
            _ => false,
        };
        let has_rows = matches!(
            feeder.producer,
            Producer::BinaryConv { .. }
                | Producer::FloatConv(_)
                | Producer::MaxPool(_)
                | Producer::AveragePool(_)
                | Producer::Concat(_)
        );
        // Rows are what threads share: a mean of the whole map would leave one for all of them.
        let few_rows = self.rows < feeder.rows.div_ceil(4);
        if !reads_rows_in_place
            || !has_rows
            || few_rows
            || self.feeder.is_some()
            || feeder.feeders() == MOST_FEEDERS
        {
            return Ok(Err((self, feeder)));
        }
        let row_bytes = feeder.pixels.saturating_mul(feeder.channels).saturating_mul(4);
        self.temporary.window = self.window_words(row_bytes)?;
        self.first_operand = reads;
        self.feeder = Some(Box::new(feeder));
        Ok(Ok(self))
    }

    /// Number of steps in front of this one that are its feeders.
    fn feeders(&self) -> usize {
        self.feeder.as_ref().map_or(0, |feeder| 1 + feeder.feeders())
    }

    /// This step with the maps joined by another as its values, `reads` buffers being read for these; or both
    /// back, if it is no step on the values of one map as they are.
    ///
    /// # Errors
    /// [`RunError::TooLarge`] if a row is longer than memory.
    pub(crate) fn on_joined(
        self,
        join: Self,
        reads: usize,
    ) -> Result<Result<Self, (Self, Self)>, RunError> {
        let fits = matches!(join.producer, Producer::Concat(_))
            && matches!(join.consumer, Consumer::Store)
            && matches!(self.producer, Producer::Copy)
            && self.channels == join.channels;
        if !fits {
            return Ok(Err((self, join)));
        }
        let size = [join.rows, join.pixels, join.channels];
        let mut step = Self::new(join.producer, self.consumer, size)?;
        step.first_operand = reads;
        Ok(Ok(step))
    }

    /// Whether the epilogue takes the accumulators as they are.
    fn stays_integers(&self) -> bool {
        matches!(self.producer, Producer::BinaryConv { affine: None, .. })
    }

    /// The operands of the epilogue, from [`first_operand`](Self::first_operand) of the reads on.
    pub(crate) fn operands(&self) -> &[OperandSource] {
        match &self.consumer {
            Consumer::Epilogue { operands, .. } => operands,
            Consumer::Threshold { .. } | Consumer::Store => &[],
        }
    }

    /// Position among the reads of the first operand of the epilogue.
    pub(crate) fn first_operand(&self) -> usize {
        self.first_operand
    }

    /// Lets an output take the place of an operand, and says whether that is possible.
    pub(crate) fn work_in_place(&mut self, operand: usize, output: usize) -> bool {
        let Consumer::Epilogue { epilogue, operands } = &mut self.consumer else { return false };
        let possible =
            operands[operand] == OperandSource::Map && epilogue.works_in_place(operand, output);
        if possible {
            operands[operand] = OperandSource::Output(output);
        }
        possible
    }

    /// Lets the step read its input in another order, and says whether it can.
    pub(crate) fn reorder(&mut self, order: MapOrder) -> bool {
        let possible = self.feeder.is_none()
            && matches!(&self.producer, Producer::FloatConv(conv) if !conv.reads_in_place());
        if possible {
            self.order = Some(order);
        }
        possible
    }

    /// Words for the rows of the input that are kept, at least those that a chunk reads.
    fn window_words(&self, row_bytes: usize) -> Result<usize, RunError> {
        let needed = self.producer.most_rows_read(self.chunk);
        let all = self.producer.most_rows_read(self.rows);
        // Rows that the next chunk reads again are moved, so there is room for some chunks until then.
        let two_chunks = (2 * self.chunk).min(self.rows);
        let shared = self.producer.most_rows_read(two_chunks) < 2 * needed;
        let least = if shared { 2 * needed } else { needed };
        (WINDOW_BYTES / row_bytes.max(1))
            .clamp(least.min(all), all)
            .checked_mul(row_bytes)
            .and_then(|bytes| bytes.div_ceil(8).checked_next_multiple_of(LINE))
            .ok_or(RunError::UNADDRESSABLE)
    }

    /// Words of temporary memory that each thread needs.
    pub(crate) fn temporary_words(&self) -> usize {
        let Temporary { window, accumulators, values, sums } = self.temporary;
        let feeder = self.feeder.as_ref().map_or(0, |feeder| feeder.temporary_words());
        [window, accumulators, values, sums, feeder].iter().fold(0, |sum, &n| n.saturating_add(sum))
    }

    /// Values or words that one row takes in an output.
    pub(crate) fn row_len(&self, output: &OutputSlice<'_>) -> usize {
        match output {
            OutputSlice::F32(_) | OutputSlice::I16(_) => self.pixels * self.channels,
            OutputSlice::Bits(_) => self.pixels * words_per_pixel(self.channels),
        }
    }

    /// Computes some rows. `outputs` hold exactly those; `temporary` has at least
    /// [`RowStep::temporary_words`].
    pub(crate) fn run(
        &self,
        isa: Isa,
        reads: &Reads<'_>,
        rows: Range<usize>,
        outputs: &mut [OutputSlice<'_>],
        temporary: &mut [u64],
    ) {
        self.run_on(isa, reads, &mut Windows::default(), rows, outputs, temporary);
    }

    /// As [`RowStep::run`], from where the windows are.
    fn run_on(
        &self,
        isa: Isa,
        reads: &Reads<'_>,
        windows: &mut [RowWindow],
        rows: Range<usize>,
        outputs: &mut [OutputSlice<'_>],
        temporary: &mut [u64],
    ) {
        let mut start = rows.start;
        while start < rows.end {
            let chunk = start..rows.end.min(start + self.chunk);
            let within = chunk.start - rows.start..chunk.end - rows.start;
            let parts = outputs.iter_mut().map(|output| {
                let len = self.row_len(output);
                part(output, within.start * len..within.end * len)
            });
            // Extended where it lies: a list that is returned is copied with all its room.
            let mut list: Few<OutputSlice<'_>> = Few::new();
            list.extend(parts);
            self.run_chunk(isa, reads, windows, chunk.clone(), &mut list, temporary);
            start = chunk.end;
        }
    }

    fn run_chunk(
        &self,
        isa: Isa,
        reads: &Reads<'_>,
        windows: &mut [RowWindow],
        rows: Range<usize>,
        outputs: &mut [OutputSlice<'_>],
        temporary: &mut [u64],
    ) {
        let (window, temporary) = temporary.split_at_mut(self.temporary.window);
        let (accumulators, temporary) = temporary.split_at_mut(self.temporary.accumulators);
        let (values, temporary) = temporary.split_at_mut(self.temporary.values);
        let (sums, temporary) = temporary.split_at_mut(self.temporary.sums);

        let (covered, windows) = windows.split_first_mut().expect("a window for each step");
        let read = self.producer.rows_read(rows.clone());
        let mut source = MapRows { values: &[][..], first: 0 };
        let count = rows.len() * self.pixels * self.channels;
        let accumulators: &mut [i32] = bytemuck::cast_slice_mut(accumulators);
        match (&self.producer, &self.feeder) {
            (_, Some(feeder)) => {
                let (window, row_len) =
                    (bytemuck::cast_slice_mut(window), feeder.pixels * feeder.channels);
                let values = covered.cover(read, row_len, window, |rows, out| {
                    let out = &mut [OutputSlice::F32(out)];
                    feeder.run_on(isa, reads, windows, rows, out, temporary);
                });
                source = MapRows { values, first: covered.first() };
            }
            (Producer::BinaryConv { conv, .. }, None) => {
                let input = reads.bits(0);
                let values = covered.cover(read, conv.row_len(), window, |rows, layout| {
                    conv.fill_rows(input, rows, layout);
                });
                let layout = MapRows { values, first: covered.first() };
                conv.accumulate(layout, rows.clone(), &mut accumulators[..count]);
            }
            (Producer::FloatConv(conv), None) if !conv.reads_in_place() => {
                let (input, window) = (reads.f32(0), bytemuck::cast_slice_mut(window));
                let values = covered.cover(read, conv.row_len(), window, |rows, padded| {
                    let Some(MapOrder { strides: [y, x, c], offset }) = self.order else {
                        return conv.fill_rows(input, rows, padded);
                    };
                    let dims = [conv.geometry().input[1], conv.geometry().in_channels];
                    conv.fill_rows_with(rows, padded, |row, inside| {
                        let first = offset.wrapping_add_signed(y * row as isize);
                        gather(input, &dims, &[x, c], first, inside);
                    });
                });
                source = MapRows { values, first: covered.first() };
            }
            (
                Producer::FloatConv(_)
                | Producer::MaxPool(_)
                | Producer::AveragePool(_)
                | Producer::Reduce { .. }
                | Producer::Copy,
                None,
            ) => source = MapRows::whole(reads.f32(0)),
            (Producer::Concat(_) | Producer::MaxPoolBits(_) | Producer::Threshold(_), None) => {}
        }
        match &self.consumer {
            Consumer::Threshold { thresholds, flip } => {
                let [OutputSlice::Bits(output)] = outputs else {
                    unreachable!("a threshold writes one map of bits")
                };
                let accumulators = &accumulators[..count];
                pack_i32(isa, accumulators, self.channels, thresholds, flip.as_deref(), output);
            }
            Consumer::Store => match outputs {
                [OutputSlice::F32(output)] => {
                    self.produce(isa, reads, source, rows, accumulators, sums, output);
                }
                [OutputSlice::I16(output)] => i32_to_i16(isa, &accumulators[..count], output),
                [OutputSlice::Bits(output)] => match &self.producer {
                    Producer::MaxPoolBits(pool) => pool.run(reads.bits(0), rows, output),
                    Producer::Threshold(segments) => {
                        threshold(segments, reads, rows, self.channels, output);
                    }
                    _ => unreachable!("values are no bits"),
                },
                _ => unreachable!("a store writes one map"),
            },
            Consumer::Epilogue { epilogue, operands } => {
                let row = self.pixels * self.channels;
                let operands = operands.iter().enumerate().map(|(index, operand)| {
                    let read = || reads.f32(self.first_operand + index);
                    match operand {
                        OperandSource::Map => {
                            Operand::Map(&read()[rows.start * row..rows.end * row])
                        }
                        OperandSource::Pixel => Operand::Map(read()),
                        OperandSource::Output(output) => Operand::Output(*output),
                    }
                });
                let mut list: Few<Operand<'_>> = Few::new();
                list.extend(operands);
                if self.stays_integers() {
                    return epilogue.run_integers(&mut accumulators[..count], &list, outputs);
                }
                let values = &mut bytemuck::cast_slice_mut::<u64, f32>(values)[..count];
                self.produce(isa, reads, source, rows, accumulators, sums, values);
                epilogue.run(values, &list, outputs);
            }
        }
    }

    /// The values of some rows as floats.
    #[expect(clippy::too_many_arguments, reason = "slices of one call, used once")]
    fn produce(
        &self,
        isa: Isa,
        reads: &Reads<'_>,
        source: MapRows<'_, f32>,
        rows: Range<usize>,
        accumulators: &[i32],
        sums: &mut [u64],
        values: &mut [f32],
    ) {
        match &self.producer {
            Producer::BinaryConv { conv, affine } => {
                let accumulators = &accumulators[..values.len()];
                let Some(affine) = affine else {
                    return i32_to_f32(isa, accumulators, values);
                };
                let mut input_sums: &mut [i32] = &mut [];
                if affine.needs_input_sums() {
                    let count = rows.len() * self.pixels * conv.geometry().groups;
                    input_sums = &mut bytemuck::cast_slice_mut(sums)[..count];
                    conv.input_sums(reads.bits(0), rows.clone(), input_sums);
                }
                affine.apply(isa, accumulators, input_sums, rows, values);
            }
            Producer::FloatConv(conv) => conv.accumulate(source, rows, values),
            Producer::MaxPool(pool) => pool.run(source, rows, values),
            Producer::AveragePool(pool) => pool.run(source, rows, values),
            Producer::Reduce { reduction, channels } => {
                let row = self.pixels * channels;
                let input = &source.values[rows.start * row..rows.end * row];
                reduce_channels(*reduction, input, *channels, values);
            }
            Producer::Copy => {
                let row = self.pixels * self.channels;
                values.copy_from_slice(&source.values[rows.start * row..rows.end * row]);
            }
            Producer::Concat(channels) => {
                let pixels = rows.start * self.pixels..rows.end * self.pixels;
                let inputs = channels.iter().enumerate().map(|(index, &channels)| {
                    let range = pixels.start * channels..pixels.end * channels;
                    (map_part(reads.values(index), range), channels)
                });
                let mut list: Few<(MapValues<'_>, usize), MANY_INPUTS> = Few::new();
                list.extend(inputs);
                concat_channels(isa, &list, pixels.len(), values);
            }
            Producer::MaxPoolBits(_) | Producer::Threshold(_) => {
                unreachable!("bits are no values")
            }
        }
    }
}

/// The bits of some pixels from those of each input.
fn threshold(
    segments: &[SegmentBits],
    reads: &Reads<'_>,
    pixels: Range<usize>,
    channels: usize,
    output: &mut [u64],
) {
    if !channels.is_multiple_of(64) {
        // The unused bits of a pixel belong to no input.
        output.fill(0);
    }
    for (index, segment) in segments.iter().enumerate() {
        let own = segment.channels();
        let range = pixels.start * own..pixels.end * own;
        segment.pack(map_part(reads.values(index), range), output);
    }
}

/// Some values of a map.
fn map_part(values: MapValues<'_>, range: Range<usize>) -> MapValues<'_> {
    match values {
        MapValues::F32(values) => MapValues::F32(&values[range]),
        MapValues::I16(values) => MapValues::I16(&values[range]),
    }
}

/// A part of an output.
pub(crate) fn part<'a>(output: &'a mut OutputSlice<'_>, range: Range<usize>) -> OutputSlice<'a> {
    match output {
        OutputSlice::F32(values) => OutputSlice::F32(&mut values[range]),
        OutputSlice::I16(values) => OutputSlice::I16(&mut values[range]),
        OutputSlice::Bits(words) => OutputSlice::Bits(&mut words[range]),
    }
}

/// An output in two parts.
pub(crate) fn split(output: OutputSlice<'_>, at: usize) -> (OutputSlice<'_>, OutputSlice<'_>) {
    match output {
        OutputSlice::F32(values) => {
            let (head, tail) = values.split_at_mut(at);
            (OutputSlice::F32(head), OutputSlice::F32(tail))
        }
        OutputSlice::I16(values) => {
            let (head, tail) = values.split_at_mut(at);
            (OutputSlice::I16(head), OutputSlice::I16(tail))
        }
        OutputSlice::Bits(words) => {
            let (head, tail) = words.split_at_mut(at);
            (OutputSlice::Bits(head), OutputSlice::Bits(tail))
        }
    }
}
