//! Parameters that are trained and saved whole: `modules_to_save` and `bias`.

use std::{any::Any, collections::BTreeMap};

use burn::{
    module::{Module, Param, ParamId, Reparameterization, Reparameterizer},
    tensor::{Tensor, TensorData},
};

use super::lora::is_active;

/// A trained copy that stands in for a frozen parameter, so that taking it off gives the original back.
#[derive(Module, Debug)]
pub(super) struct TrainedCopy {
    matrix: Option<Param<Tensor<2>>>,
    vector: Option<Param<Tensor<1>>>,
}

impl TrainedCopy {
    fn new<const D: usize>(param: Param<Tensor<D>>) -> Self {
        Self { matrix: of_rank(&param), vector: of_rank(&param) }
    }
}

impl Reparameterization for TrainedCopy {
    const NAME: &'static str = "burnisher_saved";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        match (&self.matrix, &self.vector) {
            (Some(matrix), _) if is_active() => matrix.val().reshape(base.shape()),
            (_, Some(vector)) if is_active() => vector.val().reshape(base.shape()),
            _ => base,
        }
    }
}

/// The parameter, if `D` is `N`.
pub(super) fn of_rank<const D: usize, const N: usize>(param: &Param<Tensor<D>>) -> Option<Param<Tensor<N>>> {
    (param as &dyn Any).downcast_ref().cloned()
}

/// Adds copies to the parameters at these paths: of the parameter itself, or with the values of a file.
pub(super) struct Copies {
    pub(super) values: BTreeMap<String, Option<TensorData>>,
    pub(super) is_trainable: bool,
}

impl Reparameterizer for Copies {
    type Reparam = TrainedCopy;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<TrainedCopy>) {
        let Some(values) = self.values.remove(path) else { return (param, None) };
        let base = param.base();
        let base = if base.dtype().is_float() { base } else { base.dequantize() };
        let value = match values {
            Some(data) => Tensor::from_data(data, (&base.device(), base.dtype())),
            None => base.detach(),
        };
        let copy = if self.is_trainable {
            Param::from_tensor(value)
        } else {
            Param::initialized(ParamId::new(), value)
        };
        (param, Some(TrainedCopy::new(copy)))
    }
}

/// Row-major values `[rows, columns]` as `[columns, rows]`.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}
