"""PostgreSQL, one module a table and one function a statement; `moves` holds the writes that move
states.
"""
