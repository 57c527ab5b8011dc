//! The C interface: the bytes are a program, calls with arguments that a caller in C may hand over.
//!
//! All pointers are null, or point to as much memory as they say; handles are freed once. Whatever else a
//! caller can get wrong is tried: lengths, counts, texts, sizes, overlaps, order of calls, two threads.

use bnn::capi::*;
use std::{
    ffi::{CStr, CString, c_char},
    ptr,
};

/// Small models: of one input and output with integers, and of everything.
const MODELS: [&[u8]; 3] = [
    include_bytes!("../../tests/data/format-2.0-integers.bnn"),
    include_bytes!("../../tests/data/format-1.0-integers.bnn"),
    include_bytes!("../../tests/data/format-2.0.bnn"),
];

/// A small model that finds objects.
const DETECTOR: &[u8] = include_bytes!("../../tests/data/format-2.1-detector.bnn");

/// Handles of each kind that there can be at a time.
const SLOTS: usize = 3;

/// Calls of one program.
const MOST_CALLS: usize = 64;

/// Most values of a buffer.
const MOST_VALUES: usize = 1 << 14;

/// Makes the calls.
///
/// # Panics
/// If a call fails where it must not, or answers with what is no answer.
pub fn check(data: &[u8]) {
    let mut caller = Caller {
        bytes: data,
        models: [ptr::null_mut(); SLOTS],
        sessions: [ptr::null_mut(); SLOTS],
    };
    for _ in 0..MOST_CALLS {
        if caller.bytes.is_empty() {
            break;
        }
        caller.call();
    }
    for slot in 0..SLOTS {
        caller.free_model(slot);
        caller.free_session(slot);
    }
}

struct Caller<'a> {
    bytes: &'a [u8],
    models: [*mut bnn_model; SLOTS],
    sessions: [*mut bnn_session; SLOTS],
}

/// A session that another thread may use at the same time.
#[derive(Clone, Copy)]
struct Shared(*mut bnn_session);

// SAFETY: the interface lets any thread call with a session; it answers `Busy` to the second.
unsafe impl Send for Shared {}

