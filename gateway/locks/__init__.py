"""What Redis does for us: it makes collisions rare and answers fast. PostgreSQL makes them
harmless.
"""
