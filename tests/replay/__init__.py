"""What released versions have recorded, and still has to go on: `release_*/`, one folder for each release, made by `make.py`.

    flows.py, *.yaml      the workflows as they were then: never changed any more
    histories/*.jsonl     histories of runs, as `tenuto export` writes them
    open.tar.xz           a database that was left with open runs of all kinds
    schema-1.tar.xz       one of the first schema, left by a process that was killed

`tests/reliability/upgrades.py` plays them over the code of now.
"""
