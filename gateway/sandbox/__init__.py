"""The channels as they behave on the wire, with a ledger, a wallet and faults, for trying and
testing. Nothing here imports the gateway's adapters, nor the reverse: they must not share a
mistake.
"""
