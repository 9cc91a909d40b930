"""Fuzzing of everything that reads what others wrote, for L10.

`target` says what a parser must do with any bytes and judges it, `mutation` makes inputs, `guide` finds those that reach
new lines; `language`, `records`, `doors` and `wire` are the parsers. `child` is the process in which they are
called: one that hangs or grows is ended by whoever started it. Nothing is imported here.
"""
