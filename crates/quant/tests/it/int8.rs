//! LLM.int8 against bitsandbytes' `int8_vectorwise_quant`, `int8_linear_matmul` and `int8_mm_dequant`.
//!
//! Made with bitsandbytes 0.50.2 and torch 2.15.0 on CPU by docs/parity/make_fixtures.py, section bnb.

use burnisher_quant::{Int8Rows, Int8Weight, SourceDtype, outlier_columns, quantize_rows};
use proptest::prelude::*;
use safetensors::SafeTensors;

use crate::fixtures::{floats, raw, with_fixture};

const FILE: &str = "bnb/quant8.safetensors";
const COLUMNS: usize = 96;

fn signed(file: &SafeTensors<'_>, name: &str) -> Vec<i8> {
    let tensor = raw(file, name).unwrap_or_else(|| panic!("{name} is missing"));
    tensor.data.into_iter().map(u8::cast_signed).collect()
}

#[test]
fn rows_equal_bitsandbytes() {
    with_fixture(FILE, |file| {
        let x = floats(file, "int8.x").0;
        for (threshold, columns) in [(None, vec![]), (Some(6.0), vec![5, 50])] {
            let key = format!("int8.x.{:.1}", threshold.unwrap_or(0.0));
            let Int8Rows { codes, absmax, outliers, .. } =
                quantize_rows(&x, COLUMNS, threshold).expect("finite values");
            assert_eq!(codes, signed(file, &format!("{key}.q")));
            assert_eq!(absmax, floats(file, &format!("{key}.row_stats")).0);
            assert_eq!(outliers, columns);
        }
        let weight = Int8Weight::quantize(&floats(file, "int8.w").0, [40, COLUMNS]).expect("finite weights");
        assert_eq!(weight.codes(), signed(file, "int8.w.q"));
        assert_eq!(weight.absmax(), floats(file, "int8.w.row_stats").0);
    });
}

#[test]
fn the_product_equals_bitsandbytes() {
    with_fixture(FILE, |file| {
        let x = floats(file, "int8.x").0;
        let weight = Int8Weight::quantize(&floats(file, "int8.w").0, [40, COLUMNS]).expect("finite weights");
        let y = weight.project_reference(&x, None).expect("finite values");
        let rounded: Vec<f32> = y.iter().map(|value| SourceDtype::F16.round(*value)).collect();
        assert_eq!(rounded, floats(file, "int8.out").0);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_within_half_a_step_and_outliers_are_out(
        values in prop::collection::vec(-1.0f32..=1.0, 0..700),
        columns in 1usize..80,
        exponent in -20i32..=20,
        threshold in prop::option::of(0.5f32..1.0),
    ) {
        let scale = 10f32.powi(exponent);
        let rows = values.len() / columns;
        let values: Vec<f32> = values.iter().take(rows * columns).map(|value| value * scale).collect();
        let threshold = threshold.map(|threshold| threshold * scale);
        let found = quantize_rows(&values, columns, threshold).expect("finite values");
        let outliers = match threshold {
            Some(threshold) => outlier_columns(&values, columns, threshold).expect("whole rows"),
            None => vec![],
        };
        prop_assert_eq!(&found.outliers, &outliers);
        for (i, (code, value)) in found.codes.iter().zip(&values).enumerate() {
            if outliers.contains(&(i % columns)) {
                prop_assert_eq!(*code, 0);
            } else {
                let absmax = found.absmax[i / columns];
                let restored = f32::from(*code) * absmax / 127.0;
                prop_assert!((restored - value).abs() <= absmax * (0.5 / 127.0 + 1e-6), "element {}", i);
            }
        }
    }
}
