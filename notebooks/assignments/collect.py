"""Write the tasks of a notebook that was handed in to a Python file that can be graded.

    python collect.py alice.ipynb bob.ipynb          writes alice.py and bob.py beside them

It takes the tasks and whatever they need from any cell, and lists what it leaves out. It executes nothing. Grading
runs the code in separate processes, and with `--sandbox` in a sandbox.
"""

import sys

from npwhisper.lab.grading.notebook import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
