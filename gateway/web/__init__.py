"""HTTP: every URL in one table, handlers of three lines, wire bodies as Structs."""
