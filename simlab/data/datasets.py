"""Real data sets in the form the problems take: standardized features, ready targets."""

from __future__ import annotations

import difflib
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from simlab import checks

LARGEST = 2**34  # bytes of the features of a file


class Dataset(NamedTuple):
    """Samples of one data set.

    Attributes
    ----------
    features : ndarray of shape (n_samples, dim)
        Every column has mean 0 and variance 1; a constant column is all zeros.
    targets : ndarray of shape (n_samples,)
        What is to be predicted; `load` says in which units.
    name : str
        The name or path it was loaded by.
    description : str
        What was loaded and what was done to it.
    means, scales : ndarray of shape (dim,)
        What each column was shifted and divided by; the scale of a constant column is infinite.
    classes : ndarray of shape (2,) or None
        The values in the file that became the targets -1 and +1; None where there are not two.
    """

    features: np.ndarray
    targets: np.ndarray
    name: str
    description: str
    means: np.ndarray
    scales: np.ndarray
    classes: np.ndarray | None = None


@checks.keywords
def load(name: str | os.PathLike[str], *, n_features: int | None = None, standardize: bool | Dataset = True) -> Dataset:
    """Load a data set that scikit-learn bundles, or a libsvm file.

    Parameters
    ----------
    name : str or path
        One of the names below, or the path of a libsvm (svmlight) file, which may be compressed by gzip or bzip2:

        - ``"diabetes"``: 442 patients, 10 features; the disease's progress after a year, standardized like the
          features, so that predicting the mean has a mean squared error of 1.
        - ``"breast_cancer"``: 569 tumours, 30 features; +1 benign, -1 malignant.
        - ``"digits"``: 1797 images of 8 x 8 pixels, 64 features; the digit 0, ..., 9 as an integer.
        - ``"wine"``: 178 wines, 13 features of their chemistry; the grower 0, 1, 2.
        - ``"iris"``: 150 flowers, 4 features; the species 0, 1, 2.
        - ``"linnerud"``: 20 men, 3 exercises; the waist, standardized like the features.
        - a file: if its targets take two values, these become -1 and +1 (the larger); all others are left as they are.

    n_features : int, optional
        Number of columns of a file, in which the last ones may be missing: a training and a test set need the same.
    standardize : bool or Dataset, default True
        Whether to standardize the features; a `Dataset` standardizes them with its means and scales, a test set with
        those of the training set, and takes its two classes.

    Returns
    -------
    Dataset
        All its fields. Columns are shifted and scaled to mean 0 and variance 1 over the whole data set, unless
        `standardize` says otherwise; a constant column becomes zero and is named in the description. The features are
        dense.

    Raises
    ------
    TypeError
        If `name` is neither text nor a path, or `standardize` neither a bool nor a Dataset.
    ValueError
        If there is no such data set or file, or the file is not in the libsvm format, empty, or holds NaN; if it has
        more than `n_features` columns, or other columns or classes than the data set `standardize`; if `n_features` is
        given for a bundled data set.

    References
    ----------
    Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, 2011. Chang and Lin, LIBSVM: A Library for
    Support Vector Machines, ACM TIST 2(3), 2011.

    Examples
    --------
    >>> load("diabetes").features.shape
    (442, 10)
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"name = {name!r} is not text; pass one of {', '.join(map(repr, _BUNDLED))} or a file's path")
    label = os.fspath(name)
    classes = None
    if label in _BUNDLED:
        if n_features is not None:
            raise ValueError(f"n_features = {n_features!r} belongs to files, {label!r} has its own; leave it out")
        features, targets, meaning = _BUNDLED[label]()
        features, targets = features.copy(), targets.copy()  # those read are kept
    elif Path(label).is_file():
        other = standardize if isinstance(standardize, Dataset) else None
        features, targets, meaning, classes = _libsvm(label, n_features, other)
    elif Path(label).is_dir():
        raise ValueError(f"name = {label!r} is a folder; pass the path of a libsvm file in it")
    else:
        raise ValueError(_unknown(label))
    means, scales, note = _scale(features, standardize)
    size = f"{len(targets)} samples, {features.shape[1]} features{note}; target: {meaning}"
    return Dataset((features - means) / scales + 0.0, targets, label, size, means, scales, classes)


def _scale(features: np.ndarray, standardize: bool | Dataset) -> tuple[np.ndarray, np.ndarray, str]:
    """Means and scales of the columns, and a note on them; dividing by an infinite scale makes a constant column 0."""
    dim = features.shape[1]
    if isinstance(standardize, Dataset):
        if len(standardize.means) != dim:
            raise ValueError(
                f"standardize has {len(standardize.means)} features and {dim} are loaded; load both with one n_features"
            )
        return standardize.means, standardize.scales, f" standardized like {standardize.name}"
    if not isinstance(standardize, bool):
        raise TypeError(
            f"standardize = {standardize!r} is neither a bool nor a Dataset; pass True, or what load returned"
        )
    if not standardize:
        return np.zeros(dim), np.ones(dim), " as they are"
    constant = np.flatnonzero(np.ptp(features, axis=0) == 0)
    scales = features.std(axis=0)
    scales[constant] = np.inf
    note = f"; constant and so zero: columns {', '.join(map(str, constant))}" if len(constant) else ""
    return features.mean(axis=0), scales, f" of mean 0 and variance 1{note}"


@cache
def _diabetes() -> tuple[np.ndarray, np.ndarray, str]:
    from sklearn.datasets import load_diabetes

    features, targets = load_diabetes(return_X_y=True, scaled=False)
    column = targets[:, None]
    return (
        features,
        ((column - column.mean(axis=0)) / column.std(axis=0))[:, 0],
        "disease progression, of mean 0 and variance 1",
    )


@cache
def _breast_cancer() -> tuple[np.ndarray, np.ndarray, str]:
    from sklearn.datasets import load_breast_cancer

    features, benign = load_breast_cancer(return_X_y=True)
    return features, np.where(benign == 1, 1.0, -1.0), "+1 benign, -1 malignant"


@cache
def _digits() -> tuple[np.ndarray, np.ndarray, str]:
    from sklearn.datasets import load_digits

    features, digits = load_digits(return_X_y=True)
    return features, digits.astype(np.int64), "the digit, 0 to 9"


@cache
def _wine() -> tuple[np.ndarray, np.ndarray, str]:
    from sklearn.datasets import load_wine

    features, growers = load_wine(return_X_y=True)
    return features, growers.astype(np.int64), "the grower, 0 to 2"


@cache
def _iris() -> tuple[np.ndarray, np.ndarray, str]:
    from sklearn.datasets import load_iris

    features, species = load_iris(return_X_y=True)
    return features, species.astype(np.int64), "the species, 0 to 2"


@cache
def _linnerud() -> tuple[np.ndarray, np.ndarray, str]:
    from sklearn.datasets import load_linnerud

    features, bodies = load_linnerud(return_X_y=True)
    waist = bodies[:, 1]
    return features, (waist - waist.mean()) / waist.std(), "waist, of mean 0 and variance 1"


_BUNDLED = {
    "breast_cancer": _breast_cancer,
    "diabetes": _diabetes,
    "digits": _digits,
    "iris": _iris,
    "linnerud": _linnerud,
    "wine": _wine,
}


@checks.keywords
def signals(
    n_samples: int = 5000, n_classes: int = 10, length: int = 40, noise: float = 0.25, seed: int = 0
) -> Dataset:
    """Synthetic one-dimensional images: a random curve for each class, moved, stretched, tilted, and with noise.

    What MNIST-1D [1]_ does with digits: classes are told by their shape, wherever and however large it stands in the
    image, so that linear models fail where networks with hidden layers, and convolutional ones more, do not.

    Parameters
    ----------
    n_samples, n_classes, length : int
        Default 5000, 10 and 40 pixels.
    noise : float, default 0.25
        Standard deviation of white noise; a curve has 1.
    seed : int, default 0
        The curves are drawn from it, too: take training and test data from one call.

    Returns
    -------
    Dataset
        Features (n_samples, length), standardized; targets 0, ..., n_classes - 1, in random order and equally many, one
        more or less.

    References
    ----------
    .. [1] Greydanus, Kobak, Scaling Down Deep Learning with MNIST-1D, ICML 2024.

    Examples
    --------
    >>> signals(100).features.shape
    (100, 40)
    """
    n_samples = checks.integer("n_samples", n_samples, minimum=1)
    n_classes = checks.integer("n_classes", n_classes, minimum=2)
    length = checks.integer("length", length, minimum=8)
    noise = checks.real("noise", noise, minimum=0.0)
    random = np.random.default_rng(checks.seed(seed))
    knots = np.linspace(0.0, 1.0, 12)
    curves = random.standard_normal((n_classes, len(knots)))
    curves = (curves - curves.mean(axis=1, keepdims=True)) / curves.std(axis=1, keepdims=True)
    targets = random.permutation(np.arange(n_samples) % n_classes)
    pixels = np.linspace(0.0, 1.0, length)
    width, height = random.uniform(0.35, 0.65, n_samples), random.uniform(0.6, 1.4, n_samples)
    start, tilt = random.uniform(0.0, 1.0, n_samples) * (1 - width), random.normal(0.0, 0.75, n_samples)
    raw = np.empty((n_samples, length))
    for k, label in enumerate(targets):
        inside = np.interp((pixels - start[k]) / width[k], knots, curves[label], left=0.0, right=0.0)
        raw[k] = height[k] * inside + tilt[k] * (2 * pixels - 1)
    raw += noise * random.standard_normal(raw.shape)
    means, scales, note = _scale(raw, True)
    size = f"{n_samples} samples, {length} features{note}; target: the class, 0 to {n_classes - 1}"
    return Dataset((raw - means) / scales, targets, "signals", size, means, scales)


def _libsvm(
    path: str, n_features: int | None, other: Dataset | None
) -> tuple[np.ndarray, np.ndarray, str, np.ndarray | None]:
    from sklearn.datasets import load_svmlight_file

    try:
        sparse, targets = load_svmlight_file(path)
    except (ValueError, UnicodeDecodeError, OSError) as error:
        raise ValueError(
            f"name = {path!r} is not a libsvm file ({error}); "
            "each of its lines must read 'target index:value index:value ...'"
        ) from error
    if sparse.shape[0] == 0 or sparse.shape[1] == 0:
        raise ValueError(f"name = {path!r} holds no samples or no features; check the file")
    if n_features is not None:
        if checks.integer("n_features", n_features, minimum=1) < sparse.shape[1]:
            raise ValueError(f"n_features = {n_features} is less than the {sparse.shape[1]} of {path!r}; take as many")
        sparse.resize((sparse.shape[0], n_features))
    size = 8 * sparse.shape[0] * sparse.shape[1]
    if size > LARGEST:
        raise ValueError(
            f"name = {path!r} holds {sparse.shape[0]} samples of {sparse.shape[1]} features, which are kept dense and "
            f"would take {size / 2**30:.0f} GiB; take fewer samples, or hash or project the features before"
        )
    features, targets = checks.array("features", sparse.toarray()), checks.array("targets", targets)
    values = np.unique(targets)
    classes = other.classes if other is not None else values if len(values) == 2 else None
    if classes is None:
        return features, targets, "as in the file", None
    if strange := set(values) - set(classes):
        raise ValueError(
            f"name = {path!r} has the target {min(strange):g}, but standardize has the classes {classes[0]:g} and "
            f"{classes[1]:g}; load it on its own, or correct the file"
        )
    signs = np.where(targets == classes[1], 1.0, -1.0)
    return features, signs, f"+1 for {classes[1]:g}, -1 for {classes[0]:g} in the file", classes


def _unknown(label: str) -> str:
    folder = Path(label).parent
    files = {file.name: str(file) for file in folder.iterdir() if file.is_file()} if folder.is_dir() else {}
    names = {**files, **{name: name for name in _BUNDLED}}
    near = difflib.get_close_matches(Path(label).name, names, n=1, cutoff=0.6)  # their folder makes none alike
    hint = f"did you mean {names[near[0]]!r}? " if near else ""
    return (
        f"name = {label!r} is neither a bundled data set nor a file; {hint}"
        f"pass one of {', '.join(map(repr, _BUNDLED))} or the path of a libsvm file"
    )
