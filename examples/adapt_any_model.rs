//! LoRA on a model that knows nothing of this workspace: a classifier of plain Burn layers, as another crate would
//! define it, with Burn's own optimizer.
//!
//! Support tickets are sorted by desk: every word belongs to one of four desks, and the desk with most words gets the
//! ticket. The base has learnt last year's words. This year's are new; an adapter on the embedding and the attention
//! learns them, and without it the base is what it was.
//!
//! ```sh
//! cargo run --release --example adapt_any_model
//! ```

use std::{error::Error, path::Path};

use burn::{
    module::Module,
    nn::{
        Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
        loss::CrossEntropyLossConfig,
        transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput},
    },
    optim::{AdamWConfig, GradientsParams},
    tensor::{Device, Int, Tensor, TensorData},
};
use burnisher::lora::{
    LoraConfig, TargetModules, attach_to_module, detach_module, load_module_peft, merge_module,
    save_module_peft,
};
use burnisher_examples::generate::Rng;

const OUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/examples/adapt_any_model");
const DESKS: usize = 4;
/// Words of last year; as many are new this year.
const WORDS: usize = 40;
const LENGTH: usize = 12;
const BATCH: usize = 64;
const WIDTH: usize = 32;

/// Not ours: no trait, no type and no call of this workspace.
#[derive(Module, Debug)]
struct TicketClassifier {
    embed: Embedding,
    encoder: TransformerEncoder,
    norm: LayerNorm,
    desk: Linear,
}

impl TicketClassifier {
    fn new(device: &Device) -> Self {
        Self {
            embed: EmbeddingConfig::new(2 * WORDS, WIDTH).init(device),
            encoder: TransformerEncoderConfig::new(WIDTH, 2 * WIDTH, 4, 2).with_dropout(0.0).init(device),
            norm: LayerNormConfig::new(WIDTH).init(device),
            desk: LinearConfig::new(WIDTH, DESKS).init(device),
        }
    }

    /// Words `[batch, t]` to scores `[batch, desks]`.
    fn forward(&self, words: Tensor<2, Int>) -> Tensor<2> {
        let x = self.encoder.forward(TransformerEncoderInput::new(self.embed.forward(words)));
        self.desk.forward(self.norm.forward(x).mean_dim(1).squeeze_dim::<2>(1))
    }
}

/// Tickets of the words from `first` on, with the desk that most words belong to.
struct Tickets {
    rng: Rng,
    first: usize,
}

impl Tickets {
    fn batch(&mut self, device: &Device) -> (Tensor<2, Int>, Tensor<1, Int>) {
        let (mut words, mut desks) = (Vec::new(), Vec::new());
        for _ in 0..BATCH {
            let desk = self.rng.below(DESKS);
            let mut counts = [0; DESKS];
            for _ in 0..LENGTH {
                // Half the words are of the ticket's desk, the others of any.
                let of = if self.rng.chance(50) { desk } else { self.rng.below(DESKS) };
                counts[of] += 1;
                words.push((self.first + DESKS * self.rng.below(WORDS / DESKS) + of) as i32);
            }
            let most = (0..DESKS).max_by_key(|&desk| (counts[desk], DESKS - desk)).unwrap_or(0);
            desks.push(most as i32);
        }
        let words = Tensor::from_data(TensorData::new(words, [BATCH, LENGTH]), device);
        (words, Tensor::from_data(TensorData::new(desks, [BATCH]), device))
    }
}

/// A loop as anybody has it: Burn's optimizer steps what has gradients.
fn train(mut model: TicketClassifier, tickets: &mut Tickets, steps: usize, lr: f64) -> TicketClassifier {
    let device = model.devices().remove(0).autodiff();
    let mut optimizer = AdamWConfig::new().with_epsilon(1e-8).init();
    let loss_of = CrossEntropyLossConfig::new().init(&device);
    for _ in 0..steps {
        let (words, desks) = tickets.batch(&device);
        let loss = loss_of.forward(model.forward(words), desks);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(lr, model, gradients);
    }
    model
}

/// Mean loss and accuracy over tickets that training did not see.
fn measure(model: &TicketClassifier, first: usize) -> (f32, f32) {
    let (model, device) = (model.valid(), Device::flex());
    let loss_of = CrossEntropyLossConfig::new().init(&device);
    let mut tickets = Tickets { rng: Rng::keyed(2, "test", first), first };
    let (mut loss, mut right, batches) = (0.0, 0.0, 8);
    for _ in 0..batches {
        let (words, desks) = tickets.batch(&device);
        let scores = model.forward(words);
        loss += loss_of.forward(scores.clone(), desks.clone()).into_scalar::<f32>();
        let hits = scores.argmax(1).squeeze_dim::<1>(1).equal(desks);
        right += hits.int().sum().into_scalar::<i32>() as f32;
    }
    (loss / batches as f32, 100.0 * right / (batches * BATCH) as f32)
}

fn report(what: &str, model: &TicketClassifier) {
    let ((old_loss, old), (new_loss, new)) = (measure(model, 0), measure(model, WORDS));
    println!(
        "{what:<28} old words: loss {old_loss:.3}, {old:3.0} %   new words: loss {new_loss:.3}, {new:3.0} %"
    );
}

/// Every parameter with its values and its id.
fn bytes(model: &TicketClassifier) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(model.clone().into_record().into_bytes()?.to_vec())
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::flex().autodiff();
    device.seed(7);

    // 1. Somebody's trained model.
    let mut old = Tickets { rng: Rng::keyed(1, "old", 0), first: 0 };
    let base = train(TicketClassifier::new(&device), &mut old, 300, 3e-3);
    report("base", &base);

    // 2. The same type with an adapter: targets are paths of its fields.
    let config = LoraConfig::new(4)
        .with_lora_alpha(8.0)
        .with_target_modules(TargetModules::suffixes(["embed", "query", "value", "desk"]));
    let (model, attached) = attach_to_module(&config, base.clone(), 7)?;
    println!("{attached}");

    // 3. Train it: nothing but the factors has gradients.
    let mut new = Tickets { rng: Rng::keyed(1, "new", 0), first: WORDS };
    let model = train(model, &mut new, 300, 1e-2);
    report("with the adapter", &model);

    // 4. Save it, and load it onto the base.
    save_module_peft(&model, &config, OUT)?;
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        println!("saved {}: {} bytes", file, std::fs::metadata(Path::new(OUT).join(file))?.len());
    }
    let (loaded, _, _) = load_module_peft(OUT, base.clone(), false)?;
    let (words, _) = new.batch(&Device::flex());
    let scores = |model: &TicketClassifier| model.valid().forward(words.clone()).into_data();
    println!("loaded adapter gives the same scores: {}", scores(&loaded) == scores(&model));

    // 5. A plain model for export, and the base as it was.
    report("merged", &merge_module(model.clone())?);
    let detached = detach_module(model)?;
    report("detached", &detached);
    println!("base parameters are bit-identical: {}", bytes(&detached)? == bytes(&base)?);
    Ok(())
}
