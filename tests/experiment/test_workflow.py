"""The paper's command as Python calls: its steps, what is done again, and what is refused."""

import shutil

import numpy as np
import pytest

import compressor
from compressor.errors import CheckpointError, RunDirectoryError, UsageError
from compressor.experiment import steps, workflow
from compressor.experiment.predictors import load_predictor
from compressor.models.files import load_model
from compressor.pruning import load_masks, steps as pruning_steps
from compressor.pruning.plan import make_plan
from compressor.pruning.spec import PruningSpec

SIZES = {"conv1": 800, "conv2": 51_200, "fc1": 256 * 1024, "fc2": 4096}


@pytest.fixture(scope="module")
def plan(tiny_data):
    def build(**changes):
        options = {"sparsities": (0.8,), "layers": ("w_fc1", "w_fc2"), "steps": 3, "batch_size": 8}
        return make_plan(tiny_data, **(options | {"validation": 16, "threads": None} | changes))

    return build


@pytest.fixture(scope="module")
def prune(plan):
    def run(model, output=None, *, sparsity=0.5, layers=("all",), **options):
        spec = PruningSpec(sparsity, layers)
        return compressor.prune_run(model, output, spec, plan(sparsities=(sparsity,)), **options)

    return run


@pytest.fixture(scope="module")
def whole(plan, tmp_path_factory):
    """All three steps at once; not to be written to."""
    root = tmp_path_factory.mktemp("whole") / "run"
    return root, workflow.train(root, plan(), do=(1, 2, 3))


