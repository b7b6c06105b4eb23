//! Projection + cross-entropy.

use burn::tensor::Tensor;
use burnisher_kernels::{IGNORE_INDEX, linear_cross_entropy, linear_cross_entropy_reference, token_losses};

use crate::support::{assert_close, devices, matrix, of_products, vec_of};

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
            let loss = linear_cross_entropy(hidden.clone(), head.clone(), &targets);
            assert_eq!(loss.tokens, targets.iter().filter(|&&t| t != IGNORE_INDEX).count());
            let want = linear_cross_entropy_reference(hidden.clone(), head.clone(), &targets);
            assert_close(&vec_of(&loss.sum), &vec_of(&want), of_products(&device, 1e-5), &what);
            let each: f32 = token_losses(hidden.clone(), head.clone(), &targets).iter().sum();
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
        let gradient = |loss: fn(Tensor<2>, Tensor<2>, &[i64]) -> Tensor<1>| {
            let sum = loss(one_of(&device).autodiff(), leaf.clone().mul_scalar(2.0), &targets);
            vec_of(&leaf.grad(&sum.backward()).expect("dhead"))
        };
        let want = gradient(linear_cross_entropy_reference);
        let got = gradient(|hidden, head, targets| linear_cross_entropy(hidden, head, targets).sum);
        assert_close(&got, &want, of_products(&device, 2e-5), "dhead of a computed head");

        let hidden = one_of(&device).autodiff().require_grad();
        let frozen = matrix(5, 4, 2, &device);
        let sum = linear_cross_entropy(hidden.clone(), frozen.clone(), &targets).sum;
        let want = linear_cross_entropy_reference(hidden.clone(), frozen, &targets);
        let (got, want) = (hidden.grad(&sum.backward()), hidden.grad(&want.backward()));
        let (got, want) = (vec_of(&got.expect("dhidden")), vec_of(&want.expect("dhidden")));
        assert_close(&got, &want, of_products(&device, 2e-5), "dhidden beside a frozen head");
    }
}

#[test]
fn no_target_is_a_loss_of_zero_over_zero_tokens() {
    for device in devices() {
        let hidden = matrix(3, 4, 1, &device).autodiff().require_grad();
        let loss = linear_cross_entropy(hidden.clone(), matrix(5, 4, 2, &device), &[IGNORE_INDEX; 3]);
        assert_eq!((vec_of(&loss.sum), loss.tokens), (vec![0.0], 0));
        let grad = hidden.grad(&loss.sum.backward()).expect("dhidden");
        assert!(vec_of(&grad).iter().all(|&value| value == 0.0));
    }
}

#[test]
fn large_logits_stay_finite() {
    for device in devices() {
        let hidden = matrix(4, 8, 1, &device).mul_scalar(1e4);
        let loss = linear_cross_entropy(hidden, matrix(6, 8, 2, &device), &[0, 1, 2, 3]);
        assert!(vec_of(&loss.sum)[0].is_finite());
    }
}

#[test]
#[should_panic(expected = "a target outside the vocabulary of 5")]
fn a_target_outside_the_vocabulary_is_named() {
    let device = devices().remove(0);
    linear_cross_entropy(matrix(1, 4, 1, &device), matrix(5, 4, 2, &device), &[5]);
}
