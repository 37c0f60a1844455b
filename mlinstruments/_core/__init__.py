"""Ground floor: arrays, linear algebra, sandwiches, parallel maps and tables.

Nothing here knows what an instrument or a game is.
"""
