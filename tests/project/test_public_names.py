"""The public names: pinned, importable, documented; and what a device needs stands alone."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import compressor
import deploy

# A change here is a change for users: it belongs in CHANGELOG.md.
NAMES = {
    *("CompressorError", "Criterion", "Dataset", "Distillation", "Plan", "Predictor", "Pruned"),
    *("PruningSpec", "Shrunk", "Sweep", "TrainingOptions", "__version__", "apply_masks"),
    *("bench", "evaluate", "export", "export_all", "import_model", "inspect"),
    *("kept_weights", "load", "load_custom", "load_dataset"),
    *(
        "SshHost",
        "deploy",
        "install_runner",
        "remove_bundle",
        "roll_back",
        "served",
        "write_runner",
    ),
    *("keygen", "load_predictor", "magnitude_prune", "package", "verify"),
    *(
        "make_plan",
        "prune",
        "prune_graph",
        "prune_run",
        "register_criterion",
        "report_run",
        "sensitivity",
        "shrink",
    ),
    *("shrink_file", "sparsify", "sweep", "train"),
    *("Evolution", "Goal", "Recipe", "apply_recipe", "read_recipe", "search"),
}
DEPLOY_NAMES = {
    *("Artifact", "ArtifactError", "Bundle", "BundleError", "CheckVectors", "DeployError"),
    *("LatencyStatistics", "Manifest", "PublicKey", "describe_machine", "measure_latency"),
    *("open_bundle", "read_artifact", "read_public_key"),
}


def test_the_names_are_pinned() -> None:
    assert set(compressor.__all__) == NAMES
    assert set(dir(compressor)) == NAMES
    assert set(deploy.__all__) == DEPLOY_NAMES
    assert set(dir(deploy)) == DEPLOY_NAMES
    assert all(getattr(deploy, name).__module__.startswith("deploy.") for name in DEPLOY_NAMES)


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_a_name_is_there_and_documented(name: str) -> None:
    found = getattr(compressor, name)

    assert found.__module__.startswith("compressor.")
    assert found.__name__ == name
    text = inspect.getdoc(found)
    assert text
    # A data class without a docstring shows its fields instead.
    assert not text.startswith(f"{name}(")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="frobnicate"):
        _ = compressor.frobnicate


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys, compressor\n"
        "print(' '.join(sys.modules))\n"
        "from compressor import make_plan, sweep, train, magnitude_prune\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    package, functions = (set(line.split()) for line in done.stdout.splitlines())

    assert not package & {"numpy", "tensorflow", "keras", "scipy", "matplotlib", "h5py"}
    assert not functions & {"tensorflow", "keras", "scipy", "matplotlib", "h5py"}


def test_deploy_imports_the_standard_library_and_numpy_only() -> None:
    for path in Path(str(deploy.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                names = [str(node.module)]
            for name in names:
                top = name.partition(".")[0]
                assert top in {"numpy", "deploy"} | sys.stdlib_module_names, f"{path}: {name}"


def test_deploy_works_where_compressor_and_tensorflow_are_not() -> None:
    program = (
        "import sys\n"
        "for name in ('compressor', 'tensorflow', 'keras', 'scipy', 'click'):\n"
        "    sys.modules[name] = None\n"
        "import deploy, numpy\n"
        "times = deploy.measure_latency({'p': lambda x: x + 1}, [numpy.ones((2, 3))], threads=1)\n"
        "print(times['p'].batch_size, deploy.describe_machine()['cores'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    size, cores = done.stdout.split()
    assert size == "2"
    assert int(cores) >= 1
