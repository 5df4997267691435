"""Grading a file of functions with pytest: ``pytest --pyargs npwhisper.lab.grading --layers student.py``.

Every function of the file that has the name of one of ours is one task. Each task goes through four steps, a file each:

`rules`   may the function use what it uses? Read from the syntax tree, nothing is executed.
`worker`  a process of its own imports the student's file and tries the cases; it never has the expected values.
`wire`    what came of it travels back as JSON and raw arrays; nothing that comes back can execute anything.
`grader`  starts the worker, ends it when its time is over, and judges what it sent, in the grader's own process.

`guard` watches inside the worker, `sandbox` puts it into bubblewrap on request, and `plugin` is what pytest sees. In a
checkout, ``pytest --layers student.py`` runs the library's own tests as well, with the student's functions in place
of the library's; those run in pytest's process.
"""

pytest_plugins = ("npwhisper.lab.grading.plugin",)
