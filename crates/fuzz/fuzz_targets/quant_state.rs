//! The tensors of a 4-bit weight: those of a real one, with changes.
//!
//! A state that was read restores as many values as its shape says, and its tensors read equal.
#![no_main]

use arbitrary::Arbitrary;
use burnisher_fuzz::{Edit, change};
use burnisher_quant::{QuantConfig, QuantState, QuantType, RawTensor, SourceDtype};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    fp4: bool,
    double_quant: bool,
    block: u8,
    dtype: u8,
    rows: u8,
    columns: u8,
    edits: Vec<Edit>,
}

fuzz_target!(|input: Input| {
    let shape = [usize::from(input.rows % 70), usize::from(input.columns % 70)];
    let weights: Vec<f32> = (0..shape[0] * shape[1]).map(|i| (i as f32 * 0.37).sin()).collect();
    let state = QuantConfig::new(if input.fp4 { QuantType::Fp4 } else { QuantType::Nf4 })
        .with_block_size(32 << (input.block % 8))
        .with_double_quant(input.double_quant)
        .with_source_dtype(
            [SourceDtype::F32, SourceDtype::F16, SourceDtype::Bf16][usize::from(input.dtype) % 3],
        )
        .quantize(&weights, shape)
        .unwrap();
    let mut tensors = state.to_tensors("w");
    let untouched = tensors.clone();
    change(&mut tensors, &input.edits);
    match read(&tensors) {
        Ok(read_state) => {
            let [rows, columns] = read_state.shape();
            assert_eq!(read_state.dequantize().len(), rows * columns);
            assert_eq!(read_state.absmax_values().len(), read_state.absmax().blocks());
            assert_eq!(read(&read_state.to_tensors("w")).unwrap(), read_state);
            if tensors == untouched {
                assert_eq!(read_state, state);
            }
        }
        Err(error) => {
            assert_ne!(tensors, untouched, "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
});

fn read(tensors: &[(String, RawTensor)]) -> Result<QuantState, burnisher_quant::QuantError> {
    QuantState::from_tensors("w", |wanted| {
        tensors.iter().find(|(name, _)| name == wanted).map(|(_, tensor)| tensor.clone())
    })
}
