//! Steps that compute their output row by row.
//!
//! A few rows of accumulators are computed, turned into floats and handed to the epilogue while they
//! are in cache; then come the next rows. Rows do not depend on each other, so any split of them
//! over chunks and threads gives the same bits.

use std::ops::Range;

use bnn_kernels::{
    AffineBinary, AveragePool, BinaryConv, Epilogue, FloatConv, Isa, MapValues, MaxPool,
    MaxPoolBits, OutputSlice, Reduction, SegmentBits, i32_to_f32, i32_to_i16, pack_i32,
    reduce_channels, words_per_pixel,
};

use super::{RunError, binding::Reads, few::Few, memory::LINE};

/// Bytes of accumulators at a time: with as many bytes of floats, the operands and the outputs
/// beside them, they stay within the first-level cache or just above it.
const CHUNK_BYTES: usize = 16 << 10;

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
    /// Bits that are final.
    MaxPoolBits(MaxPoolBits),
    /// The bits of each input, side by side.
    Threshold(Vec<SegmentBits>),
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
        /// Per operand: whether it is one pixel for the whole map.
        broadcast: Vec<bool>,
    },
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
    /// Words of temporary memory: accumulators, values, sums of the inputs.
    temporary: [usize; 3],
}

impl RowStep {
    /// # Errors
    /// [`RunError::TooLarge`] if a row is longer than memory.
    pub(crate) fn new(
        producer: Producer,
        consumer: Consumer,
        [rows, pixels, channels]: [usize; 3],
    ) -> Result<Self, RunError> {
        let row = pixels.checked_mul(channels).ok_or(RunError::UNADDRESSABLE)?;
        let chunk = match producer {
            Producer::MaxPoolBits(_) => rows,
            // Each input adds its bits to those of the pixels, which stay in the cache meanwhile.
            Producer::Threshold(_) => {
                let words = pixels.saturating_mul(words_per_pixel(channels));
                (CHUNK_BYTES / 8 / words.max(1)).clamp(1, rows.max(1))
            }
            _ => (CHUNK_BYTES / 4 / row.max(1)).clamp(1, rows.max(1)),
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
        let values = if matches!(consumer, Consumer::Epilogue { .. }) { row } else { 0 };
        let temporary = [words(accumulators)?, words(values)?, words(sums)?];
        Ok(Self { producer, consumer, rows, pixels, channels, chunk, temporary })
    }

    /// Words of temporary memory that each thread needs.
    pub(crate) fn temporary_words(&self) -> usize {
        self.temporary.iter().fold(0, |sum: usize, &words| sum.saturating_add(words))
    }

    /// Words of private memory that the kernel fills once per image.
    pub(crate) fn scratch_words(&self) -> usize {
        match &self.producer {
            Producer::BinaryConv { conv, .. } => conv.scratch_len(),
            Producer::FloatConv(conv) => conv.scratch_len().div_ceil(2),
            _ => 0,
        }
    }

    /// Brings the input into the private layout of the kernel.
    pub(crate) fn prepare(&self, reads: &Reads<'_>, scratch: &mut [u64]) {
        match &self.producer {
            Producer::BinaryConv { conv, .. } => conv.prepare(reads.bits(0), scratch),
            Producer::FloatConv(conv) if conv.scratch_len() > 0 => {
                let scratch = &mut bytemuck::cast_slice_mut(scratch)[..conv.scratch_len()];
                conv.prepare(reads.f32(0), scratch);
            }
            _ => {}
        }
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
        scratch: &[u64],
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
            let mut parts: Few<OutputSlice<'_>> = Few::collect(parts, || OutputSlice::F32(&mut []));
            self.run_chunk(isa, reads, scratch, chunk.clone(), &mut parts, temporary);
            start = chunk.end;
        }
    }

    fn run_chunk(
        &self,
        isa: Isa,
        reads: &Reads<'_>,
        scratch: &[u64],
        rows: Range<usize>,
        outputs: &mut [OutputSlice<'_>],
        temporary: &mut [u64],
    ) {
        let [accumulator_words, value_words, sum_words] = self.temporary;
        let (accumulators, temporary) = temporary.split_at_mut(accumulator_words);
        let (values, temporary) = temporary.split_at_mut(value_words);
        let sums = &mut temporary[..sum_words];

        let count = rows.len() * self.pixels * self.channels;
        let accumulators: &mut [i32] = bytemuck::cast_slice_mut(accumulators);
        if let Producer::BinaryConv { conv, .. } = &self.producer {
            conv.accumulate(scratch, rows.clone(), &mut accumulators[..count]);
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
                    self.produce(isa, reads, scratch, rows, accumulators, sums, output);
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
            Consumer::Epilogue { epilogue, broadcast } => {
                let values = &mut bytemuck::cast_slice_mut::<u64, f32>(values)[..count];
                self.produce(isa, reads, scratch, rows.clone(), accumulators, sums, values);
                let row = self.pixels * self.channels;
                let operands = broadcast.iter().enumerate().map(|(index, &broadcast)| {
                    let operand = reads.f32(1 + index);
                    if broadcast { operand } else { &operand[rows.start * row..rows.end * row] }
                });
                let operands: Few<&[f32]> = Few::collect(operands, || &[]);
                epilogue.run(values, &operands, outputs);
            }
        }
    }

    /// The values of some rows as floats.
    #[expect(clippy::too_many_arguments, reason = "slices of one call, used once")]
    fn produce(
        &self,
        isa: Isa,
        reads: &Reads<'_>,
        scratch: &[u64],
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
            Producer::FloatConv(conv) => {
                let source = match conv.scratch_len() {
                    0 => reads.f32(0),
                    len => &bytemuck::cast_slice(scratch)[..len],
                };
                conv.accumulate(source, rows, values);
            }
            Producer::MaxPool(pool) => pool.run(reads.f32(0), rows, values),
            Producer::AveragePool(pool) => pool.run(reads.f32(0), rows, values),
            Producer::Reduce { reduction, channels } => {
                let row = self.pixels * channels;
                let input = &reads.f32(0)[rows.start * row..rows.end * row];
                reduce_channels(*reduction, input, *channels, values);
            }
            Producer::Copy => {
                let row = self.pixels * self.channels;
                values.copy_from_slice(&reads.f32(0)[rows.start * row..rows.end * row]);
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
        let values = match reads.values(index) {
            MapValues::F32(values) => MapValues::F32(&values[range]),
            MapValues::I16(values) => MapValues::I16(&values[range]),
        };
        segment.pack(values, output);
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
