"""The conformance suite on a Ray of two nodes, in a process of its own.

Ray keeps the first token of a process in its compiled part. After Ray Tune has had a Ray here, joining another one with
another token fails, and Ray then ends the process: two of three workers of the whole suite died of it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from platforms import APART


@pytest.mark.slow
def test_a_ray_of_two_nodes_behaves_as_the_others_do() -> None:
    here = Path(__file__).parent
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"),
            *("-k", "ray-two-nodes", str(here / "test_executors.py")),
        ],
        cwd=here.parents[1],
        env={**os.environ, APART: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
