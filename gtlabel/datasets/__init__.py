"""From the manifests of many jobs to class folders and channels."""
