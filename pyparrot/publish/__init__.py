"""Make CernVM-FS repositories and keep them up to date.

What is to be published is an `input.InputTree`: a directory, or the published tree with a tar file
laid over it (`archive`, `staging_tree`, `pruned_tree`). `sync` makes a revision of it: `layout`
says which directories get catalogs, `scan` pairs the names of the new tree with those of the
published one, `decisions` says what each pair means, `build` carries that out. `content` packs
bodies in parallel, `catalogs` writes catalogs, and at last `repository` replaces the manifest.
Everything stays as it was until that moment. `preview` only shows what would be done.

A `repository.StoredRepository` is a repository that is published from here: its settings
(`settings`), its files (`storage`), and what signs it (`keys`, `signed_files`). `create` makes one;
`tags`, `check`, `gc` (with `object_marks`) and `info` look after it.
"""
