"""Print the N-th `sh` block of README's section "Two commands"."""

import re
import sys
from pathlib import Path

readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
section = readme.split("## Two commands", 1)[1].split("\n## ", 1)[0]
print(re.findall(r"```sh\n(.*?)\n```", section, re.DOTALL)[int(sys.argv[1]) - 1])
