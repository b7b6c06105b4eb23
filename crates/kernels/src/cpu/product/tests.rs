//! Every level against sums in f64, over every way to store a weight.

use burnisher_quant::{Absmax, QuantConfig, QuantState, QuantType};
use half::{bf16, f16};

use super::*;

/// Rows, depth, columns: none, one, odd, one more than a tile, a panel, a block or a task; few rows with whole blocks
/// of codes.
const SIZES: [[usize; 3]; 18] = [
    [0, 3, 2],
    [3, 0, 2],
    [3, 2, 0],
    [1, 1, 1],
    [2, 5, 3],
    [5, 33, 17],
    [16, 1025, 34],
    [17, 7, 5],
    [19, 257, 33],
    [31, 513, 129],
    [193, 31, 49],
    [389, 2, 35],
    [1027, 9, 3],
    [65, 300, 300],
    [1, 128, 5],
    [3, 192, 40],
    [7, 64, 33],
    [13, 256, 3],
];

fn values(count: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32) / 8_388_608.0 - 1.0
    };
    (0..count).map(next).collect()
}

const CODES: [QuantType; 2] = [QuantType::Nf4, QuantType::Fp4];

fn halves(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|value| bf16::from_f32(*value)).collect()
}

fn f16s(values: &[f32]) -> Vec<f16> {
    values.iter().map(|value| f16::from_f32(*value)).collect()
}

fn quantized(quant_type: QuantType, values: &[f32], dims: [usize; 2], block_size: usize) -> QuantState {
    let config = QuantConfig::new(quant_type).with_block_size(block_size);
    config.quantize(values, dims).expect("finite values quantize")
}

fn four_bit(state: &QuantState) -> Stored<'_> {
    let Absmax::Plain(absmax) = state.absmax() else { panic!("plain scales") };
    let (quant_type, packed, block_size) = (state.quant_type(), state.packed(), state.block_size());
    Stored::FourBit(FourBit { quant_type, packed, absmax, block_size })
}

/// Values of an operand as f64, `[rows, columns]` after the transposition.
fn dense(operand: &Operand<'_>) -> Vec<f64> {
    let Matrix { rows, columns, .. } = operand.matrix;
    let mut all = vec![0.0f32; rows * columns];
    for row in 0..rows {
        let out = &mut all[row * columns..][..columns];
        operand.matrix.read_f32(Level::Portable, row, 0, out);
    }
    let [rows, columns] = operand.dims();
    let at = |row: usize, column: usize| match operand.is_transposed {
        true => all[column * rows + row],
        false => all[row * columns + column],
    };
    (0..rows * columns).map(|i| f64::from(at(i / columns, i % columns))).collect()
}

fn wanted(dims: [usize; 2], operands: &[(Operand<'_>, Operand<'_>)], alpha: f32) -> Vec<f64> {
    let [m, n] = dims;
    let mut out = vec![0.0; m * n];
    for (left, right) in operands {
        let depth = right.dims()[0];
        let (left, right) = (dense(left), dense(right));
        for row in 0..m {
            for column in 0..n {
                let sum: f64 = (0..depth).map(|k| left[row * depth + k] * right[k * n + column]).sum();
                out[row * n + column] += sum * f64::from(alpha);
            }
        }
    }
    out
}

#[track_caller]
fn assert_close(got: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-3f64, |scale, value| scale.max(value.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*got) - want).abs() <= tolerance * scale, "{what}[{i}]: got {got}, want {want}");
    }
}

/// Runs a sum at every level, into f32, bf16 and f16; after the first time with its left operands packed already.
fn check(dims: [usize; 2], operands: &[(Operand<'_>, Operand<'_>)], what: &str) {
    let want = wanted(dims, operands, 0.75);
    for level in Level::available() {
        let lefts: Vec<Left<'_>> = operands.iter().map(|(left, _)| Left::new(*left)).collect();
        let terms = lefts.iter().zip(operands).map(|(left, (_, right))| Term::new(left, *right));
        let terms = &terms.collect::<Vec<_>>()[..];
        // Left over from an earlier product, so that what is not written shows.
        let mut out = vec![f32::NAN; dims[0] * dims[1]];
        product_at(level, dims, terms, 0.75, Out::F32(&mut out));
        // With bf16 products 4-bit weights are rounded to bf16 once: 2⁻⁹ of each.
        let rounds = level == Level::Avx512Bf16 && terms.iter().any(|term| term.right.matrix.fits_bf16());
        assert_close(&out, &want, if rounds { 1.0 / 256.0 } else { 1e-5 }, &format!("{level:?} {what}"));
        let mut half = vec![bf16::NAN; out.len()];
        product_at(level, dims, terms, 0.75, Out::Bf16(&mut half));
        assert_eq!(half, halves(&out), "{level:?} {what} in bf16");
        let mut half = vec![f16::NAN; out.len()];
        product_at(level, dims, terms, 0.75, Out::F16(&mut half));
        assert_eq!(half, f16s(&out), "{level:?} {what} in f16");
    }
}

