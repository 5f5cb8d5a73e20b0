"""Make CernVM-FS repositories and keep them up to date.

From a directory or a tar file (`source`, `archive`) a revision is built (`revision`): what
changed is found by walking the new tree beside the old catalogs (`walk`), bodies are packed in
parallel (`content`), catalogs are written (`catalogs`), and at last the manifest is replaced
(`repository`). Everything stays as it was until that moment.
"""
