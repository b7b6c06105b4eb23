//! Adding adapters by name, choosing among them, saving and removing them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::Device;

use super::{
    DEFAULT, Named, Other, Roster,
    each::each_adapter,
    places::on_place,
    roster::Entry,
    route::check_no_routes,
    rules::{check_stack, check_together, check_unmerged, refuse},
    swap::check_base,
};
use crate::{
    Adaptable, Adapter, AdapterConfig, AttachReport, EmbeddingAdapter, LoraConfig, LoraError, Site, attach,
    attach::{load_files, peft_files, read_for, settle},
    checked_plan::checked_plan,
    count_parameters,
    error::Problem,
    fingerprint, merge, visit_parameters,
};

/// Adds a new adapter by the name of `name`, with the initial values that [`attach`] would give it. The
/// adapters in use stay in use; the first one of a model is in use. [`train_adapter`] trains it. What
/// [`attach`] attaches has the name `default`.
///
/// The report counts what the adapter trains once it is trained.
///
/// # Errors
/// As [`attach`]; [`LoraError::AdapterName`] for a name that is taken or none, [`LoraError::Several`] if this adapter or
/// one that is there trains or changes parts of the model itself (`modules_to_save`, `bias`, PiSSA, OLoRA, LoftQ), and
/// while an adapter is merged.
pub fn add_adapter<M: Adaptable>(
    model: M,
    name: &str,
    config: impl Into<AdapterConfig>,
    seed: u64,
    device: &Device,
) -> Result<(M, AttachReport), LoraError> {
    let config = config.into();
    let (model, _, report) = add(model, name, config.clone(), |plain| {
        let (fresh, report) = attach(&config, plain, seed, device)?;
        Ok((fresh, config.clone(), report))
    })?;
    Ok((model, report))
}

/// Adds the adapter of a PEFT directory by the name of `name`, frozen, as [`add_adapter`] adds a new one (PEFT 0.21's
/// `load_adapter`).
///
/// # Errors
/// As [`load_peft`](crate::load_peft) and [`add_adapter`]; [`LoraError::Several`] if the files hold the weight of an
/// adapted head or embedding and it is not the model's.
pub fn load_adapter<M: Adaptable>(
    mut model: M,
    name: &str,
    dir: impl AsRef<Path>,
    device: &Device,
) -> Result<(M, AdapterConfig, AttachReport), LoraError> {
    check_unmerged(&mut model, "add an adapter")?;
    let files = read_for(dir.as_ref(), &model)?;
    check_base(&mut model, &files, name)?;
    add(model, name, files.config.clone(), |plain| load_files(files, plain, false, device))
}

/// The names of the model's adapters, in the order in which they came.
pub fn adapter_names<M: Adaptable>(model: &M) -> Vec<String> {
    Roster::of(&mut model.clone()).names()
}

/// The names of the adapters in use.
pub fn active_adapters<M: Adaptable>(model: &M) -> Vec<String> {
    Roster::of(&mut model.clone()).active.clone()
}

/// The configuration of an adapter.
///
/// # Errors
/// [`LoraError::UnknownAdapter`].
pub fn adapter_config<M: Adaptable>(model: &M, name: &str) -> Result<AdapterConfig, LoraError> {
    Ok(Roster::of(&mut model.clone()).entry(name)?.config.clone())
}

/// Uses these adapters and no others: what several add to the base's output is summed up, as in PEFT 0.21 after
/// `set_adapter([..])`. All adapters are frozen; [`train_adapter`] chooses one to train.
///
/// # Errors
/// [`LoraError::UnknownAdapter`] with every name that is none; [`LoraError::Several`] naming every adapter that cannot be
/// used with another (DoRA, trained tokens, IA3, VeRA) or that changed the model itself, which no choice takes back, and
/// while an adapter is merged.
pub fn set_adapters<M: Adaptable>(mut model: M, names: &[&str]) -> Result<M, LoraError> {
    check_unmerged(&mut model, "choose adapters")?;
    let roster = Roster::of(&mut model);
    let entries = roster.all(names.iter().copied())?;
    check_stack(&entries)?;
    let active: Vec<String> = entries.into_iter().map(|entry| entry.name.clone()).collect();
    if active != roster.active {
        check_together(roster.entries.iter())?;
    }
    visit_parameters(&mut model, &mut |_, mut parameter| parameter.set_trainable(false));
    each_adapter(&mut model, &mut |_, _, mut adapter| adapter.set_trainable(&|_| false));
    Roster { active, ..Roster::clone(&roster) }.give(&mut model);
    settle(&mut model);
    Ok(model)
}

