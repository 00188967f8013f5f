"""A request as the command line makes it, and what it means that one is refused."""

from harness import commands
from harness.jobs import Request


def make_request(tmp_path, **changes):
    fields = {
        "datasets": ["digits"],
        "models": ["resnet"],
        "device": "cpu",
        "overrides": {},
        "assignments": [],
        "data_dir": tmp_path / "data",
        "data_file": None,
        "weights_dir": tmp_path / "weights",
        "results_dir": tmp_path / "results",
        "offline": True,
        "force": False,
        "verbose": False,
    }
    return Request(**(fields | changes))


def refuse(capsys, tmp_path, request, *words, plan=False):
    """Carry out a request that is refused in one line, with these words, leaving nothing behind."""
    code = commands.carry_out(request, plan=plan)
    error = capsys.readouterr().err
    assert code == 2, error
    assert error.count("\n") == 1, error
    assert all(word in error for word in words), error
    left = [p for p in tmp_path.rglob("*") if p.is_file() and "given" not in p.parts]
    assert left == []
