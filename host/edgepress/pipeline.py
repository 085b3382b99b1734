"""The main job: compress -> convert -> deploy -> measure -> record, and each arrow by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress import boards
from edgepress.artifacts import FILES, Artifact, Source, make_artifact, refuse_to_overwrite
from edgepress.benchmarking.comparison import LEAST_ROUNDS, Claim, Comparison, compare_runs
from edgepress.benchmarking.floor import session_floor
from edgepress.benchmarking.interference import fixed_clock_hz
from edgepress.boards import Outcome, Terms
from edgepress.confirmation import Candidate, Trial, judged_value
from edgepress.conversion import convert_model, inspect
from edgepress.data.loading import load_dataset, meaning
from edgepress.data.pictures import Pictures
from edgepress.errors import DataError, InputError, RecipeError
from edgepress.progress import Progress, Silent
from edgepress.table.figures import figures_of_classes
from edgepress.table.project import project_state
from edgepress.table.recording import Subject
from edgepress.table.store import ResultStore
from edgepress.training.classes import scores_by_class
from edgepress.training.metrics import metric_named
from edgepress.verification.goldens import goldens_of_file
from edgepress.verification.reference import run_file, to_real
from edgepress_converters.options import ConversionOptions
from edgepress_converters.pool import WorkerPool

if TYPE_CHECKING:
    from edgepress.compression.recipe import Recipe
    from edgepress.compression.steps import Judge
    from edgepress.data import Dataset
    from edgepress.training.settings import Training
    from edgepress_converters.model import TFLiteModel

BOARD_SAMPLES = 500  # of the test split, at most: what a Pi Zero answers in seconds; the interval says how sure it is


def run(
    model: str | Path,
    *,
    data: str | Dataset,
    recipes: Sequence[str | Recipe],
    devices: Sequence[str],
    metric: str | None = None,
    imports: Sequence[str] = (),
    seed: int = 0,
    seeds: int = 1,
    training: Training | None = None,
    plan: str = "quick",
    samples: int = BOARD_SAMPLES,
    threads: int | Sequence[int] = 1,
    runtime: str | Sequence[str] | None = None,
    delegate: str | Sequence[str] = "default",
    cache: Path | None = None,
    db: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Compress a Keras model by recipes, convert, deploy and measure on devices, and record the rows.

    Args:
        model: a ``.keras`` file.
        data: what ``--data`` takes (a .npz file, a folder of pictures or ``module:function``), or a Dataset.
        recipes: names of shipped recipes, TOML files, or recipes made in Python; one or several.
        devices: names of the inventory, or ``@group``, one or several; ``local`` is this machine.
        metric: instead of the one that the model was compiled with.
        imports: modules to import first, for custom layers.
        seed: of training inside steps, splits and sampling.
        seeds: how often recipes with steps are repeated, with ``seed``, ``seed + 1`` ...: the table shows mean and
            interval of rows that differ in nothing else. Splits and samples stay those of ``seed``.
        training: loss, optimizer, augmentation and more for the training inside steps.
        plan: a name of :data:`edgepress.benchmarking.plans.PLANS`.
        samples: of the test split, at most, that host and devices judge each model by; outputs are checked on no more.
        threads: of the interpreter; several: each model is measured with each of them.
        runtime: ``NAME`` or ``NAME==VERSION`` instead of the device's choice, or several.
        delegate: "default" (what the runtime does by itself, XNNPACK), "none", or both.
        cache: where compressed models are kept; default: the user's cache folder.
        db: file or SQLAlchemy URL of the table; default: see :meth:`ResultStore.open`.

    Raises:
        InputError: model, data, recipe or metric cannot be used. DeviceError: no device gave a row, and why.
    """
    if seeds < 1:
        raise InputError(f"recipes are made with one seed at least; got {seeds}")
    shown = progress or Silent()
    terms = Terms.of(plan, threads, runtime, delegate)
    wanted = _recipes(recipes)
    names = boards.reach(devices, terms, shown)  # a table or a device that is not there is said before the long work
    with ResultStore.open(db) as store, WorkerPool() as pool:
        dataset = _dataset(data, wanted, seed, shown)
        with boards.judge_on(names[0], terms, shown) as judge:
            maker = _Maker(Source(Path(model), imports), dataset, pool, metric, cache, judge, training, shown)
            artifacts = [
                maker.made(recipe, seed + n) for n in range(seeds) for recipe in wanted if recipe.step or n == 0
            ]
        trial = _trial(dataset, artifacts[0].report["metric"], samples, seed)
        candidates = [_candidate(artifact, dataset, trial, pool, store, shown) for artifact in artifacts]
        return boards.measure(names, candidates, trial, terms, store, cache_folder(cache) / "pending", shown)


