//! The tensors of an LLM.int8 weight: those of a real one, with changes.
//!
//! A weight that was read restores as many values as its shape says, multiplies, and its tensors read equal.
#![no_main]

use arbitrary::Arbitrary;
use burnisher_fuzz::{Edit, change};
use burnisher_quant::{Int8Weight, QuantError, RawTensor};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    rows: u8,
    columns: u8,
    edits: Vec<Edit>,
}

fuzz_target!(|input: Input| {
    let shape = [usize::from(input.rows % 40), usize::from(input.columns % 40)];
    let weights: Vec<f32> = (0..shape[0] * shape[1]).map(|i| (i as f32 * 0.37).sin()).collect();
    let weight = Int8Weight::quantize(&weights, shape).unwrap();
    let mut tensors = weight.to_tensors("m");
    let untouched = tensors.clone();
    change(&mut tensors, &input.edits);
    match read(&tensors) {
        Ok(read_weight) => {
            let [rows, columns] = read_weight.shape();
            assert_eq!(read_weight.dequantize().len(), rows * columns);
            assert_eq!(read(&read_weight.to_tensors("m")).unwrap(), read_weight);
            if columns < 1 << 12 {
                let y = read_weight.project_reference(&vec![0.5; 2 * columns], Some(6.0)).unwrap();
                assert_eq!(y.len(), if columns == 0 { 0 } else { 2 * rows });
            }
            if tensors == untouched {
                assert_eq!(read_weight, weight);
            }
        }
        Err(error) => {
            assert_ne!(tensors, untouched, "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
});

fn read(tensors: &[(String, RawTensor)]) -> Result<Int8Weight, QuantError> {
    Int8Weight::from_tensors("m", |wanted| {
        tensors.iter().find(|(name, _)| name == wanted).map(|(_, tensor)| tensor.clone())
    })
}
