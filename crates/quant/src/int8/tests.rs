use std::collections::BTreeMap;

use super::{Int8Weight, outlier_columns, quantize_rows};
use crate::raw::{RawDtype, RawTensor};

/// Values of one size, the same on every run.
fn waves(count: usize, step: f32) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * step).sin() * (1 + i % 5) as f32).collect()
}

#[test]
fn restored_rows_are_within_half_a_step() {
    for (out, inn) in [(0, 0), (0, 3), (3, 0), (1, 1), (5, 67), (300, 257)] {
        let weights = waves(out * inn, 0.7);
        let weight = Int8Weight::quantize(&weights, [out, inn]).expect("finite weights");
        assert_eq!((weight.codes().len(), weight.absmax().len()), (out * inn, out));
        assert_eq!(weight.size_bytes(), out * inn + 4 * out);
        let restored = weight.dequantize();
        for (i, (value, original)) in restored.iter().zip(&weights).enumerate() {
            let bound = weight.absmax()[i / inn] * (0.5 / 127.0 + 1e-6);
            assert!((value - original).abs() <= bound, "element {i}: {value} for {original}");
        }
        let mut into = vec![f32::NAN; out * inn];
        weight.dequantize_into(&mut into).expect("as many places as elements");
        assert_eq!(into, restored);
        for start in (0..out * inn).step_by(41) {
            let mut part = vec![f32::NAN; (out * inn - start).min(100)];
            weight.dequantize_range(start, &mut part);
            assert_eq!(part, restored[start..start + part.len()]);
        }
    }
}

#[test]
fn the_largest_of_a_row_is_127_and_ties_are_even() {
    let rows = quantize_rows(&[-127.0, 0.5, 1.5, 2.5, 0.0, 0.0, 0.0, -0.0], 4, None).expect("finite values");
    assert_eq!(rows.codes, [-127, 0, 2, 2, 0, 0, 0, 0]);
    assert_eq!(rows.absmax, [127.0, 0.0]);
    let tiny = f32::from_bits(5);
    let rows = quantize_rows(&[tiny, -tiny, 0.0], 3, None).expect("finite values");
    assert_eq!(rows.codes, [127, -127, 0]);
}

#[test]
fn outliers_leave_the_codes() {
    let values = [1.0, -6.0, 0.5, 2.0, 0.1, 5.9];
    assert_eq!(outlier_columns(&values, 3, 6.0).expect("whole rows"), [1]);
    let rows = quantize_rows(&values, 3, Some(6.0)).expect("finite values");
    assert_eq!(rows.outliers, [1]);
    assert_eq!(rows.absmax, [1.0, 5.9]);
    assert_eq!((rows.codes[1], rows.codes[4]), (0, 0));
    assert_eq!((rows.codes[0], rows.codes[5]), (127, 127));
}

#[test]
fn the_product_is_near_the_exact_one() {
    for (rows, out, inn) in [(0, 4, 8), (1, 1, 1), (3, 5, 67), (2, 0, 8), (4, 9, 128)] {
        let (mut x, weights) = (waves(rows * inn, 0.37), waves(out * inn, 0.91));
        if rows > 2 {
            (x[5], x[inn + 7]) = (40.0, -33.0);
        }
        let weight = Int8Weight::quantize(&weights, [out, inn]).expect("finite weights");
        for threshold in [None, Some(6.0)] {
            let y = weight.project_reference(&x, threshold).expect("finite values");
            assert_eq!(y.len(), rows * out);
            let absmax = quantize_rows(&x, inn, threshold).expect("finite values").absmax;
            for (i, found) in y.iter().enumerate() {
                let (x, w) = (&x[i / out * inn..][..inn], &weights[i % out * inn..][..inn]);
                let exact: f64 = x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                // Half a step of either factor times the other, element by element.
                let (step_x, step_w) =
                    (absmax[i / out] * 0.5 / 127.0, weight.absmax()[i % out] * 0.5 / 127.0);
                let error = |(a, b): (&f32, &f32)| (a.abs() + step_x) * step_w + b.abs() * step_x;
                let bound = x.iter().zip(w).map(error).sum::<f32>() * 1.001 + 1e-3;
                assert!((f64::from(*found) - exact).abs() <= f64::from(bound), "{i}: {found} for {exact}");
            }
        }
    }
}

