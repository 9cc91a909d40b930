"""A real Tenuto process with clients and an outside world, for all layers of faults that need one.

    async with Ledger(folder / "ledger.jsonl", Trouble(lose=0.1)) as ledger, House(folder, ledger) as house:
        await house.start()                     # a process; returns when it is ready
        stories = Stories(house, seed=7)
        stories.begin()                         # clients start runs, signal, cancel, pause, publish
        await house.life.wait(lambda: house.life.entries > 20)
        await house.kill()
        await house.start()
        await stories.stop()                    # no new stories; those under way come to their end
        await house.settle()                    # children and all else are over too
        await house.stop()
        violations = house.violations()         # what the checker says of `house.evidence()`

`work` is what it works on, `program` the process, `lives` begins and ends it, `ledger` is the world that steps
change, `stories` are the clients, `driver` is the house itself. Nothing is imported here: the process that is
killed must not load what kills it.
"""
