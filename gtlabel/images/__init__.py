"""Pictures as bytes: finding, checking and uploading them."""