def compress(
    model: str | Path,
    *,
    data: str | Dataset,
    recipes: Sequence[str | Recipe],
    output: str | Path,
    devices: Sequence[str] = (),
    metric: str | None = None,
    imports: Sequence[str] = (),
    seed: int = 0,
    training: Training | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Artifact, ...]:
    """Compress a Keras model by recipes and convert it.

    ``output`` gets ``model.keras``, ``model.tflite`` and ``report.json``; in a folder per recipe when there are
    several. With a device, steps ask it what is faster there. The other arguments are those of :func:`run`.
    """
    wanted = _recipes(recipes)
    folders = [Path(output, recipe.name) if len(wanted) > 1 else Path(output) for recipe in wanted]
    read = [model, *(file for recipe in wanted for file in recipe.files)]
    refuse_to_overwrite(read, (folder / name for folder in folders for name in FILES))
    shown = progress or Silent()
    terms = Terms.of("quick")
    names = boards.reach(devices, terms, shown) if devices else []
    with WorkerPool() as pool:
        dataset = _dataset(data, wanted, seed, shown)
        with boards.judge_on(names[0], terms, shown) if names else nullcontext() as judge:
            maker = _Maker(Source(Path(model), imports), dataset, pool, metric, cache, judge, training, shown)
            artifacts = [maker.made(recipe, seed) for recipe in wanted]
    return tuple(artifact.copy_to(folder) for artifact, folder in zip(artifacts, folders, strict=True))