impl Caller<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
        self.bytes = rest;
        *first
    }

    /// A small number, sometimes a huge one.
    fn number(&mut self) -> usize {
        match self.byte() {
            255 => usize::MAX,
            254 => usize::MAX / 2 + 1,
            253 => usize::MAX / 4 + 1,
            252 => 1 << 33,
            byte => usize::from(byte),
        }
    }

    /// A few of the bytes.
    fn take(&mut self) -> &[u8] {
        let length = usize::from(self.byte()).min(self.bytes.len());
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        taken
    }

    fn text(&mut self) -> CString {
        let taken = self.take();
        let end = taken.iter().position(|&byte| byte == 0).unwrap_or(taken.len());
        CString::new(&taken[..end]).unwrap_or_default()
    }

    fn slot(&mut self) -> usize {
        usize::from(self.byte()) % SLOTS
    }

    fn free_model(&mut self, slot: usize) {
        // SAFETY: null, or a handle that is freed here and nowhere else.
        unsafe { bnn_model_free(self.models[slot]) };
        self.models[slot] = ptr::null_mut();
    }

    fn free_session(&mut self, slot: usize) {
        // SAFETY: null, or a handle that is freed here and nowhere else.
        unsafe { bnn_session_free(self.sessions[slot]) };
        self.sessions[slot] = ptr::null_mut();
    }

    /// Values of one image of the first input (or output) of a session's model; 1 without a model.
    fn elements(
        &self,
        slot: usize,
        of: fn(*const bnn_model, usize, *mut bnn_tensor) -> bnn_status,
    ) -> usize {
        let mut tensor = bnn_tensor { name: ptr::null(), shape: ptr::null(), rank: 0, elements: 1 };
        // A model in the same slot need not be that of the session: lengths are then wrong.
        let _ = of(self.models[slot], 0, &raw mut tensor);
        tensor.elements
    }

    /// A length that fits, or nearly.
    fn length(&mut self, elements: usize, batch: usize) -> usize {
        let fitting = elements.saturating_mul(batch);
        match self.byte() {
            0 => fitting.saturating_add(1),
            1 => fitting.saturating_sub(1),
            2 => 0,
            3 => self.number(),
            _ => fitting,
        }
        .min(MOST_VALUES)
    }

    /// Values, sometimes with one that is no finite number.
    fn values(&mut self, length: usize) -> Vec<f32> {
        let mut values: Vec<f32> = (0..length).map(|index| (index % 9) as f32 - 4.0).collect();
        let broken = match self.byte() {
            0 => f32::NAN,
            1 => f32::INFINITY,
            _ => return values,
        };
        let at = self.number() % length.max(1);
        if let Some(value) = values.get_mut(at) {
            *value = broken;
        }
        values
    }

    fn call(&mut self) {
        let status = match self.byte() % 16 {
            0 | 1 => self.read_model(),
            2 => self.open_model(),
            3 => {
                let slot = self.slot();
                self.free_model(slot);
                return;
            }
            4 | 5 => self.new_session(),
            6 => {
                let slot = self.slot();
                self.free_session(slot);
                return;
            }
            7 => {
                self.ask();
                return;
            }
            8 | 9 => self.run(),
            10 => self.run_pixels(),
            11 => self.run_tensors(),
            12 => self.classify(),
            13 => self.rank(),
            14 => {
                self.run_twice_at_once();
                return;
            }
            _ => self.run_over_itself(),
        };
        is_answer(status);
    }

    fn read_model(&mut self) -> bnn_status {
        let slot = self.slot();
        let mut bytes = match self.byte() {
            u8::MAX => DETECTOR.to_vec(),
            which => MODELS[usize::from(which) % MODELS.len()].to_vec(),
        };
        match self.byte() {
            0 => bytes.truncate(self.number().wrapping_mul(8) % (bytes.len() + 1)),
            1 => {
                let at = self.number().wrapping_mul(67) % bytes.len();
                bytes[at] ^= self.byte();
            }
            2 => bytes = self.take().to_vec(),
            _ => {}
        }
        self.free_model(slot);
        let null = self.byte() == 0;
        let data = if null { ptr::null() } else { bytes.as_ptr() };
        let place = &raw mut self.models[slot];
        // SAFETY: the bytes live, and the place takes a pointer.
        let status = unsafe { bnn_model_from_memory(data, bytes.len(), place) };
        assert_eq!(status == bnn_status::Ok, !self.models[slot].is_null());
        // SAFETY: null is allowed, as an error.
        let status = unsafe { bnn_model_from_memory(data, bytes.len(), ptr::null_mut()) };
        assert_eq!(status, bnn_status::InvalidArgument);
        status
    }

    /// Below a folder that is none: a path must not lead to a device that blocks.
    fn open_model(&mut self) -> bnn_status {
        let slot = self.slot();
        let text = [b"/dev/null/".as_slice(), self.text().as_bytes()].concat();
        let path = CString::new(text).unwrap_or_default();
        let path = if self.byte() == 0 { ptr::null() } else { path.as_ptr() };
        self.free_model(slot);
        let place = &raw mut self.models[slot];
        // SAFETY: a text or null, and the place takes a pointer.
        let status = unsafe { bnn_model_open(path, place) };
        assert!(status != bnn_status::Ok && self.models[slot].is_null());
        status
    }

    fn new_session(&mut self) -> bnn_status {
        let (slot, from) = (self.slot(), self.slot());
        let size = size_of::<bnn_session_options>();
        let names = [c"scalar", c"v2", c"avx2", c"avx512", c"neon"];
        let isa = match self.byte() {
            0 => Some(self.text()),
            choice @ 1..6 => Some(names[usize::from(choice) - 1].to_owned()),
            _ => None,
        };
        // Room for a later version of the struct, as its size says.
        let room = usize::from(self.byte() % 3) * 8;
        let mut memory = vec![0_u64; (size + room) / 8];
        if room > 0 && self.byte() == 0 {
            memory[size / 8] = 1;
        }
        let options = bnn_session_options {
            size: match self.byte() {
                0 => self.number() % size,
                1 => 4097 + self.number() / 2,
                _ => size + room,
            },
            threads: match self.byte() {
                0 => 1025 + self.number() / 2,
                1 => 2,
                2 => 3,
                other => usize::from(other & 1),
            },
            isa: isa.as_ref().map_or(ptr::null(), |name| name.as_ptr()),
            memory_limit: match self.byte() {
                0 => self.number(),
                _ => 0,
            },
        };
        // SAFETY: the memory is aligned and large enough for the struct.
        unsafe { memory.as_mut_ptr().cast::<bnn_session_options>().write(options) };
        let options = if self.byte() == 0 { ptr::null() } else { memory.as_ptr().cast() };
        self.free_session(slot);
        let place = &raw mut self.sessions[slot];
        // SAFETY: a live model or null, options as long as they say or null, and a place for a pointer.
        let status = unsafe { bnn_session_new(self.models[from], options, place) };
        assert_eq!(status == bnn_status::Ok, !self.sessions[slot].is_null());
        status
    }

    /// The questions that cannot fail, and those for tensors and pictures.
    fn ask(&mut self) {
        let (slot, index) = (self.slot(), self.number());
        let (model, session) = (self.models[slot], self.sessions[slot]);
        let mut tensor = bnn_tensor { name: ptr::null(), shape: ptr::null(), rank: 0, elements: 0 };
        // SAFETY: live handles or null, and a live place or null.
        unsafe {
            let labels = bnn_model_label_count(model);
            let label = bnn_model_label(model, index);
            assert_eq!(label.is_null(), index >= labels);
            if !label.is_null() {
                is_text(label);
            }
            for (status, count) in [
                (bnn_model_input(model, index, &raw mut tensor), bnn_model_input_count(model)),
                (bnn_model_output(model, index, &raw mut tensor), bnn_model_output_count(model)),
            ] {
                is_answer(status);
                assert_eq!(status == bnn_status::Ok, index < count);
                if status == bnn_status::Ok {
                    is_text(tensor.name);
                    let shape = std::slice::from_raw_parts(tensor.shape, tensor.rank);
                    assert_eq!(shape.iter().product::<usize>(), tensor.elements);
                }
            }
            is_answer(bnn_model_input(model, index, ptr::null_mut()));
            is_answer(bnn_model_picture(model, ptr::null_mut()));
            let isa = bnn_session_isa(session);
            assert_eq!(isa.is_null(), session.is_null());
            assert_eq!(bnn_session_threads(session) == 0, session.is_null());
            if !isa.is_null() {
                is_text(isa);
                assert!(bnn_session_memory_bytes(session) > 0);
            }
        }
        is_text(bnn_version());
        is_text(bnn_status_name(index as i32));
    }

    fn run(&mut self) -> bnn_status {
        let (slot, batch) = (self.slot(), self.number());
        let input_length = self.length(self.elements(slot, input), batch);
        let output_length = self.length(self.elements(slot, output), batch);
        let values = self.values(input_length);
        let mut answer = vec![0.0_f32; output_length];
        let (from, to) = match self.byte() {
            0 => (ptr::null(), answer.as_mut_ptr()),
            1 => (values.as_ptr(), ptr::null_mut()),
            // Not aligned: refused before it is read.
            2 => (values.as_ptr().wrapping_byte_add(1), answer.as_mut_ptr()),
            _ => (values.as_ptr(), answer.as_mut_ptr()),
        };
        // SAFETY: a live session or null, and memory of these lengths or none.
        unsafe {
            bnn_session_run(self.sessions[slot], from, input_length, to, output_length, batch)
        }
    }

    fn run_pixels(&mut self) -> bnn_status {
        let (slot, batch) = (self.slot(), self.number());
        let length = self.length(self.elements(slot, input), batch);
        let output_length = self.length(self.elements(slot, output), batch);
        let pixels = vec![self.byte(); length];
        let mut answer = vec![0.0_f32; output_length];
        let (from, to) = (pixels.as_ptr(), answer.as_mut_ptr());
        let session = self.sessions[slot];
        // SAFETY: a live session or null, and memory of these lengths.
        unsafe { bnn_session_run_pixels(session, from, length, to, output_length, batch) }
    }

    fn run_tensors(&mut self) -> bnn_status {
        let (slot, batch) = (self.slot(), self.number());
        let counts = [self.byte() % 4, self.byte() % 4].map(usize::from);
        let lengths: Vec<usize> = (0..counts[0] + counts[1])
            .map(|index| {
                let of = if index < counts[0] { input } else { output };
                self.length(self.elements(slot, of), batch)
            })
            .collect();
        let mut buffers: Vec<Vec<f32>> =
            lengths.iter().map(|&length| self.values(length)).collect();
        let (read, written) = buffers.split_at_mut(counts[0]);
        let inputs: Vec<bnn_input> = read
            .iter()
            .map(|values| bnn_input { data: values.as_ptr(), length: values.len() })
            .collect();
        let outputs: Vec<bnn_output> = written
            .iter_mut()
            .map(|values| bnn_output { data: values.as_mut_ptr(), length: values.len() })
            .collect();
        let (from, to) = match self.byte() {
            0 => (ptr::null(), outputs.as_ptr()),
            1 => (inputs.as_ptr(), ptr::null()),
            _ => (inputs.as_ptr(), outputs.as_ptr()),
        };
        let session = self.sessions[slot];
        // SAFETY: a live session or null, and arrays of these lengths, or null, of buffers of the lengths
        // that they state.
        unsafe { bnn_session_run_tensors(session, from, counts[0], to, counts[1], batch) }
    }

    fn classify(&mut self) -> bnn_status {
        let slot = self.slot();
        let session = self.sessions[slot];
        let capacity = usize::from(self.byte() % 5);
        let mut found: Vec<bnn_prediction> = (0..capacity).map(|_| nothing()).collect();
        let mut count = usize::MAX;
        let place = if self.byte() == 0 { ptr::null_mut() } else { found.as_mut_ptr() };
        let number = if self.byte() == 0 { ptr::null_mut() } else { &raw mut count };
        // Which of the two is refused depends on the network.
        let mut boxes: Vec<bnn_detection> = (0..capacity).map(|_| no_box()).collect();
        let mut box_count = usize::MAX;
        let box_place = if place.is_null() { ptr::null_mut() } else { boxes.as_mut_ptr() };
        let box_number = if number.is_null() { ptr::null_mut() } else { &raw mut box_count };
        // SAFETY: a live session or null, room for so many predictions and boxes or null, a text, and memory
        // of these lengths.
        let (status, detected) = unsafe {
            match self.byte() % 3 {
                0 => {
                    let text = [b"/dev/null/".as_slice(), self.text().as_bytes()].concat();
                    let path = CString::new(text).unwrap_or_default();
                    let path = path.as_ptr();
                    (
                        bnn_session_classify_file(session, path, place, capacity, number),
                        bnn_session_detect_file(session, path, box_place, capacity, box_number),
                    )
                }
                1 => {
                    let file = self.take().to_vec();
                    let bytes = if self.byte() == 0 { ptr::null() } else { file.as_ptr() };
                    let length = file.len();
                    (
                        bnn_session_classify_encoded(
                            session, bytes, length, place, capacity, number,
                        ),
                        bnn_session_detect_encoded(
                            session, bytes, length, box_place, capacity, box_number,
                        ),
                    )
                }
                _ => {
                    let (width, height) = (self.number(), self.number());
                    let length = self.length(width.saturating_mul(height), 3);
                    let pixels = vec![self.byte(); length];
                    let (width, height) = (width as u32, height as u32);
                    let data = pixels.as_ptr();
                    (
                        bnn_session_classify_pixels(
                            session, data, length, width, height, place, capacity, number,
                        ),
                        bnn_session_detect_pixels(
                            session, data, length, width, height, box_place, capacity, box_number,
                        ),
                    )
                }
            }
        };
        check_predictions(status, &found, number, count);
        is_answer(detected);
        assert!(status != bnn_status::Ok || detected != bnn_status::Ok, "classes and boxes");
        if detected == bnn_status::Ok {
            let labels: Vec<_> = boxes[..box_count].iter().map(|found| found.label).collect();
            labels.into_iter().filter(|label| !label.is_null()).for_each(is_text);
        }
        status
    }

    fn rank(&mut self) -> bnn_status {
        let slot = self.slot();
        let length = self.length(self.elements(slot, output), 1);
        let values = self.values(length);
        let capacity = usize::from(self.byte() % 5);
        let mut found: Vec<bnn_prediction> = (0..capacity).map(|_| nothing()).collect();
        let mut count = usize::MAX;
        let (place, number) = (found.as_mut_ptr(), &raw mut count);
        let (model, data) = (self.models[slot], values.as_ptr());
        // SAFETY: a live model or null, and memory of these lengths.
        let status = unsafe { bnn_model_rank(model, data, length, place, capacity, number) };
        check_predictions(status, &found, number, count);
        status
    }

    /// One session, two threads: each call is done, refused for its lengths, or told that the session is
    /// at work.
    fn run_twice_at_once(&mut self) {
        let (slot, batch) = (self.slot(), 1 + usize::from(self.byte() % 4));
        let input_length = self.length(self.elements(slot, input), batch);
        let output_length = self.length(self.elements(slot, output), batch);
        let session = Shared(self.sessions[slot]);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    let session = session;
                    let values = vec![0.5_f32; input_length];
                    let mut answer = vec![0.0_f32; output_length];
                    let (from, to) = (values.as_ptr(), answer.as_mut_ptr());
                    // SAFETY: a live session or null, and memory of these lengths.
                    let status = unsafe {
                        bnn_session_run(session.0, from, input_length, to, output_length, batch)
                    };
                    is_answer(status);
                });
            }
        });
    }

    /// Input and output are the same memory, or share some.
    fn run_over_itself(&mut self) -> bnn_status {
        let slot = self.slot();
        let (from, to) = (self.elements(slot, input), self.elements(slot, output));
        if from.max(to) > MOST_VALUES {
            return bnn_status::Ok;
        }
        let mut memory = vec![0.5_f32; from + to];
        let start = usize::from(self.byte()) % (from + 1);
        let data = memory.as_mut_ptr();
        // SAFETY: both lie in the memory; that they may overlap is what is tried.
        let status = unsafe {
            bnn_session_run(self.sessions[slot], data, from, data.wrapping_add(start), to, 1)
        };
        assert!(
            status != bnn_status::Ok || start == from || to == 0,
            "overlapping buffers were used"
        );
        status
    }
}