#[test]
fn outliers_make_the_product_better() {
    let (mut x, weights) = (waves(4 * 128, 0.37), waves(8 * 128, 0.91));
    x[3 * 128 + 17] = 500.0;
    let weight = Int8Weight::quantize(&weights, [8, 128]).expect("finite weights");
    let restored = weight.dequantize();
    let worst = |threshold| {
        let y = weight.project_reference(&x, threshold).expect("finite values");
        let exact = |i: usize| -> f32 {
            x[i / 8 * 128..][..128].iter().zip(&restored[i % 8 * 128..]).map(|(a, b)| a * b).sum()
        };
        y.iter().enumerate().map(|(i, y)| (y - exact(i)).abs()).fold(0.0, f32::max)
    };
    assert!(worst(Some(6.0)) * 10.0 < worst(None));
}

#[test]
fn wrong_calls_are_errors() {
    let message = |values: &[f32], columns: usize, threshold: Option<f32>| {
        quantize_rows(values, columns, threshold).expect_err("an error").to_string()
    };
    assert_eq!(message(&[1.0; 7], 3, None), "values in whole rows: found 7 elements, wanted 6");
    assert_eq!(message(&[1.0], 0, None), "values in whole rows: found 1 elements, wanted 0");
    let found = message(&[1.0, f32::NAN], 2, Some(6.0));
    assert_eq!(found, "values: found NaN at index 1, wanted finite values");
    for (threshold, text) in [(0.0, "0"), (-1.0, "-1"), (f32::NAN, "NaN")] {
        let wanted = format!("option threshold is {text}, wanted a number above 0");
        assert_eq!(message(&[1.0], 1, Some(threshold)), wanted);
    }
    let message =
        |weights: &[f32], shape| Int8Weight::quantize(weights, shape).expect_err("an error").to_string();
    assert_eq!(message(&[1.0; 5], [2, 3]), "weights: found 5 elements, wanted 6");
    let wanted = "weights: found inf at index 0, wanted finite values";
    assert_eq!(message(&[f32::INFINITY], [1, 1]), wanted);
    let new = Int8Weight::new(vec![1; 6], vec![1.0], [2, 3]).expect_err("an absmax too few").to_string();
    assert_eq!(new, "absmax: found 1 elements, wanted 2");
}

#[test]
#[should_panic(expected = "dequantize_range: 3 elements from 4 wanted, the weight holds 6")]
fn a_range_past_the_end_panics() {
    let weight = Int8Weight::quantize(&[1.0; 6], [2, 3]).expect("finite weights");
    weight.dequantize_range(4, &mut [0.0; 3]);
}

#[test]
fn tensors_read_back_and_every_lie_is_named() {
    let weight = Int8Weight::quantize(&waves(5 * 67, 0.7), [5, 67]).expect("finite weights");
    let sound: BTreeMap<String, RawTensor> = weight.to_tensors("q_proj").into_iter().collect();
    let read = |tensors: &BTreeMap<String, RawTensor>| {
        Int8Weight::from_tensors("q_proj", |name| tensors.get(name).cloned())
    };
    assert_eq!(read(&sound).expect("a sound weight"), weight);
    let mut old = sound.clone();
    old.remove("q_proj.weight_format");
    assert_eq!(read(&old).expect("without a format"), weight);

    let lies: [(&str, fn(&mut RawTensor), &str); 6] = [
        ("weight", |t| t.dtype = RawDtype::U8, "tensor q_proj.weight has dtype U8, wanted I8"),
        ("weight", |t| t.shape = vec![5 * 67], "tensor q_proj.weight has shape [335], wanted [out, in]"),
        ("weight", |t| t.shape = vec![67, 5], "tensor q_proj.SCB holds 5 values, wanted 67"),
        (
            "SCB",
            |t| t.data[4..8].copy_from_slice(&f32::NAN.to_le_bytes()),
            "tensor q_proj.SCB: found NaN at index 1, wanted finite values",
        ),
        ("weight_format", |t| t.data = vec![2], "tensor q_proj.weight_format says layout 2, wanted 0"),
        (
            "weight_format",
            |t| (t.data, t.shape) = (vec![], vec![0]),
            "tensor q_proj.weight_format holds 0 values",
        ),
    ];
    for (key, lie, wanted) in lies {
        let mut tensors = sound.clone();
        lie(tensors.get_mut(&format!("q_proj.{key}")).expect("a tensor of the weight"));
        let error = read(&tensors).expect_err(wanted).to_string();
        assert!(error.starts_with("8-bit weight of q_proj: "), "{error}");
        assert!(error.contains(wanted), "found: {error}\nwanted: {wanted}");
    }
    let error = read(&BTreeMap::new()).expect_err("no tensors").to_string();
    let wanted = "8-bit weight of q_proj: tensor q_proj.weight is missing; tensor q_proj.SCB is missing";
    assert_eq!(error, wanted);
}
