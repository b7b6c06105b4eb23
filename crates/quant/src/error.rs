use crate::dynamic_map::DynamicMap;
use crate::raw::RawDtype;

/// Everything that can go wrong between numbers, their quantized form and bitsandbytes' tensors.
///
/// Every message says what was found, what was wanted and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantError {
    /// A block size that the format does not know.
    #[error("{what}: block size {found}, wanted a power of two from 32 to 4096")]
    BlockSize {
        /// Which block size: of the weight, or of its nested absmax.
        what: &'static str,
        /// The block size that was found.
        found: usize,
    },

    /// The product of a shape does not fit into `usize`.
    #[error("shape {shape:?} has more elements than this machine can address")]
    ShapeOverflow {
        /// `[out, in]`.
        shape: [usize; 2],
    },

    /// A slice whose length does not follow from the shape and the block size.
    #[error("{what}: found {found} elements, wanted {wanted}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Elements found.
        found: usize,
        /// Elements wanted.
        wanted: usize,
    },

    /// A NaN or an infinity, which no block scale can represent.
    #[error("{what}: found {value} at index {index}, wanted finite values")]
    NotFinite {
        /// Which slice or tensor.
        what: String,
        /// Index of the first such value in the flattened slice.
        index: usize,
        /// The value.
        value: f32,
    },

    /// An option outside its range.
    #[error("option {name} is {found}, wanted {wanted}")]
    OptionValue {
        /// The option.
        name: &'static str,
        /// Its value.
        found: f64,
        /// What it may be.
        wanted: &'static str,
    },

    /// 8-bit codes of another map than their use asks for.
    #[error("{what}: found the map {found:?}, wanted {wanted:?}")]
    Map {
        /// Which codes.
        what: &'static str,
        /// Their map.
        found: DynamicMap,
        /// The map wanted.
        wanted: DynamicMap,
    },

    /// A negative value where the map of the codes has none.
    #[error("found {value} at index {index}, wanted no negative values for the unsigned map")]
    Negative {
        /// Index of the first such value in the slice.
        index: usize,
        /// The value.
        value: f32,
    },

    /// A tensor that the state of a weight needs is absent.
    #[error("tensor {name} is missing")]
    MissingTensor {
        /// Its full name.
        name: String,
    },

    /// Two descriptions of the state of one weight.
    #[error("found both tensors {} and {}, wanted one of them", .names[0], .names[1])]
    TwoStates {
        /// The names of the descriptions.
        names: [String; 2],
    },

    /// A tensor has another element type than the format says.
    #[error("tensor {name} has dtype {found}, wanted {wanted}")]
    Dtype {
        /// Its full name.
        name: String,
        /// The dtype found.
        found: RawDtype,
        /// The dtype wanted.
        wanted: RawDtype,
    },

    /// A tensor whose bytes do not match its own shape and dtype.
    #[error("tensor {name} with shape {shape:?} and dtype {dtype} holds {found} bytes, which do not match")]
    Bytes {
        /// Its full name.
        name: String,
        /// The shape it claims.
        shape: Vec<usize>,
        /// The dtype it claims.
        dtype: RawDtype,
        /// The bytes it holds.
        found: usize,
    },

    /// A tensor whose length does not follow from the quantization state.
    #[error("tensor {name} holds {found} values, wanted {wanted}")]
    TensorLength {
        /// Its full name.
        name: String,
        /// Values found; bytes, for packed codes.
        found: usize,
        /// Values wanted.
        wanted: usize,
    },

    /// A tensor whose shape has not the wanted form.
    #[error("tensor {name} has shape {found:?}, wanted {wanted}")]
    TensorShape {
        /// Its full name.
        name: String,
        /// The shape found.
        found: Vec<usize>,
        /// The form wanted.
        wanted: &'static str,
    },

    /// The codes of an LLM.int8 weight lie in an order that is no longer written.
    #[error("tensor {name} says layout {found}, wanted 0, row by row")]
    WeightFormat {
        /// The tensor with the layout.
        name: String,
        /// The layout it names.
        found: u8,
    },

    /// The description of the state is not the JSON that bitsandbytes writes.
    #[error("tensor {name} is not a quantization state: {source}")]
    StateJson {
        /// The tensor with the JSON text.
        name: String,
        /// What the parser said.
        source: serde_json::Error,
    },

    /// A field of the description has a value that cannot be.
    #[error("tensor {name}: field {field} is {found}, wanted {wanted}")]
    StateField {
        /// The tensor with the JSON text.
        name: String,
        /// The field.
        field: &'static str,
        /// The value found.
        found: String,
        /// What it may be.
        wanted: &'static str,
    },

    /// A code table stored with the weight differs from the table of its type.
    #[error("tensor {name}: entry {index} is {found}, wanted {wanted}")]
    Table {
        /// The tensor with the table.
        name: String,
        /// The first entry that differs.
        index: usize,
        /// The value found.
        found: f32,
        /// The value of the table.
        wanted: f32,
    },

    /// Everything that is wrong with the tensors of one LLM.int8 weight.
    #[error("8-bit weight of {module}: {}", list(.problems))]
    Int8Tensors {
        /// The name of the linear layer.
        module: String,
        /// Every problem found, in the order of the tensors.
        problems: Vec<QuantError>,
    },

    /// Everything that is wrong with the tensors of one 4-bit weight.
    #[error("4-bit weight {weight}: {}", list(.problems))]
    Tensors {
        /// The name of the weight.
        weight: String,
        /// Every problem found, in the order of the tensors.
        problems: Vec<QuantError>,
    },
}

fn list(problems: &[QuantError]) -> String {
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
