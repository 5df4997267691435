"""Grading a file of functions with pytest: ``pytest --pyargs npwhisper.lab.grading --layers student.py``.

Every function of the file that has the name of one of ours is a task. Each task takes four steps, one module each:

`rules`   is the function allowed to use what it uses? Read from the syntax tree; nothing is executed.
`worker`  a separate process imports the student's file and runs the cases; it never has the expected values.
`wire`    the results are sent back as JSON and raw arrays; reading them cannot execute code.
`grader`  starts the worker, kills it at the time limit, and judges its results in the grader's own process.

`guard` monitors the function inside the worker, `sandbox` runs the worker in bubblewrap on request, and `plugin` is the
interface to pytest. In a checkout, ``pytest --layers student.py`` also runs the library's own tests with the student's
functions in place of the library's; these run in pytest's process.
"""

pytest_plugins = ("npwhisper.lab.grading.plugin",)
