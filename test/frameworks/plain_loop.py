"""Calls a scoring script as its author would to try it: `plain_loop.py SCRIPT FILES_PER_MINI_BATCH FILE...`

Rows go to standard output as the contract's section 3.1 has them: a DataFrame through pandas with a space, without header
and index; of a list, one str(element) a line. What the script prints goes to standard error.
"""

import contextlib
import importlib.util
import os
import sys
from typing import List


def main(script: str, size: int, files: List[str]) -> None:
    sys.argv = [script, "--logging_level", "INFO"]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    spec = importlib.util.spec_from_file_location("scoring_script", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with contextlib.redirect_stdout(sys.stderr):
        spec.loader.exec_module(module)
        module.init()
        results = [module.run(files[start : start + size]) for start in range(0, len(files), size)]
    for result in results:
        if hasattr(result, "to_csv"):
            sys.stdout.write(result.to_csv(sep=" ", header=False, index=False))
        else:
            sys.stdout.writelines(f"{element}\n" for element in result)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
