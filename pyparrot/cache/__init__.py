"""The local cache: everything that was once used, verified, within a quota.

It knows no repositories: what is in it are named objects (`names`) and a few small files. `store`
is the way in. Nothing is imported here, since every run reads `directory` before it starts.
"""
