"""Make a file that can be graded out of a notebook that was handed in.

    python collect.py alice.ipynb bob.ipynb          writes alice.py and bob.py beside them

Taken over are the tasks and whatever they need, from any cell; what is left out is listed. Nothing is
executed here. Grading runs that code in processes of its own, and with `--sandbox` in a sandbox.
"""

import sys

from npwhisper.lab.grading.notebook import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
