"""The README's example runs as written."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_ten_lines_run_as_written(tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    assert len(code.strip().splitlines()) <= 11
    # fewer epochs and no comparison with shuffled labels to wait for; all else as printed
    quick = code.replace("max_epochs=200", "max_epochs=2")
    assert quick != code
    check = "\nassert adata.uns['knockout']['by_group'].shape[0] > 0\nassert 'table' in adata.uns['rank_latent']\n"
    finished = subprocess.run(
        [sys.executable, "-c", quick + check], capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert (tmp_path / "rank_latent.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_of_the_readme_exist():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / path).is_file(), path
