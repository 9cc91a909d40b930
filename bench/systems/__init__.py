"""One program for each system that is measured; `bench.measuring` says what they have in common.

They are run as modules (`python -m bench.systems.dbos`, in the repository's folder): as scripts, their own folder would be
searched first, and `import dbos` would find the program itself.
"""