@pytest.fixture
def copy(whole, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(whole[0], root)
    return root


def weights(path):
    return [weight.numpy() for weight in load_model(path).weights]


def same(first, second):
    return all((a == b).all() for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_the_three_steps(whole, tiny_data):
    root, records = whole
    assert list(records) == ["step_1", "step_2_1", "step_2_2", "step_3"]
    files = {
        "step_1": {"model.keras", "record.json"},
        "step_2_1": {"model.keras", "masks.npz", "record.json"},
        "step_2_2": {"model.keras", "masks.npz", "record.json"},
        "step_3": {"sparse.npz", "record.json"},
        "variables": {"model.keras", "masks.npz", "variables.json"},
    }
    for step, names in files.items():
        assert {child.name for child in (root / step).iterdir()} - {".lock"} == names

    parameters = sum(SIZES.values()) + 32 + 64 + 1024 + 4
    assert records["step_1"]["parameters"] == parameters
    assert records["step_1"]["optimizer_values"] == 2 * parameters
    for row in records["step_2_1"]["layers"]:
        assert row["parameters"] == SIZES[row["layer"]]
        assert row["kept"] == row["parameters"] - row["parameters"] * 8 // 10 - 1
        assert row["paper_name"] == f"w_{row['layer']}" and 0.05 < row["threshold"] < 0.2
    kept = {row["layer"]: row["kept"] for row in records["step_2_1"]["layers"]}
    assert list(kept) == ["fc1", "fc2"]

    masks, model = (
        load_masks(root / "step_2_2" / "masks.npz"),
        load_model(root / "step_2_2/model.keras"),
    )
    pruned = load_model(root / "step_2_1" / "model.keras")
    for name, mask in masks.items():
        kernel = model.get_layer(name).kernel.numpy()
        assert np.count_nonzero(mask) == kept[name]
        assert not kernel[~mask].any()
        assert (kernel != pruned.get_layer(name).kernel.numpy())[mask].any()
    assert records["step_2_2"]["training"]["steps"] == 3
    density = sum(kept.values()) / (SIZES["fc1"] + SIZES["fc2"])
    assert records["step_2_2"]["training"]["dropout_scale"] == pytest.approx(density**0.5)

    nonzeros = sum(np.count_nonzero(model.get_layer(name).kernel.numpy()) for name in masks)
    dense = parameters - SIZES["fc1"] - SIZES["fc2"]
    assert 0 < records["step_3"]["bytes"] - 24 * nonzeros - 4 * dense < 65_536
    assert records["step_3"]["accuracy"] == records["step_2_2"]["accuracy"]
    found = compressor.evaluate(root / "step_3", tiny_data, batch_size=4, max_steps=1)
    assert (found.kind, found.accuracy) == ("sparse", records["step_3"]["accuracy"])


@pytest.mark.slow
def test_step_by_step_is_the_same_as_at_once(whole, plan, tmp_path):
    root, records = whole
    variables = tmp_path / "elsewhere"
    parts = {}
    for step in (1, 2, 3):
        parts |= workflow.train(tmp_path / "run", plan(), do=(step,), variables_dir=variables)
        has_masks = (variables / "masks.npz").is_file()
        assert has_masks is (step > 1)
    assert not (tmp_path / "run" / "variables").exists()
    for step in ("step_1", "step_2_2"):
        assert same(
            weights(root / step / "model.keras"), weights(tmp_path / "run" / step / "model.keras")
        )
        parts[step].pop("checkpoint_bytes")
    expected = {name: dict(record) for name, record in records.items()}
    for step in ("step_1", "step_2_2"):
        expected[step].pop("checkpoint_bytes")
    assert parts == expected
    assert (root / "step_3/sparse.npz").read_bytes() == (
        tmp_path / "run/step_3/sparse.npz"
    ).read_bytes()


@pytest.fixture
def nothing_is_done(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a finished step is done again")

    for module, name in (
        (steps, "train_step"),
        (pruning_steps, "do_in_folder"),
        (steps, "sparsify_step"),
    ):
        monkeypatch.setattr(module, name, refuse)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("calls", [[(1, 2, 3)], [(2,), (3,)], [(2, 3)], [(3,)]])
def test_what_is_finished_is_not_done_again(copy, whole, plan, nothing_is_done, calls):
    for do in calls:
        found = workflow.train(copy, plan(), do=do)
        assert found == {name: whole[1][name] for name in found}


def test_other_options_are_refused_and_named(rejected, copy, whole, plan, nothing_is_done):
    def refused(do, **changes):
        return rejected(RunDirectoryError, workflow.train, copy, plan(**changes), do=do)

    assert "steps was 3, is now 4" in refused((1,), steps=4)
    assert "seed was 0, is now 1" in refused((1,), seeds=(1,))
    assert "sparsity was 0.8, is now 0.7" in refused((2,), sparsities=(0.7,))
    assert "layers was" in refused((2,), layers=("w_fc1",))
    assert "validation_images was 16, is now 8" in refused((1,), validation=8)
    assert "--force" in refused((1,), batch_size=9)
    assert same(weights(copy / "step_2_2/model.keras"), weights(whole[0] / "step_2_2/model.keras"))


@pytest.mark.slow
def test_force_does_it_again_from_the_basic_model(rejected, copy, plan):
    basic = weights(copy / "step_1/model.keras")
    records = workflow.train(copy, plan(sparsities=(0.6,)), do=(2,), force=True)
    kept = {row["layer"]: row["kept"] for row in records["step_2_1"]["layers"]}
    assert kept["fc2"] == 4096 - 2457 - 1
    # A model that is pruned already would have its threshold at zero.
    assert all(row["threshold"] > 0.03 for row in records["step_2_1"]["layers"])
    assert same(basic, weights(copy / "step_1/model.keras"))
    assert same(weights(copy / "variables/model.keras"), weights(copy / "step_2_2/model.keras"))
    message = rejected(RunDirectoryError, workflow.train, copy, plan(), do=(3,))
    assert "model was" in message


def test_a_forced_step_that_fails_leaves_the_old_one(copy, whole, plan, monkeypatch):
    original = pruning_steps.do_in_folder

    def fail(here, *arguments):
        if here.name != ".step_2_2.new":
            return original(here, *arguments)
        (here / "model.keras").write_bytes(b"half")
        raise RuntimeError("in the middle")

    monkeypatch.setattr(pruning_steps, "do_in_folder", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        workflow.train(copy, plan(), do=(2,), force=True)
    assert same(weights(copy / "step_2_2/model.keras"), weights(whole[0] / "step_2_2/model.keras"))
    assert workflow.train(copy, plan(), do=(1, 2, 3)) == whole[1]
    assert not [child for child in copy.iterdir() if child.name.endswith((".new", ".old"))]


def test_a_file_that_changed_behind_our_back(rejected, copy, plan):
    with open(copy / "step_1" / "model.keras", "ab") as file:
        file.write(b"x")
    assert "model.keras" in rejected(CheckpointError, workflow.train, copy, plan(), do=(1,))


def test_steps_that_cannot_be(rejected, plan, tmp_path):
    rejected(UsageError, workflow.train, tmp_path / "run", plan(), do=())
    rejected(UsageError, workflow.train, tmp_path / "run", plan(), do=(4,))
    message = rejected(CheckpointError, workflow.train, tmp_path / "run", plan(), do=(2,))
    assert "no variables" in message and "-1" in message


# A model that is not the paper's.


@pytest.fixture(scope="module")
def own(residual_net, prune, tiny_data, tmp_path_factory):
    """A model of the user's own, pruned, retrained and sparsified by its path."""
    folder = tmp_path_factory.mktemp("own")
    residual_net().save(folder / "mine.keras")
    records = prune(folder / "mine.keras")
    records |= workflow.sparsify(
        folder / "mine-pruned" / "step_2_2" / "model.keras", folder / "mine-pruned", tiny_data
    )
    return folder, records


@pytest.mark.slow
def test_prune_and_sparsify_a_model_of_ones_own(own, tiny_data):
    folder, records = own
    assert {child.name for child in folder.iterdir()} == {"mine.keras", "mine-pruned"}
    kept = {row["layer"]: row["kept"] for row in records["step_2_1"]["layers"]}
    assert kept == {"stem": 54 - 27 - 1, "inner": 324 - 162 - 1, "head": 384 - 192 - 1}
    model = load_model(folder / "mine-pruned/step_2_2/model.keras")
    assert model.name == "residual"
    for name, count in kept.items():
        assert np.count_nonzero(model.get_layer(name).kernel.numpy()) == count
    assert model.get_layer("drop").rate == 0.25
    sparse = load_predictor(folder / "mine-pruned" / "step_3")
    x = tiny_data.x_test.astype(np.float32)[..., None] / 255
    np.testing.assert_allclose(sparse.predict(x), model.predict_on_batch(x), atol=1e-5)
    assert records["step_3"]["accuracy"] == records["step_2_2"]["accuracy"]


@pytest.mark.slow
def test_prune_alone(own, prune, tmp_path):
    folder, _ = own
    found = prune(
        folder / "mine.keras", tmp_path / "out", layers=("head",), sparsity=0.9, retrain=False
    )
    assert list(found) == ["dense", "step_2_1"] and not (tmp_path / "out" / "step_2_2").exists()
    assert [row["layer"] for row in found["step_2_1"]["layers"]] == ["head"]
    before, after = (
        load_model(folder / "mine.keras"),
        load_model(tmp_path / "out/step_2_1/model.keras"),
    )
    kernel = before.get_layer("head").kernel.numpy()
    mask = load_masks(tmp_path / "out/step_2_1/masks.npz")["head"]
    np.testing.assert_array_equal(after.get_layer("head").kernel.numpy(), kernel * mask)
    np.testing.assert_array_equal(
        after.get_layer("stem").kernel.numpy(), before.get_layer("stem").kernel.numpy()
    )


def test_prune_and_sparsify_a_run_directory(copy, whole, prune, nothing_is_done):
    found = prune(copy, sparsity=0.8, layers=("w_fc1", "w_fc2"))
    assert found.pop("dense")["accuracy"] == whole[1]["step_1"]["accuracy"]
    assert found == {name: whole[1][name] for name in ("step_2_1", "step_2_2")}


@pytest.mark.slow
def test_models_that_cannot_be_sparsified(rejected, own, prune, tiny_data, tmp_path):
    folder, _ = own
    message = rejected(
        CheckpointError, workflow.sparsify, folder / "mine.keras", tmp_path / "a", tiny_data
    )
    assert "no zero weights" in message
    message = rejected(UsageError, prune, folder / "mine-pruned/step_3/sparse.npz")
    assert "takes a Keras model" in message
    rejected(CheckpointError, workflow.sparsify, tmp_path / "none")


@pytest.mark.slow
def test_layers_that_do_not_fit(rejected, own, prune, tmp_path):
    folder, _ = own
    message = rejected(UsageError, prune, folder / "mine.keras", tmp_path / "a", layers=("w_fc1",))
    assert "w_fc1" in message and "stem" in message


def test_somebodys_model_in_the_variables_is_not_overwritten(rejected, plan, tmp_path):
    where = tmp_path / "mine"
    where.mkdir()
    for name in ("model.keras", "masks.npz"):
        (where / name).write_text("precious")
    message = rejected(
        RunDirectoryError, workflow.train, tmp_path / "run", plan(), variables_dir=where
    )
    assert "this program did not write" in message and "--force" in message
    assert {(where / name).read_text() for name in ("model.keras", "masks.npz")} == {"precious"}


def test_what_is_refused_or_done_before_leaves_the_variables(rejected, copy, plan):
    kept = (copy / "variables/model.keras").read_bytes()
    rejected(RunDirectoryError, workflow.train, copy, plan(sparsities=(0.6,)), do=(1, 2))
    workflow.train(copy, plan(), do=(1,))
    assert (copy / "variables/model.keras").read_bytes() == kept
    assert (copy / "variables/masks.npz").is_file()


@pytest.mark.slow
def test_step_2_and_3_of_a_model_trained_elsewhere_can_be_repeated(copy, plan, tmp_path):
    variables = tmp_path / "variables"
    shutil.copytree(copy / "step_1", variables)
    (variables / "record.json").unlink()
    options = {"do": (2, 3), "variables_dir": variables, "force": True}
    first = workflow.train(tmp_path / "other", plan(), **options)
    again = workflow.train(tmp_path / "other", plan(), **(options | {"force": False}))
    assert again == first


@pytest.mark.slow
def test_sparsify_refuses_the_retraining_of_another_pruning(rejected, own, prune, tmp_path):
    folder = tmp_path / "own"
    shutil.copytree(own[0], folder)
    prune(folder / "mine.keras", sparsity=0.25, retrain=False, force=True)
    message = rejected(CheckpointError, workflow.sparsify, folder / "mine-pruned")
    assert "no finished step_2_2" in message  # that of the other pruning is not taken for it


def test_a_finished_steps_folder_is_no_place_for_output(rejected, copy, prune):
    message = rejected(UsageError, prune, copy / "step_1")
    assert "-o" in message
    assert not (copy / "step_1" / "model-pruned").exists()


def test_a_layer_has_one_name_in_a_plan(plan):
    papers, ours = plan(layers=("w_fc2", "w_fc1")), plan(layers=("fc1", "fc2"))
    assert papers.describe() == ours.describe()