fn input(model: *const bnn_model, index: usize, tensor: *mut bnn_tensor) -> bnn_status {
    // SAFETY: a live model or null, and a live place.
    unsafe { bnn_model_input(model, index, tensor) }
}

fn output(model: *const bnn_model, index: usize, tensor: *mut bnn_tensor) -> bnn_status {
    // SAFETY: a live model or null, and a live place.
    unsafe { bnn_model_output(model, index, tensor) }
}

/// A status has a name; a failure has a message and is none of the library's own making.
fn is_answer(status: bnn_status) {
    is_text(bnn_status_name(status as i32));
    let message = bnn_last_error_message();
    is_text(message);
    if status != bnn_status::Ok {
        // SAFETY: the library's texts live until the next call.
        let message = unsafe { CStr::from_ptr(message) }.to_string_lossy();
        assert!(!message.is_empty(), "{status:?} without a message");
        assert!(status != bnn_status::Internal, "{message}");
    }
}

fn is_text(text: *const c_char) {
    assert!(!text.is_null());
    // SAFETY: not null, and the library's texts end with a zero.
    assert!(unsafe { CStr::from_ptr(text) }.to_str().is_ok());
}

/// A place for a prediction.
fn nothing() -> bnn_prediction {
    bnn_prediction { index: 0, label: ptr::null(), probability: 0.0 }
}

fn no_box() -> bnn_detection {
    let (label, score) = (ptr::null(), 0.0);
    bnn_detection { index: 0, label, score, xmin: 0.0, ymin: 0.0, xmax: 0.0, ymax: 0.0 }
}

/// As many predictions as told, their labels texts. (A hostile model may call any numbers probabilities.)
fn check_predictions(
    status: bnn_status,
    found: &[bnn_prediction],
    number: *mut usize,
    count: usize,
) {
    if status != bnn_status::Ok {
        return;
    }
    assert!(!number.is_null() && count <= found.len());
    for prediction in &found[..count] {
        if !prediction.label.is_null() {
            is_text(prediction.label);
        }
    }
}
