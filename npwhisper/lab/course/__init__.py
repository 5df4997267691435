"""Grading a class: ``npwhisper grade FOLDER --assignment a1 --csv points.csv --feedback DIR``.

The modules, in the order in which a submission passes through them:

`submissions` finds whose each file is, in folders and zips as exported by Moodle, Canvas and GitHub.
`marking`     grades the tasks of one submission with `npwhisper.lab.grading`, in one process per submission.
`run`         runs several such processes at a time.
`journal`     keeps finished marks, so that an interrupted run can resume.
`tables`      writes points as a table, CSV, JSON and Gradescope's results.json.
`feedback`    writes a page for each student.
`similarity`  finds pairs of submissions that share more code than chance explains.

`gradescope`, `classroom` and `otter` write the files that other systems need to grade in the same way.
"""