def convert(
    model: str | Path,
    *,
    format: str,
    output: str | Path,
    data: str | Dataset | None = None,
    io: str = "int8",
    allow_float: Sequence[str] = (),
    backend: str = "tflite",
    int4_weights: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    repack: bool | None = None,
    imports: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> TFLiteModel:
    """Convert a ``.keras`` file as it is. ``int8`` and ``int16x8`` need data to calibrate with, where the model has no
    ranges of its own. The words are those of :class:`ConversionOptions`.

    Raises:
        ModelError, DataError: the file or the data cannot be used. ConversionError: the converter refused or died.
        RuntimeCompatibilityError: one of ``runtimes`` (``NAME==VERSION``) does not take the file.
        InputError: ``output`` is the model or the data.
    """
    from edgepress.data.checks import check_fits

    refuse_to_overwrite([model, data] if isinstance(data, str) else [model], [Path(output)])

    wanted = ConversionOptions(
        format=format,  # type: ignore[arg-type]
        io=io,  # type: ignore[arg-type]
        backend=backend,  # type: ignore[arg-type]
        int4_weights=tuple(int4_weights),
        allow_float=tuple(allow_float),
        runtimes=tuple(runtimes),
        repack=repack,
    )
    with WorkerPool() as pool:
        pool.start()
        source = Source(Path(model), imports).load()
        from edgepress.compression.quantization.annotate import conversion_of  # TensorFlow is there now, silently

        options = conversion_of(source, wanted)
        if options.needs_calibration and data is None:
            raise DataError(f"format {format} is calibrated on training data: give --data")
        calibration = None
        if data is not None:
            dataset = load_dataset(data, source, seed) if isinstance(data, str) else data
            check_fits(dataset, source)
            calibration = dataset.train.inputs
        with (progress or Silent()).task(f"converting to {format}"):
            return convert_model(source, Path(output), options, calibration, pool)


def bench(
    files: Sequence[str | Path],
    *,
    devices: Sequence[str],
    data: str | Dataset | None = None,
    metric: str | None = None,
    seed: int = 0,
    plan: str = "quick",
    threads: int | Sequence[int] = 1,
    runtime: str | Sequence[str] | None = None,
    delegate: str | Sequence[str] = "default",
    least_processes: int = 1,
    cache: Path | None = None,
    db: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Measure TFLite files on devices, interleaved, and record the rows. The arguments are those of :func:`run`.

    With data the files are judged on its test split; without, their outputs are still compared with this machine's.
    ``least_processes`` raises the plan's number of processes where that is smaller.
    """
    if not files:
        raise InputError("no file is named")
    shown = progress or Silent()
    opened = [_open(Path(file)) for file in files]
    terms = Terms.of(plan, threads, runtime, delegate)
    terms = replace(terms, plan=replace(terms.plan, processes=max(terms.plan.processes, least_processes)))
    names = boards.reach(devices, terms, shown)
    trial, dataset = None, None
    if data is not None:
        if isinstance(data, str):
            dataset = load_dataset(data, None, seed, _pictures_of(opened) if Path(data).is_dir() else None)
        else:
            dataset = data
        trial = _trial(dataset, metric or "accuracy", BOARD_SAMPLES, seed)
    with ResultStore.open(db) as store, WorkerPool() as pool:
        candidates = [_candidate(found, dataset, trial, pool, store, shown) for found in opened]
        return boards.measure(names, candidates, trial, terms, store, cache_folder(cache) / "pending", shown)


def compare(
    a: str | Path,
    b: str | Path,
    *,
    device: str,
    plan: str = "quick",
    progress: Progress | None = None,
    **settings: Any,
) -> tuple[Outcome, Comparison]:
    """Measure two TFLite files against each other, a process of each in every round, and say whether B is slower.

    Takes the plan's processes, ten rounds at least. The other arguments are those of :func:`bench`; of several threads,
    runtimes or delegates the first is compared. Rows are recorded as well.

    Raises:
        EdgepressError: one of them could not be measured, and why.
    """
    outcome = bench((a, b), devices=(device,), plan=plan, least_processes=LEAST_ROUNDS, progress=progress, **settings)
    if outcome.failures:
        raise outcome.failures[0].error
    way = attrgetter("runtime", "runtime_version", "threads", "delegate")
    rows = [row for row in outcome.rows if way(row) == way(outcome.rows[0])]
    one, other = (row.evidence for row in rows if row.evidence is not None)
    unstable = any(row.verdict != "stable" for row in rows)
    doubt = Claim.EMULATED if rows[0].emulated else Claim.WITHHELD if unstable else None
    floor, max_hz = session_floor(device, rows[0].physical_device), fixed_clock_hz(one.facts)
    return outcome, compare_runs(one.run, other.run, floor, one.states, max_hz, doubt=doubt)


def cache_folder(cache: Path | None) -> Path:
    """Where compressed models are kept: as given, else the user's cache folder."""
    if cache is not None:
        return cache
    import platformdirs

    return platformdirs.user_cache_path("edgepress")


def _open(path: Path) -> Artifact | TFLiteModel:
    """A TFLite file with all that ``compress`` left beside it, or the file alone."""
    return Artifact.of_file(path) or inspect(path)


def _recipes(wanted: Sequence[str | Recipe]) -> list[Recipe]:
    """Read recipes: every typo is found before the first training.

    Raises:
        RecipeError: there are none, one cannot be read, several have one name, or say different things of the input.
    """
    from edgepress.compression.recipe import Recipe, load_recipe

    if not wanted:
        raise RecipeError("no recipe is named")
    several = [wanted] if isinstance(wanted, str) else wanted
    recipes = [one if isinstance(one, Recipe) else load_recipe(one) for one in several]
    twice = [name for name, count in Counter(recipe.name for recipe in recipes).items() if count > 1]
    if twice:
        raise RecipeError(f"several of the recipes are called {twice[0]!r}: give each a name of its own")
    said = {recipe.pictures: recipe.name for recipe in recipes if recipe.pictures is not None}
    if len(said) > 1:
        raise RecipeError(f"the recipes {' and '.join(said.values())} differ in [input]: run them one by one")
    return recipes


def _dataset(data: str | Dataset, recipes: Sequence[Recipe], seed: int, progress: Progress) -> Dataset:
    """The data, with what the recipes say of the input."""
    pictures = next((recipe.pictures for recipe in recipes if recipe.pictures is not None), None)
    if isinstance(data, str):
        with progress.task(f"reading {data}") if Path(data).is_dir() else nullcontext():
            return load_dataset(data, None, seed, pictures)
    return data if pictures is None else meaning(data, pictures)


def _pictures_of(opened: Sequence[Artifact | TFLiteModel]) -> Pictures | None:
    """How pictures become inputs, by what ``compress`` left beside a file."""
    for one in opened:
        spec = one.report["input_spec"] if isinstance(one, Artifact) else {}
        if spec.get("color"):
            height, width, _ = spec["shapes"][0]
            return Pictures((height, width), spec["color"], tuple(spec["mean"]), tuple(spec["scale"]))
    return None


@dataclass(frozen=True)
class _Maker:
    """Makes artifacts of one model and one data set."""

    source: Source
    dataset: Dataset
    pool: WorkerPool
    metric: str | None
    cache: Path | None
    judge: Judge | None
    training: Training | None
    progress: Progress

    def made(self, recipe: Recipe, seed: int) -> Artifact:
        artifact = make_artifact(
            self.source,
            recipe,
            self.dataset,
            self.pool,
            cache=cache_folder(self.cache),
            metric=self.metric,
            seed=seed,
            judge=self.judge,
            progress=self.progress,
            training=self.training,
        )
        if artifact.reused:
            self.progress.note(f"{recipe.name}: reused from {artifact.directory}")
        return artifact


def _trial(dataset: Dataset, metric: str, samples: int, seed: int) -> Trial:
    """Open the held-out split: after all compression, before any judging. Host and boards judge the same samples."""
    chosen = metric_named(metric)
    return Trial(chosen, dataset.held_out.open("final evaluation").sample(samples, seed))


def _candidate(
    made: Artifact | TFLiteModel,
    dataset: Dataset | None,
    trial: Trial | None,
    pool: WorkerPool,
    store: ResultStore,
    progress: Progress,
) -> Candidate:
    """What is measured, judged on this machine first. How well it tells each class is kept beside its rows."""
    artifact = made if isinstance(made, Artifact) else None
    model = made.model if isinstance(made, Artifact) else made
    goldens = artifact.goldens if artifact else goldens_of_file(model, pool)
    host = None
    if trial is not None:
        with progress.task(f"{artifact.name if artifact else model.path.name}: {trial.metric.name} on this machine"):
            outputs = to_real(model, run_file(model, trial.sample.inputs, pool))
            host = judged_value(trial.metric, outputs, trial.sample)
        if artifact is not None:
            labels = artifact.report["input_spec"]["labels"]
            scores = scores_by_class(outputs, trial.sample.targets, artifact.report["output_kinds"], labels)
            if scores:
                store.record_figures(figures_of_classes(scores, model, artifact.name))
    return Candidate(
        model,
        goldens,
        Subject(
            model=artifact.report["model"] if artifact else _name_of_file(model.path),
            recipe=artifact.name if artifact else None,
            recipe_id=artifact.recipe_id if artifact else None,
            compression=artifact.report if artifact else None,
            data_sha256=dataset.sha256 if dataset else None,
            training_seed=artifact.report["seed"] if artifact else None,
            metric=trial.metric.name if trial else None,
            metric_higher_is_better=trial.metric.higher_is_better if trial else None,
            metric_samples=len(trial.sample) if trial else None,
            host_metric=host,
            source_sha256=artifact.report["model_sha256"] if artifact else None,
            project=project_state(),
        ),
    )


def _name_of_file(path: Path) -> str:
    """Its name with its folder's, from wherever it is named: the rows of a file are one history."""
    return "/".join(path.resolve().parts[-2:])
