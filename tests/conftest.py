"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

import licp.solver


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--backend``: all that names no back end of the solver uses this one."""
    parser.addoption("--backend", choices=licp.solver.backends())


def pytest_configure(config: pytest.Config) -> None:
    """Move it to the first place."""
    wanted = config.getoption("--backend")
    if wanted is not None:
        there = licp.solver.backends
        licp.solver.backends = lambda: tuple(sorted(there(), key=lambda name: name != wanted))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of heads with known truth that stands beside the checkout of the developers and CI."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the heads in ../shared/data, which only developers and CI have")
    return folder
