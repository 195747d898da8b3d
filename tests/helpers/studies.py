"""What the tests of studies share: one is run in little, and must write what every study does."""

import importlib
import inspect
import json

import numpy as np
import pandas as pd
import pytest

from figures.claims import violated
from figures.study import run


def runs(quick):
    """A fixture: name, folder and claims of each study in `quick`, run with its settings."""

    @pytest.fixture(scope="module", params=quick)
    def study(request, tmp_path_factory):
        folder = tmp_path_factory.mktemp(request.param)
        return request.param, folder, run(request.param, folder, **quick[request.param])

    return study


def module_of(name):
    return importlib.import_module(f"figures.{name}")


def read(name, folder):
    # "full" is a batch size, too
    return pd.read_csv(folder / f"{name}.csv", dtype={"batch_size": str} if name == "bias_vs_batch_size" else None)


def claims_of(name, table):
    return module_of(name).claims(table)


def caught(study, false):
    """The claims of `false`, cases (study, what falsifies its table, claims), that are violated as they must be."""
    name, folder, _ = study
    names = set()
    for _, falsify, broken in (case for case in false if case[0] == name):
        found = {c.name for c in violated(claims_of(name, falsify(read(name, folder))))}
        assert broken <= found, broken - found
        names |= broken
    return names


class Written:
    """What a study has written; subclasses are collected where a fixture `study` is."""

    MAY_BE_EMPTY = frozenset()  # (study, column)

    def test_files(self, study):
        name, folder, _ = study
        assert {path.name for path in folder.iterdir()} == {f"{name}.{kind}" for kind in ("png", "pdf", "csv", "json")}
        png = (folder / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG") and len(png) > 20_000
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")

    def test_picture_shows_something(self, study):
        from matplotlib.image import imread

        name, folder, _ = study
        pixels = imread(folder / f"{name}.png")[::2, ::2, :3]
        assert 0.002 < (np.ptp(pixels, axis=-1) > 0.3).mean() < 0.2

    def test_columns_are_documented(self, study):
        name, folder, _ = study
        table = read(name, folder)
        assert list(table.columns) == list(module_of(name).COLUMNS)
        assert all(module_of(name).COLUMNS.values())
        filled = table[[column for column in table if (name, column) not in self.MAY_BE_EMPTY]]
        assert not filled.isna().any().any()
        assert np.isfinite(filled.select_dtypes(float)).all().all()

    def test_claims_follow_from_the_file(self, study):
        """Nothing but the CSV is needed to judge and to draw again."""
        name, folder, claims = study
        assert len({c.name for c in claims}) == len(claims) > 0
        again = claims_of(name, read(name, folder))
        assert [(c.name, c.verdict) for c in again] == [(c.name, c.verdict) for c in claims]
        assert module_of(name).draw(read(name, folder)).axes

    def test_provenance(self, study):
        name, folder, claims = study
        about = json.loads((folder / f"{name}.json").read_text())
        assert about["columns"] == module_of(name).COLUMNS
        assert about["claims"] == [c._asdict() for c in claims]
        assert about["settings"].keys() == inspect.signature(module_of(name).measure).parameters.keys()
        assert about["environment"]["numpy"] == np.__version__
