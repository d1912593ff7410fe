"""Reliability in figures: how right the numbers of this installation are, and how its files survive what machines do to
them.

Each figure is a function with `@check` in a module of this package (see `esssim.doctor.check`); `esssim.doctor.run.run`
measures them, and `esssim doctor` shows them.
"""
