"""CernVM-FS repositories, format version 2.x, as the official server tools write it.

The format, a module for each part of it, knows nothing of where bytes come from or go to: `hashes`,
`compression`, `chunks`, `catalog`, `catalog_rows`, `catalog_counters`, `catalog_tree`, `database`,
`history`, `manifest`, `reflog`, `signed_text`, `signature`, `whitelist`, `blacklist`, `xattrs`,
`trust_chain`.

What reads repositories from servers: `opener` is what the registry calls, `remote` a revision,
opened; `revisions` says which one, `manifest_fetcher` and `trust_cache` what is trusted, `servers`
where from; `objects` gets objects, `indexing` and `handles` stand between catalogs and trees.
"""
