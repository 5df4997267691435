"""Grading a class: ``npwhisper grade FOLDER --assignment a1 --csv points.csv --feedback DIR``.

The way of a submission, a file each:

`submissions` which files are whose, in folders and zips as Moodle, Canvas and GitHub give them.
`marking`     the tasks of one submission, graded by `npwhisper.lab.grading`, in a process for each submission.
`run`         several such processes at a time.
`journal`     what is graded already, for a run that was interrupted.
`tables`      points as a table, CSV, JSON and Gradescope's results.json.
`feedback`    a page for each student.
`similarity`  pairs of submissions that share more code than chance gives.

`gradescope`, `classroom` and `otter` write what other systems need to grade in the same way.
"""
