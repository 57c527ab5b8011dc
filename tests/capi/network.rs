//! Models, sessions and calls that the tests share.

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::ptr;

use bnn::{capi::*, format, program::*};

/// A model of the C interface, freed at the end.
pub(crate) struct OwnedModel(pub(crate) *mut bnn_model);

impl OwnedModel {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut model = ptr::null_mut();
        // SAFETY: the pointers are those of live values.
        let status = unsafe { bnn_model_from_memory(bytes.as_ptr(), bytes.len(), &raw mut model) };
        assert_eq!(status, bnn_status::Ok, "{}", last_message());
        assert!(!model.is_null());
        Self(model)
    }

    /// The network of the ten classes of CIFAR-10.
    pub(crate) fn cifar() -> Self {
        Self::from_bytes(bnn_models::default_model())
    }

    pub(crate) fn session(&self) -> OwnedSession {
        let mut session = ptr::null_mut();
        // SAFETY: the model has not been freed.
        let status = unsafe { bnn_session_new(self.0, ptr::null(), &raw mut session) };
        assert_eq!(status, bnn_status::Ok, "{}", last_message());
        OwnedSession(session)
    }
}

impl Drop for OwnedModel {
    fn drop(&mut self) {
        // SAFETY: nobody else frees it.
        unsafe { bnn_model_free(self.0) }
    }
}

/// A session of the C interface, freed at the end.
pub(crate) struct OwnedSession(pub(crate) *mut bnn_session);

impl Drop for OwnedSession {
    fn drop(&mut self) {
        // SAFETY: nobody else frees it.
        unsafe { bnn_session_free(self.0) }
    }
}

/// What was wrong in the last failure on this thread.
pub(crate) fn last_message() -> String {
    text(bnn_last_error_message())
}

/// A text that the library has returned.
pub(crate) fn text(text: *const c_char) -> String {
    assert!(!text.is_null());
    // SAFETY: not null, and the library's texts end with a zero.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

pub(crate) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}

pub(crate) fn picture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/airplane.png")
}

/// Nothing yet in a place for a prediction.
pub(crate) const fn blank() -> bnn_prediction {
    bnn_prediction { index: usize::MAX, label: ptr::null(), probability: -1.0 }
}

/// A network of `ports` inputs and as many outputs: three values each and their softmax, the names of
/// inputs and labels with a zero byte in them.
pub(crate) fn softmax_network(ports: usize) -> Vec<u8> {
    let map = Buffer { kind: BufferKind::F32, height: 1, width: 1, channels: 3 };
    let port = |name: String, id| Port { name, shape: vec![3], buffer: BufferId(id) };
    let ids = |index: usize| (2 * index as u32, 2 * index as u32 + 1);
    let program = Program {
        inputs: (0..ports).map(|index| port(format!("x\0{index}"), ids(index).0)).collect(),
        outputs: (0..ports).map(|index| port(format!("y{index}"), ids(index).1)).collect(),
        buffers: vec![map; 2 * ports],
        steps: (0..ports)
            .map(|index| Step {
                name: format!("softmax {index}"),
                kind: StepKind::Softmax {
                    input: BufferId(ids(index).0),
                    output: BufferId(ids(index).1),
                    log: false,
                },
            })
            .collect(),
        metadata: Metadata {
            labels: if ports == 1 {
                vec!["one".into(), "two\0".into(), "thrée".into()]
            } else {
                Vec::new()
            },
            outputs_are_probabilities: true,
            ..Metadata::default()
        },
        ..Program::default()
    };
    format::write(&program).unwrap()
}
