"""Class folders of other people's data sets become labeled manifests, and back into the same house."""
