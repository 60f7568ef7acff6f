"""An adapter's base is found where the adapter names it, wherever the two were moved together."""

import json
import os
import shutil

import pytest

from c2sflow.common.errors import UserError
from c2sflow.model.files import HUB_ID
from c2sflow.model.hub import BUNDLED, base_folder, link_adapter, model_folder, portable_name
from c2sflow.model.trained import RECORD, Trained, answer_genes, read_trained


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory with a base, and an adapter of it two folders down."""
    launch = tmp_path / "lab" / "project"
    base, adapter = tmp_path / "lab" / "models" / "base", launch / "results" / "model"
    for folder in (base, adapter):
        folder.mkdir(parents=True)
    monkeypatch.chdir(launch)
    name = portable_name(base)
    config = {"peft_type": "LORA", "r": 4, "base_model_name_or_path": name}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    monkeypatch.setattr("c2sflow.model.hub.read_adapter", lambda _: config)  # without weights
    return launch, base, adapter, name


def test_the_name_is_no_absolute_path_and_no_hub_id(project):
    launch, _, _, name = project
    assert name == "../models/base"
    (launch / "base").mkdir()
    assert portable_name(launch / "base") == "./base"
    assert not any(HUB_ID.fullmatch(found) for found in (name, "./base"))


def test_found_from_anywhere_and_when_moved_together(project, tmp_path, monkeypatch):
    launch, base, adapter, _ = project
    assert base_folder(adapter).samefile(base)
    assert base_folder(adapter.relative_to(launch)).samefile(base)
    monkeypatch.chdir(tmp_path)
    assert base_folder(adapter).samefile(base)
    shutil.move(tmp_path / "lab", tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere"
    assert base_folder(moved / "project/results/model").samefile(moved / "models/base")


def test_found_from_the_working_directory_when_the_adapter_was_moved_alone(project, tmp_path):
    _, base, adapter, _ = project
    alone = shutil.move(adapter, tmp_path / "model")
    assert base_folder(alone).samefile(base)
    os.chdir(tmp_path)  # the fixture changes it back
    with pytest.raises(UserError, match=r"its base \(\.\./models/base\) .* name it with base_mod"):
        base_folder(alone)


def test_an_adapter_is_never_taken_for_its_base(project, monkeypatch):
    """A base called "./model" is not the adapter's own folder, which results/ has by that name."""
    launch, _, adapter, _ = project
    (launch / "model").mkdir()
    monkeypatch.setattr(
        "c2sflow.model.hub.read_adapter", lambda _: {"base_model_name_or_path": "./model"}
    )
    assert base_folder(adapter).samefile(launch / "model")


def test_demo_is_the_bundled_model(demo_model):
    assert model_folder("demo").samefile(demo_model)
    assert BUNDLED.samefile(demo_model)


def test_the_adapters_record_goes_before_its_bases(random_model, tmp_path, monkeypatch):
    monkeypatch.setattr("c2sflow.model.hub.check_fit", lambda *_: None)
    base = shutil.copytree(random_model, tmp_path / "base")
    Trained(50, ("B", "T")).write(base)
    adapter, linked = tmp_path / "adapter", tmp_path / "linked"
    for folder in (adapter, linked):
        folder.mkdir()
    (adapter / "adapter_config.json").touch()
    link_adapter(adapter, base, linked)
    assert read_trained(linked) == Trained(50, ("B", "T"))
    shutil.rmtree(linked)
    linked.mkdir()
    Trained(7).write(adapter)
    link_adapter(adapter, base, linked)
    assert read_trained(linked) == Trained(7)


def test_genes_of_an_answer_are_as_asked_for_else_the_models_own(tmp_path):
    assert answer_genes(None) == answer_genes(tmp_path) == 200
    Trained(60).write(tmp_path)
    assert (answer_genes(tmp_path), answer_genes(tmp_path, 9)) == (60, 9)
    for broken in ('{"max_answer_genes": 0}', '{"cell_types": "B"}', "[]"):
        (tmp_path / RECORD).write_text(broken)
        with pytest.raises(UserError, match=f"{RECORD} cannot be read"):
            read_trained(tmp_path)
