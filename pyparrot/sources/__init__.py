"""Where trees come from: CernVM-FS repositories, local directories, names."""
