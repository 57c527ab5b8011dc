//! Sessions
//!
//! A bnn_session is what one thread needs to run a model: its memory, and helping threads if it is given
//! any. Sessions of one model share its weights.

use std::{
    ffi::{CString, c_char},
    mem::size_of,
    ptr, slice,
    sync::{Arc, Mutex, MutexGuard, TryLockError},
};

use super::{
    error::{Failure, bnn_status, c_string, guard},
    model::bnn_model,
    pointers,
};
use crate::{Isa, Session, SessionOptions};

/// A model at work: one call at a time.
pub struct bnn_session {
    /// Kept, since predictions point to its labels.
    pub(super) model: Arc<bnn_model>,
    isa: CString,
    threads: usize,
    memory_bytes: usize,
    state: Mutex<State>,
}

/// What a call changes.
pub(super) struct State {
    pub(super) session: Session,
    /// Normalised pixels.
    pub(super) values: Vec<f32>,
}

impl bnn_session {
    fn new(model: Arc<bnn_model>, options: &SessionOptions) -> Result<Self, Failure> {
        let session = model.model.session(options)?;
        Ok(Self {
            model,
            isa: c_string(session.isa().name()),
            threads: session.threads(),
            memory_bytes: session.arena_bytes().saturating_add(session.row_bytes()),
            state: Mutex::new(State { session, values: Vec::new() }),
        })
    }

    /// The right to work with the session, until it is dropped. Nobody waits for it.
    pub(super) fn work(&self) -> Result<MutexGuard<'_, State>, Failure> {
        self.state.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Failure::new(
                bnn_status::Busy,
                "the session is at work for another thread: make one session for each thread",
            ),
            TryLockError::Poisoned(_) => Failure::new(
                bnn_status::Internal,
                "an internal error ended an earlier call of this session: free it and make another",
            ),
        })
    }
}

/// How a session is to run. Fill it with zeros (`bnn_session_options options = {0};`), set `size`
/// (`options.size = sizeof options;`), then what you want to be different (`options.threads = 4;`).
#[repr(C)]
pub struct bnn_session_options {
    /// sizeof(bnn_session_options): it tells which version of the struct the caller knows. Later versions
    /// may add fields at the end, for which zero means what is done today.
    pub size: usize,
    /// Threads that work on one call; 0 and 1 mean the calling thread alone. At most 1024.
    pub threads: usize,
    /// Instruction set: "scalar", "v2", "avx2", "avx512", "avx512vpopcnt", ...; NULL: the fastest that the
    /// processor has.
    pub isa: *const c_char,
    /// Largest memory in bytes that the feature maps of one image may take, a guard against files that
    /// ask for more than the machine has; 0: 4 GiB (1 GiB where addresses have 32 bits).
    pub memory_limit: usize,
}

/// Size of the struct in its first version: all later ones begin with the same fields.
const FIRST_SIZE: usize = size_of::<bnn_session_options>();

/// No version of the struct comes near; a larger size is a value that was never set.
const LARGEST_SIZE: usize = 4096;

/// # Safety
/// The pointer is null or points to as many readable bytes as their `size` says, and `isa` is null or a
/// text.
unsafe fn read_options(options: *const bnn_session_options) -> Result<SessionOptions, Failure> {
    if options.is_null() {
        return Ok(SessionOptions::default());
    }
    // SAFETY: every version of the struct begins with its size.
    let size = unsafe { pointers::slice(options.cast::<usize>(), 1, "options") }?[0];
    if !(FIRST_SIZE..=LARGEST_SIZE).contains(&size) {
        return Err(Failure::argument(format!(
            "options.size is {size}, expected sizeof(bnn_session_options), here {FIRST_SIZE}"
        )));
    }
    // SAFETY: the struct has `size` bytes, as its caller says.
    let newer =
        unsafe { slice::from_raw_parts(options.cast::<u8>().add(FIRST_SIZE), size - FIRST_SIZE) };
    if newer.iter().any(|&byte| byte != 0) {
        return Err(Failure::new(
            bnn_status::Unsupported,
            format!(
                "options has fields that version {} of the library does not know",
                env!("CARGO_PKG_VERSION")
            ),
        ));
    }
    // SAFETY: not null, aligned (that of `size` is that of the struct), and large enough.
    let &bnn_session_options { threads, isa, memory_limit, .. } = unsafe { &*options };
    let mut read = SessionOptions::default().threads(threads);
    if !isa.is_null() {
        // SAFETY: the caller hands over a text.
        let name = unsafe { pointers::text(isa, "options.isa") }?;
        read.isa = Some(name.parse::<Isa>().map_err(crate::Error::from)?);
    }
    if memory_limit > 0 {
        read.memory_limit = memory_limit;
    }
    Ok(read)
}