/// Uses no adapter: the model computes what its base does, until [`set_adapters`].
///
/// # Errors
/// [`LoraError::Several`] if an adapter changed the model itself (`modules_to_save`, biases, PiSSA, OLoRA, LoftQ), and
/// while one is merged.
pub fn disable_adapters<M: Adaptable>(model: M) -> Result<M, LoraError> {
    set_adapters(model, &[])
}

/// Trains this adapter and no other. Adapters that are in use beside it stay in use, frozen; it becomes the first of
/// them, so that its parameters have PEFT's names in files, and [`save_peft`](crate::save_peft) saves it.
///
/// # Errors
/// [`LoraError::UnknownAdapter`]; [`LoraError::Several`] as [`set_adapters`].
pub fn train_adapter<M: Adaptable>(mut model: M, name: &str) -> Result<M, LoraError> {
    let roster = Roster::of(&mut model);
    let config = roster.entry(name)?.config.clone();
    check_together([roster.entry(name)?])?;
    let names: Vec<&str> = std::iter::once(name)
        .chain(roster.active.iter().map(String::as_str).filter(|active| *active != name))
        .collect();
    let mut model = set_adapters(model, &names)?;
    let keeps_a = config.as_lora().is_some_and(LoraConfig::lora_fa);
    each_adapter(&mut model, &mut |_, own, mut adapter| {
        if own == name {
            adapter.set_trainable(&|parameter| !(keeps_a && parameter.ends_with(".lora_A.weight")));
        }
    });
    Ok(model)
}

/// Removes an adapter. The others that are in use stay in use, and none else comes into use.
///
/// # Errors
/// [`LoraError::UnknownAdapter`]; [`LoraError::Several`] if it is an adapter that changed the model itself, while an
/// adapter is merged, and while rows have adapters of their own.
pub fn delete_adapter<M: Adaptable>(mut model: M, name: &str) -> Result<M, LoraError> {
    const WANTED: &str = "remove an adapter";
    check_unmerged(&mut model, WANTED)?;
    check_no_routes(&mut model, WANTED)?;
    let roster = Roster::of(&mut model);
    check_together([roster.entry(name)?])?;
    let mut rest = Roster::clone(&roster);
    rest.active.retain(|active| active != name);
    rest.clone().give(&mut model);
    rest.entries.retain(|entry| entry.name != name);
    model.sites(&mut |_, site| on_place!(site, place => place.others.retain(|other| other.name != name)));
    rest.give(&mut model);
    Ok(model)
}

/// Saves an adapter as a PEFT directory: `dir` for the adapter `default`, a directory of its name in `dir` for any other,
/// as PEFT 0.21's `save_pretrained` does. Returns the directory. Tensors have the ranks of the configuration, also after
/// a swap that left zeros in larger ones.
///
/// # Errors
/// [`LoraError::UnknownAdapter`]; as [`save_peft`](crate::save_peft).
pub fn save_adapter<M: Adaptable>(
    model: &M,
    name: &str,
    dir: impl AsRef<Path>,
) -> Result<PathBuf, LoraError> {
    let mut model = model.clone();
    let roster = Roster::of(&mut model);
    let config = &roster.entry(name)?.config;
    Roster { active: vec![name.to_owned()], ..Roster::clone(&roster) }.give(&mut model);
    let files = peft_files(&model, config)?;
    let dir = if name == DEFAULT { dir.as_ref().to_owned() } else { dir.as_ref().join(name) };
    files.write(&dir)?;
    fingerprint::write(&dir, &fingerprint::of(&model, &checked_plan(config, &model)?))?;
    Ok(dir)
}

