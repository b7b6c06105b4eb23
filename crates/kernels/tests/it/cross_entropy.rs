//! Projection + cross-entropy.

use burn::tensor::{FloatDType, Tensor};
use burnisher_kernels::{
    IGNORE_INDEX, LossOptions, cross_entropy, linear_cross_entropy, linear_cross_entropy_reference,
    logits_token_losses, token_losses,
};

use crate::support::{assert_close, devices, matrix, of_products, vec_of};

const PLAIN: LossOptions = LossOptions { label_smoothing: 0.0, z_loss: 0.0, softcap: None };

/// Targets over `vocab`, every third position without one.
fn targets(rows: usize, vocab: usize) -> Vec<i64> {
    (0..rows).map(|row| if row % 3 == 1 { IGNORE_INDEX } else { (row * 7 % vocab) as i64 }).collect()
}

#[test]
fn the_chunked_loss_equals_its_reference_in_values_and_gradients() {
    // Below, at and above a chunk of 512 positions with a target.
    for device in devices() {
        for (rows, width, vocab) in [(1, 1, 1), (2, 3, 5), (100, 16, 33), (768, 8, 20), (1700, 4, 9)] {
            let what = format!("[{rows}, {width}] x {vocab}");
            let targets = targets(rows, vocab);
            let hidden = matrix(rows, width, 1, &device).mul_scalar(4.0).autodiff().require_grad();
            let head = matrix(vocab, width, 2, &device).autodiff().require_grad();
            let loss = linear_cross_entropy(hidden.clone(), head.clone(), &targets, PLAIN);
            assert_eq!(loss.tokens, targets.iter().filter(|&&t| t != IGNORE_INDEX).count());
            let want = linear_cross_entropy_reference(hidden.clone(), head.clone(), &targets, PLAIN);
            assert_close(&vec_of(&loss.sum), &vec_of(&want), of_products(&device, 1e-5), &what);
            let each: f32 = token_losses(hidden.clone(), head.clone(), &targets, PLAIN).iter().sum();
            let close = of_products(&device, 1e-5);
            assert_close(&[each], &vec_of(&want), close, &format!("token losses of {what}"));
            let mut got = loss.sum.mul_scalar(0.3).backward();
            let mut reference = want.mul_scalar(0.3).backward();
            for (leaf, of) in [(&hidden, "dhidden"), (&head, "dhead")] {
                let got = leaf.grad_remove(&mut got).expect("a gradient");
                let want = leaf.grad_remove(&mut reference).expect("a gradient");
                let close = of_products(&device, 2e-5);
                assert_close(&vec_of(&got), &vec_of(&want), close, &format!("{of} of {what}"));
            }
        }
    }
}

/// A head that is computed, and a hidden state that is not trained, get their gradients or none.
#[test]
fn gradients_go_where_they_are_wanted() {
    for device in devices() {
        let (targets, one_of) = (targets(9, 5), |device| matrix(9, 4, 1, device));
        let leaf = matrix(5, 4, 2, &device).autodiff().require_grad();
        let gradient = |loss: fn(Tensor<2>, Tensor<2>, &[i64], LossOptions) -> Tensor<1>| {
            let sum = loss(one_of(&device).autodiff(), leaf.clone().mul_scalar(2.0), &targets, PLAIN);
            vec_of(&leaf.grad(&sum.backward()).expect("dhead"))
        };
        let want = gradient(linear_cross_entropy_reference);
        let got = gradient(|hidden, head, targets, _| linear_cross_entropy(hidden, head, targets, PLAIN).sum);
        assert_close(&got, &want, of_products(&device, 2e-5), "dhead of a computed head");

        let untracked = one_of(&device).autodiff();
        let loss = linear_cross_entropy(untracked.clone(), leaf.clone(), &targets, PLAIN).sum;
        assert!(untracked.grad(&loss.backward()).is_none(), "a gradient that nobody wants");
        let plain = linear_cross_entropy(one_of(&device), matrix(5, 4, 2, &device), &targets, PLAIN).sum;
        let tracked =
            linear_cross_entropy(one_of(&device), matrix(5, 4, 2, &device).autodiff(), &targets, PLAIN).sum;
        assert_eq!(vec_of(&plain), vec_of(&tracked), "without a gradient");

        let hidden = one_of(&device).autodiff().require_grad();
        let frozen = matrix(5, 4, 2, &device);
        let sum = linear_cross_entropy(hidden.clone(), frozen.clone(), &targets, PLAIN).sum;
        let want = linear_cross_entropy_reference(hidden.clone(), frozen, &targets, PLAIN);
        let (got, want) = (hidden.grad(&sum.backward()), hidden.grad(&want.backward()));
        let (got, want) = (vec_of(&got.expect("dhidden")), vec_of(&want.expect("dhidden")));
        assert_close(&got, &want, of_products(&device, 2e-5), "dhidden beside a frozen head");
    }
}