/// Makes a session; `options` may be NULL. The first session of a model packs the weights for the
/// processor, the following ones share them.
///
/// `*session` becomes the session, or NULL on failure. Free it with bnn_session_free(). The model may be
/// freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_new(
    model: *const bnn_model,
    options: *const bnn_session_options,
    session: *mut *mut bnn_session,
) -> bnn_status {
    guard(|| {
        // SAFETY: the caller hands over a model that has not been freed, options of the size that they
        // state, and room for a pointer, or null.
        let (model, options, session) = unsafe {
            let session = pointers::place(session, "session")?;
            session.write(ptr::null_mut());
            (pointers::share(model, "model")?, read_options(options)?, session)
        };
        session.write(pointers::hand_out(bnn_session::new(model, &options)?));
        Ok(())
    })
}

/// Frees a session; NULL is fine. A call that is under way in another thread ends as usual.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_free(session: *mut bnn_session) {
    // SAFETY: the caller hands over a session that has not been freed, or null.
    unsafe { pointers::free(session) }
}

/// The instruction set in use, such as "avx2"; NULL for NULL. The text belongs to the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_isa(session: *const bnn_session) -> *const c_char {
    // SAFETY: the caller hands over a session that has not been freed, or null.
    unsafe { pointers::peek(session) }.map_or(ptr::null(), |session| session.isa.as_ptr())
}

/// Threads that work on a call; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_threads(session: *const bnn_session) -> usize {
    // SAFETY: the caller hands over a session that has not been freed, or null.
    unsafe { pointers::peek(session) }.map_or(0, |session| session.threads)
}

/// Bytes of working memory for an image on one thread, weights and the caller's buffers not counted;
/// 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bnn_session_memory_bytes(session: *const bnn_session) -> usize {
    // SAFETY: the caller hands over a session that has not been freed, or null.
    unsafe { pointers::peek(session) }.map_or(0, |session| session.memory_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model, capi::bnn_model_from_memory, format, program::*};

    fn session() -> Arc<bnn_session> {
        let map = Buffer { kind: BufferKind::F32, height: 1, width: 1, channels: 3 };
        let port = |name: &str, buffer| Port { name: name.into(), shape: vec![3], buffer };
        let program = Program {
            inputs: vec![port("x", BufferId(0))],
            outputs: vec![port("y", BufferId(1))],
            buffers: vec![map, map],
            steps: vec![Step {
                name: "probabilities".into(),
                kind: StepKind::Softmax { input: BufferId(0), output: BufferId(1), log: false },
            }],
            ..Program::default()
        };
        let bytes = format::write(&program).unwrap();
        assert!(Model::from_bytes(&bytes).is_ok());
        let mut model = ptr::null_mut();
        // SAFETY: all pointers are those of live values; the model is freed once.
        let model = unsafe {
            let status = bnn_model_from_memory(bytes.as_ptr(), bytes.len(), &raw mut model);
            assert_eq!(status, bnn_status::Ok);
            let shared = pointers::share(model, "model").unwrap();
            pointers::free(model);
            shared
        };
        Arc::new(bnn_session::new(model, &SessionOptions::default()).unwrap())
    }

    #[test]
    fn a_session_at_work_refuses_others_and_is_free_afterwards() {
        let session = session();
        let state = session.work().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(session.work().err().unwrap().status, bnn_status::Busy);
            });
        });
        drop(state);
        assert!(session.work().is_ok());
    }

    #[test]
    fn a_panic_breaks_the_session_that_it_happened_in_and_no_other() {
        let (broken, whole) = (session(), session());
        let status = guard(|| {
            let _state = broken.work()?;
            panic!("in the middle of a run")
        });
        assert_eq!(status, bnn_status::Internal);
        assert_eq!(broken.work().err().unwrap().status, bnn_status::Internal);
        assert!(whole.work().is_ok());
    }

    #[test]
    fn options_of_later_versions_are_taken_if_what_is_new_is_zero() {
        #[repr(C)]
        struct Later {
            known: bnn_session_options,
            new: [usize; 3],
        }
        let size = size_of::<Later>();
        let known = bnn_session_options { size, threads: 3, isa: ptr::null(), memory_limit: 0 };
        let mut later = Later { known, new: [0; 3] };
        // SAFETY: the struct has the size that it states, or one that is refused.
        unsafe {
            let read = |later: &Later| read_options(ptr::from_ref(later).cast());
            assert_eq!(read(&later).unwrap(), SessionOptions::default().threads(3));
            later.new[2] = 1;
            assert_eq!(read(&later).unwrap_err().status, bnn_status::Unsupported);
            for size in [0, 8, FIRST_SIZE - 1, LARGEST_SIZE + 1, usize::MAX] {
                later.known.size = size;
                assert_eq!(read(&later).unwrap_err().status, bnn_status::InvalidArgument);
            }
        }
    }
}
