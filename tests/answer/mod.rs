//! What a session answers, for tests that need any answer at all.

use bnn::{Model, Session};

/// The outputs for one image of which every value is 0.5.
pub(crate) fn answer(model: &Model, session: &mut Session) -> Vec<Vec<f32>> {
    let inputs: Vec<Vec<f32>> =
        model.inputs().iter().map(|port| vec![0.5; port.elements()]).collect();
    let mut outputs: Vec<Vec<f32>> =
        model.outputs().iter().map(|port| vec![0.0; port.elements()]).collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut places: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    session.run_into(&inputs, &mut places).expect("a session runs");
    outputs
}
