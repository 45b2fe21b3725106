"""Folders of searches: missing, damaged and leftover files, and full disks."""

import errno
import pathlib
import shutil
import tempfile

import keras
import numpy as np
import pytest
from population_oracle_test import fail, make_oracle, score_of, simulate
from population_tuner_test import make_tuner
from problems import make_data

from keras_modals._src.tuners import stored_oracle
from keras_modals._src.tuners.checkpoints import CheckpointFolder
from keras_modals._src.tuners.entry import Entry


@pytest.fixture
def folder(tmp_path):
    """Creates a search that was interrupted in its third generation."""
    oracle = make_oracle(tmp_path, size=2)
    for _ in range(5):
        trial = oracle.create_trial("a")
        oracle.update_trial(trial.trial_id, {"val_accuracy": score_of(Entry(trial))})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    oracle.create_trial("a")
    return tmp_path


FILES = [
    "trial_0000/trial.json",
    "trial_0003/trial.json",
    "trial_0004/trial.json",
    "trial_0005/trial.json",
    "oracle.json",
]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_is_named(name, folder):
    (folder / "search" / name).unlink()
    with pytest.raises(ValueError, match="lacks") as error:
        make_oracle(folder, size=2).reload()
    assert str(error.value) == (
        f"The search in {folder / 'search'} lacks {name}. Restore it, or start over "
        "with `overwrite=True`."
    )


DAMAGE = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content[:99] + b"\xff" + content[100:],
    "no object": lambda content: b"[1]",
    "an empty object": lambda content: b"{}",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_damaged_is_named(damage, name, folder):
    path = folder / "search" / name
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(
        ValueError, match=r"overwrite=True|another format version"
    ) as error:
        make_oracle(folder, size=2).reload()
    # The message about another version names the folder.
    named = path.parent if (name, damage) == (FILES[-1], "an empty object") else path
    assert str(named) in str(error.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"trial_id": "0003"', '"trial_id": "0013"'),
        ('"status": "COMPLETED"', '"status": "COMPLEXED"'),
        ('"tuner/member": 1', '"tuner/member": "1"'),
        ('"tuner/parent": "000', '"tuner/parent": "010'),
        ('"score": 0', '"score": null, "other": 0'),
    ],
)
def test_a_trial_that_makes_no_sense_is_named(old, new, folder):
    path = folder / "search" / "trial_0003" / "trial.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=r"trial_0003/trial.json of the search cannot"):
        make_oracle(folder, size=2).reload()


def test_a_stray_trial_is_named_and_a_stray_folder_does_no_harm(folder):
    stray = folder / "search" / "trial_zzz"
    stray.mkdir()
    make_oracle(folder, size=2).reload()
    (stray / "trial.json").write_text("{}")
    with pytest.raises(ValueError, match=r"trial_zzz/trial.json is not part .* Delete"):
        make_oracle(folder, size=2).reload()


@pytest.mark.parametrize("size", [3, 4])
def test_another_population_is_refused(size, folder):
    with pytest.raises(ValueError, match=f"Received: population_size={size}"):
        make_oracle(folder, size=size).reload()


def test_a_whole_folder_goes_on(folder):
    oracle = make_oracle(folder, size=2)
    oracle.reload()
    simulate(oracle, np.random.default_rng(0), 2)
    assert len(oracle.trials) == 10
    assert oracle.is_finished


def test_a_checkpoint_that_is_lost_is_named(tmp_path):
    checkpoints = CheckpointFolder(tmp_path)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    checkpoints.of("0000").save(model)
    checkpoints.of("0000").load(model)
    path = tmp_path / "trial_0000" / "checkpoint.weights.h5"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=str(path)):
        checkpoints.of("0000").load(model)
    with pytest.raises(ValueError, match=r"trial_0001/checkpoint\.weights\.h5 cannot"):
        checkpoints.of("0001").load(model)
    with pytest.raises(ValueError, match=r"trial_0001/checkpoint\.json cannot"):
        checkpoints.of("0001").load_record()


def no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_the_search_and_says_what_was_before(tmp_path, monkeypatch):
    oracle = make_oracle(tmp_path, size=2)
    trial = oracle.create_trial("a")
    monkeypatch.setattr(stored_oracle, "write_json", no_space)
    fail(oracle, trial)
    first, then = oracle.failure.split("\nThen:\n")
    assert first == "out of memory"
    assert "No space left" in then
    # Nobody waits for the lock, or gets the same trial repeatedly.
    assert oracle.is_finished
    assert oracle.create_trial("a").status == "STOPPED"
    assert not oracle.ongoing_trials


@pytest.fixture
def data(rng):
    x, y = make_data(rng, 12)
    return {"x": x, "y": y, "validation_data": (x, y), "verbose": 0}


SMALL = {"population_size": 2, "generations": 1, "epochs_per_generation": 1}


def test_a_full_disk_does_not_hide_why_a_member_failed(tmp_path, data, monkeypatch):
    class Fails(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise RuntimeError("no memory left")

    tuner = make_tuner(tmp_path, **SMALL)
    monkeypatch.setattr(pathlib.Path, "write_text", no_space)
    with pytest.raises(OSError, match=r"(?s)No space left.*no memory left") as error:
        tuner.search(**data, callbacks=[Fails()])
    assert error.value.errno == errno.ENOSPC


@pytest.mark.parametrize("content", [None, "", "{", "[]"])
def test_the_file_of_the_tuner(content, folder):
    path = folder / "search" / "tuner.json"
    message = "lacks tuner.json. Restore it"
    if content is not None:
        path.write_text(content)
        message = f"{path} of the search cannot be read. Restore it"
    with pytest.raises(ValueError, match=message):
        make_tuner(folder, build=lambda hp: None)


def test_what_killed_processes_left_is_cleared(tmp_path, data):
    seen = []

    def build(hp):
        from population_tuner_test import build

        seen.append(pathlib.Path(tempfile.gettempdir()))
        return build(hp)

    before = tempfile.gettempdir()
    tuner = make_tuner(tmp_path, build, **SMALL)
    project = tmp_path / "search"
    left = project / "tmp-abc" / "tmpxyz"
    left.mkdir(parents=True)
    (left / "model.keras").write_bytes(b"")
    (project / "oracle.json.123.tmp").write_text("{")
    tuner.search(**data)
    assert tempfile.gettempdir() == before
    assert {path.parent for path in seen} == {project}
    assert not [path.name for path in project.iterdir() if "tmp" in path.name]


def test_workers_see_results_in_the_folder(tmp_path, data, monkeypatch, capsys):
    chief = make_tuner(tmp_path, **SMALL)
    chief.search(**data)
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "18293")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker0")
    # The chief has ended, so nobody answers.
    worker = make_tuner(tmp_path, **SMALL)
    assert not worker.population.trials
    assert worker.best_schedule() == chief.best_schedule()
    best = chief.oracle.get_best_trials(1)[0]
    (model,) = worker.get_best_models()
    _, accuracy = model.evaluate(*data["validation_data"], verbose=0)
    assert accuracy == pytest.approx(best.score, abs=1e-6)
    (hp,) = worker.get_best_hyperparameters()
    assert hp.values == best.hyperparameters.values
    capsys.readouterr()
    worker.results_summary()
    assert f"{best.score:.4f}" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "search")
    with pytest.raises(ValueError, match=r"all processes share\. Received: directory="):
        worker.best_schedule()
