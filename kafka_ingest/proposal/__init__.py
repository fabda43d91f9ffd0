"""A stream written for its user: from a sample of the topic, the registry's schema or an existing table to a module of Python.

1. sampling.py     some messages of the topic, spread over its partitions and its log
2. documents.py    how they are written, and what they say
3. fields.py       the fields of each message type (routes.py), by path, with their values
4. types.py        the column of each field: type, dates (dates.py), name (names.py), whether it may be NULL
5. keys.py         what tells rows apart
6. module_text.py  the module
7. trial.py        the sample loaded by it, without writing anything: rows, dead letters
"""