#[test]
fn no_target_is_a_loss_of_zero_over_zero_tokens() {
    for device in devices() {
        let hidden = matrix(3, 4, 1, &device).autodiff().require_grad();
        let loss = linear_cross_entropy(hidden.clone(), matrix(5, 4, 2, &device), &[IGNORE_INDEX; 3], PLAIN);
        assert_eq!((vec_of(&loss.sum), loss.tokens), (vec![0.0], 0));
        let grad = hidden.grad(&loss.sum.backward()).expect("dhidden");
        assert!(vec_of(&grad).iter().all(|&value| value == 0.0));
    }
}

/// A vocabulary wider than a piece of work, and logits so large that their exponentials overflow.
#[test]
fn wide_vocabularies_and_large_logits_have_finite_gradients() {
    for device in devices() {
        for (vocab, factor) in [(20_001, 1.0), (7, 1e4)] {
            let targets = [3, IGNORE_INDEX, 6, 0];
            let hidden = matrix(4, 8, 1, &device).mul_scalar(factor).autodiff().require_grad();
            let head = matrix(vocab, 8, 2, &device).autodiff().require_grad();
            let got = linear_cross_entropy(hidden.clone(), head.clone(), &targets, PLAIN).sum;
            let want = linear_cross_entropy_reference(hidden.clone(), head.clone(), &targets, PLAIN);
            assert_close(&vec_of(&got), &vec_of(&want), of_products(&device, 1e-5), "loss");
            let (got, want) = (got.backward(), want.backward());
            for leaf in [&hidden, &head] {
                let (got, want) = (leaf.grad(&got).expect("got"), leaf.grad(&want).expect("want"));
                assert!(vec_of(&got).iter().all(|value| value.is_finite()));
                assert_close(&vec_of(&got), &vec_of(&want), of_products(&device, 1e-4), "gradient");
            }
        }
    }
}

/// The factor that comes in is not rounded to bf16: the gradients are, once.
#[test]
fn bf16_gradients_are_scaled_in_f32() {
    for device in devices().into_iter().take(1) {
        let targets = targets(40, 11);
        let bf16 =
            |rows, salt| matrix(rows, 6, salt, &device).cast(FloatDType::BF16).autodiff().require_grad();
        let (hidden, head) = (bf16(40, 1), bf16(11, 2));
        let by = 1.0 / 1003.0;
        let mut got =
            linear_cross_entropy(hidden.clone(), head.clone(), &targets, PLAIN).sum.mul_scalar(by).backward();
        let f32_of = |leaf: &Tensor<2>| {
            leaf.clone().without_autodiff().cast(FloatDType::F32).autodiff().require_grad()
        };
        let (wide_hidden, wide_head) = (f32_of(&hidden), f32_of(&head));
        let want = linear_cross_entropy_reference(wide_hidden.clone(), wide_head.clone(), &targets, PLAIN);
        let mut want = want.mul_scalar(by).backward();
        for (leaf, wide) in [(&hidden, &wide_hidden), (&head, &wide_head)] {
            let got = vec_of(&leaf.grad_remove(&mut got).expect("got").cast(FloatDType::F32));
            let want = vec_of(&wide.grad_remove(&mut want).expect("want"));
            assert_close(&got, &want, 2.0 / 256.0, "bf16 gradient");
        }
    }
}

/// A gradient that f16 rounds to 0 until the loss is scaled comes out scaled.
#[test]
fn f16_gradients_are_rounded_after_the_scale() {
    for device in devices().into_iter().take(1) {
        let hidden = Tensor::<2>::from_floats([[1.0, 0.0]], &device).cast(FloatDType::F16);
        // The least numbers of f16 are multiples of 2⁻²⁴; half of that rounds to 0.
        let tiny = 2f32.powi(-20);
        let head = Tensor::<2>::from_floats([[4.0, 0.0], [0.0, tiny]], &device).cast(FloatDType::F16);
        let hidden = hidden.autodiff().require_grad();
        let scale = 2f64.powi(18);
        let loss = linear_cross_entropy(hidden.clone(), head, &[0], PLAIN).sum.mul_scalar(scale);
        let found = vec_of(&hidden.grad(&loss.backward()).expect("a gradient"));
        let rest = 1.0 / (1.0 + 4f64.exp());
        assert!(rest as f32 * tiny < 2f32.powi(-25), "nothing is left of it in f16 without the scale");
        for (found, factor) in found.iter().zip([-4.0, f64::from(tiny)]) {
            assert_close(&[*found], &[(factor * rest * scale) as f32], 2e-3, "f16 gradient");
        }
    }
}

