from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from edgepress_converters.export import export_saved_model
from edgepress_converters.model import TFLiteModel
from edgepress_converters.options import FORMATS, ConversionOptions
from edgepress_converters.pool import WorkerPool
from support import models_small

Make = Callable[[], Any]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Make], tuple[Any, Path]]:
    """The model of a function of ``models_small`` and its SavedModel, made once."""

    @cache
    def exported(make: Make) -> tuple[Any, Path]:
        model, directory = make(), tmp_path_factory.mktemp(make.__name__) / "saved_model"
        export_saved_model(model, directory)
        return model, directory

    return exported


@pytest.fixture
def convert(
    worker_pool: WorkerPool, exported: Callable[[Make], tuple[Any, Path]], tmp_path: Path
) -> Callable[..., TFLiteModel]:
    """``convert(make, format="int8", ...)`` converts to model.tflite, with 20 calibration samples."""

    def convert(make: Make, **options: Any) -> TFLiteModel:
        model, directory = exported(make)
        calibration = models_small.inputs_for(model, 20)
        return worker_pool.convert(directory, tmp_path / "model.tflite", ConversionOptions(**options), calibration)

    return convert


@pytest.fixture(scope="session")
def digits_files(
    worker_pool: WorkerPool, exported: Callable[[Make], tuple[Any, Path]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The residual CNN in every format."""
    folder = tmp_path_factory.mktemp("digits")
    model, directory = exported(models_small.residual_cnn)
    files = {}
    for format in FORMATS:
        files[format] = folder / f"{format}.tflite"
        options = ConversionOptions(format=format)
        worker_pool.convert(directory, files[format], options, models_small.inputs_for(model, 20))
    return files