/// Merges these adapters, which are in use from then on, into the weights, as [`merge`] does it.
///
/// # Errors
/// As [`set_adapters`] and [`merge`].
pub fn merge_adapters<M: Adaptable>(model: M, names: &[&str]) -> Result<M, LoraError> {
    merge(set_adapters(model, names)?)
}

/// An adapter on its way from one model to another.
enum Found {
    Projection(Adapter),
    Embedding(EmbeddingAdapter),
}

/// Adds what `make` attaches to the model without its adapters.
fn add<M: Adaptable>(
    mut model: M,
    name: &str,
    config: AdapterConfig,
    make: impl FnOnce(M) -> Result<(M, AdapterConfig, AttachReport), LoraError>,
) -> Result<(M, AdapterConfig, AttachReport), LoraError> {
    let mut roster = Roster::clone(&Roster::of(&mut model));
    roster.check_new(name)?;
    check_unmerged(&mut model, "add an adapter")?;
    let entry = Entry { name: name.to_owned(), config };
    check_together(roster.entries.iter().chain([&entry]))?;
    check_listed(&mut model, &roster)?;
    let mut plain = model.clone();
    plain.sites(&mut |_, site| {
        on_place!(site, place => {
            place.adapter = None;
            place.others.clear();
            place.named = Named::default();
        });
    });
    let (mut fresh, config, report) = make(plain)?;
    if roster.entries.is_empty() {
        // As `attach` does: from now on the model itself is not trained.
        visit_parameters(&mut model, &mut |_, mut parameter| parameter.set_trainable(false));
    }
    let mut found = BTreeMap::new();
    fresh.sites(&mut |path, site| {
        let adapter = match site {
            Site::Projection(projection) | Site::Head(projection) => {
                projection.adapter.take().map(|adapter| Found::Projection(named(adapter, name)))
            }
            Site::Embedding(embedding) => embedding.adapter.take().map(Found::Embedding),
            Site::Norm(_) | Site::VirtualTokens(_) => None,
        };
        found.extend(adapter.map(|adapter| (path.to_owned(), adapter)));
    });
    drop(fresh);
    model.sites(&mut |path, site| {
        let name = name.to_owned();
        match (site, found.remove(path)) {
            (Site::Projection(place) | Site::Head(place), Some(Found::Projection(adapter))) => {
                place.others.push(Other { adapter, name });
            }
            (Site::Embedding(place), Some(Found::Embedding(adapter))) => {
                place.others.push(Other { adapter, name });
            }
            _ => {}
        }
    });
    each_adapter(&mut model, &mut |_, own, mut adapter| {
        if own == name {
            adapter.set_trainable(&|_| false);
        }
    });
    if roster.entries.is_empty() {
        roster.active.push(name.to_owned());
    }
    roster.entries.push(entry);
    roster.give(&mut model);
    settle(&mut model);
    let report = AttachReport { total: count_parameters(&model).1, ..report };
    Ok((model, config, report))
}

/// An adapter of that name: `default` is what it would be without a name.
fn named(adapter: Adapter, name: &str) -> Adapter {
    match adapter {
        Adapter::Lora(lora) if name != DEFAULT => Adapter::Lora(lora.named(name)),
        adapter => adapter,
    }
}

/// Whether all adapters of a model are on its list.
fn check_listed<M: Adaptable>(model: &mut M, roster: &Roster) -> Result<(), LoraError> {
    let mut problems = Vec::new();
    model.sites(&mut |path, site| {
        if roster.entries.is_empty() && site.has_adapter() {
            problems.push(Problem::new(path, "an adapter without a name", "none, or one by name"));
        }
    });
    refuse("add an adapter", problems)
}
