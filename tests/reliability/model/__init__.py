"""The protocol between worker, store and clients as a model, for L0.

`exploring` visits all states of any model; `protocol` is this one, `staged` the workflow in it, which the real
engine can run as well; `stand` is the real worker over a store that is moved by hand, and `walking` plays ways through
the model on it. Nothing is imported here.
"""
