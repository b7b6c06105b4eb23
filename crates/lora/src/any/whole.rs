//! Parameters that are trained and saved whole: `modules_to_save` and `bias`.

use std::{any::Any, collections::BTreeMap};

use burn::{
    module::{Module, Param, ParamId, Reparameterization, Reparameterizer},
    tensor::{Tensor, TensorData},
};

use super::lora::is_active;

/// A parameter that is trained and saved whole.
#[derive(Debug)]
pub(super) struct Whole {
    /// Its module.
    pub(super) owner: String,
    /// Its path in Burn.
    pub(super) path: String,
    /// Its name in an adapter file.
    pub(super) key: String,
    /// Its shape in Burn.
    pub(super) shape: Vec<usize>,
    /// Whether the file has it transposed, as PyTorch has linear weights.
    pub(super) is_transposed: bool,
}

impl Whole {
    /// Its shape in the file.
    pub(super) fn file_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if self.is_transposed {
            shape.reverse();
        }
        shape
    }

    /// Burn's values, row-major, as the file has them.
    pub(super) fn to_file(&self, values: Vec<f32>) -> Vec<f32> {
        self.reordered(values, &self.shape)
    }

    /// The file's values, row-major, as Burn has them.
    pub(super) fn to_burn(&self, values: Vec<f32>) -> Vec<f32> {
        self.reordered(values, &self.file_shape())
    }

    fn reordered(&self, values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        match *shape {
            [rows, columns] if self.is_transposed => (0..columns)
                .flat_map(|column| (0..rows).map(move |row| row * columns + column))
                .map(|index| values[index])
                .collect(),
            _ => values,
        }
    }
}

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