#[test]
fn a_bad_logit_is_a_bad_loss() {
    for device in devices() {
        let hidden = matrix(2, 4, 1, &device).mul_scalar(f32::NAN);
        let loss = linear_cross_entropy(hidden, matrix(5, 4, 2, &device), &[1, 2], PLAIN);
        assert!(vec_of(&loss.sum)[0].is_nan());
    }
}

#[test]
fn large_logits_stay_finite() {
    for device in devices() {
        let hidden = matrix(4, 8, 1, &device).mul_scalar(1e4);
        let loss = linear_cross_entropy(hidden, matrix(6, 8, 2, &device), &[0, 1, 2, 3], PLAIN);
        assert!(vec_of(&loss.sum)[0].is_finite());
    }
}

#[test]
#[should_panic(expected = "a target outside the vocabulary of 5")]
fn a_target_outside_the_vocabulary_is_named() {
    let device = devices().remove(0);
    linear_cross_entropy(matrix(1, 4, 1, &device), matrix(5, 4, 2, &device), &[5], PLAIN);
}

/// Every option, alone and with the others.
#[test]
fn options_change_the_loss_as_in_the_reference() {
    let options = [
        LossOptions { label_smoothing: 0.1, ..PLAIN },
        LossOptions { z_loss: 1e-2, ..PLAIN },
        LossOptions { softcap: Some(2.0), ..PLAIN },
        LossOptions { label_smoothing: 0.3, z_loss: 1e-3, softcap: Some(5.0) },
    ];
    for device in devices() {
        for (rows, width, vocab) in [(1, 3, 2), (7, 5, 33), (700, 4, 19)] {
            for options in options {
                let what = format!("{options:?} [{rows}, {width}] x {vocab}");
                let targets = targets(rows, vocab);
                let hidden = matrix(rows, width, 1, &device).mul_scalar(4.0).autodiff().require_grad();
                let head = matrix(vocab, width, 2, &device).autodiff().require_grad();
                let got = linear_cross_entropy(hidden.clone(), head.clone(), &targets, options).sum;
                let want = linear_cross_entropy_reference(hidden.clone(), head.clone(), &targets, options);
                let tolerance = of_products(&device, 2e-5);
                assert_close(&vec_of(&got), &vec_of(&want), tolerance, &what);
                let each = token_losses(hidden.clone(), head.clone(), &targets, options);
                assert_close(&[each.iter().sum()], &vec_of(&want), tolerance, &what);
                let logits = hidden.clone().matmul(head.clone().transpose());
                let each = logits_token_losses(logits, &targets, options);
                assert_close(&[each.iter().sum()], &vec_of(&want), tolerance, &what);
                let (mut got, mut want) = (got.backward(), want.backward());
                for (leaf, of) in [(&hidden, "dhidden"), (&head, "dhead")] {
                    let got = leaf.grad_remove(&mut got).expect("a gradient");
                    let want = leaf.grad_remove(&mut want).expect("a gradient");
                    assert_close(&vec_of(&got), &vec_of(&want), tolerance, &format!("{of} of {what}"));
                }
            }
        }
    }
}

/// `cross_entropy(torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([1]), label_smoothing=0.2)` of PyTorch 2.15.0 printed
/// 0.63103545, without smoothing and with `2 * torch.tanh(logits / 2)` 0.64458627; the logsumexp 2.46436882.
#[test]
fn options_by_hand() {
    for device in devices() {
        let logits = Tensor::<2>::from_floats([[1.0, 2.0, 0.5]], &device);
        let loss = |options| vec_of(&cross_entropy(logits.clone(), &[1], options).sum);
        let smoothed = loss(LossOptions { label_smoothing: 0.2, ..PLAIN });
        assert_close(&smoothed, &[0.631_035_45], 1e-6, "smoothed");
        let capped = loss(LossOptions { softcap: Some(2.0), ..PLAIN });
        assert_close(&capped, &[0.644_586_27], 1e-6, "capped");
        let with_z = loss(LossOptions { z_loss: 0.1, ..PLAIN });
        assert_close(&with_z, &[0.464_368_8 + 0.1 * 2.464_368_8 * 2.464_368_8], 1e-6, "z-loss");
    }
}

#[test]
#[should_panic(expected = "label_smoothing must be in [0, 1), not 1")]
fn an_option_out_of_its_range_is_named() {
    let device = devices().remove(0);
    let options = LossOptions { label_smoothing: 1.0, ..PLAIN };
    linear_cross_entropy(matrix(1, 4, 1, &device), matrix(5, 4, 2, &device), &[1], options);
}