#[test]
fn every_storage_and_orientation_at_every_size() {
    for [m, k, n] in SIZES {
        let (x, w) = (values(m * k, 1), values(n * k, 2));
        let (xh, wh) = (halves(&x), halves(&w));
        let (x16, w16) = (f16s(&x), f16s(&w));
        let codes = match k * n {
            0 => Vec::new(),
            _ => CODES.map(|code| (code.as_str(), quantized(code, &w, [n, k], 64))).to_vec(),
        };
        let lefts = [("f32", Stored::F32(&x)), ("bf16", Stored::Bf16(&xh)), ("f16", Stored::F16(&x16))];
        let mut rights =
            vec![("f32", Stored::F32(&w)), ("bf16", Stored::Bf16(&wh)), ("f16", Stored::F16(&w16))];
        rights.extend(codes.iter().map(|(name, state)| (*name, four_bit(state))));
        for (name, right) in rights {
            for (kind, left) in lefts {
                for (lt, rt) in [(false, true), (false, false), (true, false), (true, true)] {
                    let left = Matrix::new(left, if lt { [k, m] } else { [m, k] });
                    let right = Matrix::new(right, if rt { [n, k] } else { [k, n] });
                    let left_operand = Operand { matrix: left, is_transposed: lt };
                    let right = Operand { matrix: right, is_transposed: rt };
                    check(
                        [m, n],
                        &[(left_operand, right)],
                        &format!("{kind}·{name} {:?} transposed {lt} {rt}", [m, k, n]),
                    );
                }
            }
        }
    }
}

/// A row of codes that is one block or several, and blocks that end within a row.
#[test]
fn codes_in_blocks_of_every_size() {
    for rows in 1..=5 {
        for (depth, block_size) in [(32, 32), (96, 32), (256, 128), (256, 256), (192, 128)] {
            let (x, w) = (values(rows * depth, 1), values(9 * depth, 2));
            for code in CODES {
                let state = quantized(code, &w, [9, depth], block_size);
                let left = Operand::plain(Matrix::new(Stored::F32(&x), [rows, depth]));
                let right = Operand::transposed(Matrix::new(four_bit(&state), [9, depth]));
                let what = format!("{rows} rows, {depth} {code:?} in blocks of {block_size}");
                check([rows, 9], &[(left, right)], &what);
            }
        }
    }
}

#[test]
fn terms_add_up_and_gaps_between_rows_are_left_out() {
    let [m, n] = [37, 50];
    let (x, w, h, b) = (values(m * 70, 3), values(n * 64, 4), values(m * 8, 5), values(n * 8, 6));
    let x = Matrix { stored: Stored::F32(&x[3..]), rows: m, columns: 64, stride: 70 - 2 };
    let base = (Operand::plain(x), Operand::transposed(Matrix::new(Stored::F32(&w), [n, 64])));
    let adapter = (
        Operand::plain(Matrix::new(Stored::F32(&h), [m, 8])),
        Operand::transposed(Matrix::new(Stored::F32(&b), [n, 8])),
    );
    check([m, n], &[base, adapter], "base + adapter");
    check([m, n], &[], "no terms");
}

/// Products that share a left operand's panels pack them once.
#[test]
fn shared_panels_are_packed_once() {
    let [m, k, n] = [40, 30, 20];
    let (x, w) = (values(m * k, 7), values(n * k, 8));
    let panels = Panels::default();
    let mut places = Vec::new();
    for _ in 0..2 {
        let left = Left::shared(Operand::plain(Matrix::new(Stored::F32(&x), [m, k])), &panels);
        let term = Term::new(&left, Operand::transposed(Matrix::new(Stored::F32(&w), [n, k])));
        product([m, n], &[term], 1.0, Out::F32(&mut vec![0.0; m * n]));
        places.push(panels.packed[0].get().expect("panels").words.as_ptr());
    }
    assert_eq!(places[0], places[1]);
}

#[test]
fn threads_do_not_change_a_bit() {
    let [m, k, n] = [150, 300, 200];
    let (x, w) = (values(m * k, 7), values(n * k, 8));
    let run = |threads| {
        let left = Left::new(Operand::plain(Matrix::new(Stored::F32(&x), [m, k])));
        let term = Term::new(&left, Operand::transposed(Matrix::new(Stored::F32(&w), [n, k])));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let mut out = vec![0.0; m * n];
        pool.install(|| product([m, n], &[term], 1.0, Out::F32(&mut out)));
        out
    };
    assert_eq!(run(1), run(5));
}

#[test]
fn bf16_rounds_as_the_half_crate() {
    let mut cases = vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40];
    cases.extend([0x3F80_8000u32, 0x3F81_8000, 0x3F80_8001, 0x3F80_7FFF, 0x7F7F_FFFF].map(f32::from_bits));
    cases.extend(values(1000, 9));
    let mut out = vec![bf16::ZERO; cases.len()];
    for level in Level::available() {
        source::round(level, &cases, 1.0, &mut out);
        assert_eq!(out, halves(&cases), "{level:?}");
        let mut nan = [bf16::ZERO];
        source::round(level, &[f32::from_bits(0x7F80_0001)], 1.0, &mut nan);
        assert!(nan[0].is_nan(), "{level:?}");
    }
}

#[test]
#[should_panic(expected = "product: [2, 3]·[4, 5] for an output of [2, 5]")]
fn sizes_that_do_not_fit_are_named() {
    let (x, w) = (values(6, 1), values(20, 2));
    let left = Left::new(Operand::plain(Matrix::new(Stored::F32(&x), [2, 3])));
    let right = Operand::plain(Matrix::new(Stored::F32(&w), [4, 5]));
    product([2, 5], &[Term::new(&left, right)], 1.0, Out::F32(&mut [0.0; 10]));
}
