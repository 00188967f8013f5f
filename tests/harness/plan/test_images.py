"""Names of users' own data sets, and records that would be replaced by those of other images."""

import os
from pathlib import Path

import numpy as np
import pytest

from harness import commands
from harness.errors import RequestError
from harness.plan.cells import plan_request
from harness.plan.images import own_name
from harness.plan.jobs import name_datasets
from harness.records.cell import CELLS
from tests.records import cell_record
from tests.refusals import make_request, refuse


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (".", "here"),
        ("..", "above"),
        ("./", "here"),
        ("../here/", "here"),
        ("sub/..", "here"),
        ("cats.npz", "cats"),
        ("my cats (1).npz", "my cats (1)"),
        ("猫.npz", "猫"),
        ("Ça-va_@2x.v1.npz", "Ça-va_@2x.v1"),
    ],
)
def test_a_name_is_made_of_every_path(tmp_path, monkeypatch, given, name):
    (tmp_path / "above" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above" / "here")
    assert own_name(Path(given)) == name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("/", "no name of a data set can be made of it; name a folder below it"),
        ("two\nlines.npz", "'\\n' in its name; letters, digits, spaces and"),
        ("red\x1b[0m.npz", "'\\x1b' in its name"),
        ("a|b.npz", "'|' in its name"),
        ("<b>.npz", "'<' in its name"),
        ("-rf.npz", "'-rf' begins or ends in '-'; rename it"),
        (".npz", "'.npz' begins or ends in '.'"),
        (".hidden/", "'.hidden' begins or ends in '.'"),
        (" cats.npz", "' cats' begins or ends in ' '"),
        ("all.npz", "a data set 'all' would have files of another one's name"),
        ("Verdicts.npz", "'Verdicts' would have files of another"),
        ("emnist-costs.npz", "'emnist-costs' would have files of another"),
        ("digits.npz", "give --dataset digits as well to let it stand in for digits, or rename"),
        ("a" * 201, "its name has 201 bytes; 200 at most wanted"),
        ("猫" * 67, "its name has 201 bytes"),
        (os.fsdecode(b"caf\xe9.npz"), "'\\xe9' in its name"),
    ],
)
def test_a_name_that_files_cannot_bear(given, words):
    with pytest.raises(RequestError) as caught:
        own_name(Path(given))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_utf8_is_refused_for_a_data_set_that_it_stands_in_for(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9") / "x.npz"
    with pytest.raises(RequestError, match="a path of printable UTF-8 wanted"):
        name_datasets(make_request(tmp_path, data_file=path))


def write_npz(path, shade=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = np.full((32, 8, 8), shade, np.uint8)
    arrays = {f"{part}_images": images for part in ("train", "test")}
    arrays |= {f"{part}_labels": np.arange(32) % 2 for part in ("train", "test")}
    np.savez(path, **arrays)
    return path


def plan(tmp_path, path, **changes):
    request = make_request(tmp_path, datasets=[], models=["mobilenet"], data_file=path, **changes)
    (planned,) = plan_request(request)
    return planned


def test_the_command_of_a_data_set_of_ones_own_runs_again(tmp_path, monkeypatch):
    from cli.options import read_command

    write_npz(tmp_path / "given" / "my cats.npz")
    monkeypatch.chdir(tmp_path / "given")
    command = plan(tmp_path, Path("./../given/my cats.npz")).job.command
    assert (
        command == "python comparisons.py --model mobilenet --device cpu --data-file 'my cats.npz'"
    )
    assert name_datasets(read_command(command)) == ["my cats"]


def keep_record(tmp_path, source):
    record = cell_record(
        dataset="cats",
        model="resnet",
        device="cpu",
        label="R",
        status="ok",
        data_name=source.name,
        data_sha256=source.sha256,
        data_digest_of=source.digest_of,
        settings={"seed": 42},
    )
    CELLS.write(tmp_path / "results", record)


def test_records_are_not_replaced_by_those_of_other_images(tmp_path, capsys):
    from harness.data.loading import load_job_data

    first = write_npz(tmp_path / "given" / "one" / "cats.npz")
    other = write_npz(tmp_path / "given" / "two" / "cats.npz", shade=9)
    planned = plan(tmp_path, first)
    keep_record(tmp_path, load_job_data(planned.job, planned.spec).source)
    assert plan(tmp_path, first).action == "train"
    request = make_request(tmp_path, datasets=[], models=["mobilenet"], data_file=other)
    assert commands.carry_out(request) == 2
    error = capsys.readouterr().err
    assert "has records of other images under that name (cats.npz, SHA-256 " in error
    assert error.count("\n") == 1
    assert plan(tmp_path, other, force=True).action == "train"


def test_what_was_done_to_images_is_said_once(tmp_path, capsys):
    path = write_npz(tmp_path / "given" / "cats.npz")
    with np.load(path) as arrays:
        np.savez(path, **arrays, mean=np.zeros(1))
    request = make_request(tmp_path, datasets=[], models=["mobilenet,resnet"], data_file=path)
    assert commands.carry_out(request, plan=True) == 0
    assert capsys.readouterr().err == "cats.npz: left out: array(s) mean\n"


def test_a_share_of_a_data_set_with_test_images(tmp_path, capsys):
    share = {"assignments": ["data.test_share=0.2"]}
    refuse(capsys, tmp_path, make_request(tmp_path, **share), "setting data.test_share: Digits")
    path = write_npz(tmp_path / "given" / "cats.npz")
    request = make_request(tmp_path, datasets=[], data_file=path, **share)
    refuse(capsys, tmp_path, request, "test images of its own: leave out data.test_share")
    share = {"assignments": ["data.test_share=1"]}
    refuse(capsys, tmp_path, make_request(tmp_path, **share), "data.test_share", "less than 1")
