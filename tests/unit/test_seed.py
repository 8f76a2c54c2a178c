"""What is drawn under a seed is decided by the test, not by what else its worker has run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from draws import same_draws_everywhere
from hypothesis import given, settings
from hypothesis import strategies as st

def drawn():
    found = []
    @settings(derandomize=True, database=None, deadline=None, max_examples=500)
    @given(st.integers(), st.text())
    def note(number, text):
        found.append((number, text))
    note()
    return found

same_draws_everywhere()
before, again = drawn(), drawn()
import candor.config.layers  # Numbers and texts of our own.
print(json.dumps([before == again, before == drawn()]))
"""


def test_examples_of_a_seed_do_not_depend_on_what_was_imported(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(SUPPORT)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [True, True]
